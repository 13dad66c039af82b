"""Starting accelerate, with the user's mistakes said in one line."""

from __future__ import annotations

import time

import torch
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

from ..hub.errors import InputError, first_line

PRECISIONS = ("no", "fp16", "bf16")
"""What `mixed_precision` may be."""

_SECONDS_TO_LET_GO = 0.3


def tracker_names(trackers: str) -> list[str]:
    """Parses comma-separated names of accelerate trackers.

    Raises:
        InputError: a name that accelerate does not know, or whose package is not installed: accelerate would drop it
            without a word.
    """
    names = [name.strip() for name in trackers.split(",") if name.strip()]
    installed = list(map(str, get_available_trackers()))
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise InputError(f"trackers must be among {', '.join(LOGGER_TYPE_TO_CLASS)}, got {name!r}")
        if name not in installed:
            raise InputError(f"tracker {name} is not installed; installed are: {', '.join(installed) or 'none'}")
    return names


def best_precision() -> str:
    """The precision to train in: "bf16" where a GPU computes with it, else "no", for many CPUs are slower with it."""
    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "no"


def cpu_computes_bfloat16() -> bool:
    """Whether this processor has instructions for bfloat16; others emulate its products, at many times the cost.

    The same as `avx512_bf16` among the flags of /proc/cpuinfo. Most desktops and laptops have none.
    """
    return torch.cpu._is_avx512_bf16_supported()  # pyright: ignore[reportPrivateUsage]


def start_accelerator(mixed_precision: str, trackers: str, output: str) -> Accelerator:
    """The accelerator of a training run that writes into the folder `output`.

    Raises:
        InputError: unknown trackers, or a precision this machine, or an earlier run in this process, does not allow.
    """
    names = tracker_names(trackers)
    if mixed_precision == "auto":
        mixed_precision = best_precision()
    if mixed_precision == "fp16" and not torch.accelerator.is_available():
        raise InputError('mixed_precision \'fp16\' cannot be used here: it needs a GPU; "no" and "bf16" do not')
    try:
        return Accelerator(
            # Without a GPU and untold, accelerate leaves the processes of torchrun strangers to each other.
            cpu=not torch.accelerator.is_available(),
            mixed_precision=mixed_precision,
            log_with=[*names] or None,
            project_dir=output,
        )
    except ValueError as error:
        raise InputError(f"mixed_precision {mixed_precision!r} cannot be used here: {first_line(error)}") from error


def finish(accelerator: Accelerator) -> None:
    """Ends the trackers and waits for all processes.

    `Accelerator.end_training` would also destroy the process group at once. That may hang: gloo's threads need the
    interpreter's lock to let go of the last barrier (seen in torch 2.13), while the main thread holds it and waits for
    them to end. So the group lives as long as the process, which may also train again.
    For the same reason a process that ended at once was seen to abort: a thread wanted the lock of an interpreter that
    was closing. So the threads get a moment to let go.
    """
    for tracker in accelerator.trackers:
        tracker.finish()
    accelerator.wait_for_everyone()
    if accelerator.num_processes > 1:
        time.sleep(_SECONDS_TO_LET_GO)
