"""Another project's VQ checkpoint as an image tokenizer of ours.

pictogram import-tokenizer --source vq_ds16_c2i.pt --layout llamagen --output image-tokenizer
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..hub.command_line import check_options, command, option
from ..hub.errors import InputError, first_line
from ..hub.files import atomic_files, read_json_object
from ..hub.provenance import PROVENANCE_NAME, Provenance
from .adapter import AdaptedTokenizer
from .adapter_config import AdaptedTokenizerConfig
from .fingerprints import codes_fingerprint
from .foreign_weights import read_network
from .image_processor import ImageTokenizerImageProcessorPil
from .layout import FOREIGN_LAYOUTS, layout_class
from .loading import TOKENIZER_FILES, LoadedImageTokenizer, load_image_tokenizer


@dataclass(kw_only=True)
class ImportConfig:
    """Which checkpoint becomes an image tokenizer, and where.

    The description of each field is its command-line help.
    """

    source: str = option("", "Folder with config.json and safetensors, or a file of weights (.safetensors, .pt, .pth).")
    layout: str = option("vqvae2", f"Whose tensor names it has: {', '.join(FOREIGN_LAYOUTS)}.", one_of=FOREIGN_LAYOUTS)
    output: str = option("image-tokenizer", "Folder for the image tokenizer.")
    image_size: int = option(0, "Side of the pictures, pixels; 0 takes the checkpoint's own.", at_least=0)

    def __post_init__(self) -> None:
        check_options(self)
        if not self.source:
            raise InputError("source must name a checkpoint's folder or file, got nothing")


def import_tokenizer(
    source: str | os.PathLike[str], layout: str, output: str | os.PathLike[str], image_size: int | None = None
) -> LoadedImageTokenizer:
    """Makes an image tokenizer of a checkpoint, in float32, and saves it.

    Args:
        source: a folder with transformers' config.json and safetensors (of the VQ model or of the whole model around
            it, of which nothing else is read), or a file with a state dict. A file of layout "chameleon", "emu3" or
            "janus" needs a config.json beside it; the other layouts tell their sizes by their shapes.
        layout: one of `layout.FOREIGN_LAYOUTS`.
        output: a folder, new or with an image tokenizer that is replaced.
        image_size: side of the pictures that the processor makes, pixels; the checkpoint's own unless told.

    Returns:
        The tokenizer as it was saved.

    Raises:
        InputError: no such layout, unreadable files, weights that do not fit it, or an output folder with other files.
    """
    source, output = Path(source), Path(output)
    kind = layout_class(layout)
    check_output(output)
    weights = read_network(source, kind.anchor)
    config = _config(layout, weights, source if source.is_dir() else source.parent, image_size)
    model = _build(config, weights, source)
    size = {"height": config.image_size, "width": config.image_size}
    return save(model, ImageTokenizerImageProcessorPil(size=size, num_channels=config.num_channels), output)


def save(
    model: AdaptedTokenizer,
    processor: ImageTokenizerImageProcessorPil,
    output: Path,
    provenance: Provenance | None = None,
) -> LoadedImageTokenizer:
    """Writes an image tokenizer into a folder and loads it again; killed on the way it leaves none that would load.

    Args:
        model: to save.
        processor: of its pixels.
        output: the folder, see `check_output`.
        provenance: how it came to be; None if nobody knows.
    """
    with atomic_files(output) as files:
        model.save_pretrained(files)
        processor.save_pretrained(files)
        if provenance is not None:
            provenance.save(files)
        # Of a tokenizer that lay there: old weights would fit the new config, or seem to.
        for name in ("model.safetensors", PROVENANCE_NAME):
            (output / name).unlink(missing_ok=True)
    return load_image_tokenizer(output)


def check_output(output: Path) -> None:
    """Checks, before the work, that a folder is new or holds an image tokenizer that may be replaced.

    Raises:
        InputError: it is a file, or holds other files.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} cannot be an output folder: it is a file")
    # Hidden files do not count: an import that was killed leaves a temporary folder.
    found = [entry.name for entry in output.iterdir() if not entry.name.startswith(".")] if output.exists() else []
    others = sorted(set(found) - {*TOKENIZER_FILES, PROVENANCE_NAME})
    if others:
        raise InputError(f"{output} holds {others[0]}, which is no part of an image tokenizer; give another output")


def _config(
    layout: str, weights: dict[str, torch.Tensor], folder: Path, image_size: int | None
) -> AdaptedTokenizerConfig:
    """From the tensors' shapes, or from what lies beside them."""
    kind = layout_class(layout)
    settings, content = kind.infer(weights), {}
    if settings is None:
        content = _network_config(folder, layout)
        names = kind.complete({})
        settings = {name: value for name, value in content.items() if name in names and value is not None}
    return AdaptedTokenizerConfig(
        layout=layout,
        settings=kind.complete(settings),  # checks them, before the picture's size is told by some of them
        image_size=image_size or kind.image_size_of(content),
        **_pixel_statistics(layout, folder),
    )


def _network_config(folder: Path, layout: str) -> dict[str, Any]:
    """What transformers' config.json says of the VQ model: its `vq_config`, or all of it."""
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}/config.json is missing: the weights of layout {layout} do not tell its settings")
    content = read_json_object(folder / "config.json")
    network = content.get("vq_config") or content
    if not isinstance(network, dict):
        raise InputError(f"{folder}/config.json must have an object as vq_config, got {network!r}")
    model_type = network.get("model_type") or layout
    if not str(model_type).startswith(layout):
        raise InputError(f"{folder}/config.json must be of layout {layout}, got model type {model_type!r}")
    return network


def _pixel_statistics(layout: str, folder: Path) -> dict[str, Any]:
    """Mean and standard deviation of the network's pixels, as parts of 0..1, by the image processor beside it."""
    path = folder / "preprocessor_config.json"
    # Janus' image processor is not the VQ model's, but that of the other encoder, which reads pictures for the prior.
    if layout not in ("chameleon", "emu3") or not path.is_file():
        return {}
    content = read_json_object(path)
    if content.get("image_mean") is None or content.get("image_std") is None:
        return {}
    try:
        scale = 255 * (content.get("rescale_factor") or 1 / 255)
        return {
            ours: [value / scale for value in content[theirs]]
            for ours, theirs in (("pixel_mean", "image_mean"), ("pixel_std", "image_std"))
        }
    except TypeError:
        raise InputError(f"{path} must have numbers as image_mean, image_std and rescale_factor") from None


def _build(config: AdaptedTokenizerConfig, weights: dict[str, torch.Tensor], source: Path) -> AdaptedTokenizer:
    """The tokenizer with these weights, in float32.

    Raises:
        InputError: a tensor is missing, left over, or of another shape.
    """
    try:
        model = AdaptedTokenizer(config)
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{source} describes no network: {first_line(error)}") from None
    kind, wanted = layout_class(config.layout), model.network.state_dict()
    found = {kind.wrapped_at + name: tensor for name, tensor in weights.items() if name not in kind.training_only}
    wrong = [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    wrong += [f"{name} is left over" for name in sorted(found.keys() - wanted.keys())]
    wrong += [
        f"{name} is {tuple(found[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in found and found[name].shape != tensor.shape
    ]
    if wrong:
        raise InputError(f"{source} does not fit layout {config.layout}: {wrong[0]} ({len(wrong)} such tensors)")
    model.network.load_state_dict({name: found[name].to(tensor.dtype) for name, tensor in wanted.items()})
    return model


def run_import(config: ImportConfig) -> dict[str, Any]:
    """Imports, and returns what the command prints."""
    loaded = import_tokenizer(config.source, config.layout, config.output, config.image_size or None)
    shape = loaded.model.config
    return {
        "image_tokenizer": config.output,
        "layout": config.layout,
        "image_size": shape.image_size,
        "strides": shape.strides,
        "codebook_sizes": shape.codebook_sizes,
        "codes_fingerprint": codes_fingerprint(loaded.model, loaded.processor),
    }


main = command(
    ImportConfig,
    run_import,
    "import-tokenizer",
    """Make an image tokenizer of another project's VQ checkpoint.

    Example: pictogram import-tokenizer --source vq_ds16_c2i.pt --layout llamagen --output image-tokenizer
    """,
)
