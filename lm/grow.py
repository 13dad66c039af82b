"""Growing a bundle with its image tokenizer: new codes get ids and rows behind the old ones, which stay as they are."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import nn
from transformers import PreTrainedModel

from ..hub.errors import InputError
from ..tokenizer.descent import ancestor_tokenizer, makes_codes_of
from ..tokenizer.fingerprints import decoder_fingerprint
from ..tokenizer.image_processor import ImageTokenizerImageProcessorPil
from ..tokenizer.interface import TokenizesImages
from ..tokenizer.loading import LoadedImageTokenizer, with_processor
from ..tokenizer.model import ImageTokenizer
from ..tokenizer.quantizer import nearest
from .ancestor_bundle import named_ancestor
from .bundle import Bundle
from .prior_ancestors import PriorAncestor
from .vocabulary import JointVocabulary


def grow_bundle(
    bundle: Bundle,
    image_tokenizer: LoadedImageTokenizer | TokenizesImages,
    image_processor: ImageTokenizerImageProcessorPil | None = None,
) -> Bundle:
    """A bundle that speaks the codes of a grown image tokenizer; `bundle` stays as it is.

    Every old id keeps its meaning and its rows of embeddings and output layer, bit for bit; so does all else in the
    prior. The input row of a new code is that of the old code whose vector is nearest; its output row (and bias) is
    halfway between that code's and the mean of its level, so that it is likely where its neighbour is, but less so.
    Where the model ties both matrices, the one row is the nearest code's. Nothing is drawn. Tables for compression
    without the prior, which are of the old codes, are left out.

    Args:
        bundle: from scratch or extended.
        image_tokenizer: grown from the bundle's own, see `tokenizer.growth.grow_codebooks`.
        image_processor: of the image tokenizer; by default it lies where that was loaded from.

    Returns:
        In evaluation mode. Its vocabulary names `bundle` as an ancestor, whose compressed files it reads, unless the
        image tokenizer's decoder has changed and gives other pictures.

    Raises:
        InputError: the image tokenizer does not descend from the bundle's, or has no more codes than it.
    """
    image = with_processor(image_tokenizer, image_processor)
    model = _descendant(bundle, image)
    vocabulary = replace(
        _grown_vocabulary(bundle.vocabulary, model.config.codebook_sizes),
        codes_fingerprint=image.codes_fingerprint,
        decoder_fingerprint=decoder_fingerprint(model),
        ancestors=_ancestors(bundle, model),
    )
    prior = _grown_prior(bundle.prior, vocabulary, bundle.vocabulary, model)
    return Bundle(prior, vocabulary, bundle.text_tokenizer, model, image.processor)


def new_ids(bundle: Bundle, ancestor: Bundle) -> list[int]:
    """The ids that a bundle has and its ancestor has not, ascending."""
    return list(range(ancestor.vocabulary.vocab_size, bundle.vocabulary.vocab_size))


def _descendant(bundle: Bundle, image: LoadedImageTokenizer) -> ImageTokenizer:
    old, sizes = bundle.vocabulary.codes_fingerprint, bundle.vocabulary.codebook_sizes
    if image.codes_fingerprint == old:
        raise InputError(f"the image tokenizer has the bundle's own codes, {sizes}: there is nothing to grow")
    if not isinstance(image.model, ImageTokenizer) or not makes_codes_of(image, old, sizes):
        raise InputError(
            f"the image tokenizer was not grown from the bundle's: none of its ancestors gives codes {old[:12]}... "
            f"with codebooks of {sizes}"
        )
    return image.model


def _ancestors(bundle: Bundle, model: ImageTokenizer) -> tuple[PriorAncestor, ...]:
    """Whose files the grown bundle reads: none, where old codes no longer give the old pictures."""
    older = ancestor_tokenizer(model, bundle.vocabulary.codebook_sizes)
    if decoder_fingerprint(older) != bundle.vocabulary.decoder_fingerprint:
        return ()
    return (*bundle.vocabulary.ancestors, named_ancestor(bundle))


def _grown_vocabulary(vocabulary: JointVocabulary, codebook_sizes: list[int] | tuple[int, ...]) -> JointVocabulary:
    for level, (old, new) in enumerate(zip(vocabulary.codebook_sizes, codebook_sizes, strict=True)):
        if new > old:
            vocabulary = vocabulary.add_codes(level, new - old)
    return vocabulary


def _grown_prior(
    prior: PreTrainedModel, vocabulary: JointVocabulary, old: JointVocabulary, images: ImageTokenizer
) -> PreTrainedModel:
    grown = copy.deepcopy(prior)
    with torch.random.fork_rng(devices=[]):  # new rows are drawn, and replaced
        grown.resize_token_embeddings(vocabulary.vocab_size, mean_resizing=False)
    embeddings, head = grown.get_input_embeddings(), grown.get_output_embeddings()
    assert isinstance(embeddings, nn.Embedding) and isinstance(head, nn.Linear)
    for level, size in enumerate(old.codebook_sizes):
        ids = vocabulary.level_ids(level).to(embeddings.weight.device)
        vectors = images.code_vectors(level)
        if len(vectors) == size:
            continue
        near = ids[nearest(vectors[size:], vectors[:size]).to(ids.device)]
        _fill(embeddings.weight, ids[size:], embeddings.weight[near])
        for table in (head.weight, head.bias):
            if table is not None and table is not embeddings.weight:
                _fill(table, ids[size:], (table[near] + table[ids[:size]].mean(0)) / 2)
    return grown.eval()


@torch.no_grad()
def _fill(table: torch.Tensor, ids: torch.Tensor, rows: torch.Tensor) -> None:
    table[ids] = rows.detach().to(table.dtype)
