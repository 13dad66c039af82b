"""The examples run, each in a process of its own, on a tiny bundle."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_chain
import torch
from datasets import load_dataset
from PIL import Image

from pictogram.hub.provenance import Provenance
from pictogram.lm.bundle import Bundle
from pictogram.lm.documents import image_to_text, images_to_ids
from pictogram.tokenizer.codes_dataset import load_codes
from pictogram.tokenizer.embedded import load_embedded
from pictogram.tokenizer.images import load_image_source

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *arguments: str) -> str:
    completed = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments], capture_output=True, text=True, env=os.environ, check=False
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def test_every_example_is_tested():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {
        "words_to_pictures.py",
        "codes_of_a_picture.py",
        "compressed_pictures.py",
        "extend_language_model.py",
        "half_size_bundle.py",
        "log_likelihood.py",
        "loose_captions.py",
        "read_codes.py",
        "stock_transformers.py",
    }


def test_words_to_pictures(tmp_path):
    run("words_to_pictures.py", str(tiny_chain.bundle_folder()), str(tmp_path / "words.png"))
    assert Image.open(tmp_path / "words.png").size == (16, 16)


def test_codes_of_a_picture(tmp_path):
    lines = run("codes_of_a_picture.py", str(tiny_chain.tokenizer_folder()), str(tmp_path / "codes.png")).splitlines()
    assert len(lines) == len(tiny_chain.GRIDS) and (tmp_path / "codes.png").exists()


def test_compressed_pictures(tmp_path):
    folders = str(tiny_chain.bundle_folder()), str(tiny_chain.pictures())
    lines = run("compressed_pictures.py", *folders, str(tmp_path / "bytes.png"), "train", "3").splitlines()
    assert [line.split()[0] for line in lines] == ["2", "1"]
    assert (tmp_path / "bytes.png").is_file()


def test_half_size_bundle(tmp_path):
    source, output = tiny_chain.bundle_folder(), tmp_path / "half"
    run("half_size_bundle.py", str(source), str(output))
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (source, output)]
    assert sizes[1] < 0.6 * sizes[0]
    first, half = Bundle.from_pretrained(source), Bundle.from_pretrained(output)
    assert half.prior.dtype == torch.float32 and half.fingerprint != first.fingerprint
    for name, weights in first.prior.state_dict().items():
        assert torch.equal(half.prior.state_dict()[name], weights.half().float())
    assert half.vocabulary == first.vocabulary


def test_half_size_bundle_of_a_name(tmp_path):
    """What is known of a shipped model's making goes along."""
    run("half_size_bundle.py", "fashion", str(tmp_path / "half"))
    provenance = Provenance.load(tmp_path / "half")
    assert provenance is not None and provenance.settings["stored_as"] == "float16"
    assert provenance.fingerprints["bundle"] == Bundle.from_pretrained(tmp_path / "half").fingerprint


def test_loose_captions(tmp_path):
    """Codes keep all spellings; a word that is another picture's name stands for that picture alone."""
    run("loose_captions.py", str(tmp_path / "captioned"))
    rows = load_embedded()["train"]
    found = load_dataset("parquet", data_files=str(tmp_path / "captioned" / "train.parquet"), split="train")
    assert found.select_columns("emoji").to_list() == rows.select_columns("emoji").to_list()
    of = dict(zip(rows["name"], found["caption"], strict=True))
    assert {"red apple", "Red apple", "a red apple", "apple"} <= set(of["red apple"])
    assert "cat" in of["cat"] and not any("cat" in captions for name, captions in of.items() if name != "cat")
    source = load_image_source(str(tmp_path / "captioned"), "train")
    assert [source.captions(row) for row in range(len(source))] == list(found["caption"])


def test_read_codes(tmp_path):
    folder, tokenizer = str(tiny_chain.codes_folder()), str(tiny_chain.tokenizer_folder())
    lines = run("read_codes.py", folder, tokenizer, str(tmp_path / "codes.png")).splitlines()
    assert len(lines) == 1 + len(tiny_chain.GRIDS) and (tmp_path / "codes.png").exists()


def test_log_likelihood():
    """The harness's figures are those of the prior's own bits, under the full softmax."""
    bundle, row = tiny_chain.shared_bundle(), 3
    lines = run("log_likelihood.py", str(tiny_chain.bundle_folder()), str(tiny_chain.codes_folder()), str(row))
    codes = load_codes(tiny_chain.codes_folder())
    image = images_to_ids(bundle.vocabulary, codes.codes([row]))[0]
    found = [float(line.split()[0]) for line in lines.splitlines()]
    for step, nats in enumerate(found):
        text = bundle.text_tokenizer.encode(codes.captions((row + step) % len(codes))[0])
        document = image_to_text(bundle.vocabulary, image, text, "2x2")
        with torch.no_grad():
            logits = bundle.prior(torch.tensor([document])).logits[0].log_softmax(-1)
        first = len(document) - len(text) - 1
        expected = sum(float(logits[place - 1, document[place]]) for place in range(first, len(document)))
        assert nats == pytest.approx(expected, abs=1e-3)
    assert len(found) == 4


def test_extend_language_model(tmp_path):
    folders = str(tiny_chain.codes_folder()), str(tiny_chain.tokenizer_folder()), str(tmp_path)
    _, first, last = run("extend_language_model.py", *folders).splitlines()
    assert float(last.split()[2]) < float(first.split()[2])
    assert Image.open(tmp_path / "samples.png").size == (16, 16)
    assert len(run("stock_transformers.py", str(tmp_path), "red <bos> apple").split()) == 5


def test_stock_transformers_writes_one_code_per_place():
    codes = run("stock_transformers.py", str(tiny_chain.bundle_folder()), "red apple").split()
    assert len(codes) == sum(rows * columns for rows, columns in tiny_chain.GRIDS)
    assert codes[0].startswith("<|0:") and all(code.startswith("<|1:") for code in codes[1:])
