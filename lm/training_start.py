"""What a prior's training starts from: the words and codes it will know, and its first weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedModel

from ..hub.errors import InputError
from ..tokenizer.fingerprints import decoder_fingerprint
from ..tokenizer.loading import LoadedImageTokenizer
from .adapters import add_lora, merged
from .bundle import Bundle
from .code_documents import CodeRows, picture_length
from .document_dataset import StoredDocuments
from .joint_tokenizer import AnyTextTokenizer
from .model import build_prior
from .text_tokenizer import TextEncoder, TextTokenizer, train_text_tokenizer
from .training_config import PriorTrainingConfig
from .training_rows import TrainingRows
from .vocabulary import JointVocabulary

_NUM_CAPTIONS = 1 << 17
"""Rows whose captions the text tokenizer is trained on, and from which the longest document is guessed."""


@dataclass(frozen=True)
class Words:
    """What a prior's ids mean.

    Attributes:
        vocabulary: the joint id space.
        text_tokenizer: captions to text ids.
        captions: examples of what it will read.
    """

    vocabulary: JointVocabulary
    text_tokenizer: AnyTextTokenizer
    captions: Sequence[str]


@dataclass(frozen=True)
class PriorStart:
    """The parts of a bundle before it is trained.

    Attributes:
        config: of the training.
        origin: bundle whose prior is trained on; None for a new prior.
        words: what its ids mean.
        image_tokenizer: pictures to codes.
        context_length: longest document, tokens.
    """

    config: PriorTrainingConfig
    origin: Bundle | None
    words: Words
    image_tokenizer: LoadedImageTokenizer
    context_length: int

    @property
    def vocabulary(self) -> JointVocabulary:
        """The joint id space."""
        return self.words.vocabulary

    def model(self) -> nn.Module:
        """The prior with its first weights, adapters included."""
        prior = self._first_prior()
        return add_lora(prior, self.vocabulary, self.config.lora_rank) if self.config.lora_rank else prior

    def trained_prior(self, accelerator: Accelerator, model: nn.Module) -> PreTrainedModel:
        """The stock model with the trained weights, adapters merged, whole on every process. Call on every process.

        Args:
            accelerator: of the training.
            model: as the accelerator prepared it.
        """
        weights = accelerator.get_state_dict(model)  # gathers what lies in parts on several processes
        trained = self.model()
        assert isinstance(weights, dict)
        trained.load_state_dict({name: torch.as_tensor(value).cpu() for name, value in weights.items()})
        return self.stock(trained).eval()

    def stock(self, trained: nn.Module) -> PreTrainedModel:
        """The stock model that computes what a trained one of `model` does."""
        prior = merged(trained) if self.config.lora_rank else trained
        assert isinstance(prior, PreTrainedModel)
        return prior

    def _first_prior(self) -> PreTrainedModel:
        if self.origin is not None:
            return copy.deepcopy(self.origin.prior).float()  # bfloat16 would round small updates away
        config = self.config
        return build_prior(
            self.vocabulary,
            self.image_tokenizer.model,
            size=config.size,
            max_length=self.context_length,
            seed=config.seed,
            num_key_value_heads=config.num_key_value_heads,
            tie_word_embeddings=config.tie_word_embeddings,
            codebook_embeddings=config.codebook_embeddings,
        )

    def bundle(self, prior: PreTrainedModel) -> Bundle:
        """The prior with everything needed to speak to it. It has learned, and reads no files of its ancestors."""
        image_tokenizer, vocabulary = self.image_tokenizer, replace(self.vocabulary, ancestors=())
        return Bundle(prior, vocabulary, self.words.text_tokenizer, image_tokenizer.model, image_tokenizer.processor)


def new_start(
    config: PriorTrainingConfig, rows: TrainingRows, text_tokenizer: AnyTextTokenizer | None = None
) -> PriorStart:
    """The words and codes of a bundle, of stored documents, or of new ones; and room for the longest document.

    Args:
        config: of the training.
        rows: what is learned and what is scored.
        text_tokenizer: of new words; None trains one on the captions.

    Raises:
        InputError: the bundle has no pictures of this size, or stored documents are longer than the context.
    """
    if isinstance(rows.trained, StoredDocuments):
        words = _words_in(rows.trained, rows.image_tokenizer)
        longest = max(each.split.longest for each in (rows.trained, rows.scored) if isinstance(each, StoredDocuments))
    else:
        captions = sample_captions(rows.trained)
        words = (
            _words_of(rows.origin, rows.trained, captions)
            if rows.origin
            else new_words(config, rows, captions, text_tokenizer)
        )
        longest = longest_document(captions, words.text_tokenizer, rows.trained)
    context_length = _context_length(config, rows.origin, longest)
    if isinstance(rows.trained, StoredDocuments) and longest > context_length:  # captions can be cut, documents cannot
        raise InputError(
            f"the longest document of {config.documents} has {longest} tokens, expected at most {context_length}, "
            "the context length"
        )
    return PriorStart(config, rows.origin, words, rows.image_tokenizer, context_length)


def _context_length(config: PriorTrainingConfig, origin: Bundle | None, longest: int) -> int:
    """What the settings say, or twice the longest document seen, a power of 2; a bundle's own context at most."""
    context_length = config.context_length or 2 ** math.ceil(math.log2(2 * longest))
    return context_length if origin is None else min(context_length, origin.prior.config.max_position_embeddings)


def new_words(
    config: PriorTrainingConfig,
    rows: TrainingRows,
    captions: Sequence[str],
    text_tokenizer: AnyTextTokenizer | None,
) -> Words:
    """A text tokenizer, if none is given one trained on captions, and the vocabulary that joins it with the codes."""
    assert not isinstance(rows.trained, StoredDocuments)
    if text_tokenizer is None:
        text_tokenizer = TextTokenizer(train_text_tokenizer(captions, config.text_vocab_size))
    vocabulary = JointVocabulary.from_scratch(
        text_tokenizer.vocab_size,
        rows.image_tokenizer.model.config.codebook_sizes,  # an ancestor that made the codes has fewer
        [rows.trained.shared_grids],
        config.order,
        codes_fingerprint=rows.image_tokenizer.codes_fingerprint,
        decoder_fingerprint=decoder_fingerprint(rows.image_tokenizer.model),
    )
    return Words(vocabulary, text_tokenizer, captions)


def _words_in(documents: StoredDocuments, image_tokenizer: LoadedImageTokenizer) -> Words:
    """Those of stored documents, whose codes any decoder may draw that knows them."""
    decoder = decoder_fingerprint(image_tokenizer.model)
    return Words(replace(documents.vocabulary, decoder_fingerprint=decoder), documents.text_tokenizer, [])


def _words_of(origin: Bundle, rows: CodeRows, captions: Sequence[str]) -> Words:
    origin.vocabulary.size_of(rows.shared_grids)
    return Words(origin.vocabulary, origin.text_tokenizer, captions)


def longest_document(captions: Sequence[str], text_tokenizer: TextEncoder, rows: CodeRows) -> int:
    """Tokens of the longest document that these captions make."""
    longest = max(len(text_tokenizer.encode(caption)) for caption in set(captions))
    return max(longest, 1) + picture_length(rows.shared_grids)


def sample_captions(rows: CodeRows) -> list[str]:
    """The captions of rows spread over the dataset, or, where rows lie in shards, of the first ones."""
    total = sum(rows.shard_sizes)
    spread = range(0, total, math.ceil(total / _NUM_CAPTIONS))
    chosen = spread if len(rows.shard_sizes) == 1 else range(min(total, _NUM_CAPTIONS))
    return [caption for captions in rows.captions_of(chosen) for caption in captions]
