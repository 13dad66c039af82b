"""Training runs that may be killed at any instant and go on exactly where their last checkpoint stood.

A run's folder holds `run.json` (its settings), `metrics.jsonl`, `checkpoints/step-N/` while it trains, and its result
at the end. Training again into the same folder goes on, on any number of processes; with other settings it is refused.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..hub.errors import InputError, first_line
from ..hub.files import atomic_write_text, read_json, write_json


class TrainingFolder:
    """The folder of one training run.

    Args:
        path: created if missing.
        settings: JSON-serialisable; everything that the run's numbers depend on.

    Raises:
        InputError: the folder holds a run with other settings, or files that are no run, or cannot be a folder.
    """

    def __init__(self, path: str | os.PathLike[str], settings: dict[str, Any]):
        self.path = Path(path)
        self.settings = _without_slashes(json.loads(json.dumps(settings)))
        self.checkpoints = self.path / "checkpoints"
        self._check()

    def _check(self) -> None:
        run_file = self.path / "run.json"
        if not run_file.exists():
            existing = next(path for path in (self.path, *self.path.absolute().parents) if path.exists())
            if not existing.is_dir():
                raise InputError(f"{self.path} cannot be an output folder: {existing} is a file")
            # Hidden files do not count: a run killed while it wrote run.json leaves a temporary one.
            if existing == self.path and any(not entry.name.startswith(".") for entry in self.path.iterdir()):
                raise InputError(f"{self.path} is not empty and holds no training run; give another output folder")
            return
        found = _without_slashes(read_json(run_file))
        # An option that a run began without, as there was none, and that is off now changes nothing.
        asked = {key: value for key, value in self.settings.items() if value or key in found}
        changed = sorted(key for key in found.keys() | asked.keys() if found.get(key) != asked.get(key))
        if changed:
            what = ", ".join(f"{key} {found.get(key)!r} -> {self.settings.get(key)!r}" for key in changed)
            raise InputError(f"{self.path} holds a run with other settings ({what}); give another output folder")

    def open(self) -> None:
        """Writes the settings; call on the main process only."""
        if not (self.path / "run.json").exists():
            write_json(self.path / "run.json", self.settings)

    @property
    def is_complete(self) -> bool:
        """Whether the run has ended and its result is in place."""
        return (self.path / "complete.json").exists() and any(self.path.glob("*.safetensors"))

    def complete(self, summary: dict[str, Any]) -> None:
        """Marks the run as ended and drops its checkpoints; call on the main process, after the result was written."""
        write_json(self.path / "complete.json", summary)
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def latest(self) -> int | None:
        """Step of the newest whole checkpoint."""
        steps = [int(folder.name.removeprefix("step-")) for folder in self.checkpoints.glob("step-*")]
        return max(steps, default=None)

    def save(self, accelerator: Accelerator, step: int) -> None:
        """Saves the state after `step` steps, then drops older checkpoints. Call on every process.

        Raises:
            InputError: a weight is not finite; older checkpoints stay.
        """
        target, temporary = self.checkpoints / f"step-{step:08d}", self.checkpoints / f".step-{step:08d}.tmp"
        if accelerator.is_main_process:
            shutil.rmtree(temporary, ignore_errors=True)
        accelerator.wait_for_everyone()
        hook = accelerator.register_save_state_pre_hook(_save_unwrapped)
        try:
            accelerator.save_state(str(temporary))
        finally:
            hook.remove()
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            os.replace(temporary, target)
            for folder in self.checkpoints.iterdir():
                if folder != target:
                    shutil.rmtree(folder, ignore_errors=True)
        accelerator.wait_for_everyone()

    def load(self, accelerator: Accelerator) -> int:
        """Restores the newest checkpoint, if there is one, and returns the number of steps done."""
        step = self.latest()
        if step is None:
            return 0
        folder = self.checkpoints / f"step-{step:08d}"
        hook = accelerator.register_load_state_pre_hook(_load_unwrapped)
        try:
            accelerator.load_state(str(folder))
        except Exception as error:  # of a damaged file the unpickler may say anything
            reason = first_line(error)
            raise InputError(f"{folder} is damaged ({reason}); delete it to start the training again") from error
        finally:
            hook.remove()
        return step


def _without_slashes(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings in which "photos/" is the folder that "photos" is."""
    return {key: value.rstrip("/") or value if isinstance(value, str) else value for key, value in settings.items()}


# A checkpoint holds the names of the model itself: DistributedDataParallel adds a prefix, which would tie the run to
# several processes.


def _save_unwrapped(models: list[nn.Module], weights: list[dict[str, torch.Tensor]], folder: str) -> None:
    for index, model in enumerate(models):
        if isinstance(model, DistributedDataParallel):
            weights[index] = model.module.state_dict()
    for state in weights:
        check_finite(state)


def check_finite(state: dict[str, torch.Tensor]) -> None:
    """Raises `InputError` if a tensor of a state dict has NaN or infinite numbers."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise InputError(f"{name} is not finite any more: the training has diverged; lower --learning-rate")


def _load_unwrapped(models: list[nn.Module], folder: str) -> None:
    models[:] = [model.module if isinstance(model, DistributedDataParallel) else model for model in models]


class MetricsLog:
    """`metrics.jsonl`: one JSON object a line. Lines after `first_step`, left by a killed run, are dropped first.

    Args:
        path: the file; None logs nothing (other processes than the main one).
        first_step: number of steps done when the run starts or goes on.
    """

    def __init__(self, path: Path | None, first_step: int):
        self.path = path
        if path is None:
            return
        kept = [line for line in self.read(path) if line["step"] <= first_step]
        atomic_write_text(path, "".join(json.dumps(line) + "\n" for line in kept))

    def write(self, step: int, **values: float | list[float]) -> None:
        """Appends the values measured after `step` steps.

        Raises:
            InputError: a value is not finite; on every process, so that none waits for the others.
        """
        for name, value in values.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError(f"{name} is {value} at step {step}: the training has diverged; lower --learning-rate")
        if self.path is None:
            return
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    @staticmethod
    def read(path: Path) -> list[dict[str, Any]]:
        """All whole lines of a log; a last line cut short by a kill is left out."""
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]
