"""The joint stage."""

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from tiny_adapters import adapted
from tiny_chain import bundle_folder, image_tokenizer, pictures, shared_bundle
from tiny_evaluations import provenance
from tiny_pictures import png

from pictogram.hub.errors import InputError
from pictogram.hub.provenance import Provenance
from pictogram.lm.bundle import Bundle
from pictogram.lm.train_joint import JointTrainingConfig, _rate_weight, train_joint
from pictogram.lm.training_rows import image_tokenizer_of
from pictogram.tokenizer.checkpoints import MetricsLog
from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.fingerprints import codes_fingerprint, decoder_fingerprint
from pictogram.tokenizer.loading import LoadedImageTokenizer
from pictogram.tokenizer.model import ImageTokenizer


def config(output, **options):
    given: dict[str, Any] = {"rate_weight": 200.0, "num_steps": 4, "batch_size": 8, "log_every": 1}
    given |= {"from_bundle": str(bundle_folder()), "data": str(pictures()), "output": str(output)}
    given |= {"checkpoint_every": 2} | options
    return JointTrainingConfig(**given)


def weights(bundle):
    return bundle.image_tokenizer.state_dict() | {f"prior.{k}": v for k, v in bundle.prior.state_dict().items()}


def test_both_learn_and_codebooks_stay(tmp_path):
    before, after = Bundle.from_pretrained(bundle_folder()), train_joint(config(tmp_path / "joint"))
    first, last = weights(before), weights(after)
    assert first.keys() == last.keys()
    changed = {name.split(".")[0] for name in first if not torch.equal(first[name], last[name])}
    assert changed == {"encoder", "decoder", "prior"}
    assert after.vocabulary.codes_fingerprint != before.vocabulary.codes_fingerprint
    assert replace(after.vocabulary, codes_fingerprint="", decoder_fingerprint="") == replace(
        before.vocabulary, codes_fingerprint="", decoder_fingerprint=""
    )
    assert after.static_chances is None
    lines = MetricsLog.read(tmp_path / "joint" / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3, 4] and all(line["rate"] > 0 for line in lines)


def test_a_killed_run_goes_on_with_equal_bytes(tmp_path, monkeypatch):
    import pictogram.lm.train_joint as module

    whole = train_joint(config(tmp_path / "whole"))
    step = module._Trainer._step

    def killed(self, number):
        if number == 3:
            raise KeyboardInterrupt
        return step(self, number)

    monkeypatch.setattr(module._Trainer, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        train_joint(config(tmp_path / "killed"))
    monkeypatch.setattr(module._Trainer, "_step", step)
    again = weights(train_joint(config(tmp_path / "killed")))
    assert all(torch.equal(tensor, again[name]) for name, tensor in weights(whole).items())
    logs = [MetricsLog.read(tmp_path / name / "metrics.jsonl") for name in ("whole", "killed")]
    assert logs[0] == logs[1]


def test_a_tokenizer_with_a_rate_weight_keeps_it(tmp_path):
    folder = rated_bundle(tmp_path / "rated")
    before = Bundle.from_pretrained(folder).image_tokenizer
    assert isinstance(before, ImageTokenizer)
    with pytest.raises(InputError, match="own rate weight is 70 and stays so, got 200"):
        train_joint(config(tmp_path / "joint", from_bundle=str(folder)))
    after = train_joint(config(tmp_path / "joint", from_bundle=str(folder), rate_weight=0.0)).image_tokenizer
    assert isinstance(after, ImageTokenizer)
    assert after.config.rate_weight == 70
    first, last = before.state_dict(), after.state_dict()
    assert {name.split(".")[0] for name in first if not first[name].equal(last[name])} == {
        "encoder",
        "decoder",
        "rate_model",
    }


def rated_bundle(folder):
    """The tiny bundle around a tokenizer that weighs bits."""
    settings = image_tokenizer().config.to_dict() | {"rate_weight": 70.0}
    tokenizer = ImageTokenizer(ImageTokenizerConfig.from_dict(settings))
    tokenizer.load_state_dict(image_tokenizer().state_dict(), strict=False)
    bundle = shared_bundle("level")
    vocabulary = replace(
        bundle.vocabulary,
        codes_fingerprint=codes_fingerprint(tokenizer, bundle.image_processor),
        decoder_fingerprint=decoder_fingerprint(tokenizer),
    )
    replace(bundle, image_tokenizer=tokenizer, vocabulary=vocabulary).save_pretrained(folder)
    return folder


def test_the_provenance_names_the_pictures_and_the_tokenizer_before(tmp_path):
    folder = shutil.copytree(bundle_folder(), tmp_path / "bundle")
    before = Bundle.from_pretrained(folder)
    made = provenance(LoadedImageTokenizer(before.image_tokenizer, before.image_processor, ""))
    entry = {"name": "photo-tokenizer", "revision": None, "provenance": made.to_dict()}
    prints = {"bundle": before.fingerprint, "codes": made.fingerprints["codes"]}
    replace(made, stage="prior", fingerprints=prints, image_tokenizer=entry).save(folder)
    after = train_joint(config(tmp_path / "joint", from_bundle=str(folder), num_steps=1))
    found = Provenance.load(tmp_path / "joint")
    assert found is not None
    assert (found.stage, found.data["name"], found.data["rows"]) == ("joint", "pictures", 16)
    assert found.fingerprints == {"bundle": after.fingerprint, "codes": after.vocabulary.codes_fingerprint}
    assert [each["stage"] for each in found.earlier] == ["prior"]
    now = image_tokenizer_of(after)  # which compares the fingerprints
    assert (now.name, now.provenance and now.provenance.image_tokenizer) == ("joint", entry)
    assert now.provenance is not None and [each["stage"] for each in now.history()] == ["tokenizer", "joint"]
    assert "learned from" in (tmp_path / "joint" / "README.md").read_text()


def test_a_run_does_not_go_on_with_other_pictures_of_the_same_names(tmp_path):
    folder = shutil.copytree(pictures(), tmp_path / "pictures")
    train_joint(config(tmp_path / "joint", data=str(folder), num_steps=1))
    (folder / "00.png").write_bytes(png(7, (16, 16)))
    with pytest.raises(InputError, match="holds a run with other settings"):
        train_joint(config(tmp_path / "joint", data=str(folder), num_steps=1))


def test_a_prior_in_bfloat16_learns_in_float32(tmp_path):
    before = Bundle.from_pretrained(bundle_folder())
    before.prior.to(torch.bfloat16)  # pyright: ignore[reportArgumentType]
    before.save_pretrained(tmp_path / "coarse")
    options = {"from_bundle": str(tmp_path / "coarse"), "num_steps": 1, "prior_learning_rate": 1e-6, "warmup_steps": 0}
    after = train_joint(config(tmp_path / "joint", **options)).prior
    assert after.dtype == torch.float32
    first, last = before.prior.state_dict(), after.state_dict()
    name = "model.layers.0.mlp.up_proj.weight"
    assert (first[name].float() != last[name]).float().mean() > 0.8  # steps this small change no number of bfloat16


@pytest.mark.slow
def test_two_processes(tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    settings = asdict(config(tmp_path / "two", prefix_share=0.5))
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items() if name != "from_bundle"]
    command = [*torchrun, "-m", "pictogram.lm.train_joint", "--from", str(bundle_folder()), *arguments, "--json"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["last"]["step"] == 4


def test_codebooks_that_learn_by_gradient_would_not_stay():
    settings = image_tokenizer().config.to_dict() | {"quantizer": "l2"}
    other = replace(shared_bundle("level"), image_tokenizer=ImageTokenizer(ImageTokenizerConfig.from_dict(settings)))
    with pytest.raises(InputError, match="needs quantizer ema; this one has l2"):
        _rate_weight(JointTrainingConfig(rate_weight=1.0), other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate_weight": 0.0}, "rate_weight must be above 0: the tokenizer was trained for distortion alone"),
        ({"num_steps": 0}, "num_steps must be at least 1"),
    ],
)
def test_mistakes(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        train_joint(config(tmp_path / "joint", **options))


def test_other_settings_and_other_tokenizers(tmp_path, monkeypatch):
    train_joint(config(tmp_path / "joint", num_steps=1))
    with pytest.raises(InputError, match="holds a run with other settings"):
        train_joint(config(tmp_path / "joint", num_steps=2))
    foreign = replace(shared_bundle("level"), image_tokenizer=adapted("vqvae2"))
    monkeypatch.setattr(Bundle, "from_pretrained", lambda *_: foreign)
    with pytest.raises(InputError, match="needs an ImageTokenizer; AdaptedTokenizer does not learn"):
        train_joint(config(tmp_path / "other"))
