"""Low-rank adapters of a decoder's matrices (Hu et al. 2021, arXiv:2106.09685): the usual way to adapt few numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.func import functional_call

from ..hub.errors import InputError


class LowRankAdapters(nn.Module):
    """Adds a product of two thin matrices to every matrix of a frozen network.

    Args:
        network: for example a tokenizer's decoder; it is not changed before `merge`.
        rank: inner size of the products, at most that of the matrix.
        seed: of the first factors; the second ones are zero, so at first nothing changes.
    """

    def __init__(self, network: nn.Module, rank: int, *, seed: int):
        super().__init__()
        # A frozen network is a part of the model, not of the adapters: no optimizer must find its parameters here.
        self._network = [network]
        self.names = [f"{name}.weight" for name, _ in _matrices(network)]
        generator = torch.Generator().manual_seed(seed)
        self.down, self.up = nn.ParameterList(), nn.ParameterList()
        for _, module in _matrices(network):
            rows, columns = module.weight.shape
            inner = min(rank, rows, columns)
            down = torch.randn(inner, columns, generator=generator) / columns**0.5
            self.down.append(nn.Parameter(down.to(module.weight)))
            self.up.append(nn.Parameter(module.weight.new_zeros(rows, inner)))

    @property
    def num_parameters(self) -> int:
        """Numbers that are trained."""
        return sum(parameter.numel() for parameter in self.parameters())

    def decode(self, vectors: Sequence[torch.Tensor], num_levels: int) -> torch.Tensor:
        """What the adapted network makes of its arguments, with a gradient to the adapters."""
        return functional_call(self._network[0], self._weights(), (vectors, num_levels))

    @torch.no_grad()
    def merge(self) -> None:
        """Writes the adapted matrices into the network, which from then on gives the same pictures by itself."""
        for name, weight in self._weights().items():
            self._network[0].get_parameter(name).copy_(weight)

    def _weights(self) -> dict[str, torch.Tensor]:
        network = self._network[0]
        factors = zip(self.names, self.up, self.down, strict=True)
        return {name: network.get_parameter(name).detach() + up @ down for name, up, down in factors}


def rank_within(network: nn.Module, budget: int) -> int:
    """The greatest rank whose adapters train at most `budget` numbers.

    Raises:
        InputError: rank 1 takes more.
    """
    shapes = _shapes(network)
    rank = 0
    while rank < max(map(min, shapes)) and _numbers(shapes, rank + 1) <= budget:
        rank += 1
    if not rank:
        raise InputError(
            f"lora_budget must be at least {least_budget(network)}, what adapters of rank 1 take, got {budget}"
        )
    return rank


def least_budget(network: nn.Module) -> int:
    """Numbers that adapters of rank 1 train."""
    return _numbers(_shapes(network), 1)


def _shapes(network: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(module.weight.shape) for _, module in _matrices(network)]


def _numbers(shapes: Sequence[tuple[int, ...]], rank: int) -> int:
    return sum(min(rank, *shape) * sum(shape) for shape in shapes)


def _matrices(network: nn.Module) -> list[tuple[str, nn.Linear]]:
    return [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
