"""The benchmark of the codec, on a tiny bundle."""

import argparse
import dataclasses
import importlib
import json
import sys
from pathlib import Path

import pytest
from PIL import Image
from tiny_chain import bundle_folder, codes_folder, pictures, shared_bundle

from pictogram import ImageCodec, load_codes
from pictogram.lm.static_chances import count_rows

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.delitem(sys.modules, "codec", raising=False)
    return importlib.import_module("codec")


def tiny() -> ImageCodec:
    tables = count_rows(load_codes(codes_folder()), "level")
    return ImageCodec(dataclasses.replace(shared_bundle("level"), static_chances=tables))


def images() -> list[Image.Image]:
    return [Image.open(path) for path in sorted(pictures().glob("*.png"))]


def test_figures_of_a_file(module):
    whole = module.measure(tiny(), images(), {})
    coarse = module.measure(tiny(), images(), {"num_levels": 1})
    assert whole["pictures"] == 16
    assert whole["file_bytes"] * 16 == len(tiny().compress(images()).data)
    assert whole["file_over_model"] == pytest.approx(whole["file_bytes"] / whole["model_bytes"] - 1)
    assert coarse["payload_bytes"] < whole["payload_bytes"]
    assert 0 < module.model_share(tiny(), images(), 16) < 2


def test_frequencies_do_not_depend_on_the_batch(module):
    digests = {module.tables_digest(tiny(), images(), batch) for batch in (1, 5, 64)}
    assert len(digests) == 1
    assert digests != {module.tables_digest(tiny(), images()[::-1], 5)}


def test_grey_goes_in_as_grey(module):
    found = module.pictures(str(pictures()), "train", 3)
    assert [image.mode for image in found] == ["RGB"] * 3
    assert module.is_grey(Image.new("RGB", (3, 2), (7, 7, 7))) and not module.is_grey(
        Image.new("RGB", (3, 2), (7, 7, 8))
    )


def test_the_whole_report(module):
    arguments = argparse.Namespace(
        model=str(bundle_folder()),
        data=str(pictures()),
        split="train",
        max_images=None,
        elsewhere=0,
        digest_only=False,
    )
    report = module.run(arguments)
    assert [name for name in report if "levels" in name] == ["2 levels", "1 levels"]
    assert "static" not in report and json.dumps(report)
