from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator

from pictogram.hub.errors import InputError
from pictogram.tokenizer import accelerators as module
from pictogram.tokenizer.accelerators import cpu_computes_bfloat16, finish, start_accelerator, tracker_names


def test_trackers_are_parsed(monkeypatch):
    monkeypatch.setattr(module, "get_available_trackers", lambda: ["tensorboard", "wandb"])
    assert tracker_names("") == []
    assert tracker_names("tensorboard, wandb") == ["tensorboard", "wandb"]


def test_unknown_and_missing_trackers_are_refused(monkeypatch):
    monkeypatch.setattr(module, "get_available_trackers", lambda: ["wandb"])
    with pytest.raises(InputError, match=r"trackers must be among .*tensorboard.*, got 'paper'"):
        tracker_names("wandb,paper")
    with pytest.raises(InputError, match="tracker tensorboard is not installed; installed are: wandb"):
        tracker_names("tensorboard")
    monkeypatch.setattr(module, "get_available_trackers", lambda: [])
    with pytest.raises(InputError, match="installed are: none"):
        tracker_names("tensorboard")


def test_it_starts_quietly(tmp_path, capfd):
    accelerator = start_accelerator("no", "", str(tmp_path / "run"))
    assert isinstance(accelerator, Accelerator)
    assert accelerator.mixed_precision == "no"
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="Linux says what the processor has")
def test_what_is_said_of_the_processor_is_what_linux_says():
    assert cpu_computes_bfloat16() == ("avx512_bf16" in Path("/proc/cpuinfo").read_text().split())


def test_a_precision_that_cannot_be_had_is_refused(tmp_path):
    if torch.accelerator.is_available():
        pytest.skip("fp16 works here")
    with pytest.raises(InputError, match="mixed_precision 'fp16' cannot be used here: "):
        start_accelerator("fp16", "", str(tmp_path))


def test_finishing_ends_the_trackers_and_allows_another_training(tmp_path):
    accelerator = start_accelerator("no", "", str(tmp_path))
    ended = []
    accelerator.trackers = [SimpleNamespace(finish=lambda: ended.append(True))]
    finish(accelerator)
    assert ended == [True]
    assert start_accelerator("no", "", str(tmp_path)).num_processes == 1
