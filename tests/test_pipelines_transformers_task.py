"""The task of `transformers.pipeline`: the same pictures as those of the pipeline that it wraps."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers
from hub_server import HubServer
from PIL import Image
from tiny_chain import bundle, bundle_folder, prior, shared_bundle
from tiny_hub import ERRORS, Client
from torch.utils.data import IterableDataset
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.pipelines.pt_utils import KeyDataset

from pictogram.hub.errors import InputError
from pictogram.lm.bundle import Bundle, bundle_files
from pictogram.pipelines.text_to_image import TextToImageOutput, TextToImagePipeline
from pictogram.pipelines.transformers_task import TASK, TextToImageTask

pipeline: Any = transformers.pipeline  # whose type names the tasks that come with it
WORDS = ["red apple", "", "日本の旗", "sad face", "grinning face"]


@pytest.fixture(scope="module")
def task() -> TextToImageTask:
    return pipeline(TASK, model=str(bundle_folder()), device="cpu")


def rows(output: TextToImageOutput) -> list[Any]:
    columns = zip(output.images, output.seeds, output.bits.tolist(), strict=True)
    return [(image.tobytes(), seed, pytest.approx(bits, rel=1e-4, abs=1e-3)) for image, seed, bits in columns]


def found(groups: Any) -> list[tuple[bytes, int, float]]:
    """What the task gave for several prompts."""
    return [(one["image"].tobytes(), one["seed"], one["bits"]) for group in groups for one in group]


class Words(IterableDataset):
    def __iter__(self):
        return iter(WORDS)


def test_one_prompt_gives_a_list_of_pictures(task: TextToImageTask):
    drawn = task("red apple", num_images=3, seed=5)
    assert [sorted(one) for one in drawn] == [["bits", "image", "seed"]] * 3
    assert all(isinstance(one["image"], Image.Image) and isinstance(one["bits"], float) for one in drawn)
    assert found([drawn]) == rows(TextToImagePipeline(shared_bundle())("red apple", num_images=3, seed=5))


@pytest.mark.parametrize("batch_size", [None, 1, 2, 8])
@pytest.mark.parametrize("num_images", [1, 2])
def test_lists_give_what_the_pipeline_gives(task: TextToImageTask, batch_size: int | None, num_images: int):
    expected = TextToImagePipeline(shared_bundle())(WORDS, num_images=num_images, seed=7)
    drawn = task(WORDS, num_images=num_images, seed=7, batch_size=batch_size)
    assert [len(group) for group in drawn] == [num_images] * len(WORDS)
    assert found(drawn) == rows(expected)


def test_generators_and_datasets_stream(task: TextToImageTask):
    expected = rows(TextToImagePipeline(shared_bundle())(WORDS, seed=2))
    dataset: Any = [{"caption": words} for words in WORDS]
    for inputs in ((words for words in WORDS), KeyDataset(dataset, "caption"), Words(), tuple(WORDS)):
        drawn = task(inputs, seed=2, batch_size=2)
        assert isinstance(drawn, list) == isinstance(inputs, tuple)
        assert found(drawn) == expected


def test_seeds_do_not_hang_on_workers(task: TextToImageTask):
    dataset: Any = [{"caption": words} for words in WORDS]
    drawn = task(KeyDataset(dataset, "caption"), seed=2, batch_size=2, num_workers=2)
    assert found(drawn) == rows(TextToImagePipeline(shared_bundle())(WORDS, seed=2))


def test_options_reach_the_pipeline(task: TextToImageTask):
    options: dict[str, Any] = {"guidance_scale": 2.0, "guidance_interval": (0.0, 0.5), "temperature": 0.5}
    options |= {"top_k": 4, "top_p": 0.95, "size": "2x2", "symbol": 4, "num_candidates": 2}
    expected = rows(TextToImagePipeline(shared_bundle())("red apple", num_images=20, **options))
    assert found([task("red apple", num_images=20, **options)]) == expected
    others: dict[str, Any] = {"guidance_scale": 1.0, "guidance_interval": (0.0, 1.0), "temperature": 1.0}
    others |= {"top_k": 1, "top_p": 0.5, "symbol": 3, "num_candidates": 1}
    for name, other in others.items():
        assert found([task("red apple", num_images=20, **{**options, name: other})]) != expected, name


def test_options_at_the_start_are_defaults():
    task = pipeline(TASK, model=str(bundle_folder()), device="cpu", num_images=2, seed=9, temperature=0.5)
    draw = TextToImagePipeline(shared_bundle())
    assert found([task("red apple")]) == rows(draw("red apple", num_images=2, seed=9, temperature=0.5))
    again = task("red apple", seed=1, num_images=1)
    assert found([again]) == rows(draw("red apple", num_images=1, seed=1, temperature=0.5))


def test_the_prior_of_a_loaded_bundle_is_enough():
    loaded = Bundle.from_pretrained(bundle_folder())
    task = pipeline(TASK, model=loaded.prior, device="cpu")
    assert task.model is task.bundle.prior is loaded.prior
    assert found([task("red apple")]) == rows(TextToImagePipeline(loaded)("red apple"))


def test_a_model_apart_from_its_bundle(tmp_path):
    new = bundle()
    other = prior(new.vocabulary, seed=3).train()
    other.save_pretrained(tmp_path / "alone")
    other.config._name_or_path = ""
    with pytest.raises(InputError, match=r"not loaded from a bundle: name the one it belongs to: pipeline"):
        pipeline(TASK, model=other, device="cpu")
    with pytest.raises(InputError, match=r"alone is not a whole bundle: it lacks .*vocabulary.json.*bundle=\.\.\."):
        pipeline(TASK, model=str(tmp_path / "alone"), device="cpu")
    expected = rows(TextToImagePipeline(Bundle.from_pretrained(bundle_folder(), prior=other))("red apple"))
    assert expected != rows(TextToImagePipeline(new)("red apple"))
    for model, named in ((other, new), (other, bundle_folder()), (str(tmp_path / "alone"), str(bundle_folder()))):
        task = pipeline(TASK, model=model, bundle=named, device="cpu")
        assert not task.model.training
        assert found([task("red apple")]) == expected


def test_a_bundle_of_another_vocabulary_is_refused():
    longer = prior(shared_bundle().vocabulary.add_codes(0, 2))
    with pytest.raises(InputError, match=r"the model has \d+ tokens, but the bundle's vocabulary \d+"):
        pipeline(TASK, model=longer, bundle=shared_bundle(), device="cpu")
    with pytest.raises(InputError, match=r"the prior has \d+ tokens, but the vocabulary \d+"):
        pipeline(TASK, model=longer, bundle=bundle_folder(), device="cpu")


def test_a_model_that_has_no_codes_is_refused(tmp_path):
    """Any causal language model loads; only a bundle draws."""
    folder = shutil.copytree(bundle_folder(), tmp_path / "model")
    (folder / "vocabulary.json").unlink()
    with pytest.raises(InputError, match=r"text-to-image needs a bundle, but .* lacks vocabulary\.json"):
        pipeline(TASK, model=str(folder), device="cpu")


def test_it_saves_a_bundle(task: TextToImageTask, tmp_path):
    task.save_pretrained(tmp_path / "saved")
    files = {str(path.relative_to(tmp_path / "saved")) for path in (tmp_path / "saved").rglob("*") if path.is_file()}
    assert files == {*bundle_files(bundle_folder())}
    assert "custom_pipelines" not in json.loads((tmp_path / "saved" / "config.json").read_text())
    again: Any = pipeline(TASK, model=str(tmp_path / "saved"), device="cpu")
    assert found([again("red apple")]) == found([task("red apple")])


def test_number_types_are_those_of_the_model():
    task = pipeline(TASK, model=str(bundle_folder()), device="cpu", dtype=torch.float64)
    assert task.bundle.prior.dtype == torch.float64 and task.bundle.image_tokenizer.dtype == torch.float32
    assert len(task("red apple")) == 1


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        ([], {}, "at least one prompt is expected, got none"),
        (None, {}, "a prompt, or a list, a generator or a torch dataset of prompts is expected, got NoneType"),
        ({"text": "a"}, {}, "got dict"),
        (["a", 3], {}, "a prompt must be a string, got int"),
        ("a", {"num_images": 0}, "num_images must be at least 1, got 0"),
        ("a", {"seed": [1]}, r"seed must be a whole number, that of the first picture, got \[1\]"),
        ("a", {"seed": -1}, "seeds must be 0 or more"),
        ("a", {"temperature": -1.0}, "temperature must be 0, or at least"),
        ("a", {"size": "9x9"}, "image size '9x9' is not in the vocabulary"),
        ("long " * 60, {}, "but the model has 64"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(task: TextToImageTask, inputs: Any, options: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        task(inputs, **options)


def test_options_that_there_are_not_are_refused(task: TextToImageTask):
    with pytest.raises(TypeError, match="steps"):
        task("red apple", steps=50)


def test_the_registry_knows_it():
    entry = PIPELINE_REGISTRY.check_task(TASK)[1]
    assert entry["impl"] is TextToImageTask and entry["type"] == "multimodal"


IMPORTS = """
import sys
from transformers import pipeline
from transformers.pipelines import PIPELINE_REGISTRY
import pictogram
assert "text-to-image" not in PIPELINE_REGISTRY.get_supported_tasks()
assert "pictogram.pipelines" not in sys.modules
import {module}
assert "text-to-image" in PIPELINE_REGISTRY.get_supported_tasks()
"""


@pytest.mark.parametrize(
    "module", ["pictogram.pipelines", pytest.param("pictogram.pipelines.image_to_text", marks=pytest.mark.slow)]
)
def test_importing_the_pipelines_registers_it(module: str):
    done = subprocess.run([sys.executable, "-c", IMPORTS.format(module=module)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


HUB = (
    ERRORS
    + """
from transformers import pipeline
import pictogram.pipelines
from pictogram import Bundle, push_bundle

first = push_bundle(given["bundle"], "alice/bundle", tag="v1").commit
task = pipeline("text-to-image", model="alice/bundle", device="cpu")
def found(task):
    return [[one["image"].tobytes().hex(), one["seed"], one["bits"]] for one in task("red apple", num_images=2)]
answer["main"] = found(task)
answer["bundle"] = [task.bundle.name, task.bundle.revision == first]
second = push_bundle(given["other"], "alice/bundle").commit
answer["tag"] = found(pipeline("text-to-image", model="alice/bundle", revision="v1", device="cpu"))
answer["prior"] = found(pipeline("text-to-image", Bundle.from_pretrained("alice/bundle", "v1").prior, device="cpu"))
answer["second"] = found(pipeline("text-to-image", model="alice/bundle", device="cpu"))
answer["pushed"] = task.push_to_hub("alice/again").commit
answer["again"] = found(pipeline("text-to-image", model="alice/again", device="cpu"))

from pictogram.hub.repository import push_folder

push_folder(given["alone"], "alice/alone", repo_type="model")
answer["alone"] = error_of(pipeline, "text-to-image", model="alice/alone", device="cpu")
"""
)


def test_by_a_name_on_the_hub(tmp_path):
    parts = bundle()
    replace(parts, prior=prior(parts.vocabulary, seed=1)).save_pretrained(tmp_path / "other")
    prior(parts.vocabulary).save_pretrained(tmp_path / "alone")
    folders: dict[str, Any] = {"bundle": str(bundle_folder())}
    folders |= {name: str(tmp_path / name) for name in ("other", "alone")}
    with HubServer() as server:
        answer = Client(server, tmp_path / "client").run(HUB, **folders)
    expected = TextToImagePipeline(shared_bundle())("red apple", num_images=2)
    pictures = [image.tobytes().hex() for image in expected.images]
    assert [one[0] for one in answer["main"]] == pictures
    assert answer["bundle"] == ["alice/bundle", True]
    assert answer["tag"] == answer["prior"] == answer["again"] == answer["main"] != answer["second"]
    assert "alice/alone is not a whole bundle: it lacks vocabulary.json" in answer["alone"]
