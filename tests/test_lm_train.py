import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_chain import (
    bundle_folder,
    codes_folder,
    image_tokenizer,
    pictures,
    processor,
    shared_bundle,
    tokenizer_folder,
)
from tiny_language_models import TOKENIZERS, language_model

from pictogram.hub.command_line import run_command
from pictogram.hub.errors import InputError
from pictogram.hub.provenance import Provenance, history
from pictogram.lm import train as module
from pictogram.lm.bundle import Bundle
from pictogram.lm.document_dataset import load_documents, write_documents
from pictogram.lm.documents import ImageSegment, TextSegment, build_document, images_to_ids, text_to_image
from pictogram.lm.extend import extend_language_model
from pictogram.lm.model import PRIOR_SIZES, PriorSize
from pictogram.lm.rate import measure_rate
from pictogram.lm.sampler import SamplingConfig, sample, uniforms
from pictogram.lm.train import PriorTrainingConfig, run_training, train_prior
from pictogram.lm.training_rows import open_rows
from pictogram.pipelines.tokenize import tokenize
from pictogram.pipelines.tokenize_job import TokenizeConfig
from pictogram.tokenizer.batches import process_slice
from pictogram.tokenizer.codes_dataset import load_codes
from pictogram.tokenizer.loading import load_image_tokenizer

RESULTS = (
    "model.safetensors",
    "metrics.jsonl",
    "tokenizer.json",
    "vocabulary.json",
    "image_tokenizer/model.safetensors",
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(PRIOR_SIZES, "tiny", PriorSize(64, 1, 64))


def config(output: Path, **changes) -> PriorTrainingConfig:
    options = dict(
        codes=str(codes_folder()),
        tokenizer=str(tokenizer_folder()),
        output=str(output),
        size="tiny",
        text_vocab_size=290,
        num_steps=12,
        batch_size=8,
        warmup_steps=2,
        checkpoint_every=5,
        log_every=3,
    )
    return PriorTrainingConfig(**{**options, **changes})


def cli_arguments(settings: PriorTrainingConfig) -> list[str]:
    arguments: list[str] = []
    for name, value in dataclasses.asdict(settings).items():
        flag = "from" if name == "from_bundle" else name.replace("_", "-")
        if isinstance(value, bool):
            arguments.append(f"--{flag}" if value else f"--no-{flag}")
        elif value != "":
            arguments += [f"--{flag}", str(value)]
    return arguments


def results(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RESULTS}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run that was never interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRIOR_SIZES, "tiny", PriorSize(64, 1, 64))
        folder = tmp_path_factory.mktemp("trained") / "bundle"
        train_prior(config(folder))
    return folder


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(trained: Path, tmp_path):
    train_prior(config(tmp_path / "again"))
    assert results(tmp_path / "again") == results(trained)
    train_prior(config(tmp_path / "other", seed=1))
    assert results(tmp_path / "other")["model.safetensors"] != results(trained)["model.safetensors"]


@pytest.mark.parametrize("last_step", [2, 7, 11])
def test_an_interrupted_run_ends_with_the_same_bytes(trained: Path, tmp_path, monkeypatch, last_step: int):
    step = module._Trainer._step

    def failing(self, number):
        if number == last_step:
            raise KeyboardInterrupt
        return step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(module._Trainer, "_step", failing)
        with pytest.raises(KeyboardInterrupt):
            train_prior(config(tmp_path / "bundle"))
    assert not (tmp_path / "bundle" / "complete.json").exists()
    train_prior(config(tmp_path / "bundle", checkpoint_every=4))  # how often it saves is no setting
    assert results(tmp_path / "bundle") == results(trained)
    assert not (tmp_path / "bundle" / "checkpoints").exists()


KILLED = """
import json, os, signal, sys
from pictogram.lm import train
from pictogram.lm.model import PRIOR_SIZES, PriorSize
PRIOR_SIZES["tiny"] = PriorSize(64, 1, 64)
step = train._Trainer._step
def killed(self, number):
    if number == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, number)
train._Trainer._step = killed
train.train_prior(train.PriorTrainingConfig(**json.loads(sys.argv[1])))
"""


def test_a_killed_run_ends_with_the_same_bytes(trained: Path, tmp_path):
    settings = config(tmp_path / "bundle")
    command = [sys.executable, "-c", KILLED, json.dumps(dataclasses.asdict(settings))]
    killed = subprocess.run(command, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [path.name for path in (tmp_path / "bundle" / "checkpoints").iterdir()] == ["step-00000005"]
    train_prior(settings)
    assert results(tmp_path / "bundle") == results(trained)


def test_a_finished_run_is_not_trained_again(trained: Path, monkeypatch):
    monkeypatch.setattr(module, "_Trainer", None)
    before = results(trained)
    assert isinstance(train_prior(config(trained)), Bundle)
    assert results(trained) == before
    with pytest.raises(InputError, match=r"run with other settings \(learning_rate 0.003 -> 0.001\)"):
        train_prior(config(trained, learning_rate=1e-3))


def test_metrics_tell_text_and_every_level_apart(trained: Path):
    lines = metrics(trained)
    assert [line["step"] for line in lines] == [3, 6, 9, 12]
    names = {"step", "loss", "bits_per_document", "text_bits", "level_0_bits", "level_1_bits"}
    assert all(set(line) == names for line in lines)
    result = run_training(config(trained))
    assert result == {"bundle": str(trained), "steps": 12, "seed": 0, "last": lines[-1]}


VARIANTS = {
    "adamw": dict(optimizer="adamw"),
    "dropout": dict(dropout=0.2),
    "code noise": dict(code_noise=0.2),
    "micro-batches": dict(micro_batch_size=3),
    "checkpointing": dict(gradient_checkpointing=True),
    "streaming": dict(streaming=True),
    "pyramid, tied, grouped": dict(order="pyramid", size="two heads", num_key_value_heads=2, tie_word_embeddings=True),
    "held out": dict(holdout_share=0.3, eval_every=4),
}


def interrupted(settings: PriorTrainingConfig, monkeypatch, last_step: int) -> None:
    step = module._Trainer._step

    def failing(self, number):
        if number == last_step:
            raise KeyboardInterrupt
        return step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(module._Trainer, "_step", failing)
        with pytest.raises(KeyboardInterrupt):
            train_prior(settings)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_every_way_to_train_goes_on_with_the_same_bytes(options, tmp_path, monkeypatch):
    monkeypatch.setitem(PRIOR_SIZES, "two heads", PriorSize(128, 1, 64))
    train_prior(config(tmp_path / "whole", **options))
    interrupted(config(tmp_path / "parts", **options), monkeypatch, last_step=7)
    train_prior(config(tmp_path / "parts", **options))
    assert results(tmp_path / "parts") == results(tmp_path / "whole")


@pytest.mark.parametrize("options", [dict(micro_batch_size=3), dict(gradient_checkpointing=True)], ids=str)
def test_what_saves_memory_changes_rounding_only(trained: Path, tmp_path, options):
    train_prior(config(tmp_path / "bundle", **options))
    for found, expected in zip(metrics(tmp_path / "bundle"), metrics(trained), strict=True):
        assert found == pytest.approx(expected, rel=1e-4)


def test_code_noise_is_of_the_batch_and_not_of_its_parts(trained: Path, tmp_path):
    train_prior(config(tmp_path / "whole", code_noise=0.2))
    train_prior(config(tmp_path / "parts", code_noise=0.2, micro_batch_size=3))
    assert metrics(tmp_path / "whole") != metrics(trained)
    for found, expected in zip(metrics(tmp_path / "parts"), metrics(tmp_path / "whole"), strict=True):
        assert found == pytest.approx(expected, rel=1e-4)


def test_streamed_shards_train_like_mapped_ones(trained: Path, tmp_path):
    train_prior(config(tmp_path / "bundle", streaming=True))  # all shards fit into the pool, so the order is the same
    streamed = results(tmp_path / "bundle")
    assert {name: streamed[name] == value for name, value in results(trained).items()} == dict.fromkeys(RESULTS, True)


def test_rows_that_are_held_out_are_scored_and_not_learned(tmp_path):
    train_prior(config(tmp_path / "held", holdout_share=0.3, eval_every=4, num_steps=12, log_every=6))
    lines = metrics(tmp_path / "held")
    assert [line["step"] for line in lines] == [4, 6, 8, 12]
    assert ["eval_bits_per_image" in line for line in lines] == [True, False, True, True]
    last = lines[-1]
    assert last["eval_bits_per_image"] == pytest.approx(last["eval_level_0_bits"] + last["eval_level_1_bits"])
    assert last["eval_text_bits"] > 0
    rows = open_rows(config(tmp_path / "x", holdout_share=0.3))
    assert rows.scored is not None
    assert 0 < sum(rows.scored.shard_sizes) < 16
    assert sum(rows.scored.shard_sizes) + sum(rows.trained.shard_sizes) == 16


def test_scores_are_the_rate_of_the_saved_prior(tmp_path):
    settings = config(tmp_path / "held", eval_split="train", image_to_text=0.0)
    bundle, codes = train_prior(settings), load_codes(codes_folder())
    vocabulary = bundle.vocabulary
    ids = images_to_ids(vocabulary, codes.codes(range(16)))
    documents = [
        text_to_image(vocabulary, bundle.text_tokenizer.encode(codes.captions(row)[0]), ids[row], "2x2")
        for row in range(16)
    ]
    rate = measure_rate(bundle.prior, bundle.grammar, documents)
    last = metrics(tmp_path / "held")[-1]
    assert last["eval_bits_per_image"] == pytest.approx(rate.image_bits, rel=1e-5)


def two_picture_documents(folder: Path) -> None:
    """Each picture and its copy, which is what can be learned."""
    vocabulary, text = shared_bundle().vocabulary, shared_bundle().text_tokenizer
    ids = images_to_ids(vocabulary, load_codes(codes_folder()).codes(range(16))).tolist()
    again = TextSegment(tuple(text.encode("again")))
    for split, rows in (("train", range(16)), ("test", range(4))):
        pictures = [ImageSegment(tuple(ids[row]), "2x2") for row in rows]
        documents = [build_document(vocabulary, [picture, again, picture]) for picture in pictures]
        write_documents(documents, folder, vocabulary, text, split=split)


def test_documents_with_two_pictures_train_and_sample(tmp_path):
    two_picture_documents(tmp_path / "documents")
    options = dict(documents=str(tmp_path / "documents"), codes="nowhere", eval_split="test", eval_every=50)
    bundle = train_prior(config(tmp_path / "bundle", num_steps=200, learning_rate=1e-2, **options))
    lines = metrics(tmp_path / "bundle")
    scores = [line["eval_bits_per_document"] for line in lines if "eval_bits_per_document" in line]
    assert scores[-1] < 0.5 * scores[0]
    document = load_documents(tmp_path / "documents").documents([0])[0]
    start = bundle.vocabulary.image_start_id("2x2")
    second = len(document) - 1 - document[::-1].index(start) + 1
    drawn = sample(
        bundle.prior,
        bundle.grammar,
        [document[:second]],
        uniforms([0], 5),
        SamplingConfig(temperature=0),
        stop=lambda _: False,
    )
    assert drawn.token_ids[0] == document[1 + document.index(start) :][:5]  # the copy of the first picture


def test_documents_in_another_vocabulary_or_of_another_tokenizer_are_refused(tmp_path):
    two_picture_documents(tmp_path / "documents")
    options = dict(documents=str(tmp_path / "documents"))
    with pytest.raises(InputError, match="is not written in the vocabulary of"):
        train_prior(config(tmp_path / "a", from_bundle=str(bundle_folder("pyramid")), **options))
    with pytest.raises(InputError, match="holds codes of image tokenizer"):
        train_prior(config(tmp_path / "b", tokenizer=str(tokenizer_folder(1)), **options))
    with pytest.raises(InputError, match="holdout_share and streaming go with codes"):
        config(tmp_path / "c", holdout_share=0.5, **options)


def test_a_trained_bundle_is_gone_on_from(trained: Path, tmp_path):
    options = dict(from_bundle=str(trained), num_steps=4, learning_rate=1e-4, warmup_steps=0)
    bundle = train_prior(config(tmp_path / "more", tokenizer="nowhere", **options))
    before = Bundle.from_pretrained(trained)
    assert bundle.vocabulary == before.vocabulary
    made = Provenance.load(tmp_path / "more")
    assert (
        made is not None and made.earlier == history(Provenance.load(trained)) and made.earlier[0]["stage"] == "prior"
    )
    assert made.settings["num_steps"] == 4 and "| it had learned before | " in (tmp_path / "more/README.md").read_text()
    change = [
        float((new - old).detach().abs().max())
        for new, old in zip(bundle.prior.parameters(), before.prior.parameters(), strict=True)
    ]
    assert 0 < max(change) < 1e-2
    with pytest.raises(InputError, match="run with other settings"):  # another start is another run
        train_prior(config(tmp_path / "more", **{**options, "from_bundle": str(tmp_path / "more")}))


def test_adapters_leave_everything_else_alone(trained: Path, tmp_path):
    bundle = train_prior(config(tmp_path / "lora", from_bundle=str(trained), lora_rank=2, num_steps=4))
    before, after = Bundle.from_pretrained(trained).prior.state_dict(), bundle.prior.state_dict()
    assert before.keys() == after.keys()
    num_text = len(bundle.vocabulary.text_range)
    for name, value in before.items():
        if name in ("model.embed_tokens.weight", "lm_head.weight"):
            assert torch.equal(after[name][:num_text], value[:num_text])
            assert not torch.equal(after[name][num_text:], value[num_text:])
        else:
            assert torch.equal(after[name], value) == ("norm" in name), name


def test_an_extended_language_model_is_trained_like_any_bundle(tmp_path):
    extended = extend_language_model(
        language_model("llama"), TOKENIZERS["llama2"](), load_image_tokenizer(tokenizer_folder())
    )
    extended.save_pretrained(tmp_path / "extended")
    options = dict(from_bundle=str(tmp_path / "extended"), num_steps=30, learning_rate=1e-2, log_every=1)
    train_prior(config(tmp_path / "bundle", **options))
    losses = [line["loss"] for line in metrics(tmp_path / "bundle")]
    assert losses[-1] < 0.8 * losses[0]


def test_the_loss_falls_on_what_can_be_learned_by_heart(tmp_path):
    train_prior(config(tmp_path / "bundle", num_steps=120, learning_rate=1e-2, log_every=1, batch_size=16))
    losses = [line["loss"] for line in metrics(tmp_path / "bundle")]
    assert sum(losses[-10:]) / 10 < 0.35 * losses[0]


# Muon's orthogonalisation runs in bfloat16, which magnifies what the order of a sum rounds.
@pytest.mark.parametrize(
    ("optimizer", "tolerance"), [("adamw", 1e-4), pytest.param("muon", 5e-3, marks=pytest.mark.slow)]
)
def test_two_processes_give_the_losses_of_one(tmp_path, optimizer: str, tolerance: float):
    settings = config(
        tmp_path / "two", size="pico", num_steps=20, log_every=1, checkpoint_every=100, optimizer=optimizer
    )
    arguments = cli_arguments(settings)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launch, "-m", "pictogram.lm.train", *arguments, "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["last"]["step"] == 20  # one document, however many processes
    train_prior(dataclasses.replace(settings, output=str(tmp_path / "one")))
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert len(one) == len(two) == 20
    for first, second in zip(one, two, strict=True):
        assert first.keys() == second.keys()
        for name in first:
            assert second[name] == pytest.approx(first[name], abs=tolerance if name == "loss" else 100 * tolerance)


def test_codes_of_another_tokenizer_are_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_Trainer", None)
    with pytest.raises(InputError, match="holds codes of image tokenizer"):
        train_prior(config(tmp_path / "bundle", tokenizer=str(tokenizer_folder(1))))
    assert not (tmp_path / "bundle").exists()


def test_pictures_of_several_sizes_are_refused(tmp_path):
    native = processor()
    native.do_resize = False
    image_tokenizer().save_pretrained(tmp_path / "tokenizer")
    native.save_pretrained(tmp_path / "tokenizer")
    options = dict(tokenizer=str(tmp_path / "tokenizer"), codes=str(tmp_path / "codes"))
    tokenize(TokenizeConfig(data=str(pictures()), model=options["tokenizer"], output=options["codes"]))
    with pytest.raises(InputError, match="codes of pictures of one size"):
        train_prior(config(tmp_path / "bundle", **options))


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("micro_batch_size", -1, "micro_batch_size must be at least 0"),
        ("dropout", 1.0, "dropout must be at most 0.9"),
        ("code_noise", 0.6, "code_noise must be at most 0.5"),
        ("optimizer", "sgd", "optimizer must be one of muon, adamw, got 'sgd'"),
        ("holdout_share", 1.0, "holdout_share must be below 1"),
        ("lora_rank", 4, "give one with --from"),
        ("num_key_value_heads", 0, "num_key_value_heads must be at least 1"),
        ("num_steps", 0, "num_steps must be at least 1, got 0"),
        ("batch_size", 0, "batch_size must be at least 1"),
        ("learning_rate", 0.0, "learning_rate must be above 0"),
        ("learning_rate", float("nan"), "learning_rate must be above 0, got nan"),
        ("warmup_steps", -1, "warmup_steps must be at least 0"),
        ("decay_share", 1.5, "decay_share must be at most 1"),
        ("weight_decay", -0.1, "weight_decay must be at least 0"),
        ("max_grad_norm", 0.0, "max_grad_norm must be above 0"),
        ("checkpoint_every", 0, "checkpoint_every must be at least 1"),
        ("log_every", 0, "log_every must be at least 1"),
        ("seed", -1, "seed must be at least 0"),
        ("text_vocab_size", 257, "text_vocab_size must be at least 258"),
        ("image_to_text", 1.1, "image_to_text must be at most 1"),
        ("caption_dropout", -0.1, "caption_dropout must be at least 0"),
        ("order", "zigzag", "order must be one of level, pyramid, got 'zigzag'"),
        ("size", "giant", "size must be one of .*nano.*, got 'giant'"),
        ("mixed_precision", "fp8", "mixed_precision must be one of auto, no, fp16, bf16, got 'fp8'"),
        ("trackers", "paper", "trackers must be among .*tensorboard.*, got 'paper'"),
    ],
)
def test_settings_outside_their_range_are_refused(option: str, value, message: str):
    with pytest.raises(InputError, match=message):
        PriorTrainingConfig(**{option: value})


def test_a_precision_that_this_machine_lacks_is_refused(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("fp16 works here")
    with pytest.raises(InputError, match="mixed_precision 'fp16' cannot be used here"):
        train_prior(config(tmp_path / "bundle", mixed_precision="fp16", optimizer="adamw"))
    with pytest.raises(InputError, match='mixed_precision "fp16" works with one optimizer'):
        config(tmp_path / "bundle", mixed_precision="fp16")


def test_a_batch_that_the_processes_cannot_share_is_refused():
    with pytest.raises(InputError, match="batch_size must be a multiple of the 2 processes, got 7"):
        process_slice(7, 0, 2)


def test_help_lists_every_option(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train", "--help"])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as stop:
        run_command(module.main)
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "Example: pictogram train-lm" in text
    for field in dataclasses.fields(PriorTrainingConfig):
        assert (field.metadata["flag"] or f"--{field.name.replace('_', '-')}") in text
        assert field.metadata["help"][:30] in text
    assert "--json" in text


def test_codebooks_too_large_for_tables_cost_no_prior(tmp_path, monkeypatch):
    assert train_prior(config(tmp_path / "counted", num_steps=1)).static_chances is not None
    monkeypatch.setattr("pictogram.lm.train.MAX_SYMBOLS", 8)  # the tiny chain has codebooks of 6 and 9
    assert train_prior(config(tmp_path / "large", num_steps=1)).static_chances is None
