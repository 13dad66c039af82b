"""The optimizers of a tokenizer's training."""

from __future__ import annotations

import torch
from torch import nn

from .layers import Pointwise
from .muon import Muon

OPTIMIZERS = ("muon", "adamw")
"""Names of the optimizers, the better one first."""


def build_optimizers(
    model: nn.Module, name: str, *, learning_rate: float, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Optimizers that together cover every trainable parameter of `model` once.

    Args:
        model: an `ImageTokenizer`; parameters that need no gradient are left out.
        name: "adamw", or "muon": orthogonalised momentum (Jordan et al. 2024) for the matrices of the pointwise layers,
            which hold nearly all parameters, scaled so that its updates are as large as AdamW's (Liu et al. 2025,
            arXiv:2502.16982, eq. 4); AdamW for the rest.
        learning_rate: peak rate of all of them.
        weight_decay: decoupled, of all of them.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices: list[torch.Tensor] = []
    if name == "muon":
        pointwise = [module.weight for module in model.modules() if isinstance(module, Pointwise)]
        matrices = [weight for weight in pointwise if weight.requires_grad]
    known = {id(parameter) for parameter in matrices}
    rest = [parameter for parameter in trainable if id(parameter) not in known]
    optimizers: list[torch.optim.Optimizer] = []
    if matrices:
        optimizers.append(Muon(matrices, lr=learning_rate, weight_decay=weight_decay))
    if rest:
        optimizers.append(torch.optim.AdamW(rest, lr=learning_rate, betas=(0.9, 0.95), weight_decay=weight_decay))
    return optimizers
