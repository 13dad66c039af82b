"""What `evaluate samples` compares, in one geometry."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from datasets import ClassLabel, Dataset
from PIL import Image
from tiny_chain import shared_bundle, tokenizer_folder
from tiny_samples import NAMES, data, noise
from tiny_samples import asked as ask

from pictogram.hub.errors import InputError
from pictogram.lm.image_sampler import ImageSampling
from pictogram.pipelines.evaluate_samples import evaluate_samples
from pictogram.pipelines.labelled_pictures import LabelledPictures
from pictogram.pipelines.sample_input import native_processor, open_input, sampling_of, size_of_pictures
from pictogram.pipelines.sample_shards import write_samples
from pictogram.pipelines.samples_config import SamplesEvaluation
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil


@pytest.fixture
def asked(tmp_path):
    return ask(tmp_path / "out")


def test_pictures_that_something_else_drew(asked, tmp_path):
    folder = tmp_path / "drawn"
    write_samples(folder, noise, NAMES, 20, seed=0, origin={}, shard_size=7)
    report = evaluate_samples(replace(asked, samples=str(folder), num_images=10))
    assert list(report["recognised"]) == ["real", "samples"]
    assert "decoded test" not in report["memorisation"]["pixels"]
    assert report["seconds"] is None
    assert report["protocol"]["num_images_of"] == {"real": 10, "samples": 10}


def test_a_padded_tokenizer_is_compared_without_its_padding(asked):
    given = open_input(asked)
    assert {arm.pixels.shape for arm in given.arms.values()} == {(16, 3, 16, 16)}
    assert given.arms["samples"].classes.tolist() == [0, 1] * 8


def test_grey_pictures_are_compared_in_grey(tmp_path):
    assert native_processor(str(data()), "train").num_channels == 3
    write_samples(tmp_path, noise, NAMES, 4, seed=0, origin={})
    processor = native_processor(str(tmp_path), "train")
    assert processor.num_channels == 1 and dict(processor.size) == {"height": 16, "width": 16}


def test_a_single_coloured_picture_makes_a_comparison_in_colour(tmp_path):
    def last_is_red(classes, seeds):
        red = Image.new("RGB", (16, 16), "red")
        return [red if seed == 79 else image for image, seed in zip(noise(classes, seeds), seeds, strict=True)]

    write_samples(tmp_path, last_is_red, NAMES, 80, seed=0, origin={})
    assert native_processor(str(tmp_path), "train").num_channels == 3


def test_coloured_samples_of_grey_pictures_are_no_samples_of_them(asked, tmp_path):
    for split in ("train", "test"):
        write_samples(tmp_path / "real" / split, noise, NAMES, 8, seed=0, origin={})
    red = lambda classes, seeds: [Image.new("RGB", (16, 16), "red") for _ in seeds]  # noqa: E731
    write_samples(tmp_path / "drawn", red, NAMES, 8, seed=0, origin={})
    with pytest.raises(InputError, match="the real pictures are grey, samples must be too; row-000000 has colours"):
        open_input(replace(asked, data=str(tmp_path / "real"), samples=str(tmp_path / "drawn"), num_images=8))


def test_samples_drawn_for_another_size_are_not_taken(asked):
    open_input(asked)
    manifest = Path(asked.output) / "samples" / "samples.json"
    content = json.loads(manifest.read_text())
    assert content["origin"]["size"] == [16, 16]
    content["origin"]["size"] = [12, 12]
    manifest.write_text(json.dumps(content))
    with pytest.raises(InputError, match="holds other samples: origin is"):
        open_input(asked)


@pytest.mark.parametrize("option", [{"guidance_scale": "3"}, {"temperature": "1"}, {"top_p": "0.9"}, {"batch_size": 2}])
def test_how_to_draw_is_not_said_of_pictures_that_are_there(option):
    with pytest.raises(InputError, match=f"{next(iter(option))} is for what the bundle draws itself"):
        SamplesEvaluation(samples="there", **option)
    with pytest.raises(InputError, match="tokenizer is for samples of something else"):
        SamplesEvaluation(tokenizer="there")


def test_samples_of_other_classes_or_another_size(asked, tmp_path):
    write_samples(tmp_path / "names", noise, ["bright", "grim"], 4, seed=0, origin={})
    with pytest.raises(InputError, match="samples must have the classes"):
        evaluate_samples(replace(asked, samples=str(tmp_path / "names")))
    small = partial(noise, size=8)
    write_samples(tmp_path / "small", small, NAMES, 4, seed=0, origin={})
    with pytest.raises(InputError, match="size of the real pictures, 16x16, got 8x8"):
        evaluate_samples(replace(asked, samples=str(tmp_path / "small")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "fid"}, "metric must be some of cas, fd"),
        ({"metric": ""}, "metric must be some of"),
        ({"num_images": 1}, "num_images must be at least 2"),
        ({"split": "train"}, "must differ, got split train for both"),
        ({"guidance_scale": "much"}, "guidance_scale must be numbers"),
        ({"column": "style"}, "no column 'style'"),
        ({"num_images": 3}, "fd needs two pictures of every class, got {'num_images': 1,"),
        ({"prompts": "one"}, "prompts must be one for each of 2 classes \\(bright, dark\\), got \\['one'\\]"),
        ({"seed": 2**31}, "seed must be at most 2147483647"),
        ({"num_images": 26}, "takes 13 pictures of each class, split train has 12 of bright; at most 24 will do"),
        ({"num_images": 3, "metric": "cas,precision-recall"}, "more than 3 pictures, got {'num_images': 3,"),
    ],
)
def test_mistakes(asked, changes, message):
    with pytest.raises(InputError, match=message):
        evaluate_samples(replace(asked, **changes))


def test_fewer_samples_than_asked_for_are_no_equal_arm(asked, tmp_path):
    write_samples(tmp_path / "few", noise, NAMES, 15, seed=0, origin={})
    with pytest.raises(InputError, match="must have 8 pictures of class 1, got 7; lower num_images"):
        open_input(replace(asked, samples=str(tmp_path / "few")))


def test_how_codes_are_drawn(asked):
    assert sampling_of(asked) == ImageSampling()
    told = sampling_of(replace(asked, guidance_scale="0", temperature="1,0.5", top_p="0.9"))
    assert told == ImageSampling(guidance_scale=0.0, temperature=[1.0, 0.5], top_p=0.9)


def padding_tokenizer(folder: Path) -> Path:
    made = shutil.copytree(tokenizer_folder(), folder / "tokenizer")
    ImageTokenizerImageProcessorPil(size={"height": 16, "width": 16}, do_pad=True).save_pretrained(made)
    return made


def test_real_pictures_of_two_sizes_are_not_made_alike(asked, tmp_path):
    for number, split in enumerate(("train", "test")):
        write_samples(tmp_path / split, partial(noise, size=16 - 4 * number), NAMES, 8, seed=0, origin={})
    write_samples(tmp_path / "drawn", noise, NAMES, 8, seed=0, origin={})
    changed = replace(asked, data=str(tmp_path), num_images=8)
    for tokenizer in ("", str(padding_tokenizer(tmp_path))):
        with pytest.raises(InputError, match="both splits must have pictures of one size, got 16x16 and 12x12"):
            open_input(replace(changed, samples=str(tmp_path / "drawn"), tokenizer=tokenizer))


def test_a_mistyped_sampling_option_leaves_no_folder(asked):
    with pytest.raises(InputError, match="top_p"):
        open_input(replace(asked, top_p="1.5"))
    open_input(asked)


def with_a_class_without_pictures(folder: Path) -> str:
    """Real pictures whose classes have a name more than there are kinds of pictures."""
    for split in ("train", "test"):
        write_samples(
            folder / split, lambda classes, seeds: noise([c % 2 for c in classes], seeds), NAMES, 8, seed=0, origin={}
        )
        (shard,) = (folder / split).glob("*.parquet")
        rows = Dataset.from_parquet(str(shard))
        assert isinstance(rows, Dataset)
        features = rows.features.copy()
        features["label"] = ClassLabel(names=[*NAMES, "none"])
        rows.cast(features).to_parquet(str(folder / f"{split}.parquet"))
        shutil.rmtree(folder / split)
    return str(folder)


def test_a_class_without_training_pictures_is_refused_before_anything_is_drawn(asked, tmp_path):
    what = replace(
        asked, data=with_a_class_without_pictures(tmp_path / "real"), num_images=6, metric="cas,memorisation"
    )
    with pytest.raises(InputError, match="split train has no pictures of none to compare with"):
        evaluate_samples(what)
    assert not Path(asked.output).exists()


def test_a_size_that_the_bundle_does_not_draw():
    larger = SimpleNamespace(dataset=SimpleNamespace(pixels=lambda rows: torch.zeros(len(rows), 3, 32, 32)))
    with pytest.raises(InputError, match="not in the vocabulary"):
        size_of_pictures(shared_bundle(), cast(LabelledPictures, larger))
    own = SimpleNamespace(dataset=SimpleNamespace(pixels=lambda rows: torch.zeros(len(rows), 3, 16, 16)))
    assert size_of_pictures(shared_bundle(), cast(LabelledPictures, own)) == next(
        iter(shared_bundle().vocabulary.sizes)
    )


def in_words(folder: Path, count: int) -> str:
    """Pictures whose classes are texts, in a column called kind."""
    write_samples(folder / "drawn", noise, NAMES, count, seed=0, origin={})
    (shard,) = (folder / "drawn").glob("*.parquet")
    rows = Dataset.from_parquet(str(shard))
    assert isinstance(rows, Dataset)
    kinds = [NAMES[number] for number in rows["label"]]
    rows.remove_columns("label").add_column("kind", kinds).to_parquet(str(folder / "train.parquet"))
    shutil.rmtree(folder / "drawn")
    return str(folder)


def test_samples_may_name_their_classes_as_real_pictures_do(asked, tmp_path):
    real = tmp_path / "real"
    in_words(real, 12)
    shutil.copy(real / "train.parquet", real / "test.parquet")
    samples = in_words(tmp_path / "samples", 8)
    given = open_input(replace(asked, data=str(real), samples=samples, column="kind", num_images=8))
    assert list(given.names) == NAMES
    assert given.arms["samples"].classes.tolist() == [0, 1] * 4


def test_classes_may_be_drawn_by_other_words_than_their_names(asked, tmp_path):
    named = open_input(asked)
    swapped = open_input(replace(asked, prompts="dark,bright", output=str(tmp_path / "swapped")))
    assert swapped.names == named.names
    assert swapped.origin["prompts"] == ["dark", "bright"] and "prompts" not in named.origin
    pixels = {name: given.arms["samples"].pixels for name, given in (("named", named), ("swapped", swapped))}
    assert not torch.equal(pixels["named"], pixels["swapped"])
    same = open_input(replace(asked, prompts="bright, dark", output=str(tmp_path / "same")))
    assert torch.equal(same.arms["samples"].pixels, pixels["named"])
