import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_chain import bundle, bundle_folder, codes_folder, pictures, prior, shared_bundle, tokenizer_folder

from pictogram.hub.errors import InputError
from pictogram.lm.bundle import Bundle
from pictogram.lm.documents import image_to_text, images_to_ids, text_to_image
from pictogram.lm.image_bits import measure_images
from pictogram.lm.rate import measure_rate
from pictogram.lm.rate_report import PictureShape, report_rates
from pictogram.pipelines.evaluate_prior import evaluate_prior, prior_rates
from pictogram.pipelines.evaluation_input import choose_rows
from pictogram.pipelines.tokenize import tokenize
from pictogram.pipelines.tokenize_job import TokenizeConfig
from pictogram.tokenizer.codes_dataset import load_codes


@pytest.fixture(scope="module")
def two_splits(tmp_path_factory) -> str:
    """The codes of the pictures as split train, and of seven of them as split test."""
    root = tmp_path_factory.mktemp("two-splits")
    few = root / "few"
    few.mkdir()
    for file in sorted(pictures().iterdir())[3:10]:
        (few / file.name).write_bytes(file.read_bytes())
    lines = (pictures() / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    (few / "metadata.jsonl").write_text("\n".join(lines[3:10]), encoding="utf-8")
    for split, data in {"train": pictures(), "test": few}.items():
        folder = root / split
        folder.mkdir()
        (folder / split).symlink_to(data, target_is_directory=True)
        tokenize(
            TokenizeConfig(data=str(folder), split=split, model=str(tokenizer_folder()), output=str(root / "codes"))
        )
    return str(root / "codes")


@pytest.fixture(scope="module")
def other_bundle(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("other") / "bundle"
    some = bundle()
    replace(some, prior=prior(some.vocabulary, seed=7)).save_pretrained(folder)
    return str(folder)


def test_the_report_of_a_split():
    found = evaluate_prior(str(bundle_folder()), str(codes_folder()), "train")
    bits = measure_images(shared_bundle(), load_codes(codes_folder()), range(16))
    assert found["rate"] == report_rates(bits, PictureShape([1, 4], 16 * 16 * 3)).to_dict()
    assert (found["num_images"], found["num_captions"], found["num_too_long"]) == (16, 14, 0)
    assert found["protocol"]["size"] == "16x16x3" and found["protocol"]["grids"] == "1x1 2x2"
    assert found["protocol"]["batch_size"] == "4096 tokens"
    assert {"bits", "caption_bits", "bytes", "interval"} < set(found["protocol"])
    assert not {"train", "gap", "other", "difference"} & set(found)


def test_the_gap_to_training_pictures(two_splits):
    found = evaluate_prior(str(bundle_folder()), two_splits, "test", train_split="train")
    assert found["num_images"] == 7
    train = load_codes(two_splits, "train")
    bits = measure_images(shared_bundle(), train, choose_rows(train, 7))
    assert found["train"] == report_rates(bits, PictureShape([1, 4], 768)).to_dict()
    for name in ("codes", "codes_given_caption"):
        rate, learned, gap = (found[part][name]["per_image"] for part in ("rate", "train", "gap"))
        assert gap["value"] == pytest.approx(rate["value"] - learned["value"])
        widths = [figure["interval"][1] - figure["interval"][0] for figure in (rate, learned, gap)]
        assert widths[2] == pytest.approx((widths[0] ** 2 + widths[1] ** 2) ** 0.5)
    assert found["protocol"]["train_split"] == "train"


def test_against_another_prior(other_bundle):
    options: dict[str, Any] = {"max_images": 9}
    found = evaluate_prior(str(bundle_folder()), str(codes_folder()), "train", against=other_bundle, **options)
    alone = evaluate_prior(other_bundle, str(codes_folder()), "train", **options)
    assert found["other"] == alone["rate"]
    codes = load_codes(codes_folder())
    rows = choose_rows(codes, 9)
    first = measure_images(shared_bundle(), codes, rows)
    second = measure_images(Bundle.from_pretrained(other_bundle), codes, rows)
    assert found["difference"] == report_rates(first.minus(second), PictureShape([1, 4], 768)).to_dict()
    value = found["difference"]["codes"]["per_image"]["value"]
    assert value == pytest.approx(float((first.codes - second.codes).sum(1).mean()))
    mirrored = evaluate_prior(other_bundle, str(codes_folder()), "train", against=str(bundle_folder()), **options)
    assert mirrored["difference"]["codes"]["per_image"]["value"] == pytest.approx(-value)


def test_files(tmp_path):
    found = evaluate_prior(
        str(bundle_folder()),
        str(codes_folder()),
        "train",
        max_images=5,
        per_image=str(tmp_path / "new" / "bits.jsonl"),
        output=str(tmp_path / "evaluation.json"),
    )
    assert json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8")) == found
    rows = [json.loads(line) for line in (tmp_path / "new" / "bits.jsonl").read_text(encoding="utf-8").splitlines()]
    codes = load_codes(codes_folder())
    assert [row["key"] for row in rows] == [codes.keys[row] for row in choose_rows(codes, 5)]
    mean = sum(row["codes_0_bits"] + row["codes_1_bits"] for row in rows) / 5
    assert found["rate"]["codes"]["per_image"]["value"] == pytest.approx(mean)


def test_the_same_document_the_next_time_and_in_other_batches(two_splits):
    def document(**options) -> str:
        return json.dumps(evaluate_prior(str(bundle_folder()), two_splits, "test", train_split="train", **options))

    assert document() == document()
    whole, alone = (json.loads(document(batch_size=size))["rate"] for size in (None, 1))
    for name in ("codes", "codes_given_caption", "told_by_caption"):
        values = [rate[name]["per_image"]["value"] for rate in (whole, alone)]
        assert values[0] == pytest.approx(values[1], abs=1e-4)


def test_captions_that_are_too_long_are_counted(tmp_path):
    bundle(max_length=30).save_pretrained(tmp_path / "bundle")
    found = evaluate_prior(str(tmp_path / "bundle"), str(codes_folder()), "train")
    assert found["num_too_long"] > 0
    assert found["num_captions"] == 14 - found["num_too_long"]
    assert found["rate"]["caption"]["per_caption"]["num_images"] == found["num_captions"]
    assert found["rate"]["codes"]["per_image"]["num_images"] == 16


def test_bundles_of_other_codes_cannot_be_compared(tmp_path, monkeypatch):
    other = Bundle.from_pretrained(bundle_folder())
    torn = replace(other, vocabulary=replace(other.vocabulary, codes_fingerprint="f" * 64))
    from pictogram.pipelines import evaluate_prior as module

    monkeypatch.setattr(module, "open_bundle", lambda name: torn)
    with pytest.raises(InputError, match=r"another speaks codes ffffffffffff\.\.\., expected .*cannot be compared"):
        evaluate_prior(str(bundle_folder()), str(codes_folder()), "train", against="another")


def test_mistakes(two_splits, tmp_path):
    arguments = str(bundle_folder()), two_splits, "test"
    for options, words in [
        ({"train_split": "test"}, "train_split must be another split"),
        ({"train_split": "dev"}, "has no split 'dev'"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"max_images": 0}, "max_images must be at least 1, got 0"),
        ({"per_image": str(tmp_path / "bits.csv")}, "go into a .parquet or .jsonl file"),
        ({"against": str(tmp_path)}, "is not a whole bundle"),
    ]:
        with pytest.raises(InputError, match=words):
            evaluate_prior(*arguments, **options)
    assert not list(Path(tmp_path).iterdir())


def test_a_prior_in_both_directions():
    bundle, codes = shared_bundle(), load_codes(codes_folder())
    ids = images_to_ids(bundle.vocabulary, codes.codes(range(len(codes))))
    words = [bundle.text_tokenizer.encode(codes.captions(row)[0]) for row in range(len(codes))]
    forwards = [text_to_image(bundle.vocabulary, text, image, "2x2") for text, image in zip(words, ids, strict=True)]
    backwards = [image_to_text(bundle.vocabulary, image, text, "2x2") for text, image in zip(words, ids, strict=True)]
    found = prior_rates(bundle, codes)
    assert found == {
        "text_to_image": measure_rate(bundle.prior, bundle.grammar, forwards),
        "image_to_text": measure_rate(bundle.prior, bundle.grammar, backwards),
    }
    bits = measure_images(bundle, codes, range(16))
    levels = torch.where(bits.codes_given_caption.isnan(), bits.codes, bits.codes_given_caption).mean(0)
    assert found["text_to_image"].level_bits == pytest.approx(levels.tolist(), rel=1e-5)


def test_codes_of_several_sizes_are_refused():
    codes = load_codes(codes_folder())
    with pytest.raises(InputError, match="codes of pictures of one size"):
        prior_rates(shared_bundle(), replace(codes, manifest=replace(codes.manifest, grids=None)))
