import copy
import json
from pathlib import Path

import pytest
from tiny_chain import bundle_folder, codes_folder, shared_bundle

from pictogram.hub.errors import InputError
from pictogram.hub.files import write_json
from pictogram.lm.bundle_figures import figure_paragraphs
from pictogram.pipelines.evaluate_prior import evaluate_prior


@pytest.fixture(scope="module")
def evaluation() -> dict:
    """What `pictogram evaluate prior --json` prints."""
    return json.loads(json.dumps(evaluate_prior(str(bundle_folder()), str(codes_folder()), "train")))


def paragraphs(folder: Path, measured: object = None) -> list[str]:
    if measured is not None:
        write_json(folder / "evaluation.json", measured)
    return figure_paragraphs(folder, shared_bundle().vocabulary)


def test_what_an_evaluation_printed(evaluation, tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 9.0}\n')
    where, codes, captions = paragraphs(tmp_path, evaluation)
    assert where.startswith("Bits among the legal ids on 16 pictures of `codes`, split `train`"), "no path of a machine"
    assert codes.startswith("| mean bits of | level 0 | level 1 | all levels |")
    rate = evaluation["rate"]
    for name, words in (("codes_given_caption", "given its caption"), ("told_by_caption", "what the caption told")):
        bits = [*rate[name]["per_level"], rate[name]["per_image"]]
        cells = [f"{bit['value']:.2f} ± {bit['value'] - bit['interval'][0]:.2f}" for bit in bits]
        assert f"{words} | {' | '.join(cells)} |" in codes
    assert f"| caption, alone | {rate['caption']['per_caption']['value']:.2f} ± " in captions


def test_pictures_without_words_and_one_picture(evaluation, tmp_path):
    wordless = copy.deepcopy(evaluation)
    nothing = {"value": None, "interval": None, "num_images": 0}
    wordless["rate"]["caption"] = {"per_caption": nothing, "per_byte": {"value": 1.5, "interval": None}}
    assert "| caption, alone | - | 1.50 |" in paragraphs(tmp_path, wordless)[2]


def test_figures_ready_to_print(evaluation, tmp_path):
    figures = {"figures": {"PSNR": "20.1 | 21.0 dB"}}
    assert paragraphs(tmp_path, figures) == ["| figure | value |\n|---|---|\n| PSNR | 20.1 \\| 21.0 dB |"]
    assert len(paragraphs(tmp_path, evaluation | figures)) == 4


def test_figures_of_another_image_tokenizer_are_refused(evaluation, tmp_path):
    other = evaluation | {"protocol": evaluation["protocol"] | {"codes_fingerprint": "0" * 64}}
    with pytest.raises(InputError, match=r"evaluation\.json was measured on codes of another image tokenizer"):
        paragraphs(tmp_path, other)


@pytest.mark.parametrize(
    "content", [{}, {"num_images": 300, "psnr": [None, 21.5]}, {"figures": ["PSNR"]}, {"rate": {}}, {"rate": None}]
)
def test_figures_of_something_else_are_refused(content, tmp_path):
    with pytest.raises(InputError, match=r"evaluation\.json is not what `pictogram evaluate prior --json` prints: "):
        paragraphs(tmp_path, content)


def test_figures_that_are_no_numbers_are_refused(evaluation, tmp_path):
    for wrong in ("many", [1.0], {}):
        broken = copy.deepcopy(evaluation)
        broken["rate"]["codes"]["per_image"]["value"] = wrong
        with pytest.raises(InputError, match="is not what `pictogram evaluate prior --json` prints") as raised:
            paragraphs(tmp_path, broken)
        assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match="must hold a JSON object"):
        paragraphs(tmp_path, [])


def test_what_a_training_logged_last(tmp_path):
    lines = [{"step": 10, "loss": 9.0}, {"step": 20, "loss": 1.23456, "level_0_bits": 3.0, "eval_level_0_bits": 2.5}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 3')
    assert paragraphs(tmp_path) == [
        "After 20 steps:",
        "| mean | documents learned | held out |\n|---|---|---|\n| loss | 1.235 | - |\n| level 0 bits | 3 | 2.5 |",
    ]


def test_without_measurements_there_are_none(tmp_path):
    assert paragraphs(tmp_path) == []
