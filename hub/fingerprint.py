"""Fingerprints say whether two models give the same codes: sha256 over tensors and settings in one canonical form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch


def fingerprint(tensors: Mapping[str, torch.Tensor], settings: Mapping[str, Any]) -> str:
    """Hashes names, dtypes, shapes and raw bytes of `tensors` in order of name, then `settings` as canonical JSON.

    Args:
        tensors: any tensors, on any device; their order in the mapping does not matter.
        settings: JSON-serialisable values.

    Returns:
        64 hexadecimal digits. One changed bit anywhere changes them.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    digest.update(json.dumps(settings, sort_keys=True, separators=(",", ":")).encode())
    return digest.hexdigest()
