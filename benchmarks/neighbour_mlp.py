"""A multilayer perceptron that predicts each code of a level from the codes around it that come before it.

What it sees: up to 8 nearest known codes of its level; in every coarser level the ancestor and its 8 neighbours, and in
every finer level the codes that touch the block below it, as far as they are known; the position; and the caption if it
is told. Each is embedded; codes of one level share their embedding, wherever they stand.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import torch
from code_contexts import LevelContexts, bits_per_image
from torch import nn
from torch.nn import functional as F

NEIGHBOURS = 8
HIDDEN_LAYERS = 2
EMBEDDING_DIM = 32

WIDTHS = (256, 512)
DROPOUTS = (0.0, 0.1)

FLOPS = 5e10
"""Floating-point operations in a second of the budget: about one core of 2022. Counted, not timed, so that the same
seed gives the same model on a slow day."""

TRIAL_SHARE = 0.25
"""Of the budget, to choose width and dropout in; the rest is for the chosen ones, from the start."""

BATCH_SIZE = 1024
MAX_EPOCHS = 30
CHECKS = 8
"""How often in a training the validation images are asked whether it is time to stop."""
CHECK_ROWS = 1000

LEARNING_RATE = 6e-3
EMBEDDING_RATE = 4.0
"""Times the learning rate: each embedding is seen by few of a batch's codes."""
EMBEDDING_SCALE = 0.2
WARM_UP = 100
"""Steps in which the learning rate rises; from its height it falls as a cosine to 0 at the end of the budget."""
WEIGHT_DECAY = 0.01
BETAS = (0.9, 0.99)


class NeighbourMLP(nn.Module):
    """The network of one level.

    Args:
        contexts: of the level.
        width: of the hidden layers.
        dropout: after each of them.
    """

    def __init__(self, contexts: LevelContexts, width: int, dropout: float):
        super().__init__()
        self.contexts, self.width, self.dropout = contexts, width, dropout
        self.slots = [contexts.position(), *contexts.neighbours(NEIGHBOURS)]
        for level in range(contexts.level):
            self.slots += contexts.around_ancestor(level)
        for level in range(contexts.level + 1, contexts.num_levels):
            self.slots += contexts.around_descendants(level)
        if contexts.num_captions:
            self.slots.append(contexts.caption())
        self.embeddings = nn.ModuleDict({slot.alphabet: nn.Embedding(slot.size, EMBEDDING_DIM) for slot in self.slots})
        for embedding in self.embeddings.parameters():
            nn.init.normal_(embedding, std=EMBEDDING_SCALE)
        sizes = [EMBEDDING_DIM * len(self.slots)] + [width] * HIDDEN_LAYERS
        hidden = [
            layer
            for inputs, outputs in pairwise(sizes)
            for layer in (nn.Linear(inputs, outputs), nn.GELU(), nn.Dropout(dropout))
        ]
        self.layers = nn.Sequential(*hidden, nn.Linear(width, contexts.num_codes))

    @property
    def num_parameters(self) -> int:
        """Weights, embeddings and biases."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def flops_per_code(self) -> int:
        """Floating-point operations of the matrix products for one code in training, forward and backward."""
        return 6 * sum(layer.weight.numel() for layer in self.layers if isinstance(layer, nn.Linear))

    def read(self, documents: np.ndarray, rows: np.ndarray, positions: np.ndarray) -> torch.Tensor:
        """(n, slots) int64 values that some codes see."""
        values = [documents[rows, slot.columns[positions]] + slot.shifts[positions] for slot in self.slots]
        return torch.from_numpy(np.stack(values, 1)).long()

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Values (n, slots) to logits (n, K)."""
        embedded = [self.embeddings[slot.alphabet](values[:, i]) for i, slot in enumerate(self.slots)]
        return self.layers(torch.cat(embedded, 1))

    @torch.inference_mode()
    def log_probabilities(self, documents: np.ndarray) -> torch.Tensor:
        """(B, P, K) in nats."""
        values = torch.from_numpy(np.stack([slot.read(documents) for slot in self.slots], 2)).long()
        return self(values.flatten(0, 1)).log_softmax(1).unflatten(0, values.shape[:2])


@dataclass(frozen=True, eq=False)
class Fit:
    """A trained network.

    Attributes:
        model: in evaluation mode, with the weights that were best on the validation images.
        epochs: after which it had these weights.
        validation_bits: of the level's codes, per image, over the first `CHECK_ROWS` validation images.
    """

    model: NeighbourMLP
    epochs: float
    validation_bits: float


def fit_mlp(contexts: LevelContexts, train: np.ndarray, validation: np.ndarray, *, minutes: float, seed: int) -> Fit:
    """Chooses width and dropout in short trainings, and trains with these for the rest of the budget.

    Args:
        contexts: of the level.
        train: documents to learn from, see `code_contexts.document_table`.
        validation: other documents, to choose width, dropout and the number of epochs on.
        minutes: the budget, at `FLOPS` operations a second.
        seed: of weights, dropout and the order of codes.
    """
    kinds = list(product(WIDTHS, DROPOUTS))
    share = TRIAL_SHARE * minutes / len(kinds)
    trials = {kind: _fit(_network(contexts, *kind, seed), train, validation, share, seed) for kind in kinds}
    chosen = min(kinds, key=lambda kind: trials[kind].validation_bits)
    return _fit(_network(contexts, *chosen, seed), train, validation, (1 - TRIAL_SHARE) * minutes, seed)


def _network(contexts: LevelContexts, width: int, dropout: float, seed: int) -> NeighbourMLP:
    torch.manual_seed(seed)  # of the weights, and of the dropout after them
    return NeighbourMLP(contexts, width, dropout)


def _fit(model: NeighbourMLP, train: np.ndarray, validation: np.ndarray, minutes: float, seed: int) -> Fit:
    num_codes = len(train) * model.contexts.num_positions
    affordable = int(60 * minutes * FLOPS / (model.flops_per_code * BATCH_SIZE))
    steps = max(1, min(affordable, MAX_EPOCHS * num_codes // BATCH_SIZE))
    optimizer, schedule = _optimizer(model, steps)
    best, weights = Fit(model, 0, math.inf), model.state_dict()
    for step, codes in zip(range(1, steps + 1), _batches(num_codes, seed), strict=False):
        rows, positions = np.divmod(codes, model.contexts.num_positions)
        targets = torch.from_numpy(train[rows, model.contexts.columns[positions]] - 1).long()
        loss = F.cross_entropy(model(model.read(train, rows, positions)), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % -(-steps // CHECKS) == 0 or step == steps:
            bits = float(bits_per_image(model.eval(), model.contexts, validation[:CHECK_ROWS]).mean())
            if bits < best.validation_bits:
                best, weights = Fit(model, step * BATCH_SIZE / num_codes, bits), deepcopy(model.state_dict())
            model.train()
    model.load_state_dict(weights)
    model.eval()
    return best


def _optimizer(model: NeighbourMLP, steps: int) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    embeddings = {"params": list(model.embeddings.parameters()), "lr": EMBEDDING_RATE * LEARNING_RATE}
    groups = [embeddings, {"params": list(model.layers.parameters())}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS, weight_decay=WEIGHT_DECAY, fused=True)

    def rate(step: int) -> float:
        return min(1, (step + 1) / WARM_UP) * (1 + math.cos(math.pi * step / steps)) / 2

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, rate)


def _batches(num_codes: int, seed: int) -> Iterator[np.ndarray]:
    """Numbers of codes, all of them in each epoch but for what is left over."""
    generator = np.random.default_rng(seed)
    size = min(BATCH_SIZE, num_codes)
    while True:
        order = generator.permutation(num_codes)
        yield from (order[first : first + size] for first in range(0, num_codes - size + 1, size))
