"""The prior: a stock `Qwen3ForCausalLM`, so that every tool that knows transformers loads it without code of ours."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from ..hub.errors import InputError
from ..tokenizer.batches import derived_generator
from ..tokenizer.interface import TokenizesImages
from .vocabulary import JointVocabulary

_HEAD_DIM = 64


@dataclass(frozen=True)
class PriorSize:
    """Width and depth of a prior.

    Attributes:
        hidden_size: width, a multiple of the head dimension 64.
        num_hidden_layers: depth.
        intermediate_size: width of the gated MLP.
    """

    hidden_size: int
    num_hidden_layers: int
    intermediate_size: int


PRIOR_SIZES = {
    "pico": PriorSize(128, 3, 352),
    "nano": PriorSize(128, 6, 352),
    "small": PriorSize(192, 8, 512),
    "base": PriorSize(256, 8, 704),
    "large": PriorSize(512, 12, 1408),
}
"""The one dial for size: about 0.6, 1.2, 3.4, 6.2 and 34 million parameters beside the embeddings."""


def prior_config(vocabulary: JointVocabulary, size: str, max_length: int) -> Qwen3Config:
    """The configuration of a prior for `vocabulary`.

    Args:
        vocabulary: decides the number of embeddings and the control tokens' ids.
        size: a key of `PRIOR_SIZES`.
        max_length: longest document, tokens.

    Raises:
        InputError: unknown size.
    """
    if size not in PRIOR_SIZES:
        raise InputError(f"size must be one of {', '.join(PRIOR_SIZES)}, got {size!r}")
    shape = PRIOR_SIZES[size]
    return Qwen3Config(
        vocab_size=vocabulary.vocab_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_hidden_layers,
        intermediate_size=shape.intermediate_size,
        num_attention_heads=shape.hidden_size // _HEAD_DIM,
        num_key_value_heads=1,  # 1.7x faster sampling at batch 64 (multi-query attention, Shazeer 2019)
        head_dim=_HEAD_DIM,
        max_position_embeddings=max_length,
        tie_word_embeddings=False,
        pad_token_id=vocabulary.pad_id,
        bos_token_id=vocabulary.bos_id,
        eos_token_id=vocabulary.eos_id,
    )


def build_prior(
    vocabulary: JointVocabulary, image_tokenizer: TokenizesImages, *, size: str, max_length: int, seed: int
) -> Qwen3ForCausalLM:
    """A prior with fresh weights, whose image tokens start where the image tokenizer's codebooks put them.

    Args:
        vocabulary: of the joint ids.
        image_tokenizer: its code vectors, under a fixed random projection, become the first embeddings of the image
            tokens.
        size: a key of `PRIOR_SIZES`.
        max_length: longest document, tokens.
        seed: of all weights.
    """
    torch.manual_seed(seed)
    model = Qwen3ForCausalLM(prior_config(vocabulary, size, max_length))
    for level in range(vocabulary.num_levels):
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
    projection = torch.randn(vectors.shape[1], embeddings.shape[1], generator=generator)
    rows = vectors.detach().cpu().float() @ projection  # (K, width)
    rows = rows - rows.mean(0)
    # Alike codes start alike; a codebook of one code, or of equal ones, keeps its random rows.
    if (vectors != vectors[0]).any():
        embeddings[ids] = (rows / rows.std() * model.config.initializer_range).to(embeddings)
