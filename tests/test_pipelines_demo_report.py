import json

import pytest
import tiny_chain

from pictogram.pipelines.demo_report import figures, score, summarise, versions, write_card
from pictogram.tokenizer.codes_dataset import load_codes
from pictogram.tokenizer.pixel_dataset import load_pixels


@pytest.fixture(scope="module")
def report() -> dict:
    bundle = tiny_chain.bundle()
    pixels, _ = load_pixels(str(tiny_chain.pictures()), "train", bundle.image_processor)
    codes = load_codes(tiny_chain.codes_folder(), "train")
    scores = score(bundle, pixels, pixels, codes, seed=0, guidance_scale=1.2)
    return scores | {"output": "demo", "stages": {"a": {"seconds": 1.5, "peak_memory_mb": 7.0, "done": True}}}


def test_scores_are_json_and_complete(report):
    assert json.loads(json.dumps(report)) == report
    for split in ("train", "test"):
        assert len(report["image_tokenizer"][split]["psnr"]) == len(tiny_chain.GRIDS)
    for direction in ("text_to_image", "image_to_text"):
        assert len(report["held_out_bits"][direction]["level_bits"]) == len(tiny_chain.GRIDS)
    assert report["name_accuracy"] == report["name_accuracy_details"]["name_accuracy"]


def test_people_see_every_figure_and_where_to_look(report):
    seen = summarise(report)
    assert figures(report).items() <= seen.items()
    assert "2 s, 7 MB" in seen["time and memory"] and "demo/samples.png" in seen["look at"]


def test_card_holds_the_figures_and_the_samples(report, tmp_path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "samples.png").write_bytes(b"picture")
    write_card(tmp_path, tiny_chain.shared_bundle(), report, prompt="red apple")
    card = (tmp_path / "bundle" / "README.md").read_text(encoding="utf-8")
    assert all(value in card for value in figures(report).values())
    assert (tmp_path / "bundle" / "samples.png").read_bytes() == b"picture"


def test_versions_name_what_the_numbers_depend_on():
    assert {"python", "torch", "transformers", "pictogram"} <= set(versions())
