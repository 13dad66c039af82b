"""Training a large prior by small parts: low-rank adapters (LoRA, Hu et al. 2022), and the rows of the new tokens."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel

from ..hub.errors import InputError
from .vocabulary import JointVocabulary


def add_lora(
    prior: PreTrainedModel, vocabulary: JointVocabulary, rank: int, ids: Sequence[int] | None = None
) -> nn.Module:
    """Freezes a prior but for adapters of all its linear layers, and for what image and control tokens are.

    Args:
        prior: a causal LM; it is changed.
        vocabulary: tells its text from the other tokens, whose embedding and output rows are trained.
        rank: of the adapters.
        ids: whose rows are trained instead.

    Raises:
        InputError: the package peft is not installed.
    """
    try:
        import peft
    except ImportError:
        raise InputError("lora_rank needs the package peft: pip install peft") from None
    trained = list(range(len(vocabulary.text_range), vocabulary.vocab_size) if ids is None else ids)
    tables = {name: trained for name in _embedding_names(prior)}
    return peft.get_peft_model(
        prior, peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", trainable_token_indices=tables)
    )


def merged(adapted: nn.Module) -> PreTrainedModel:
    """The stock model that computes what a model of `add_lora` does."""
    prior = adapted.merge_and_unload()  # pyright: ignore[reportCallIssue]
    assert isinstance(prior, PreTrainedModel)
    return prior


def _embedding_names(prior: PreTrainedModel) -> list[str]:
    """Last names of the input embeddings and, unless they are the same matrix, of the output layer."""
    layers: list[nn.Module | None] = [prior.get_input_embeddings()]
    if not prior.config.tie_word_embeddings:
        layers.append(prior.get_output_embeddings())
    return [name.rsplit(".", 1)[-1] for name, module in prior.named_modules() if any(module is it for it in layers)]
