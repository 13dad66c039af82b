"""The peer `benchmarks/peers/pixelsnail.py`: what its priors may see, its activation cache, and whole runs."""

import importlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
import pytest
import torch

from pictogram import InputError
from pictogram.lm.drawing import SamplingConfig, draw, uniforms
from pictogram.tokenizer.codes_dataset import write_codes
from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil
from pictogram.tokenizer.images import load_image_source
from pictogram.tokenizer.loading import load_image_tokenizer
from pictogram.tokenizer.model import ImageTokenizer

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
GRIDS = ((2, 3), (4, 6))
SIZES = (7, 11)
CLASSES = ("first", "second", "third")


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """Scripts find their siblings in their own folder, and this one what it shares with others in the one above."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.syspath_prepend(str(BENCHMARKS / "peers"))


def module(name):
    return importlib.import_module(name)


@torch.no_grad()
def shaken(layer: torch.nn.Module) -> None:
    """Moves weights away from zero, so that whatever a network can hear changes what it says."""
    for weights in layer.parameters(recurse=False):
        weights.add_(0.2 * torch.randn_like(weights))


def random_codes(count: int):
    return module("labelled_codes").random_codes(count, GRIDS, SIZES, len(CLASSES))


@pytest.fixture
def prior():
    """Both networks, with dropout that must not matter."""
    torch.manual_seed(0)
    config = module("two_level_prior").PriorConfig(
        SIZES, GRIDS, CLASSES, width=16, num_stages=(1, 2), num_blocks=2, num_heads=2, num_context_blocks=1, dropout=0.5
    )
    return module("two_level_prior").TwoLevelPrior(config).eval().apply(shaken)


def logits(prior, level: int, codes) -> torch.Tensor:
    """(B, places, K) of a level."""
    if level == 0:
        return prior.top(codes.top, codes.classes).detach().flatten(1, 2)
    return prior.bottom(codes.bottom, codes.classes, prior.context(codes.top)).detach().flatten(1, 2)


@pytest.mark.parametrize(("level", "name"), [(0, "top"), (1, "bottom")])
def test_a_code_changes_later_logits_alone_and_all_of_them(prior, level, name):
    codes = random_codes(3)
    before = logits(prior, level, codes)
    num_places = before.shape[1]
    for place in range(num_places):
        changed = getattr(codes, name).clone()
        changed.flatten(1)[:, place] += 1
        after = logits(prior, level, replace(codes, **{name: changed % SIZES[level]}))
        is_equal = (after == before).all(2).all(0)
        assert is_equal[: place + 1].all()
        assert not is_equal[place + 1 :].any()


@pytest.mark.parametrize("level", [0, 1])
def test_logits_depend_on_the_class(prior, level):
    codes = random_codes(3)
    other = replace(codes, classes=(codes.classes + 1) % len(CLASSES))
    assert not torch.isclose(logits(prior, level, codes), logits(prior, level, other)).all(2).any()


def test_every_bottom_code_hears_of_the_top_codes(prior):
    codes = random_codes(3)
    before = logits(prior, 1, codes)
    top = codes.top.clone()
    top[:, 1, 1] = (top[:, 1, 1] + 1) % SIZES[0]
    assert not torch.isclose(before, logits(prior, 1, replace(codes, top=top))).all(2).any()


@pytest.mark.parametrize("level", [0, 1])
def test_the_activation_cache_gives_the_logits_of_the_whole_grid(prior, level):
    cache, codes = module("activation_cache"), random_codes(5)
    network = (prior.top, prior.bottom)[level]
    known = (codes.top, codes.bottom)[level]
    context = prior.context(codes.top) if level else None
    wanted = logits(prior, level, codes)
    with torch.no_grad():
        cached = cache.CachedNetwork(network, codes.classes, context)
        for number in range(known[0].numel()):
            place = divmod(number, GRIDS[level][1])
            torch.testing.assert_close(cached.logits(place), wanted[:, number], atol=1e-4, rtol=0)
            cached.append(place, known[:, place[0], place[1]])


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_cached_drawing_gives_the_codes_of_the_naive_loop(prior, temperature):
    sampling, classes = SamplingConfig(temperature=temperature), torch.tensor([0, 1, 2, 0, 1, 2])
    numbers = uniforms(range(6), 6 + 24)
    top, bottom = module("activation_cache").draw_codes(prior, classes, numbers, sampling)
    blank = replace(random_codes(6), classes=classes, top=torch.zeros(6, *GRIDS[0], dtype=torch.int64))
    for number in range(6):
        blank.top.flatten(1)[:, number] = draw(logits(prior, 0, blank)[:, number], numbers[:, number], sampling)
    blank = replace(blank, bottom=torch.zeros(6, *GRIDS[1], dtype=torch.int64))
    for number in range(24):
        found = draw(logits(prior, 1, blank)[:, number], numbers[:, 6 + number], sampling)
        blank.bottom.flatten(1)[:, number] = found
    assert torch.equal(top, blank.top) and torch.equal(bottom, blank.bottom)
    assert len({tuple(codes) for codes in bottom.flatten(1).tolist()}) == (6 if temperature else 3)


def test_bits_are_those_of_the_logits_and_of_either_level_alone(prior):
    codes = random_codes(4)
    bits = prior(*codes.batch(range(4)))
    for level, known in enumerate((codes.top, codes.bottom)):
        chances = logits(prior, level, codes).log_softmax(2).gather(2, known.flatten(1)[..., None])
        torch.testing.assert_close(bits[:, level], -chances.sum((1, 2)) / torch.log(torch.tensor(2.0)))
    bits[:, 0].sum().backward()
    parts = prior.parts()
    assert not any(weights.grad is not None and weights.grad.any() for weights in parts["bottom"])
    assert sum(bool(weights.grad is not None and weights.grad.any()) for weights in parts["top"]) > 20
    assert sum(map(len, parts.values())) == len(list(prior.parameters()))


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_priors_learn_what_follows_from_class_and_neighbours(tmp_path, optimizer):
    top = (random_codes(256).classes[:, None, None] + torch.arange(6).view(1, *GRIDS[0])) % SIZES[0]
    bottom = top.repeat_interleave(2, 1).repeat_interleave(2, 2) + torch.arange(6)[:4].view(1, 4, 1)
    codes = replace(random_codes(256), top=top, bottom=bottom % SIZES[1])
    training = module("prior_training")
    config = training.TrainingConfig(
        num_steps=60, batch_size=32, optimizer=optimizer, learning_rate=0.02, warmup_steps=5, average_decay=0.8
    )
    torch.manual_seed(0)
    prior = module("two_level_prior").TwoLevelPrior(
        module("two_level_prior").PriorConfig(SIZES, GRIDS, CLASSES, 16, (1, 1), num_blocks=1, num_heads=2, dropout=0)
    )
    folder = module("pixelsnail").TrainingFolder(tmp_path / "run", config.settings())
    run = training.PriorTraining(prior, codes, config, folder)
    run.run()
    bits = training.held_out_bits(run.average, codes)
    assert bits["top"]["value"] < 2 and bits["bottom"]["value"] < 8  # of 17 and 83
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [50, 60]
    assert 0 < lines[0]["cpu_seconds"] < lines[1]["cpu_seconds"]


def run_script(output: Path, *more: str) -> dict:
    report = output.with_suffix(".json")
    module("pixelsnail").main(["--quick", "--output", str(output), "--json", str(report), *more])
    return json.loads(report.read_text())


def content(output: Path) -> dict[str, bytes]:
    """All files but those with times in them."""
    paths = [path for path in output.rglob("*") if path.is_file()]
    timed = ("metrics.jsonl", "complete.json", "times.jsonl")
    return {str(path.relative_to(output)): path.read_bytes() for path in paths if path.name not in timed}


def test_the_script_twice_gives_equal_bytes(tmp_path):
    reports = [run_script(tmp_path / name) for name in ("a", "b")]
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert {"config.json", "prior.safetensors", "samples/samples-00000-of-00001.parquet"} <= content(
        tmp_path / "a"
    ).keys()
    assert reports[0]["bits"] == reports[1]["bits"]
    assert reports[0]["parameters"].keys() == {"top", "bottom", "tokenizer"}
    again = run_script(tmp_path / "a")
    assert again["training"] == reports[0]["training"]  # nothing was trained anew
    run_script(tmp_path / "c", "--seed", "1")
    assert content(tmp_path / "c")["prior.safetensors"] != content(tmp_path / "a")["prior.safetensors"]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_killed_run_ends_with_the_bytes_of_one_that_was_not(tmp_path, monkeypatch, optimizer):
    run_script(tmp_path / "whole", "--optimizer", optimizer)
    training = module("prior_training").PriorTraining
    whole_step = training._step

    def killed_step(self, step):
        if step == 5:
            raise KeyboardInterrupt
        return whole_step(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(training, "_step", killed_step)
        with pytest.raises(KeyboardInterrupt):
            run_script(tmp_path / "killed", "--optimizer", optimizer)
    assert (tmp_path / "killed" / "checkpoints" / "state.pt").exists()
    run_script(tmp_path / "killed", "--optimizer", optimizer)
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    logs = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("killed", "whole")]
    killed, whole = ([json.loads(line) | {"cpu_seconds": 0} for line in log] for log in logs)
    assert killed == whole and [line["step"] for line in whole] == [2, 4, 6]


def test_a_picture_depends_on_its_class_and_its_seed_alone(tmp_path):
    script = module("pixelsnail")
    setup = script.quick_setup(script.command_line().parse_args(["--quick", "--output", "unused"]))
    torch.manual_seed(0)
    draw_classes = script.drawing(setup, module("two_level_prior").TwoLevelPrior(setup.prior).eval().apply(shaken))
    pictures = [image.tobytes() for image in draw_classes([0, 1, 2, 0, 1, 2], [5, 6, 7, 8, 9, 5])]
    assert draw_classes([1], [9])[0].tobytes() == pictures[4]
    assert [image.tobytes() for image in draw_classes([2, 0], [5, 5])] == [pictures[5], pictures[0]]
    assert len(set(pictures)) == 6
    run_script(tmp_path / "run")
    (shard,) = (tmp_path / "run" / "samples").glob("*.parquet")
    table = pyarrow.parquet.read_table(shard)
    assert table["label"].to_pylist() == [0, 1, 2] * 3 and table["seed"].to_pylist() == list(range(9))


@pytest.fixture(scope="module")
def made(tmp_path_factory, image_folder):
    """Folders of a two-level tokenizer and of its codes of labelled pictures, in the splits train and holdout."""
    folder = tmp_path_factory.mktemp("made")
    pictures = folder / "pictures"
    for number, path in enumerate(sorted(image_folder.glob("*.png"))):
        target = pictures / ("train" if number < 16 else "holdout") / ("cat" if number % 2 else "bird") / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return make_codes(folder, [8, 4])


def make_codes(folder, strides):
    """Adds to a folder of pictures a tokenizer and their codes; returns the folder."""
    config = ImageTokenizerConfig(
        image_size=16, strides=strides, codebook_sizes=[5, 9], prefix_weights=[0], hidden_size=8, codebook_dim=4
    )
    torch.manual_seed(0)
    tokenizer = ImageTokenizer(config)
    tokenizer.save_pretrained(folder / "tokenizer")
    processor = ImageTokenizerImageProcessorPil(size={"height": 16, "width": 16})
    processor.save_pretrained(folder / "tokenizer")
    for split in ("train", "holdout"):
        source = load_image_source(str(folder / "pictures" / split), "train")
        write_codes(source, tokenizer.eval(), processor, folder / "codes", split=split)
    return folder


@pytest.fixture(scope="module", params=["8,4", "image,4"])
def codes_of_two_levels(request, made, tmp_path_factory):
    """A folder like `made`, whose top level is a grid or the whole image."""
    if request.param == "8,4":
        return made
    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(made / "pictures", folder / "pictures")
    return make_codes(folder, ["image", 4])


def test_a_dataset_of_codes_with_labels(made):
    tokenizer = load_image_tokenizer(made / "tokenizer")
    codes = module("labelled_codes").load_labelled_codes(str(made / "codes"), "train", tokenizer)
    assert codes.names == ("bird", "cat")
    assert (codes.top.shape, codes.bottom.shape) == ((16, 2, 2), (16, 4, 4))
    assert codes.classes.bincount().tolist() == [8, 8]


def test_the_script_with_a_dataset_of_codes(codes_of_two_levels, tmp_path):
    made = codes_of_two_levels
    real = ["--codes", str(made / "codes"), "--tokenizer", str(made / "tokenizer"), "--num-steps", "2", "--width", "8"]
    report = tmp_path / "report.json"
    more = ["--num-samples", "3", "--sample-batch", "2", "--batch-size", "4", "--json", str(report)]
    module("pixelsnail").main([*real, "--output", str(tmp_path / "run"), *more])
    found = json.loads(report.read_text())
    assert "bits" not in found
    assert found["sampling"]["num_images"] == 3
    trained = content(tmp_path / "run")
    module("pixelsnail").main([*real, "--output", str(tmp_path / "run"), *more, "--eval-split", "holdout"])
    scored = json.loads(report.read_text())  # of the prior that was there: no split but its own decides what it learns
    assert scored["bits"]["all"]["num_images"] == 8
    assert scored["training"] == found["training"] and content(tmp_path / "run") == trained
    assert module("two_level_prior").load_prior(tmp_path / "run").config.classes == ("bird", "cat")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--eval-split", "train"], "must be two"),
        (["--width", "7"], "width must be a multiple of 4"),
        (["--dropout", "1"], "dropout must be"),
        (["--num-steps", "0"], "num_steps must be at least 1"),
        (["--temperature", "-1"], "temperature must be"),
        (["--split", "other"], "other"),
    ],
)
def test_mistakes_are_one_line(made, tmp_path, capsys, more, message):
    real = ["--codes", str(made / "codes"), "--tokenizer", str(made / "tokenizer"), "--output", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as stopped:
        module("pixelsnail").main([*real, *more])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("pixelsnail.py: ") and error.count("\n") == 1


def test_grids_must_fit_and_the_settings_of_a_run_stay(tmp_path):
    with pytest.raises(InputError, match="multiple of the top grid"):
        module("two_level_prior").PriorConfig(SIZES, ((2, 3), (4, 7)), CLASSES)
    run_script(tmp_path / "run")
    with pytest.raises(SystemExit):
        run_script(tmp_path / "run", "--learning-rate", "0.1")
