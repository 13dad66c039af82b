import pytest
from tiny_chain import pictures, tokenizer_folder

from pictogram.pipelines.evaluate_tokenizer import evaluate_image_tokenizer
from pictogram.pipelines.evaluation_table import print_evaluation


@pytest.fixture(scope="module")
def document():
    return evaluate_image_tokenizer(str(tokenizer_folder()), str(pictures()), "train")


def printed(document, capsys, monkeypatch) -> str:
    monkeypatch.setenv("COLUMNS", "200")
    capsys.readouterr()
    print_evaluation(document)
    return capsys.readouterr().out


def test_levels_and_lines(document, capsys, monkeypatch):
    out = printed(document, capsys, monkeypatch)
    for title in ("decoded from", "PSNR dB", "SSIM", "grid", "usage", "perplexity", "static", "position"):
        assert title in out
    assert "held-out" not in out  # one split by itself
    for value in document["psnr"]:
        assert f"{value:.2f}" in out
    assert "1x1+2x2" in out
    assert "16 pictures (train), 16x16, RGB; resized to cover" in out
    assert "5 codes, " in out
    assert f"Fréchet distance {document['frechet']['distance']:.4g} (floor 0)" in out
    assert "encode " in out and "decode " in out and "threads" in out


def test_fits_a_narrow_terminal(document, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    bits = {"reference_bits": [5.9, 12345.6], "reference_position_bits": [5.9, 12345.6]}
    print_evaluation(document | bits)
    out = capsys.readouterr().out
    assert "…" not in out and "perplexity" in out and out.count("12345.6") == 2
    assert max(map(len, out.splitlines())) <= 80


def test_what_there_is_only_sometimes(document, capsys, monkeypatch):
    classes = {"majority_vote": 0.5, "nmi": 0.25, "mutual_information": 1.0, "class_entropy": 2.0}
    failures = ["a.png (empty file)", "b.png (empty file)"]
    more = document | {"classes": classes, "failures": failures, "reference_bits": [2.04, 11.5]}
    out = printed(more, capsys, monkeypatch)
    assert "classes in the whole-image code: majority vote 50.0%, NMI 0.250, 1.00 of 2.00 bits" in out
    assert "2 pictures could not be read, the first: a.png (empty file)" in out
    assert "held-out" in out and "11.5" in out
    speed = document["seconds_per_image"] | {"decode": None}
    less = document | {"frechet": None, "ssim": None, "psnr": [None, None], "seconds_per_image": speed}
    out = printed(less, capsys, monkeypatch)
    assert not any(word in out for word in ("Fréchet", "SSIM", ", decode", "classes in", "could not be read"))
    assert out.count("- ") >= 2
