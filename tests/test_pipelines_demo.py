import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from datasets import DatasetDict
from PIL import Image

from pictogram.hub.errors import InputError
from pictogram.pipelines import demo as module
from pictogram.pipelines.demo import DemoConfig, run_demo
from pictogram.pipelines.stages import Stages
from pictogram.tokenizer import sources
from pictogram.tokenizer.embedded import load_embedded

STEPS: dict[str, Any] = {"tokenizer_steps": 6, "prior_steps": 4}
STAGES = ["tokenizer", "codes", "prior", "pictures", "scores"]
VARYING = {"stages"}


@pytest.fixture(scope="module", autouse=True)
def few_pictures():
    """The demo on the first pictures only: as real, and quicker."""
    whole = load_embedded()
    few = DatasetDict({"train": whole["train"].select(range(80)), "test": whole["test"].select(range(12))})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "load_embedded", lambda: few)
        yield


@pytest.fixture(scope="module")
def finished(few_pictures, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "first"
    run_demo(DemoConfig(output=str(folder), **STEPS))
    return folder


def report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def steady(folder: Path) -> dict:
    """What must be equal from run to run."""
    return {name: value for name, value in report(folder).items() if name not in VARYING}


def assert_same_end(one: Path, other: Path):
    assert steady(one) == steady(other)
    for name in ("samples.png", "reconstructions.png", "bundle/model.safetensors", "image-tokenizer/model.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_it_leaves_everything_it_promises(finished: Path):
    for name in ("samples.png", "reconstructions.png"):
        with Image.open(finished / name) as image:
            assert image.width > 300 and image.height > 300
    for name in ("image-tokenizer/model.safetensors", "codes/pictogram.json", "bundle/model.safetensors"):
        assert (finished / name).is_file()


def test_the_report_has_every_figure(finished: Path):
    content = report(finished)
    assert 0 <= content["name_accuracy"] <= 1
    details = content["name_accuracy_details"]
    assert {"reconstructions", "shuffled_captions", "without_guidance", "num_captions"} <= set(details)
    assert "memorisation" in details["note"]
    for split, count in (("train", 80), ("test", 12)):
        figures = content["image_tokenizer"][split]
        assert figures["num_images"] == count
        assert len(figures["psnr"]) == len(figures["usage"]) == len(figures["perplexity"]) == 2
    for rate in content["held_out_bits"].values():
        assert rate["num_documents"] == 12
        assert len(rate["level_bits"]) == 2
        assert rate["image_bits"] == sum(rate["level_bits"])
    assert list(content["stages"]) == STAGES
    assert all(cost["seconds"] >= 0 and cost["peak_memory_mb"] > 0 for cost in content["stages"].values())
    assert content["seed"] == 0
    assert content["settings"] == {
        name: value for name, value in dataclasses.asdict(DemoConfig(**STEPS)).items() if name != "output"
    }
    assert {"python", "pictogram", "torch", "transformers"} <= set(content["versions"])


def test_the_same_seed_gives_the_same_pictures_and_numbers_anywhere(finished: Path, tmp_path):
    run_demo(DemoConfig(output=str(tmp_path / "second"), **STEPS))
    assert_same_end(finished, tmp_path / "second")


def test_a_finished_demo_only_reads_its_report(finished: Path, monkeypatch):
    monkeypatch.setattr(module, "Stages", None)
    assert run_demo(DemoConfig(output=str(finished), **STEPS)) == report(finished) | {"output": str(finished)}


class Interruption(Exception):  # noqa: N818
    pass


def test_interrupted_in_every_stage_it_ends_the_same(finished: Path, tmp_path, monkeypatch):
    config = DemoConfig(output=str(tmp_path / "demo"), **STEPS)
    done: list[str] = []
    for place, name in [(place, name) for name in STAGES for place in ("before", "after")]:
        plain = Stages.stage

        def stage(self, stage_name, description, place=place, name=name, plain=plain):
            from contextlib import contextmanager

            @contextmanager
            def wrapped():
                with plain(self, stage_name, description):
                    if (place, stage_name) == ("before", name):
                        raise Interruption
                    yield
                    if (place, stage_name) == ("after", name):
                        raise Interruption

            return wrapped()

        with monkeypatch.context() as patch:
            patch.setattr(Stages, "stage", stage)
            with pytest.raises(Interruption):
                run_demo(config)
        done.append(name)
        assert not (tmp_path / "demo" / "report.json").exists()
    run_demo(config)
    assert_same_end(finished, tmp_path / "demo")
    assert list(report(tmp_path / "demo")["stages"]) == STAGES


def test_another_seed_or_a_foreign_folder_is_refused(finished: Path, tmp_path):
    with pytest.raises(InputError, match=r"holds a demo with settings .*'seed': 0.* not .*'seed': 1.*another --output"):
        run_demo(DemoConfig(output=str(finished), seed=1, **STEPS))
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="exists and holds no demo"):
        run_demo(DemoConfig(output=str(tmp_path), **STEPS))
    with pytest.raises(InputError, match="exists and holds no demo"):
        run_demo(DemoConfig(output=str(tmp_path / "letter.txt"), **STEPS))
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_a_demo_killed_at_its_very_start_goes_on(tmp_path, monkeypatch):
    (tmp_path / ".demo.json.123.tmp").write_text("{")
    monkeypatch.setattr(module, "Stages", lambda folder: (_ for _ in ()).throw(Interruption()))
    with pytest.raises(Interruption):
        run_demo(DemoConfig(output=str(tmp_path), **STEPS))


@pytest.mark.parametrize(
    "options", [{"tokenizer_steps": 0}, {"prior_steps": 0}, {"seed": -1}, {"guidance_scale": -1.0}]
)
def test_settings_outside_their_range_are_refused(options):
    with pytest.raises(InputError, match=f"{next(iter(options))} must be at least"):
        DemoConfig(**options)


KILLED = """
import dataclasses, os, signal, sys
from datasets import DatasetDict
from pictogram.lm import train as lm_train
from pictogram.pipelines import demo
from pictogram.tokenizer import sources
from pictogram.tokenizer import train as tokenizer_train
from pictogram.tokenizer.embedded import load_embedded
folder, where = sys.argv[1:]
whole = load_embedded()
few = DatasetDict({"train": whole["train"].select(range(80)), "test": whole["test"].select(range(12))})
sources.load_embedded = lambda: few
for name in ("tokenizer_config", "prior_config"):
    plain = getattr(demo.DemoConfig, name)
    often = lambda self, plain=plain: dataclasses.replace(plain(self), checkpoint_every=2)
    setattr(demo.DemoConfig, name, often)
def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
def kill_at(class_, number):
    step = class_._step
    class_._step = lambda self, n: kill() if n == number else step(self, n)
if where == "tokenizer":
    kill_at(tokenizer_train._Trainer, 5)
elif where == "codes":
    tokenize = demo.tokenize
    demo.tokenize = lambda config: kill() if config.split == "test" else tokenize(config)
elif where == "prior":
    kill_at(lm_train._Trainer, 3)
elif where == "pictures":
    demo.reconstruction_grid = kill
elif where == "scores":
    demo.score = kill
print(demo.run_demo(demo.DemoConfig(output=folder, tokenizer_steps=6, prior_steps=4))["seed"])
"""


@pytest.mark.slow
def test_killed_in_every_stage_it_ends_the_same(finished: Path, tmp_path):
    def run(folder: str, where: str) -> int:
        return subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path / folder), where], capture_output=True
        ).returncode

    for stage in STAGES:
        assert run("killed", stage) == -signal.SIGKILL, stage
    assert run("killed", "nowhere") == 0
    assert_same_end(finished, tmp_path / "killed")
