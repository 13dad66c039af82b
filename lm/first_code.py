"""The whole-image code from what follows it: every code of the first place is scored, which Bayes' rule turns around.

    p(code | prompt, following) = p(code, following | prompt) / sum of that over all codes

A causal model gives the right side exactly: it has learned p(code | prompt) p(following | prompt, code), and codebooks
are small enough to ask for each of their codes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from .drawing import SamplingConfig, draw, guide
from .image_sampler import DRAWN, ImageDrawing, ImageSampling
from .vocabulary import JointVocabulary


@dataclass(frozen=True, eq=False)
class FirstCodes:
    """What the first code of P pictures may be.

    Attributes:
        ids: LongTensor (K,) of all codes of level 0.
        scores: (P, K) float64, ln p(code, following | prompt).
        unconditional: the same without the condition; None where nothing is guided.
    """

    ids: torch.Tensor
    scores: torch.Tensor
    unconditional: torch.Tensor | None = None

    @property
    def entropy(self) -> torch.Tensor:
        """(P,) float64, bits of doubt about the code given what follows it."""
        logs = torch.log_softmax(self.scores, 1)
        return torch.special.entr(logs.exp()).sum(1) / math.log(2)

    def draw(self, pictures: torch.Tensor, uniform: torch.Tensor, sampling: SamplingConfig) -> torch.Tensor:
        """Draws from p(code | prompt, following); guidance works on that too.

        Args:
            pictures: LongTensor (B,), a picture for each code.
            uniform: (B,) in [0, 1).
            sampling: how.

        Returns:
            LongTensor (B,) of ids.
        """
        scores = self.scores[pictures]
        if self.unconditional is not None:
            scores = guide(scores, self.unconditional[pictures], sampling.guidance_scale)
        return self.ids[draw(scores, uniform, sampling)]


def score_first_codes(
    model: PreTrainedModel,
    vocabulary: JointVocabulary,
    size: str,
    prompt: Sequence[int],
    following: torch.Tensor,
    batch_size: int = 64,
) -> torch.Tensor:
    """How likely each code of level 0 is at a picture's first place, if certain codes follow.

    Args:
        model: a causal LM in evaluation mode.
        vocabulary: of its ids.
        size: name of the picture's size.
        prompt: ids that end with the size's `<image HxW>`.
        following: LongTensor (n,) of the ids at the places 1 to n in document order; none are fine.
        batch_size: codes at a time.

    Returns:
        (K,) float64, ln p(code, following | prompt) for all K codes of level 0. Their softmax is
        p(code | prompt, following).

    Raises:
        InputError: a prompt longer than the model's context.
    """
    first_ids = vocabulary.level_ids(0)
    num_places = sum(rows * columns for rows, columns in vocabulary.grids(size))
    given = torch.full((len(first_ids), num_places), DRAWN)
    given[:, 0] = first_ids
    given[:, 1 : 1 + len(following)] = following
    bits = []
    for rows in given.split(batch_size):
        unused = torch.zeros(rows.shape, dtype=torch.float64)  # nothing is drawn
        drawing = ImageDrawing(model, vocabulary, size, [prompt] * len(rows), unused, ImageSampling(), given=rows)
        bits.append(drawing.draw(1 + len(following)).bits.sum(1))
    return torch.cat(bits) * -math.log(2)
