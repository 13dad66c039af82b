"""A prior as a Bayes classifier: which of some captions a picture's codes were most likely written for.

A prior that draws codes from words has a likelihood p(codes | caption) for every caption, so by Bayes' rule it also
classifies, p(caption | codes) ~ p(codes | caption) p(caption): a generative classifier (Ng & Jordan 2001). A prior that
was trained on both kinds of documents can be asked for p(caption | codes) directly as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from ..hub.errors import InputError
from ..tokenizer.interface import ImageCodes
from ..tokenizer.reconstructions import row_batches
from .bundle import Bundle
from .data import collate
from .documents import images_to_ids
from .rate import TOKENS_AT_ONCE, length_batches
from .token_bits import TokenScorer, row_sums

METHODS = ("codes", "caption")
PRIORS = ("uniform", "model")


@dataclass(frozen=True, eq=False)
class CaptionPosteriors:
    """How likely each of C captions is for each of B pictures.

    Attributes:
        captions: the C captions.
        method: which conditional probability the costs are of, see `classify_captions`.
        bits: (B, C) float64, -log2 p(codes | caption) or -log2 p(caption | codes).
        log2_prior: (C,) float64, log2 p(caption) up to a constant.
    """

    captions: list[str]
    method: str
    bits: torch.Tensor
    log2_prior: torch.Tensor

    @cached_property
    def log2_posterior(self) -> torch.Tensor:
        """(B, C) float64 bits, log2 p(caption | codes) among the C captions: 2 to their power sums to 1 in each row."""
        joint = self.log2_prior - self.bits
        return joint - (joint * math.log(2)).logsumexp(1, keepdim=True) / math.log(2)

    @cached_property
    def predicted(self) -> torch.Tensor:
        """(B,) int64 index of the most likely caption, the first of equal ones."""
        return self.log2_posterior.argmax(1)


def classify_captions(
    bundle: Bundle,
    codes: ImageCodes,
    captions: Sequence[str],
    *,
    method: str = "codes",
    prior: str | Sequence[float] = "uniform",
    batch_size: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> CaptionPosteriors:
    """Scores every caption for every picture.

    Args:
        bundle: in evaluation mode.
        codes: of B pictures of one size: one int64 (B, h_l, w_l) per level, coarse to fine.
        captions: C different ones, at least one, none empty.
        method: "codes" applies Bayes' rule to p(codes | caption), from documents of text to image; "caption" takes
            p(caption | codes) itself, from documents of image to text, in the narrow sense of `token_bits`.
        prior: of the captions, for "codes": "uniform"; "model" for the prior's own p(caption); or C counts or weights,
            above 0.
        batch_size: pairs of a picture and a caption at a time; by default as many as make `TOKENS_AT_ONCE` tokens.
            Nothing depends on it beyond rounding.
        progress: called with the number of pairs done since the last call.

    Raises:
        InputError: no captions, an empty one, one that is there twice or is too long for the prior's context; no
            pictures, grids that the vocabulary lacks, or an unknown method or prior.
    """
    _check_choices(method, prior, len(captions))
    scorer = TokenScorer(bundle.prior, bundle.grammar)
    vocabulary = bundle.vocabulary
    image_ids = images_to_ids(vocabulary, codes)  # (B, n)
    start = vocabulary.image_start_id(vocabulary.size_of([level.shape[-2:] for level in codes]))
    texts = _encode(bundle, captions, image_ids)
    pairs = _Pairs(scorer, image_ids.cpu(), texts, start, batch_size, progress or (lambda count: None))
    return CaptionPosteriors(
        captions=list(captions),
        method=method,
        bits=pairs.codes_bits() if method == "codes" else pairs.caption_bits(),
        log2_prior=-pairs.prior_bits() if prior == "model" else _log2_weights(prior, len(captions)),
    )


def _check_choices(method: str, prior: str | Sequence[float], num_captions: int) -> None:
    if method not in METHODS:
        raise InputError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if isinstance(prior, str) and prior not in PRIORS:
        raise InputError(f"prior must be one of {', '.join(PRIORS)}, or a weight per caption, got {prior!r}")
    if method == "caption" and prior != "uniform":
        raise InputError('method "caption" has its prior inside; leave it at "uniform"')
    if not isinstance(prior, str) and (
        len(prior) != num_captions or not all(0 < weight < math.inf for weight in prior)
    ):
        raise InputError(f"a prior of weights needs {num_captions}, one per caption, each above 0, got {list(prior)}")


def _encode(bundle: Bundle, captions: Sequence[str], image_ids: torch.Tensor) -> list[list[int]]:
    if not len(image_ids) or not captions:
        raise InputError(f"at least one picture and one caption are expected, got {len(image_ids)} and {len(captions)}")
    if len(set(captions)) < len(captions) or not all(captions):
        raise InputError("captions must be different and not empty: each is a class of its own")
    texts = [bundle.text_tokenizer.encode(caption) for caption in captions]
    context = bundle.prior.config.max_position_embeddings
    longest = max(map(len, texts)) + image_ids.shape[1] + 4  # <bos> <image> </image> <eos>
    if longest > context:
        raise InputError(f"the longest caption and a picture take {longest} tokens, but the prior reads {context}")
    return texts


def _log2_weights(prior: str | Sequence[float], count: int) -> torch.Tensor:
    return torch.zeros(count, dtype=torch.float64) if isinstance(prior, str) else torch.tensor(prior).double().log2()


@dataclass(frozen=True)
class _Pairs:
    """Every one of B pictures with every one of C captions.

    What stands first in a document is read once for all that follow it.
    """

    scorer: TokenScorer
    image_ids: torch.Tensor  # (B, n) in document order
    texts: list[list[int]]
    start: int  # <image HxW>
    batch_size: int | None
    progress: Callable[[int], None]

    def codes_bits(self) -> torch.Tensor:
        """(B, C) bits of the codes behind `<bos> caption <image>`."""
        vocabulary = self.scorer.grammar.vocabulary
        bits = torch.empty(len(self.image_ids), len(self.texts), dtype=torch.float64)
        for column, text in enumerate(self.texts):
            prefix = torch.tensor([[vocabulary.bos_id, *text]])
            for rows in row_batches(len(bits), self._pairs_at_once(prefix.shape[1] + self.image_ids.shape[1] + 1)):
                images = self.image_ids[rows.start : rows.stop]
                images = torch.cat([torch.full((len(images), 1), self.start), images], 1)
                cache = self.scorer.read_prefix(prefix, len(images))
                scored = self.scorer.score(images, cache, with_illegal=False)
                bits[rows.start : rows.stop, column] = scored.of_levels(vocabulary.num_levels).sum(1)
                self.progress(len(rows))
        return bits

    def caption_bits(self) -> torch.Tensor:
        """(B, C) bits of the caption and its end behind `<bos> <image> codes </image>`."""
        vocabulary = self.scorer.grammar.vocabulary
        bits = torch.empty(len(self.image_ids), len(self.texts), dtype=torch.float64)
        before = torch.tensor([vocabulary.bos_id, self.start]).expand(len(bits), 2)
        prefixes = torch.cat([before, self.image_ids], 1)  # (B, n + 2)
        endings = [[vocabulary.image_end_id, *text, vocabulary.eos_id] for text in self.texts]
        at_once = self._pairs_at_once(prefixes.shape[1] + max(map(len, endings)))
        for columns in length_batches([len(ending) for ending in endings], at_once):
            chosen = collate([endings[column] for column in columns], vocabulary.pad_id).input_ids
            for rows in row_batches(len(bits), max(1, at_once // len(columns))):
                cache = self.scorer.read_prefix(prefixes[rows.start : rows.stop], len(columns))
                scored = self.scorer.score(chosen.repeat(len(rows), 1), cache, with_illegal=False)
                bits[rows.start : rows.stop, columns] = row_sums(scored.caption).view(len(rows), len(columns))
                self.progress(len(rows) * len(columns))
        return bits

    def prior_bits(self) -> torch.Tensor:
        """(C,) bits of the captions by themselves, with the `<image HxW>` that ends them."""
        vocabulary = self.scorer.grammar.vocabulary
        bits = torch.empty(len(self.texts), dtype=torch.float64)
        beginnings = [[vocabulary.bos_id, *text, self.start] for text in self.texts]
        for rows in length_batches([len(beginning) for beginning in beginnings], self.batch_size):
            input_ids = collate([beginnings[row] for row in rows], vocabulary.pad_id).input_ids
            bits[rows] = row_sums(self.scorer.score(input_ids, with_illegal=False).caption)
        return bits

    def _pairs_at_once(self, length: int) -> int:
        return self.batch_size or max(1, TOKENS_AT_ONCE // length)
