"""The priors of VQ-VAE-2 (Razavi et al. 2019, arXiv:1906.00446, section 3.2): p(top | class) p(bottom | top, class)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from gated_convolutions import GatedNetwork, NetworkShape
from safetensors.torch import load_file, save
from torch import nn
from torch.nn import functional as F

from pictogram.hub.errors import InputError
from pictogram.hub.files import atomic_write_bytes, read_json_object, write_json

Grid = tuple[int, int]

WEIGHTS_NAME, CONFIG_NAME = "prior.safetensors", "config.json"


@dataclass(frozen=True)
class PriorConfig:
    """Shapes of both networks.

    Attributes:
        codebook_sizes: codes of the top and the bottom level.
        grids: rows and columns of both.
        classes: names.
        width: channels of both networks.
        num_stages: of the top and the bottom network, see `NetworkShape`.
        num_blocks: gated blocks of a stage.
        num_heads: of every attention; divides the width.
        num_context_blocks: residual blocks that read the top codes for the bottom network.
        dropout: in the gated blocks.

    Raises:
        InputError: sizes that do not fit together.
    """

    codebook_sizes: tuple[int, int]
    grids: tuple[Grid, Grid]
    classes: tuple[str, ...]
    width: int = 128
    num_stages: tuple[int, int] = (2, 3)
    num_blocks: int = 3
    num_heads: int = 4
    num_context_blocks: int = 3
    dropout: float = 0.05

    def __post_init__(self) -> None:
        (rows, columns), fine = self.grids
        if fine != (self.factor * rows, self.factor * columns):
            raise InputError(f"the bottom grid must be a multiple of the top grid, got {self.grids}")
        if self.width < 1 or self.width % self.num_heads:
            raise InputError(f"width must be a multiple of {self.num_heads}, the heads, got {self.width}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout must be at least 0 and below 1, got {self.dropout}")

    @property
    def factor(self) -> int:
        """Bottom codes along each side of a top code."""
        return self.grids[1][0] // self.grids[0][0]

    def shape(self, level: int) -> NetworkShape:
        """Of the network of the top level, 0, or of the bottom level, 1."""
        return NetworkShape(
            num_codes=self.codebook_sizes[level],
            grid=self.grids[level],
            num_classes=len(self.classes),
            width=self.width,
            num_stages=self.num_stages[level],
            num_blocks=self.num_blocks,
            num_heads=self.num_heads,
            dropout=self.dropout,
            has_context=level == 1,
        )

    @classmethod
    def of(cls, settings: dict[str, Any]) -> PriorConfig:
        """The way back from JSON, which knows no tuples."""
        top, bottom = (tuple(grid) for grid in settings["grids"])
        tuples = {name: tuple(settings[name]) for name in ("codebook_sizes", "classes", "num_stages")}
        return cls(**{**settings, **tuples, "grids": (top, bottom)})


class ContextBlock(nn.Module):
    """A 3x3 and a 1x1 convolution that see all places around, added to the input."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Conv2d(width, width, 3, padding=1)
        self.project = nn.Linear(width, width)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, h, w, C) -> the same."""
        inner = self.convolution(self.norm(hidden).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return hidden + self.project(F.gelu(inner))


class TopContext(nn.Module):
    """What all top codes say to each place of the bottom grid."""

    def __init__(self, config: PriorConfig):
        super().__init__()
        self.factor = config.factor
        self.embedding = nn.Embedding(config.codebook_sizes[0], config.width)
        self.places = nn.Parameter(0.02 * torch.randn(*config.grids[0], config.width))
        self.blocks = nn.Sequential(*(ContextBlock(config.width) for _ in range(config.num_context_blocks)))
        self.norm = nn.LayerNorm(config.width)
        self.grow = nn.Linear(config.width, config.factor**2 * config.width)

    def forward(self, top: torch.Tensor) -> torch.Tensor:
        """Top codes (B, h, w) -> (B, factor h, factor w, C)."""
        grown = self.grow(self.norm(self.blocks(self.embedding(top) + self.places)))
        return F.pixel_shuffle(grown.permute(0, 3, 1, 2), self.factor).permute(0, 2, 3, 1).contiguous()


class TwoLevelPrior(nn.Module):
    """Both networks, which share no weights."""

    def __init__(self, config: PriorConfig):
        super().__init__()
        self.config = config
        self.top = GatedNetwork(config.shape(0))
        self.bottom = GatedNetwork(config.shape(1))
        self.context = TopContext(config)

    def forward(self, top: torch.Tensor, bottom: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Codes (B, h, w) of both levels and classes (B,) -> (B, 2) bits of each picture's levels."""
        nats = _nats(self.top(top, classes), top), _nats(self.bottom(bottom, classes, self.context(top)), bottom)
        return torch.stack(nats, 1) / math.log(2)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The parameters of either level; a loss of one has no gradient to the other."""
        bottom = [*self.bottom.parameters(), *self.context.parameters()]
        return {"top": list(self.top.parameters()), "bottom": bottom}


def _nats(logits: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """(B, h, w, K) and (B, h, w) -> (B,) nats, summed over the grid."""
    nats = F.cross_entropy(logits.flatten(0, 2), codes.flatten(), reduction="none")
    return nats.view(len(codes), -1).sum(1)


def save_prior(folder: Path, prior: TwoLevelPrior) -> None:
    """Writes config.json, then prior.safetensors."""
    write_json(folder / CONFIG_NAME, asdict(prior.config))
    tensors = {name: tensor.contiguous() for name, tensor in prior.state_dict().items()}
    atomic_write_bytes(folder / WEIGHTS_NAME, save(tensors, metadata={"peer": "pixelsnail"}))


def load_prior(folder: Path) -> TwoLevelPrior:
    """Reads what `save_prior` wrote, in evaluation mode."""
    prior = TwoLevelPrior(PriorConfig.of(read_json_object(folder / CONFIG_NAME)))
    prior.load_state_dict(load_file(folder / WEIGHTS_NAME))
    return prior.eval()
