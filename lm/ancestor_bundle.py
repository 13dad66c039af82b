"""What a bundle was before it grew, cut out of it again.

Grown ids and rows lie behind the old ones. So the first rows of both embeddings, the first segments of the vocabulary
and the first codes of every level are the ancestor itself, as long as nothing else moved; whether that is so, the id
that is computed from them tells.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from transformers import PreTrainedModel

from ..hub.errors import InputError
from ..tokenizer.descent import ancestor_tokenizer
from ..tokenizer.fingerprints import codes_fingerprint, decoder_fingerprint
from ..tokenizer.model import ImageTokenizer
from .bundle import Bundle
from .codec_model import PriorModel
from .prior_ancestors import PriorAncestor
from .segments import image_start_token
from .vocabulary import JointVocabulary


def named_ancestor(bundle: Bundle) -> PriorAncestor:
    """How the descendants of a bundle name it."""
    vocabulary = bundle.vocabulary
    return PriorAncestor(
        PriorModel(bundle).model_id.hex(),
        vocabulary.vocab_size,
        vocabulary.codes_fingerprint,
        vocabulary.decoder_fingerprint,
    )


def ancestor_bundle(bundle: Bundle, ancestor: PriorAncestor) -> Bundle:
    """An ancestor of a bundle, with its model id: it computes the very numbers that it did before the bundle grew.

    Args:
        bundle: its vocabulary names the ancestor; it stays as it is.
        ancestor: which one.

    Raises:
        InputError: what is there is not the ancestor: something has changed since.
    """
    older = cut_bundle(bundle, ancestor.vocab_size)
    found = named_ancestor(older)
    if found != ancestor:
        raise InputError(
            f"{bundle.name or 'the bundle'} names model {ancestor.model_id} as its ancestor, but its first "
            f"{ancestor.vocab_size} ids are model {found.model_id}: its weights have changed since; use the ancestor"
        )
    return older


def cut_bundle(bundle: Bundle, vocab_size: int) -> Bundle:
    """A bundle's first ids alone, with their rows and codes, in copies.

    Args:
        bundle: around an `ImageTokenizer`.
        vocab_size: ids that are left; the end of a segment.

    Raises:
        InputError: another kind of image tokenizer, whose codes cannot be told apart, or ids that end elsewhere.
    """
    tokenizer = bundle.image_tokenizer
    if not isinstance(tokenizer, ImageTokenizer):
        raise InputError(f"only codes of an ImageTokenizer grow; {type(tokenizer).__name__} has no ancestors")
    vocabulary = _cut_vocabulary(bundle.vocabulary, vocab_size)
    tokenizer = ancestor_tokenizer(tokenizer, vocabulary.codebook_sizes)
    vocabulary = replace(
        vocabulary,
        codes_fingerprint=codes_fingerprint(tokenizer, bundle.image_processor),
        decoder_fingerprint=decoder_fingerprint(tokenizer),
    )
    prior = _cut_prior(bundle.prior, vocab_size)
    return replace(bundle, prior=prior, vocabulary=vocabulary, image_tokenizer=tokenizer, static_chances=None)


def _cut_vocabulary(vocabulary: JointVocabulary, vocab_size: int) -> JointVocabulary:
    segments = tuple(segment for segment in vocabulary.segments if segment.stop <= vocab_size)
    if not segments or segments[-1].stop != vocab_size:
        raise InputError(f"no segment of the vocabulary ends with {vocab_size} ids")
    known = {token for segment in segments for token in segment.tokens}
    return replace(
        vocabulary,
        segments=segments,
        sizes={name: grids for name, grids in vocabulary.sizes.items() if image_start_token(name) in known},
        ancestors=tuple(older for older in vocabulary.ancestors if older.vocab_size < vocab_size),
    )


def _cut_prior(prior: PreTrainedModel, vocab_size: int) -> PreTrainedModel:
    cut = copy.deepcopy(prior)
    with torch.random.fork_rng(devices=[]):  # first weights are drawn, and replaced
        cut.resize_token_embeddings(vocab_size, mean_resizing=False)
    return cut.eval()
