"""What a prior expects of the whole-image code when it reads words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..hub.errors import InputError
from .bundle import Bundle
from .documents import text_to_image_prompt


@dataclass(frozen=True, eq=False)
class SymbolChances:
    """Chances of the K whole-image codes.

    Attributes:
        texts: W of them.
        given: (W, K) float64, p(code | text).
        alone: (K,) float64, p(code) without words.
    """

    texts: list[str]
    given: torch.Tensor
    alone: torch.Tensor

    @property
    def bits(self) -> torch.Tensor:
        """(W, K) float64, p(code | text) log2 of p(code | text) / p(code): how strongly a text asks for a code."""
        return torch.special.xlogy(self.given, self.given / self.alone.clamp(min=1e-300)) / torch.tensor(2.0).log()


@torch.no_grad()
def symbol_chances(
    bundle: Bundle, texts: Sequence[str], size: str, progress: Callable[[int], None] | None = None
) -> SymbolChances:
    """Asks a prior for the first code of a picture behind each of some texts.

    Args:
        bundle: in evaluation mode.
        texts: captions, none of them empty.
        size: name of the pictures' size.
        progress: called with the number of texts done since the last call.

    Raises:
        InputError: there is no whole-image code, or it does not come first in the picture, or a text is empty.
    """
    vocabulary = bundle.vocabulary
    if vocabulary.grids(size)[0] != (1, 1):
        raise InputError(
            f"chances of symbols need a whole-image code; the coarsest grid is {vocabulary.grids(size)[0]}"
        )
    prior, legal, rows = bundle.prior, vocabulary.level_ids(0), list[torch.Tensor]()
    for text in ["", *texts]:
        ids = bundle.text_tokenizer.encode(text) if text else []
        if text and not ids:
            raise InputError(f"the text {text!r} is empty")
        prompt = torch.tensor([text_to_image_prompt(vocabulary, ids, size)], device=prior.device)
        logits = prior(input_ids=prompt, use_cache=False).logits[0, -1].cpu()
        rows.append(torch.softmax(logits[legal].double(), 0))
        if progress and text:
            progress(1)
    return SymbolChances([*texts], torch.stack(rows[1:]) if texts else torch.zeros(0, len(rows[0])).double(), rows[0])
