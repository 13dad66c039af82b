import copy
import json
from pathlib import Path

import pytest
from tiny_chain import bundle_folder, codes_folder, pictures, shared_bundle
from tiny_evaluations import tokenizer_evaluation

from pictogram.hub.errors import InputError
from pictogram.hub.evaluations import write_evaluation
from pictogram.hub.files import write_json
from pictogram.lm.bundle_figures import bundle_figures
from pictogram.pipelines.evaluate_captions import evaluate_captions
from pictogram.pipelines.evaluate_classes import evaluate_classes
from pictogram.pipelines.evaluate_names import evaluate_names
from pictogram.pipelines.evaluate_prior import evaluate_prior
from pictogram.tokenizer.loading import LoadedImageTokenizer


@pytest.fixture(scope="module")
def evaluation() -> dict:
    """What `pictogram evaluate prior --json` prints."""
    return json.loads(json.dumps(evaluate_prior(str(bundle_folder()), str(codes_folder()), "train")))


def paragraphs(folder: Path, **measured: object) -> list[str]:
    for kind, result in measured.items():
        write_json(
            folder / "evaluation" / f"{kind}.json", {"fingerprint": shared_bundle().fingerprint, "result": result}
        )
    return list(bundle_figures(folder, shared_bundle()).paragraphs)


def test_what_an_evaluation_printed(evaluation, tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 9.0}\n')
    where, codes, captions = paragraphs(tmp_path, prior=evaluation)
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
    assert "| caption, alone | - | 1.50 |" in paragraphs(tmp_path, prior=wordless)[2]


def test_figures_ready_to_print(evaluation, tmp_path):
    figures = {"PSNR": "20.1 | 21.0 dB"}
    assert paragraphs(tmp_path, figures=figures) == ["| figure | value |\n|---|---|\n| PSNR | 20.1 \\| 21.0 dB |"]
    assert len(paragraphs(tmp_path, prior=evaluation)) == 4


def test_names_classes_and_captions(tmp_path):
    bundle, codes = str(bundle_folder()), str(codes_folder())
    measured = {
        "names": evaluate_names(bundle, str(pictures()), "train", 0, 1.2, 3),
        "classes": evaluate_classes(bundle, codes, "train"),
        "captions": evaluate_captions(bundle, codes, "train"),
    }
    for kind, result in measured.items():
        write_evaluation(tmp_path, kind, shared_bundle().fingerprint, result)
    figures = bundle_figures(tmp_path, shared_bundle())
    assert str(tmp_path) not in str(figures) and "/" not in " ".join(figure.data for figure in figures.index)
    assert (
        f"| pictures recalled by name, guidance 1.2 | {measured['names']['name_accuracy']:.1%} |"
        in figures.paragraphs[1]
    )
    assert figures.paragraphs[2].startswith(f"By Bayes' rule it puts {measured['classes']['accuracy']['value']:.1%}")
    assert figures.paragraphs[3].startswith("It writes the very caption of ")
    assert [(figure.task, figure.metric) for figure in figures.index] == [
        ("text-to-image", "name_accuracy"),
        ("image-to-text", "accuracy"),
        ("image-classification", "accuracy"),
        ("image-to-text", "exact_match"),
    ]
    assert "from memory" in figures.limits[0]


def test_figures_of_the_image_tokenizer_follow(tmp_path):
    bundle = shared_bundle()
    loaded = LoadedImageTokenizer(bundle.image_tokenizer, bundle.image_processor, "")
    (tmp_path / "image_tokenizer").mkdir()
    write_evaluation(tmp_path / "image_tokenizer", "tokenizer", loaded.fingerprint, tokenizer_evaluation())
    found = paragraphs(tmp_path)
    assert found[0] == "Of the image tokenizer alone:" and found[1].startswith("On 300 pictures of `photos`")


def test_figures_of_another_bundle_are_refused(evaluation, tmp_path):
    write_evaluation(tmp_path, "prior", "0" * 64, evaluation)
    with pytest.raises(InputError, match=r"prior\.json was measured on another model"):
        bundle_figures(tmp_path, shared_bundle())


@pytest.mark.parametrize("content", [{}, {"num_images": 300, "psnr": [None, 21.5]}, {"rate": {}}, {"rate": None}])
def test_figures_of_something_else_are_refused(content, tmp_path):
    with pytest.raises(InputError, match=r"prior\.json is not what `pictogram evaluate --card` writes: "):
        paragraphs(tmp_path, prior=content)


def test_figures_that_are_no_numbers_are_refused(evaluation, tmp_path):
    for wrong in ("many", [1.0], {}):
        broken = copy.deepcopy(evaluation)
        broken["rate"]["codes"]["per_image"]["value"] = wrong
        with pytest.raises(InputError, match="is not what `pictogram evaluate --card` writes") as raised:
            paragraphs(tmp_path, prior=broken)
        assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match='must hold "fingerprint" and "result"'):
        paragraphs(tmp_path, prior=[])


def test_what_a_training_logged_last(tmp_path):
    lines = [{"step": 10, "loss": 9.0}, {"step": 20, "loss": 1.23456, "level_0_bits": 3.0, "eval_level_0_bits": 2.5}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 3')
    assert paragraphs(tmp_path) == [
        "After 20 steps:",
        "| mean | documents learned | held out |\n|---|---|---|\n| loss | 1.235 | - |\n| level 0 bits | 3 | 2.5 |",
    ]


def test_without_measurements_there_are_none(tmp_path):
    assert paragraphs(tmp_path) == []


def test_samples(tmp_path):
    arms = {"real": 0.9, "samples": 0.8}
    measured = {
        "classes": ["a", "b"],
        "recognised": arms,
        "cas": {arm: {"accuracy": {"value": value}} for arm, value in arms.items()},
        "memorisation": {"pixels": {"ratio": {"decoded test": {"median": 1.234}}}},
        "protocol": {"data": "/home/me/clothes", "split": "test", "num_images_of": {"samples": 10}},
    }
    write_json(
        tmp_path / "evaluation" / "samples.json", {"fingerprint": shared_bundle().fingerprint, "result": measured}
    )
    figures = bundle_figures(tmp_path, shared_bundle())
    where, table = figures.paragraphs
    assert where.startswith("10 samples of 2 classes") and "`clothes`, split `test`" in where
    assert table.splitlines()[0] == "| pictures | CAS |" and "| samples | 0.8000 |" in table
    assert [(figure.metric, figure.value) for figure in figures.index] == [("cas", 0.8)]
    assert figures.limits == [
        "Samples lie 1.23 times as far from the nearest training picture of their class as decoded test pictures "
        "(medians)."
    ]
