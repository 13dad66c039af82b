"""`benchmarks/plan.py`: what is counted before anything is started."""

import importlib
import json
from pathlib import Path

import pytest
from transformers import Qwen3ForCausalLM

from pictogram.lm.model import prior_config
from pictogram.lm.vocabulary import JointVocabulary

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALL = ["--images", "1000", "--image-size", "32", "--strides", "image,8,4", "--hidden-size", "16", "--epochs", "2"]


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """Scripts find their siblings in their own folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def plan(capsys, *arguments):
    importlib.import_module("plan").main([*SMALL, *arguments])
    return json.loads(capsys.readouterr().out)


def test_codes_tokens_and_bytes(capsys, tmp_path):
    found = plan(capsys, "--json", str(tmp_path / "plan.json"))
    assert found == json.loads((tmp_path / "plan.json").read_text())
    assert found["codes_per_image"] == 1 + 16 + 64
    assert found["tokens_seen"] == (81 + 4 + 4) * 1000 * 2
    assert 1.4 * 81 * 1000 < found["codes_bytes"] < 2.2 * 81 * 1000


def test_operations_grow_as_they_should(capsys):
    few, many = plan(capsys), plan(capsys, "--images", "10000")
    assert many["flops"]["encoding"] == 10 * few["flops"]["encoding"]
    assert many["flops"]["prior, training"] == 10 * few["flops"]["prior, training"]
    larger = plan(capsys, "--image-size", "64")
    assert 3 < larger["tokenizer_flops_per_image"]["encode"] / few["tokenizer_flops_per_image"]["encode"] < 5


def test_weights_are_those_of_the_model(capsys):
    found = plan(capsys, "--size", "nano")
    vocabulary = JointVocabulary.from_scratch(1024, [1024, 4096, 4096], [((1, 1), (4, 4), (8, 8))])
    model = Qwen3ForCausalLM(prior_config(vocabulary, "nano", 128))
    multiplied = model.num_parameters() - model.model.embed_tokens.weight.numel()
    assert found["prior_weights"] == pytest.approx(multiplied, rel=0.01)  # gains and control tokens apart


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--width", "64"], "width and layers go together"),
        (["--strides", "image,x"], "strides must be numbers, got 'x'"),
        (["--utilisation", "0"], "gpu_flops must be above 0 and utilisation above 0"),
        (["--images", "-1"], "images must be 0 or more, got -1"),
    ],
)
def test_mistakes(capsys, arguments, message):
    with pytest.raises(SystemExit):
        importlib.import_module("plan").main([*SMALL, *arguments])
    assert message in " ".join(capsys.readouterr().err.split())


def test_training_decodes_prefixes_too(capsys):
    one, three = plan(capsys, "--strides", "4"), plan(capsys)
    for found, decodings in ((one, 1), (three, 1.5)):  # a share of .25 of the two prefixes
        each = found["tokenizer_flops_per_image"]
        assert each["train"] == 3 * (each["encode"] + decodings * each["decode"])
