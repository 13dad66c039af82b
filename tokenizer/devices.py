"""Where a process computes when nobody tells it."""

from __future__ import annotations

import os

import torch


def default_device() -> torch.device:
    """This process's accelerator, by its number among the processes of this machine (LOCAL_RANK), or the CPU."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is None:
        return torch.device("cpu")
    return torch.device(accelerator.type, int(os.environ.get("LOCAL_RANK", "0")) % torch.accelerator.device_count())


def wait_for_device() -> None:
    """Returns when what was asked of an accelerator is done: its calls return before that."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
