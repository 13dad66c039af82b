"""Perceptual loss: how far two pictures are apart in the features of some other network (Zhang et al. 2018).

The network is the user's: any module from pixels to features, given from Python, as a TorchScript file, or as the
folder of a transformers model. It never learns and is never part of the tokenizer.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..hub.errors import InputError, first_line
from ..hub.files import read_json
from ..hub.fingerprint import fingerprint

_SMALLEST_SQUARE = 1e-8
"""Added to the squared length of a feature vector: without it, the gradient of one near zero would be enormous."""


class PerceptualLoss(nn.Module):
    """Distance of pictures in feature space, each position's features scaled to unit length first.

    Zhang et al. 2018 (arXiv:1801.03924, eq. 1) without their learned channel weights: the squared distance of the unit
    vectors, 0 to 4, is averaged over positions and pictures and summed over layers.

    Args:
        extractor: (B, C, H, W) in [-1, 1] -> features (B, F, ...), channels second: one tensor, or a list, tuple or
            dict of them, one per layer. Frozen here, in place, and kept in evaluation mode.
        weights: one factor >= 0 per layer; 1 each unless told.

    Raises:
        InputError: a weight that is negative or not finite.
    """

    def __init__(self, extractor: nn.Module, weights: Sequence[float] | None = None):
        super().__init__()
        if weights is not None and not all(0 <= weight < float("inf") for weight in weights):
            raise InputError(f"weights of perceptual layers must be finite and at least 0, got {list(weights)}")
        for parameter in extractor.parameters():  # TorchScript modules have no requires_grad_ of their own
            parameter.requires_grad = False
        self.extractor = extractor.eval()
        self.weights = None if weights is None else list(weights)

    def train(self, mode: bool = True) -> PerceptualLoss:
        """Leaves the extractor in evaluation mode: its dropout or batch statistics would make the loss a moving one."""
        super().train(mode)
        self.extractor.eval()
        return self

    def forward(self, reconstruction: torch.Tensor, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) each -> scalar, 0 for equal pictures; its gradient reaches `reconstruction` only.

        Raises:
            InputError: the extractor returns no features, or NaN for the pictures, or lets no gradient through.
        """
        with torch.no_grad():
            wanted = self._features(pixel_values)
        if not all(torch.isfinite(layer).all() for layer in wanted):
            raise InputError("the feature extractor returns NaN or infinity")
        found = self._features(reconstruction)
        if reconstruction.requires_grad and not any(layer.requires_grad for layer in found):
            raise InputError("the feature extractor lets no gradient through to its pictures, so nothing would learn")
        distances = [_distance(*layers) for layers in zip(found, wanted, strict=True)]
        weights = self._layer_weights(len(distances))
        return torch.stack([weight * distance for weight, distance in zip(weights, distances, strict=True)]).sum()

    def check(self, num_channels: int, image_size: int) -> None:
        """Tries the extractor on pictures of the training's shape, so that a mistake shows before the first step.

        Raises:
            InputError: the extractor fails on them, or see `forward`.
        """
        ramp = torch.linspace(-1, 1, 2 * num_channels * image_size**2)
        pixel_values = ramp.view(2, num_channels, image_size, image_size)
        try:
            self(pixel_values.clone().requires_grad_(), pixel_values)
        except InputError:
            raise
        except Exception as error:  # somebody else's module: anything may come
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            shape = tuple(pixel_values.shape)
            raise InputError(f"the feature extractor fails on pictures of shape {shape}: {reason}") from error

    def fingerprint(self) -> str:
        """16 hexadecimal digits that stand for the extractor, its layers and their weights."""
        tensors = {name: value for name, value in self.extractor.state_dict().items() if torch.is_tensor(value)}
        is_script = isinstance(self.extractor, torch.jit.ScriptModule)
        network = str(self.extractor.inlined_graph) if is_script else repr(self.extractor)
        return fingerprint(tensors, {"network": network, "weights": self.weights})[:16]

    def _features(self, pixel_values: torch.Tensor) -> list[torch.Tensor]:
        output = self.extractor(pixel_values)
        layers = [output] if torch.is_tensor(output) else output
        layers = list(layers.values() if isinstance(layers, Mapping) else layers) if _is_collection(layers) else []
        if not layers or not all(_is_feature_map(layer, len(pixel_values)) for layer in layers):
            raise InputError(
                f"the feature extractor must return float tensors (B, F, ...), B = {len(pixel_values)}, "
                f"or a list, tuple or dict of them, got {_describe(output)}"
            )
        return layers

    def _layer_weights(self, num_layers: int) -> list[float]:
        if self.weights is not None and len(self.weights) != num_layers:
            raise InputError(f"the feature extractor has {num_layers} layers, but {len(self.weights)} weights came")
        return self.weights or [1.0] * num_layers


def _distance(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Two (B, F, ...) -> scalar: mean over pictures and positions of the squared distance of unit vectors."""
    return (_unit(found) - _unit(wanted)).square().sum(1).mean()


def _unit(features: torch.Tensor) -> torch.Tensor:
    features = features.float()
    return features * torch.rsqrt(features.square().sum(1, keepdim=True) + _SMALLEST_SQUARE)


def _is_collection(output: Any) -> bool:
    return isinstance(output, (Mapping, list, tuple))


def _is_feature_map(layer: Any, batch_size: int) -> bool:
    return torch.is_tensor(layer) and layer.is_floating_point() and layer.dim() >= 2 and len(layer) == batch_size


def _describe(output: Any) -> str:
    if torch.is_tensor(output):
        return f"{output.dtype} {tuple(output.shape)}"
    if not _is_collection(output):
        return type(output).__name__
    parts = output.values() if isinstance(output, Mapping) else output
    return f"{type(output).__name__} of {', '.join(_describe(part) for part in parts) or 'nothing'}"


class TransformersFeatures(nn.Module):
    """All hidden states (or a backbone's feature maps) of a transformers vision model, channels second.

    Args:
        model: takes `pixel_values`.
        mean: per channel, of values in [0, 1], as in the model's preprocessor_config.json.
        std: the same.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))
        # Position embeddings made for one size of picture; models that have them offer to stretch them.
        stretch = "interpolate_pos_encoding" in inspect.signature(model.forward).parameters
        self.options = {"interpolate_pos_encoding": True} if stretch else {}

    def forward(self, pixel_values: torch.Tensor) -> list[torch.Tensor]:
        """(B, C, H, W) in [-1, 1] -> one (B, D, T) per layer of tokens, or (B, D, h, w) per feature map."""
        scaled = ((pixel_values + 1) / 2 - self.mean) / self.std  # grey pictures fill all channels
        output = self.model(pixel_values=scaled, output_hidden_states=True, **self.options)
        layers = getattr(output, "feature_maps", None) or getattr(output, "hidden_states", None) or ()
        return [layer.mT if layer.dim() == 3 else layer for layer in layers]


def load_extractor(path: str) -> nn.Module:
    """A feature extractor for `PerceptualLoss`, on the CPU.

    Args:
        path: a TorchScript file, or the folder of a transformers vision model.

    Raises:
        InputError: neither of them, or damaged.
    """
    if Path(path).is_dir():
        return _load_transformers(Path(path))
    if not Path(path).is_file():
        raise InputError(f"perceptual must be a TorchScript file or the folder of a transformers model, got {path!r}")
    try:
        with warnings.catch_warnings():  # deprecated in favour of a format that fixes the size of the pictures
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(path, map_location="cpu")
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(f"{path} is not a TorchScript file: {first_line(error)}") from error


def _load_transformers(folder: Path) -> nn.Module:
    from transformers import AutoModel

    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} is not the folder of a transformers model: it lacks config.json")
    preprocessing = folder / "preprocessor_config.json"
    settings = read_json(preprocessing) if preprocessing.is_file() else {}
    try:
        model = AutoModel.from_pretrained(folder, local_files_only=True)
        mean, std = settings.get("image_mean") or [0.5], settings.get("image_std") or [0.5]
        return TransformersFeatures(model, mean, std)
    except Exception as error:
        raise InputError(f"the transformers model in {folder} cannot be loaded: {first_line(error)}") from error
