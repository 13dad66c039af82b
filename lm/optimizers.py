"""The optimizers of a prior's training."""

from __future__ import annotations

import torch
from torch import nn

from ..tokenizer.muon import Muon
from .moved_rows import INPUT_ROWS

OPTIMIZERS = ("muon", "adamw")
"""Names of the optimizers, the better one first."""


def build_optimizers(
    model: nn.Module, name: str, *, learning_rate: float, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Optimizers that together cover every trainable parameter of a causal LM once.

    Args:
        model: a causal LM; parameters that need no gradient are left out.
        name: "adamw", or "muon": orthogonalised momentum (Jordan et al. 2024) for the matrices between embeddings and
            output layer, scaled so that its updates are as large as AdamW's (Liu et al. 2025, arXiv:2502.16982, eq. 4);
            AdamW for the rest.
        learning_rate: peak rate of all of them.
        weight_decay: decoupled, of matrices. Gains and biases never decay, nor do embeddings: those of rare tokens
            would shrink towards zero between their visits.
    """
    trainable = {key: value for key, value in model.named_parameters() if value.requires_grad}
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None  # pyright: ignore
    head_ids = {id(parameter) for parameter in head.parameters()} if isinstance(head, nn.Module) else set[int]()
    embeddings = _embeddings(model)
    decayed = {key: value for key, value in trainable.items() if value.dim() == 2 and id(value) not in embeddings}
    hidden = [key for key, value in decayed.items() if name == "muon" and id(value) not in head_ids]
    optimizers: list[torch.optim.Optimizer] = []
    if hidden:
        muon = [trainable[key] for key in hidden]
        optimizers.append(Muon(muon, lr=learning_rate, weight_decay=weight_decay))
    groups = [
        {"params": [v for k, v in decayed.items() if k not in hidden], "weight_decay": weight_decay},
        {"params": [v for k, v in trainable.items() if k not in decayed], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if groups:
        optimizers.append(torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.95), fused=True))
    return optimizers


def _embeddings(model: nn.Module) -> set[int]:
    """Ids of the parameters of embeddings, and of rows of them that learn alone."""
    tables = [module.weight for module in model.modules() if isinstance(module, nn.Embedding)]
    rows = [value for key, value in model.named_parameters() if key.endswith(f"rows.{INPUT_ROWS}")]
    return {id(parameter) for parameter in (*tables, *rows)}
