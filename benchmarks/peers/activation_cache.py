"""Drawing codes with an activation cache: each new code computes one place of every layer.

A causal layer reads what it was given at earlier places, which never changes. So it is kept: of a convolution the
inputs, of attention the keys and values (Ramachandran et al. 2017, arXiv:1704.06001, do it for PixelCNN++). A code then
costs its share of one pass of the network, however many came before; only attention looks at all of them.
"""

from __future__ import annotations

from typing import cast

import torch
from gated_convolutions import CausalAttention, CausalConvolution, GatedNetwork, Mix, Stage
from torch.nn import functional as F
from two_level_prior import TwoLevelPrior

from pictogram.lm.drawing import SamplingConfig, draw

Place = tuple[int, int]
"""Row and column."""


class ConvolutionCache:
    """Inputs of a causal convolution at all places so far.

    Args:
        layer: the convolution.
        batch_size: pictures.
        grid: rows and columns.
    """

    def __init__(self, layer: CausalConvolution, batch_size: int, grid: Place):
        self.layer = layer
        rows, columns = grid[0] + layer.rows, grid[1] + 2 * layer.reach  # the margins stay zero
        self.inputs = torch.zeros(rows, columns, batch_size, layer.inner)

    def write(self, place: Place, hidden: torch.Tensor) -> None:
        """Keeps the input (B, inner) at a place."""
        self.inputs[place[0] + self.layer.rows, place[1] + self.layer.reach] = hidden

    def read(self, place: Place) -> torch.Tensor:
        """The output (B, outer) at a place."""
        row, column = place
        seen = [self.inputs[row + down, column + right] for down, right in self.layer.offsets]
        return F.linear(torch.cat(seen, 1), self.layer.weight, self.layer.bias)

    def mix(self, place: Place, hidden: torch.Tensor) -> torch.Tensor:
        """Input (B, inner) at a place -> output (B, outer) there."""
        self.write(place, hidden)
        return self.read(place)


class AttentionCache:
    """Keys and values of all places so far; arguments as for `ConvolutionCache`."""

    def __init__(self, layer: CausalAttention, batch_size: int, grid: Place, width: int):
        self.layer, self.columns = layer, grid[1]
        shape = (2, batch_size, layer.num_heads, grid[0] * grid[1], width // layer.num_heads)
        self.keys, self.values = torch.zeros(shape)

    def mix(self, place: Place, joined: torch.Tensor) -> torch.Tensor:
        """Query, key and value (B, 3 C) at a place -> output (B, C) there."""
        number = place[0] * self.columns + place[1]
        query, key, value = self.layer.heads(joined[:, None])
        self.keys[:, :, number], self.values[:, :, number] = key[:, :, 0], value[:, :, 0]
        so_far = slice(number + 1)
        seen = F.scaled_dot_product_attention(query, self.keys[:, :, so_far], self.values[:, :, so_far])
        return seen.flatten(1)


class CachedNetwork:
    """A network that is asked for one place after the other.

    Args:
        network: in evaluation mode.
        classes: (B,).
        context: (B, h, w, C) what coarser codes say, if the network hears of them.
    """

    def __init__(self, network: GatedNetwork, classes: torch.Tensor, context: torch.Tensor | None = None):
        self.network, self.classes, self.context = network, classes, context
        size, grid, width = len(classes), network.shape.grid, network.shape.width
        self.codes, self.previous = ConvolutionCache(network.first, size, grid), torch.zeros(size, width)
        self.caches = [
            ConvolutionCache(layer, size, grid)
            if isinstance(layer, CausalConvolution)
            else AttentionCache(layer, size, grid, width)
            for stage in network.stages
            for layer in cast(Stage, stage).mixing()
        ]

    def logits(self, place: Place) -> torch.Tensor:
        """(B, K) of the code at a place; once for each place, in order."""
        context = None if self.context is None else self.context[:, place[0], place[1]]
        hidden = self.codes.read(place) + self.previous + self.network.places[place]
        return self.network.logits(hidden, self.classes, context, iter([_at(cache, place) for cache in self.caches]))

    def append(self, place: Place, codes: torch.Tensor) -> None:
        """Tells which codes (B,) the pictures have at a place."""
        self.previous = self.network.embedding(codes)
        self.codes.write(place, self.previous)


def _at(cache: ConvolutionCache | AttentionCache, place: Place) -> Mix:
    return lambda hidden: cache.mix(place, hidden)


@torch.no_grad()
def draw_level(
    network: GatedNetwork,
    classes: torch.Tensor,
    uniform: torch.Tensor,
    sampling: SamplingConfig,
    context: torch.Tensor | None = None,
) -> torch.Tensor:
    """Codes of one level.

    Args:
        network: in evaluation mode.
        classes: (B,).
        uniform: (B, h * w) in [0, 1), a number for each code.
        sampling: temperature and truncation.
        context: (B, h, w, C) for the bottom level.

    Returns:
        (B, h, w) int64.
    """
    cached = CachedNetwork(network, classes, context)
    rows, columns = network.shape.grid
    codes = torch.empty(len(classes), rows, columns, dtype=torch.int64)
    for number in range(rows * columns):
        place = divmod(number, columns)
        found = draw(cached.logits(place), uniform[:, number], sampling)
        cached.append(place, found)
        codes[:, place[0], place[1]] = found
    return codes


@torch.no_grad()
def draw_codes(
    prior: TwoLevelPrior, classes: torch.Tensor, uniform: torch.Tensor, sampling: SamplingConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """Top and bottom codes of pictures.

    Args:
        prior: in evaluation mode.
        classes: (B,).
        uniform: (B, codes of both levels) in [0, 1); those of the top level first.
        sampling: temperature and truncation.
    """
    rows, columns = prior.config.grids[0]
    parts = uniform[:, : rows * columns], uniform[:, rows * columns :]
    top = draw_level(prior.top, classes, parts[0], sampling)
    return top, draw_level(prior.bottom, classes, parts[1], sampling, prior.context(top))
