"""Adapting a prior to a grown image tokenizer."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_adaptation import old_folder
from tiny_chain import bundle, bundle_folder, codes_folder, pictures, shared_bundle, tokenizer_folder
from tiny_evaluations import provenance
from tiny_grown import grown, grown_codes_folder, grown_folder
from typer.testing import CliRunner

from pictogram import Bundle, ImageCodec, load_codes
from pictogram.__main__ import app
from pictogram.hub.errors import InputError
from pictogram.hub.provenance import Provenance
from pictogram.lm import adapt_prior as adapt_prior_module
from pictogram.lm import train as train_module
from pictogram.lm.adapt_prior import PriorAdaptationConfig, adapt_prior, invoked_ids
from pictogram.lm.adaptation_report import image_rate
from pictogram.lm.ancestor_bundle import ancestor_bundle
from pictogram.lm.train import PriorTrainingConfig, train_prior
from pictogram.pipelines.tokenize import tokenize
from pictogram.pipelines.tokenize_job import TokenizeConfig
from pictogram.tokenizer.loading import load_image_tokenizer

RESULTS = ("model.safetensors", "metrics.jsonl", "vocabulary.json", "adaptation.json", "code_frequencies.safetensors")


def config(output: Path, **changes: Any) -> PriorAdaptationConfig:
    options: dict[str, Any] = dict(
        from_bundle=str(bundle_folder()),
        tokenizer=str(grown_folder()),
        codes=str(grown_codes_folder()),
        reference_codes=str(codes_folder()),
        output=str(output),
        num_steps=6,
        batch_size=8,
        warmup_steps=1,
        weight_decay=0.1,
        checkpoint_every=4,
        log_every=2,
    )
    return PriorAdaptationConfig(**(options | changes))


def report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "adaptation.json").read_text())


def results(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RESULTS}


@pytest.fixture(scope="module")
def adapted(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("adapted") / "bundle"
    adapt_prior(config(folder))
    return folder


def tables(bundle: Bundle) -> list[torch.Tensor]:
    layers = [bundle.prior.get_input_embeddings(), bundle.prior.get_output_embeddings()]
    return [parameter for layer in layers for parameter in layer.parameters()]  # pyright: ignore


def invoked_new_ids(folder: Path) -> list[int]:
    """New codes that the new pictures take."""
    bundle, size = Bundle.from_pretrained(folder), shared_bundle("level").vocabulary.vocab_size
    return [id_ for id_ in invoked_ids(bundle, load_codes(grown_codes_folder())) if id_ >= size]


def test_new_rows_learn_and_every_other_number_keeps_its_bits(adapted: Path):
    before, after = shared_bundle("level").prior.state_dict(), Bundle.from_pretrained(adapted).prior.state_dict()
    for name, tensor in before.items():
        assert torch.equal(after[name][: len(tensor)], tensor), name
    start, last = tables(grown(shared_bundle("level"))), tables(Bundle.from_pretrained(adapted))
    inputs, outputs = (
        (first != second).any(1).nonzero().flatten().tolist() for first, second in zip(start, last, strict=True)
    )
    assert inputs and {*inputs} <= {*invoked_new_ids(adapted)}  # an embedding that never came learned nothing
    assert outputs == list(range(shared_bundle("level").vocabulary.vocab_size, len(last[0])))
    assert report(adapted)["parameters"]["changed"] == (len(inputs) + len(outputs)) * 32


def test_the_report(adapted: Path):
    found = report(adapted)
    assert found["rows_appended"] == [2, 3] and found["rows_moved"] == 5
    for part in found["sha256"].values():
        assert part["before"] == part["after"]
    new, old = found["rate"]["new_pictures"], found["rate"]["old_pictures"]
    assert new["bits_per_image"]["after"] < new["bits_per_image"]["before"]
    assert old["bits_per_image"]["after_restricted"] == old["bits_per_image"]["before"]
    assert old["bits_per_image"]["after"] > old["bits_per_image"]["before"]


def test_old_files_are_read_bit_for_bit(adapted: Path):
    old, new = ImageCodec(shared_bundle("level")), ImageCodec.from_pretrained(str(adapted))
    files = sorted(pictures().glob("*.png"))
    data = old.compress(files).data
    images = new.decompress(data).images
    assert [image.tobytes() for image in images] == [image.tobytes() for image in old.decompress(data).images]
    assert len(new.decompress(new.compress(files).data).images) == 16
    assert len(new.decompress(new.compress(files, static=True).data).images) == 16


def test_the_same_seed_gives_the_same_bytes(adapted: Path, tmp_path):
    adapt_prior(config(tmp_path / "again"))
    assert results(tmp_path / "again") == results(adapted)
    adapt_prior(config(tmp_path / "other", seed=1))
    assert results(tmp_path / "other")["model.safetensors"] != results(adapted)["model.safetensors"]


def test_a_killed_run_goes_on_with_equal_bytes(adapted: Path, tmp_path, monkeypatch):
    step = train_module._Trainer._step

    def failing(self, number):
        if number == 5:
            raise KeyboardInterrupt
        return step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(train_module._Trainer, "_step", failing)
        with pytest.raises(KeyboardInterrupt):
            adapt_prior(config(tmp_path / "bundle"))
    assert not (tmp_path / "bundle" / "adaptation.json").exists()
    adapt_prior(config(tmp_path / "bundle"))
    assert results(tmp_path / "bundle") == results(adapted)


def test_invoked_rows_may_move_and_then_old_files_are_no_longer_read(tmp_path):
    after = adapt_prior(config(tmp_path / "bundle", moved_rows="invoked", reference_codes=""))
    before, codes = shared_bundle("level"), load_codes(grown_codes_folder())
    size = before.vocabulary.vocab_size
    moved = [id_ for id_ in invoked_ids(after, codes) if id_ < size]
    kept = sorted({*range(size)} - {*moved})
    assert moved and after.vocabulary.ancestors == () == tuple(report(tmp_path / "bundle")["ancestors"])
    for first, last in zip(tables(before), tables(after), strict=True):
        assert torch.equal(first[kept], last[kept])
        assert not torch.isclose(first[moved], last[moved]).all()
    with pytest.raises(InputError, match="written with model"):
        ImageCodec(after).decompress(ImageCodec(before).compress(sorted(pictures().glob("*.png"))[0]).data)


def test_adapters_move_the_trunk_and_no_old_row(tmp_path):
    pytest.importorskip("peft")
    after = adapt_prior(config(tmp_path / "bundle", lora_rank=2))
    before = shared_bundle("level")
    for first, last in zip(tables(before), tables(after), strict=True):
        assert torch.equal(first, last[: len(first)])
    found = report(tmp_path / "bundle")
    assert found["sha256"]["trunk"]["before"] != found["sha256"]["trunk"]["after"]
    assert found["sha256"]["kept_rows"]["before"] == found["sha256"]["kept_rows"]["after"]
    assert after.vocabulary.ancestors == ()
    assert found["rate"]["old_pictures"]["relative_change"]["after_restricted"] != 0


def test_without_old_pictures_new_codes_spread(adapted: Path, tmp_path):
    """What the reference is for."""
    adapt_prior(config(tmp_path / "alone", reference_codes="", num_steps=30))
    adapt_prior(config(tmp_path / "beside", num_steps=30))
    rates = []
    for folder in (tmp_path / "alone", tmp_path / "beside"):
        bundle = Bundle.from_pretrained(folder)
        rates.append(image_rate(bundle, load_codes(codes_folder()), range(16)).image_bits)
    assert rates[1] < rates[0] and "old_pictures" not in report(tmp_path / "alone")["rate"]


def test_old_pictures_may_be_scored_alone(tmp_path):
    adapt_prior(config(tmp_path / "scored", reference_share=0.0))
    adapt_prior(config(tmp_path / "absent", reference_codes=""))
    assert "old_pictures" in report(tmp_path / "scored")["rate"]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("scored", "absent")]
    assert weights[0] == weights[1]


def test_old_pictures_that_were_not_learned_from_may_be_scored(adapted: Path, tmp_path):
    codes = str(shutil.copytree(codes_folder(), tmp_path / "codes"))
    tokenize(TokenizeConfig(data=str(old_folder()), split="test", model=str(tokenizer_folder()), output=codes))
    adapt_prior(config(tmp_path / "other", reference_codes=codes, reference_eval_split="test"))
    bits = [report(folder)["rate"]["old_pictures"]["bits_per_image"] for folder in (adapted, tmp_path / "other")]
    assert bits[0] != bits[1]
    weights = [(folder / "model.safetensors").read_bytes() for folder in (adapted, tmp_path / "other")]
    assert weights[0] == weights[1]
    with pytest.raises(InputError, match="reference_eval_split is of old codes; give them with --reference-codes"):
        config(tmp_path / "none", reference_codes="", reference_eval_split="test")


def test_a_prior_that_moved_elsewhere_is_not_written(tmp_path, monkeypatch):
    def careless(*_, **__):
        raise RuntimeError("weights moved that must not")

    monkeypatch.setattr(adapt_prior_module, "adaptation_report", careless)
    with pytest.raises(RuntimeError, match="weights moved that must not"):
        adapt_prior(config(tmp_path / "bundle"))
    assert not (tmp_path / "bundle" / "model.safetensors").exists()


def test_a_bundle_that_is_trained_on_names_no_ancestor(adapted: Path, tmp_path):
    trained = train_prior(
        PriorTrainingConfig(
            from_bundle=str(adapted), codes=str(codes_folder()), output=str(tmp_path / "on"), num_steps=1, batch_size=4
        )
    )
    assert trained.vocabulary.ancestors == () and trained.vocabulary.codebook_sizes == (8, 12)


@pytest.mark.parametrize("options", [{}, {"lora_rank": 2}])
def test_rows_of_a_prior_in_bfloat16_learn_in_float32(tmp_path, monkeypatch, options: dict[str, int]):
    if options:
        pytest.importorskip("peft")
    coarse = bundle("level")
    coarse.prior.to(torch.bfloat16)  # pyright: ignore[reportArgumentType]
    coarse.save_pretrained(tmp_path / "coarse")
    starts = []

    def train_from(start, *rest):
        starts.append({weight.dtype for weight in start.model().parameters()})
        train_module.train_from(start, *rest)

    monkeypatch.setattr(adapt_prior_module, "train_from", train_from)
    after = adapt_prior(config(tmp_path / "bundle", from_bundle=str(tmp_path / "coarse"), **options))
    assert starts == [{torch.float32}]
    assert {weight.dtype for weight in after.prior.parameters()} == {torch.bfloat16}
    for first, last in zip(tables(coarse), tables(after), strict=True):
        assert torch.equal(first, last[: len(first)])
    if not options:
        old = report(tmp_path / "bundle")["rate"]["old_pictures"]["bits_per_image"]
        assert old["after_restricted"] == old["before"]
        (ancestor,) = after.vocabulary.ancestors
        assert ancestor_bundle(after, ancestor).fingerprint == Bundle.from_pretrained(tmp_path / "coarse").fingerprint


def test_the_provenance_of_the_grown_tokenizer_is_handed_on(tmp_path):
    folder = shutil.copytree(grown_folder(), tmp_path / "grown")
    provenance(load_image_tokenizer(folder)).save(folder)
    adapt_prior(config(tmp_path / "bundle", tokenizer=str(folder), num_steps=1))
    found = Provenance.load(tmp_path / "bundle")
    assert found is not None and found.image_tokenizer is not None and found.earlier == []
    assert found.image_tokenizer["provenance"]["data"]["name"] == "embedded"
    provenance(load_image_tokenizer(tokenizer_folder())).save(folder)
    with pytest.raises(InputError, match=r"grown/provenance\.json is another model's"):
        adapt_prior(config(tmp_path / "other", tokenizer=str(folder)))
    assert not (tmp_path / "other").exists()


def test_the_provenance_names_the_trainings_of_the_bundle_before(tmp_path):
    before = Path(shutil.copytree(config(tmp_path).from_bundle, tmp_path / "before"))
    made = replace(provenance(load_image_tokenizer(before / "image_tokenizer")), stage="prior")
    replace(made, fingerprints={"bundle": Bundle.from_pretrained(before).fingerprint} | made.fingerprints).save(before)
    adapt_prior(config(tmp_path / "bundle", from_bundle=str(before), num_steps=1))
    found = Provenance.load(tmp_path / "bundle")
    assert found is not None and [each["stage"] for each in found.earlier] == ["prior"]
    assert (found.data["name"], found.data["rows"]) == (
        grown_codes_folder().name,
        len(load_codes(grown_codes_folder())),
    )
    assert found.data["replayed"]["name"] == codes_folder().name
    assert found.data["replayed"]["rows"] == len(load_codes(codes_folder()))
    replace(made, fingerprints={"bundle": "ab"} | made.fingerprints).save(before)
    with pytest.raises(
        InputError, match=r"before/provenance\.json is another model's: its fingerprint of bundle differs"
    ):
        adapt_prior(config(tmp_path / "other", from_bundle=str(before)))
    assert not (tmp_path / "other").exists()


def test_it_is_adapted_again(adapted: Path):
    bundle = Bundle.from_pretrained(adapted)
    (name,) = bundle.vocabulary.ancestors
    assert ancestor_bundle(bundle, name).vocabulary == shared_bundle("level").vocabulary


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokenizer": str(tokenizer_folder())}, "there is nothing to grow"),
        ({"tokenizer": str(tokenizer_folder(1))}, "was not grown from the bundle's"),
        ({"reference_codes": str(grown_codes_folder())}, "holds codes of image tokenizer"),
        ({"split": "test"}, "has no split 'test'"),
    ],
)
def test_mistakes(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        adapt_prior(config(tmp_path / "bundle", **options))


def test_the_command(tmp_path):
    arguments = ["adapt-prior", "--from", str(bundle_folder()), "--tokenizer", str(grown_folder())]
    arguments += ["--codes", str(grown_codes_folder()), "--reference-codes", str(codes_folder()), "--num-steps", "2"]
    arguments += ["--output", str(tmp_path / "bundle"), "--batch-size", "4", "--seed", "3"]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rows_moved"] == 5
    shown = CliRunner().invoke(app, arguments)  # it has ended: the same figures once more
    assert "reads files of" in shown.stdout and "bits of old pictures, after, restricted" in shown.stdout
