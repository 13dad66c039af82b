"""Tensors out of other people's checkpoints: one network's alone, however large the model around it.

A folder of safetensors, sharded or not, a single .safetensors file, or a .pt or .pth file. The network is found by one
tensor that it surely has (its anchor), whatever stands before that name: "module.", "model.vqmodel.", nothing.
Of a sharded checkpoint only the files with tensors of the network are opened, and only those tensors are read.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from ..hub.errors import InputError, first_line
from ..hub.files import read_json_object

_INDEX = "model.safetensors.index.json"
_WRAPPERS = ("ema", "model", "state_dict")
"""Where training scripts put the state dict in what they save; the averaged weights are the better ones."""


def read_network(source: Path, anchor: str) -> dict[str, torch.Tensor]:
    """The tensors of the network that holds `anchor`, by their names in it.

    Args:
        source: a folder or a file.
        anchor: name of one tensor in the network.

    Raises:
        InputError: no such network or several, a file missing or damaged, or more than tensors in a .pt file.
    """
    if source.is_dir():
        return _from_folder(source, anchor)
    if not source.is_file():
        raise InputError(f"{source} does not exist; expected a checkpoint's folder or file")
    if source.suffix == ".safetensors":
        return _from_safetensors({name: source for name in _names(source)}, anchor, source)
    if source.suffix in (".pt", ".pth", ".bin", ".ckpt"):
        weights = _from_pickle(source)
        start = _start(weights, anchor, source)
        return {name.removeprefix(start): tensor for name, tensor in weights.items() if name.startswith(start)}
    raise InputError(f"{source} must end in .safetensors, .pt, .pth, .bin or .ckpt")


def _from_folder(folder: Path, anchor: str) -> dict[str, torch.Tensor]:
    if (folder / _INDEX).is_file():
        return _from_safetensors(_read_index(folder / _INDEX), anchor, folder)
    whole = folder / "model.safetensors"
    if not whole.is_file():
        raise InputError(f"{folder} holds neither model.safetensors nor {_INDEX}; give a weights file to read another")
    return _from_safetensors({name: whole for name in _names(whole)}, anchor, folder)


def _read_index(path: Path) -> dict[str, Path]:
    """Files of a sharded checkpoint by the tensors they hold."""
    files = read_json_object(path).get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(file, str) for file in files.values()):
        raise InputError(f'{path} must have a "weight_map" from names of tensors to names of files')
    return {name: path.parent / file for name, file in files.items()}


def _from_safetensors(places: dict[str, Path], anchor: str, source: Path) -> dict[str, torch.Tensor]:
    start = _start(places, anchor, source)
    wanted: dict[Path, list[str]] = {}
    for name, file in places.items():
        if name.startswith(start):
            wanted.setdefault(file, []).append(name)
    weights = {}
    for file, names in wanted.items():
        with _open(file) as opened:
            missing = sorted(set(names) - set(opened.keys()))
            if missing:
                raise InputError(f"{file} lacks {missing[0]}, which its index names")
            weights |= {name.removeprefix(start): opened.get_tensor(name) for name in names}
    return weights


def _names(file: Path) -> list[str]:
    with _open(file) as opened:
        return list(opened.keys())


def _open(file: Path) -> safe_open:
    try:
        return safe_open(file, framework="pt")
    except FileNotFoundError:
        raise InputError(f"{file} is missing") from None
    except (OSError, SafetensorError) as error:
        raise InputError(f"{file} is damaged: {first_line(error)}") from None


def _from_pickle(file: Path) -> dict[str, torch.Tensor]:
    try:
        # Only tensors and plain containers load, and the namespace of options that training scripts add to them.
        with torch.serialization.safe_globals([argparse.Namespace]):
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # of a damaged file the unpickler may say anything
        raise InputError(f"{file} cannot be read as tensors alone: {first_line(error)}") from None
    for wrapper in _WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
            break
    if not isinstance(loaded, dict):
        raise InputError(f"{file} must hold a state dict, got {type(loaded).__name__}")
    tensors = {name: tensor for name, tensor in loaded.items() if isinstance(tensor, torch.Tensor)}
    if unnamed := [name for name in tensors if not isinstance(name, str)]:
        raise InputError(f"{file} must hold tensors by their names, got {unnamed[0]!r} for one")
    return tensors


def _start(names: Iterable[str], anchor: str, source: Path) -> str:
    """What stands before the names of the network that holds `anchor`."""
    starts = [name.removesuffix(anchor) for name in names if name == anchor or name.endswith(f".{anchor}")]
    if len(starts) != 1:
        raise InputError(f"{source} must hold one network with a tensor {anchor}, got {len(starts)}")
    return starts[0]
