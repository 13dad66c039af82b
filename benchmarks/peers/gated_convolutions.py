"""The network of one prior over a grid of codes: gated causal convolutions with causal attention every few layers.

The gates and the class in them are those of the gated PixelCNN (van den Oord et al. 2016, arXiv:1606.05328, section
2), attention every few layers is PixelSNAIL's (Chen et al. 2018, arXiv:1712.09763). Codes come row by row, each row
from left to right; a *place* is one position of that order.

Everything but two kinds of layers works on each place by itself, so it runs on a whole grid (B, h, w, C) and on one
place (B, C) alike. The two kinds where places meet are called through a `Mix`: in training the layers themselves, in
sampling what remembers the places before, see `activation_cache.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

Mix = Callable[[torch.Tensor], torch.Tensor]
"""What a causal layer makes of its input, (B, h, w, C) or one place's (B, C)."""

_CODE_ROWS, _CODE_REACH = 2, 2
"""Of the first convolution, which sees codes: rows above and columns to either side."""
_ROWS, _REACH = 1, 1
"""Of all others."""


class CausalConvolution(nn.Module):
    """A convolution that sees rows above and, in its own row, what is to the left.

    Args:
        inner: channels it reads.
        outer: channels it makes.
        rows: rows above that it sees.
        reach: columns to the left and, in rows above, to the right.
        sees_itself: whether it sees the place itself, too; False for a layer that reads the codes to be predicted.
    """

    def __init__(self, inner: int, outer: int, rows: int, reach: int, sees_itself: bool):
        super().__init__()
        self.inner, self.rows, self.reach = inner, rows, reach
        self.offsets = [(row, column) for row in range(rows + 1) for column in range(2 * reach + 1)]
        # In this order the causal ones are the first: the weights of the others do not exist.
        self.offsets = self.offsets[: rows * (2 * reach + 1) + reach + sees_itself]
        fan_in = inner * len(self.offsets)
        self.weight = nn.Parameter(torch.randn(outer, fan_in) * fan_in**-0.5)  # offset by offset, a matrix
        self.bias = nn.Parameter(torch.zeros(outer))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, h, w, inner) -> (B, h, w, outer)."""
        kernel_shape = (self.rows + 1, 2 * self.reach + 1)
        missing = kernel_shape[0] * kernel_shape[1] - len(self.offsets)
        weight = self.weight.unflatten(1, (len(self.offsets), -1)).transpose(1, 2)
        kernel = F.pad(weight, (0, missing)).unflatten(2, kernel_shape)
        padded = F.pad(hidden, (0, 0, self.reach, self.reach, self.rows, 0))
        # Channels last all along: nothing is copied to turn the grid into what a convolution reads.
        return F.conv2d(padded.permute(0, 3, 1, 2), kernel, self.bias).permute(0, 2, 3, 1)


class CausalAttention(nn.Module):
    """Every place looks at itself and at all before it; without weights of its own.

    Args:
        num_heads: heads.
    """

    def __init__(self, num_heads: int):
        super().__init__()
        self.num_heads = num_heads

    def forward(self, joined: torch.Tensor) -> torch.Tensor:
        """(B, h, w, 3 C) queries, keys and values -> (B, h, w, C)."""
        query, key, value = self.heads(joined.flatten(1, 2))
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return seen.transpose(1, 2).reshape(*joined.shape[:3], -1)

    def heads(self, joined: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, T, 3 C) -> queries, keys and values, each (B, heads, T, C / heads)."""
        query, key, value = joined.unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return query, key, value


class GatedBlock(nn.Module):
    """A causal convolution, and a gate that also hears the class, added to the input.

    Args:
        width: C.
        num_classes: classes.
        dropout: share of the inner channels that are dropped in training.
    """

    def __init__(self, width: int, num_classes: int, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.convolution = CausalConvolution(width, width, _ROWS, _REACH, sees_itself=True)
        self.dropout = nn.Dropout(dropout)
        self.gate = nn.Linear(width, 2 * width)
        self.of_class = nn.Embedding(num_classes, 2 * width)
        nn.init.normal_(self.gate.weight, std=0.02)  # a block begins as nearly nothing
        nn.init.zeros_(self.of_class.weight)

    def forward(self, hidden: torch.Tensor, classes: torch.Tensor, mix: Mix) -> torch.Tensor:
        """(..., C) and classes (..., or 1s in place of h and w) -> (..., C); `mix` stands for `convolution`."""
        inner = self.dropout(F.gelu(mix(self.norm(hidden))))
        return hidden + F.glu(self.gate(inner) + self.of_class(classes), -1)


class AttentionBlock(nn.Module):
    """Attention to all places so far, added to the input."""

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.join = nn.Linear(width, 3 * width)
        self.attention = CausalAttention(num_heads)
        self.project = nn.Linear(width, width)
        nn.init.normal_(self.project.weight, std=0.02)

    def forward(self, hidden: torch.Tensor, mix: Mix) -> torch.Tensor:
        """(..., C) -> (..., C); `mix` stands for `attention`."""
        return hidden + self.project(mix(self.join(self.norm(hidden))))


@dataclass(frozen=True)
class NetworkShape:
    """Shapes of one network.

    Attributes:
        num_codes: K.
        grid: rows and columns of the codes.
        num_classes: classes.
        width: channels C.
        num_stages: each of some gated blocks and an attention.
        num_blocks: gated blocks of a stage.
        num_heads: of the attention; divides the width.
        dropout: in the gated blocks.
        has_context: whether the network hears of coarser codes.
    """

    num_codes: int
    grid: tuple[int, int]
    num_classes: int
    width: int
    num_stages: int
    num_blocks: int
    num_heads: int
    dropout: float
    has_context: bool


class Stage(nn.Module):
    """What coarser codes say, some gated blocks, and attention."""

    def __init__(self, shape: NetworkShape):
        super().__init__()
        width = shape.width
        self.read = nn.Linear(width, width) if shape.has_context else None
        blocks = (GatedBlock(width, shape.num_classes, shape.dropout) for _ in range(shape.num_blocks))
        self.blocks = nn.ModuleList(blocks)
        self.attention = AttentionBlock(width, shape.num_heads)

    def forward(
        self, hidden: torch.Tensor, classes: torch.Tensor, context: torch.Tensor | None, mixes: Iterator[Mix]
    ) -> torch.Tensor:
        """(..., C) -> (..., C); takes one of `mixes` for each of `mixing`."""
        if self.read is not None:
            hidden = hidden + self.read(context)
        for block in self.blocks:
            hidden = block(hidden, classes, next(mixes))
        return self.attention(hidden, next(mixes))

    def mixing(self) -> list[CausalConvolution | CausalAttention]:
        """The layers where places meet, in the order of their use."""
        return [*(cast(GatedBlock, block).convolution for block in self.blocks), self.attention.attention]


class GatedNetwork(nn.Module):
    """p(codes | class, coarser codes), a code at a time."""

    def __init__(self, shape: NetworkShape):
        super().__init__()
        self.shape = shape
        width = shape.width
        self.embedding = nn.Embedding(shape.num_codes, width)
        self.first = CausalConvolution(width, width, _CODE_ROWS, _CODE_REACH, sees_itself=False)
        self.places = nn.Parameter(0.02 * torch.randn(*shape.grid, width))
        self.stages = nn.ModuleList(Stage(shape) for _ in range(shape.num_stages))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, shape.num_codes)
        nn.init.normal_(self.head.weight, std=0.02)

    def forward(self, codes: torch.Tensor, classes: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        """Logits of each code by those before it.

        Args:
            codes: (B, h, w).
            classes: (B,).
            context: (B, h, w, C), what coarser codes say.

        Returns:
            (B, h, w, K).
        """
        embedded = self.embedding(codes)
        # No convolution sees the end of a row from the beginning of the next one; with the code just before it every
        # place holds something new, and attention to them all misses none.
        previous = F.pad(embedded.flatten(1, 2)[:, :-1], (0, 0, 1, 0)).view_as(embedded)
        hidden = self.first(embedded) + previous + self.places
        mixes = iter([layer for stage in self.stages for layer in cast(Stage, stage).mixing()])
        return self.logits(hidden, classes[:, None, None], context, mixes)

    def logits(
        self, hidden: torch.Tensor, classes: torch.Tensor, context: torch.Tensor | None, mixes: Iterator[Mix]
    ) -> torch.Tensor:
        """What is known of codes before, and the place, (..., C) -> logits (..., K)."""
        for stage in self.stages:
            hidden = stage(hidden, classes, context, mixes)
        return self.head(self.norm(hidden))
