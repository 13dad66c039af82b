"""Extending a causal language model: it gains the image vocabulary, keeps every id it had, and goes on from there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedModel, PreTrainedTokenizerBase

from ..hub.errors import InputError
from ..tokenizer.batches import derived_generator
from ..tokenizer.fingerprints import decoder_fingerprint
from ..tokenizer.image_processor import ImageTokenizerImageProcessorPil
from ..tokenizer.interface import TokenizesImages
from ..tokenizer.loading import LoadedImageTokenizer, with_processor
from .bundle import Bundle
from .code_embeddings import projected_codes
from .extended_tokenizer import extended_content
from .pretrained_text import TOKENIZER_FILE, PretrainedTextTokenizer
from .segments import image_token
from .tokenizer_content import load_content
from .vocabulary import JointVocabulary


def extend_language_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    image_tokenizer: LoadedImageTokenizer | TokenizesImages,
    image_processor: ImageTokenizerImageProcessorPil | None = None,
    *,
    sizes: Sequence[Sequence[Sequence[int]]] | None = None,
    order: str = "level",
    seed: int = 0,
) -> Bundle:
    """Adds control tokens and every level's codes behind the ids that a causal language model has.

    The joint vocabulary is `[old ids | control tokens | level 0 | level 1 | ...]`. Old ids keep their rows of input and
    output embeddings, and text keeps its logits over them, bit for bit but for rounding. A new input row is the mean of
    the old rows plus a deviation as wide as theirs: of a code its vector under a random projection, of a control token
    a random one. A new output row is that row too where the model ties them, and the mean of the old rows where it does
    not, so that no new token starts impossible or certain.

    Special tokens of the old tokenizer, and rows without a token, are no text: they keep their ids, but stand in no
    document.

    Args:
        model: a causal LM that `AutoModelForCausalLM` can load. It is extended in place and becomes the bundle's prior,
            in evaluation mode; `config` and `generation_config` then name the joint `<pad>`, `<bos>` and `<eos>`, and
            `generate()` goes on to stop at the old end tokens too.
        tokenizer: the model's own, a fast one. It stays as it is.
        image_tokenizer: gives and draws the codes; see `load_image_tokenizer`.
        image_processor: of the image tokenizer; by default it lies where that was loaded from.
        sizes: the grids of every image size, coarse to fine: `[[(1, 1), (4, 4)]]` is one size of two levels. By default
            the one size that the image tokenizer was made for.
        order: order of the codes in documents, "level" or "pyramid".
        seed: of the new rows.

    Raises:
        InputError: a model that is no causal LM or has no output layer that can grow, a tokenizer that is slow, not the
            model's, or extended already, an unknown order, or sizes that do not fit the levels. The model is then as it
            was.
    """
    num_old = _checked_rows(model)
    text = _text_tokenizer(tokenizer, num_old)
    image = with_processor(image_tokenizer, image_processor)
    config = image.model.config
    vocabulary = JointVocabulary.from_scratch(
        num_old,
        config.codebook_sizes,
        [config.grids(config.image_size, config.image_size)] if sizes is None else sizes,
        order,
        codes_fingerprint=image.codes_fingerprint,
        decoder_fingerprint=decoder_fingerprint(image.model),
        text_file=TOKENIZER_FILE,
        reserved_text_ids=text.reserved_ids,
    )
    load_content(extended_content(text, vocabulary))  # a tokenizer that cannot take the tokens is refused before all
    _append_rows(model, vocabulary, image.model, seed)
    _name_special_ids(model, vocabulary)
    return Bundle(model.eval(), vocabulary, text, image.model, image.processor)


def _checked_rows(model: PreTrainedModel) -> int:
    """The number of rows of the embeddings.

    Raises:
        InputError: the model is no causal LM that can be extended.
    """
    if not isinstance(model, PreTrainedModel):
        raise InputError(f"{type(model).__name__} is no model of transformers; of a PEFT model pass the merged one")
    known = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(model.config), ())
    if type(model) not in (known if isinstance(known, list | tuple) else (known,)):
        raise InputError(f"{type(model).__name__} is no causal language model that AutoModelForCausalLM can load")
    if not isinstance(getattr(model.config, "max_position_embeddings", None), int):
        raise InputError(
            f"{type(model).__name__} does not say how long its context is (max_position_embeddings), by which prompts "
            "and pictures are checked"
        )
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    sizes = [getattr(embeddings, "num_embeddings", None), getattr(head, "out_features", None)]
    sizes.append(getattr(model.config, "vocab_size", None))
    if not isinstance(sizes[0], int) or len(set(sizes)) > 1:
        raise InputError(
            f"{type(model).__name__} cannot grow: its embeddings, output layer and config have {sizes} rows, expected "
            "one number"
        )
    return sizes[0]


def _text_tokenizer(tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> PretrainedTextTokenizer:
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise InputError(f"expected the model's tokenizer, as AutoTokenizer loads it, got {type(tokenizer).__name__}")
    if image_token(0, 0) in tokenizer.get_vocab():
        raise InputError(
            f"the tokenizer has image tokens, such as {image_token(0, 0)}, already: a bundle goes on from "
            "Bundle.from_pretrained, and is not extended again"
        )
    return PretrainedTextTokenizer.from_transformers(tokenizer, vocab_size)


def _append_rows(model: PreTrainedModel, vocabulary: JointVocabulary, images: TokenizesImages, seed: int) -> None:
    """Grows both embeddings to the vocabulary and fills their new rows."""
    num_old = len(vocabulary.text_range)
    text_ids = [id_ for id_ in vocabulary.text_range if vocabulary.is_text(id_)]
    model.resize_token_embeddings(vocabulary.vocab_size, mean_resizing=False)
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    assert isinstance(embeddings, nn.Embedding) and isinstance(head, nn.Linear)
    with torch.no_grad():
        old = embeddings.weight[text_ids].float()
        spread = old.var(0, correction=0).mean().sqrt()
        rows = old.mean(0) + spread * _deviations(vocabulary, images, old.shape[1], seed).to(old.device)
        embeddings.weight[num_old:] = rows.to(embeddings.weight.dtype)
        for parameter in (head.weight, head.bias):
            if parameter is not None and parameter is not embeddings.weight:
                parameter[num_old:] = parameter[text_ids].float().mean(0).to(parameter.dtype)


def _deviations(vocabulary: JointVocabulary, image_tokenizer: TokenizesImages, width: int, seed: int) -> torch.Tensor:
    """(new ids, width) float32: how the new input rows differ from the mean of the old, of standard deviation 1."""
    num_old = len(vocabulary.text_range)
    rows = torch.randn(vocabulary.vocab_size - num_old, width, generator=derived_generator(seed, "control"))
    for level in range(vocabulary.num_levels):
        generator = derived_generator(seed, "level", level)
        codes = projected_codes(image_tokenizer.code_vectors(level), width, generator)
        rows[vocabulary.level_ids(level) - num_old] = codes
    return rows


def _name_special_ids(model: PreTrainedModel, vocabulary: JointVocabulary) -> None:
    """The special tokens of documents become the model's; where texts ended, `generate()` still stops."""
    generation = model.generation_config
    ends = model.config.eos_token_id if generation is None else generation.eos_token_id
    for settings in filter(None, (model.config, generation)):
        settings.pad_token_id, settings.bos_token_id = vocabulary.pad_id, vocabulary.bos_id
        settings.eos_token_id = vocabulary.eos_id
    if generation is not None:
        old_ends = [id_ for id_ in (ends if isinstance(ends, list) else [ends]) if id_ in vocabulary.reserved_text_ids]
        generation.eos_token_id = [vocabulary.eos_id, *old_ends]
