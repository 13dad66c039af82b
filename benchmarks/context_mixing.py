"""Many count tables as one predictor: a product of their distributions, each to a learned power.

    log p(x) = sum over contexts i of w_i log p_i(x), less the logarithm that makes it a distribution.

For bits this is the mixer of PAQ (Mahoney 2005, "Adaptive weighing of context models for lossless data compression").
The power w_i is the sum of two numbers, one for how often the context's value came and one for the code's position;
both are learned on images that were not counted.
"""

from __future__ import annotations

import numpy as np
import torch
from code_contexts import LevelContexts, Slot, known_somewhere
from count_tables import Context, CountTables
from torch.nn import functional as F

OFFSETS = {
    "left": (0, -1),
    "up": (-1, 0),
    "up-left": (-1, -1),
    "up-right": (-1, 1),
    "left-2": (0, -2),
    "up-2": (-2, 0),
    "down-left": (1, -1),  # in pyramid order, at the left edge of a block
}

AROUND = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}

WANTED: tuple[Context, ...] = tuple(
    tuple(names.split())
    for names in (
        "position",
        "position caption",
        # Each code around, where it stands.
        "position left",
        "position up",
        "position up-left",
        "position up-right",
        "position left-2",
        "position up-2",
        "position down-left",
        "position parent",
        "position parent-left",
        "position parent-right",
        "position parent-up",
        "position parent-down",
        "position facing-beside",
        "position facing-above",
        "position facing-diagonal",
        "position coarsest",
        "position child-left",
        "position child-lower-left",
        "position child-up",
        "position child-upper-right",
        # Two of them.
        "position coarsest parent",
        "position coarsest left",
        "position coarsest up",
        "position parent left",
        "position parent up",
        "position left up",
        # Wherever they stand.
        "parent left up",
        "left up up-left",
        "left up up-right",
        "coarsest parent left",
        "coarsest parent up",
        "place parent left",
        "place parent up",
        "place parent facing-beside",
        "place parent facing-above",
        # With the caption.
        "position caption coarsest",
        "position caption parent",
        "position caption left",
        "position caption up",
    )
)

LEARNING_RATE = 0.02
STEPS = 400
CODES_PER_STEP = 2048

_MOST_SEEN = 12
"""Powers of two of how often a value came that have weights of their own."""


def named_slots(contexts: LevelContexts) -> dict[str, Slot]:
    """Slots that are known at some positions at least, by the names in `WANTED`."""
    level, slots = contexts.level, {"position": contexts.position()}
    found = {name: contexts.code(level, *offset) for name, offset in OFFSETS.items()}
    if level:
        slots["place"] = contexts.place()
        found["parent"] = contexts.code(level - 1)
        found |= {f"parent-{name}": contexts.code(level - 1, *offset) for name, offset in AROUND.items()}
        sides = {"beside": (False, True), "above": (True, False), "diagonal": (True, True)}
        found |= {f"facing-{name}": contexts.facing(level - 1, *side) for name, side in sides.items()}
    if level > 1:
        found["coarsest"] = contexts.code(0)
    if level + 1 < contexts.num_levels:
        down, across = contexts.descendants(level + 1)
        sides = {"left": (0, -1), "lower-left": (down - 1, -1), "up": (-1, 0), "upper-right": (-1, across - 1)}
        found |= {f"child-{name}": contexts.code(level + 1, *side) for name, side in sides.items()}
    if contexts.num_captions:
        found["caption"] = contexts.caption()
    return slots | {name: slot for name, slot in found.items() if known_somewhere([slot])}


class ContextMixing:
    """The mixture of the count tables of one level.

    Args:
        contexts: of the level.
        train: documents to count.
        validation: other documents, to learn the weights on.
        seed: of the order in which these are seen.
        steps: to learn in.
    """

    def __init__(
        self,
        contexts: LevelContexts,
        train: np.ndarray,
        validation: np.ndarray,
        *,
        seed: int,
        steps: int = STEPS,
    ):
        self.contexts = contexts
        slots = named_slots(contexts)
        wanted = [context for context in WANTED if set(context) <= set(slots)]
        self.tables = CountTables(contexts, slots, wanted, train, validation)
        count = len(self.tables.tables)
        self.by_total = torch.full((count, _MOST_SEEN), 1 / count)
        self.by_position = torch.zeros(contexts.num_positions, count)
        self._learn(validation, seed, steps)

    @property
    def num_parameters(self) -> int:
        """Entries of all tables, and weights."""
        return self.tables.num_entries + self.by_total.numel() + self.by_position.numel()

    def log_probabilities(self, documents: np.ndarray) -> torch.Tensor:
        """(B, P, K) in nats."""
        said, totals = self.tables.distributions(documents)
        mixed = torch.einsum("nik,ni->nk", said.log_(), self._weights(totals))
        return mixed.log_softmax(1).view(len(documents), -1, self.contexts.num_codes)

    def _weights(self, totals: torch.Tensor) -> torch.Tensor:
        """(B * P, contexts) powers."""
        seen = (1 + totals).log2().long().clamp(max=_MOST_SEEN - 1)
        positions = self.by_position.repeat(len(totals) // len(self.by_position), 1)
        return self.by_total[torch.arange(len(self.by_total)), seen] + positions

    def _learn(self, documents: np.ndarray, seed: int, steps: int) -> None:
        weights = [self.by_total.requires_grad_(), self.by_position.requires_grad_()]
        optimizer = torch.optim.Adam(weights, lr=LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
        generator = np.random.default_rng(seed)
        for _ in range(steps):
            rows = generator.integers(len(documents), size=-(-CODES_PER_STEP // self.contexts.num_positions))
            targets = torch.from_numpy(self.contexts.targets(documents[rows])).long()
            loss = F.nll_loss(self.log_probabilities(documents[rows]).flatten(0, 1), targets.flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        for weight in weights:
            weight.requires_grad_(False)
