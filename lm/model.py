"""The prior: a stock `Qwen3ForCausalLM`, so that every tool that knows transformers loads it without code of ours."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from ..hub.errors import InputError
from ..tokenizer.batches import derived_generator
from ..tokenizer.interface import TokenizesImages
from .code_embeddings import projected_codes
from .vocabulary import JointVocabulary

_HEAD_DIM = 64


@dataclass(frozen=True)
class PriorSize:
    """Width and depth of a prior.

    Attributes:
        hidden_size: width, a multiple of the head dimension 64.
        num_hidden_layers: depth.
        intermediate_size: width of the gated MLP.

    Raises:
        InputError: the width is no multiple of 64, or a number is below 1.
    """

    hidden_size: int
    num_hidden_layers: int
    intermediate_size: int

    def __post_init__(self):
        if self.hidden_size < 1 or self.hidden_size % _HEAD_DIM:
            raise InputError(f"hidden_size must be a multiple of {_HEAD_DIM}, got {self.hidden_size}")
        for name in ("num_hidden_layers", "intermediate_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")


PRIOR_SIZES = {
    "pico": PriorSize(128, 3, 352),
    "nano": PriorSize(128, 6, 352),
    "small": PriorSize(192, 8, 512),
    "base": PriorSize(256, 8, 704),
    "large": PriorSize(512, 12, 1408),
}
"""The one dial for size: about 0.6, 1.2, 3.4, 6.2 and 34 million parameters beside the embeddings."""


def prior_config(
    vocabulary: JointVocabulary,
    size: str | PriorSize,
    max_length: int,
    *,
    num_key_value_heads: int = 1,
    tie_word_embeddings: bool = False,
) -> Qwen3Config:
    """The configuration of a prior for `vocabulary`.

    Args:
        vocabulary: decides the number of embeddings and the control tokens' ids.
        size: a key of `PRIOR_SIZES`, or a size that is not among them.
        max_length: longest document, tokens.
        num_key_value_heads: heads of keys and values that the query heads share (grouped-query attention, Ainslie et
            al. 2023); 1 samples fastest (multi-query attention, Shazeer 2019).
        tie_word_embeddings: one matrix for input and output embeddings.

    Raises:
        InputError: unknown size, or key-value heads that do not divide its heads.
    """
    if isinstance(size, str) and size not in PRIOR_SIZES:
        raise InputError(f"size must be one of {', '.join(PRIOR_SIZES)}, got {size!r}")
    shape = PRIOR_SIZES[size] if isinstance(size, str) else size
    num_heads = shape.hidden_size // _HEAD_DIM
    if num_key_value_heads < 1 or num_heads % num_key_value_heads:
        raise InputError(f"num_key_value_heads must divide the {num_heads} heads of {size}, got {num_key_value_heads}")
    return Qwen3Config(
        vocab_size=vocabulary.vocab_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_hidden_layers,
        intermediate_size=shape.intermediate_size,
        num_attention_heads=num_heads,
        num_key_value_heads=num_key_value_heads,
        head_dim=_HEAD_DIM,
        max_position_embeddings=max_length,
        tie_word_embeddings=tie_word_embeddings,
        pad_token_id=vocabulary.pad_id,
        bos_token_id=vocabulary.bos_id,
        eos_token_id=vocabulary.eos_id,
    )


def build_prior(
    vocabulary: JointVocabulary,
    image_tokenizer: TokenizesImages,
    *,
    size: str,
    max_length: int,
    seed: int,
    num_key_value_heads: int = 1,
    tie_word_embeddings: bool = False,
    codebook_embeddings: bool = True,
) -> Qwen3ForCausalLM:
    """A prior with fresh weights, whose image tokens start where the image tokenizer's codebooks put them.

    Args:
        vocabulary: of the joint ids.
        image_tokenizer: its code vectors, under a fixed random projection, become the first embeddings of the image
            tokens.
        size: a key of `PRIOR_SIZES`.
        max_length: longest document, tokens.
        seed: of all weights.
        num_key_value_heads: see `prior_config`.
        tie_word_embeddings: see `prior_config`.
        codebook_embeddings: False starts image tokens at random like all others.

    Raises:
        InputError: see `prior_config`.
    """
    torch.manual_seed(seed)
    config = prior_config(
        vocabulary,
        size,
        max_length,
        num_key_value_heads=num_key_value_heads,
        tie_word_embeddings=tie_word_embeddings,
    )
    model = Qwen3ForCausalLM(config)
    for level in range(vocabulary.num_levels if codebook_embeddings else 0):
        vectors = image_tokenizer.code_vectors(level)
        ids = vocabulary.codes_to_ids(level, torch.arange(len(vectors)))
        _place_embeddings(model, ids, vectors, derived_generator(seed, "level", level))
    return model


@torch.no_grad()
def _place_embeddings(
    model: Qwen3ForCausalLM, ids: torch.Tensor, vectors: torch.Tensor, generator: torch.Generator
) -> None:
    """Writes `vectors` (K, D), projected to the model's width and spread, into the embedding rows `ids`."""
    embeddings = model.get_input_embeddings().weight
    assert isinstance(embeddings, torch.Tensor)
    rows = projected_codes(vectors, embeddings.shape[1], generator) * model.config.initializer_range
    embeddings[ids] = rows.to(embeddings)
