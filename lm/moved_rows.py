"""Training some rows of a prior's embeddings and output layer, and nothing else, by construction.

The rows that move are parameters of their own, scattered into the frozen tables on the way. No optimizer, whatever its
decay or momentum, ever holds another row.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from transformers import PreTrainedModel

from ..hub.errors import InputError

INPUT_ROWS, OUTPUT_ROWS = "embed_tokens", "lm_head"
"""What rows are called, whatever the prior calls its layers; those of tied embeddings count as input."""


class MovedRows(nn.Module):
    """A causal LM of which only the rows of some ids can learn: their embeddings, output rows and output biases.

    Args:
        prior: it becomes a part of this module, and is frozen. Tied embeddings have one row for an id.
        ids: whose rows move, each once.

    Raises:
        InputError: no ids, one twice, or one that the prior lacks.

    Attributes:
        rows: the parameters: (number of ids, width), or (number of ids,) of a bias, by what they do.
    """

    def __init__(self, prior: PreTrainedModel, ids: Sequence[int]):
        super().__init__()
        vocab_size = prior.config.vocab_size
        if not ids or len(set(ids)) < len(ids) or not 0 <= min(ids) <= max(ids) < vocab_size:
            raise InputError(f"rows that move must be at least one of {vocab_size} ids, each once, got {len(ids)}")
        self.prior = prior.requires_grad_(False)
        self.ids: torch.Tensor
        self.register_buffer("ids", torch.tensor(ids), persistent=False)
        self._names = _tables(prior)
        tables = dict(prior.named_parameters())
        rows = {key: nn.Parameter(tables[name].detach()[self.ids].clone()) for key, name in self._names.items()}
        self.rows = nn.ParameterDict(rows)

    def forward(self, **inputs: Any) -> Any:
        """What the prior gives, see its `forward`."""
        # The tables of tied embeddings are one, and `functional_call` keeps them so.
        return functional_call(self.prior, self.tables(), (), inputs)

    def tables(self) -> dict[str, torch.Tensor]:
        """The whole tables with the moved rows in place, by the names of the prior's parameters."""
        frozen = dict(self.prior.named_parameters())
        return {name: frozen[name].index_copy(0, self.ids, self.rows[key]) for key, name in self._names.items()}

    def merged(self) -> PreTrainedModel:
        """The stock model with the moved rows, in evaluation mode; this one stays as it is."""
        prior, tables = copy.deepcopy(self.prior).requires_grad_(True), self.tables()
        with torch.no_grad():
            for name, parameter in prior.named_parameters():
                if name in tables:
                    parameter.copy_(tables[name])
        return prior.eval()


def table_names(prior: PreTrainedModel) -> set[str]:
    """Names of the parameters that have one row for each id; of tied embeddings the first name."""
    return set(_tables(prior).values())


def _tables(prior: PreTrainedModel) -> dict[str, str]:
    """Names of these parameters by what they do, which tells `build_optimizers` which of them decay."""
    layers: dict[str, Any] = {OUTPUT_ROWS: prior.get_output_embeddings(), INPUT_ROWS: prior.get_input_embeddings()}
    wanted = {id(parameter): role for role, layer in layers.items() for parameter in layer.parameters()}
    found: dict[str, str] = {}
    for name, parameter in prior.named_parameters():
        if role := wanted.get(id(parameter)):
            kind = name.rsplit(".", 1)[-1]
            found[role if kind == "weight" else f"{role}_{kind}"] = name
    return found
