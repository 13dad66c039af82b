import copy

import pytest
from tiny_chain import bundle_folder, codes_folder

from pictogram.pipelines.evaluate_captions import evaluate_captions
from pictogram.pipelines.evaluate_classes import evaluate_classes
from pictogram.pipelines.evaluate_prior import evaluate_prior
from pictogram.pipelines.rate_tables import print_captions, print_classes, print_rates

CHAIN = str(bundle_folder()), str(codes_folder()), "train"


@pytest.fixture(scope="module")
def rates():
    return evaluate_prior(*CHAIN, against=str(bundle_folder()))


def printed(capsys, monkeypatch, show, document, columns: int = 200) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    capsys.readouterr()
    show(document)
    return capsys.readouterr().out


def spelled(figure: dict, decimals: int) -> str:
    low, high = figure["interval"]
    return f"{figure['value']:.{decimals}f} ± {(high - low) / 2:.{decimals}f}"


def test_rates(rates, capsys, monkeypatch):
    out = printed(capsys, monkeypatch, print_rates, rates)
    rate = rates["rate"]
    for title in ("given the other", "alone", "told by the other", "level 0, 1x1", "level 1, 2x2", "a byte"):
        assert title in out
    lines = {line.split("  ")[0].strip(): line for line in reversed(out.splitlines())}
    for name in ("codes_given_caption", "codes", "told_by_caption"):
        assert spelled(rate[name]["per_image"], 2) in lines["picture"]
        assert spelled(rate[name]["per_pixel_channel"], 4) in out
        assert spelled(rate[name]["per_code"][1], 3) in out
    for name in ("caption_given_codes", "caption", "told_by_codes"):
        assert spelled(rate[name]["per_caption"], 2) in out and spelled(rate[name]["per_byte"], 3) in out
    assert "a code of level 0" not in out  # one code: the level itself
    assert "16 pictures, 16x16x3, 14 with words" in out
    assert f"unconditional {spelled(rate['illegal']['unconditional'], 2)}" in out
    assert "too long" not in out
    assert f"train, {CHAIN[0]} - {CHAIN[0]}, paired" in out
    assert "0.00 ± 0.00" in out


def test_what_there_is_only_sometimes(rates, capsys, monkeypatch):
    some = copy.deepcopy({name: rates[name] for name in rates if name not in ("other", "difference")})
    some |= {"num_too_long": 3, "train": some["rate"], "gap": some["rate"]}
    some["protocol"]["train_split"] = "[bold]dev"
    some["rate"]["caption"]["per_byte"] = {"value": None, "interval": None, "num_images": 0}
    some["rate"]["codes"]["per_image"] = {"value": 12.5, "interval": None, "num_images": 1}
    out = printed(capsys, monkeypatch, print_rates, some)
    assert "3 captions are too long" in out
    assert "[bold]dev, equally many" in out and "train - [bold]dev, unpaired" in out
    assert "paired" in out and "by " not in out.replace("told by the other", "")
    assert " 12.50 " in out and " - " in out


def test_rates_fit_a_narrow_terminal(rates, capsys, monkeypatch):
    out = printed(capsys, monkeypatch, print_rates, rates, 80)
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out


def test_classes(capsys, monkeypatch):
    document = evaluate_classes(*CHAIN)
    out = printed(capsys, monkeypatch, print_classes, document)
    assert "true \\ predicted" in out
    for number, (name, row) in enumerate(zip(document["classes"], document["confusion"], strict=True)):
        line = next(line for line in out.splitlines() if f"{number} {name}" in line)
        assert [int(word) for word in line.split(name)[1].split()] == row
    assert '14 pictures (train), 7 classes (caption), method "codes", prior "uniform"' in out
    assert f"accuracy {document['accuracy']['value']:.1%} (" in out
    assert f"cross-entropy {spelled(document['cross_entropy'], 3)} bits a picture, of 2.807 without it" in out
    many = document | {"classes": [f"class {number}" for number in range(21)]}
    assert "predicted" not in printed(capsys, monkeypatch, print_classes, many)


def test_captions(capsys, monkeypatch):
    document = evaluate_captions(*CHAIN)
    document["examples"][0]["written"] = "[red] apple"
    out = printed(capsys, monkeypatch, print_captions, document)
    assert any("red apple" in line and "[red] apple" in line for line in out.splitlines())
    assert "0.0% (0.0% to 21.5%) of 14 captions are exactly right" in out
    rate = document["caption_given_codes"]
    assert f"{spelled(rate['per_caption'], 2)} bits, {spelled(rate['per_byte'], 3)} a byte" in out
