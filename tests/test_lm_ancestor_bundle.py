"""A bundle that was, cut out of the one that it became."""

from dataclasses import replace

import pytest
import torch
from tiny_adapters import adapted
from tiny_chain import bundle, shared_bundle
from tiny_grown import grown, grown_model
from tiny_language_models import extended

from pictogram.hub.errors import InputError
from pictogram.lm.ancestor_bundle import ancestor_bundle, cut_bundle, named_ancestor
from pictogram.lm.bundle import Bundle
from pictogram.lm.grow import grow_bundle
from pictogram.tokenizer.loading import LoadedImageTokenizer


def same_weights(left: Bundle, right: Bundle) -> bool:
    first, second = left.prior.state_dict(), right.prior.state_dict()
    return first.keys() == second.keys() and all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.mark.parametrize("order", ["level", "pyramid"])
def test_it_is_the_ancestor(order, tmp_path):
    old = shared_bundle(order)
    new = grown(old)
    older = ancestor_bundle(new, new.vocabulary.ancestors[0])
    assert older.vocabulary == old.vocabulary and same_weights(older, old)
    assert new.prior.config.vocab_size == new.vocabulary.vocab_size > old.vocabulary.vocab_size
    older.save_pretrained(tmp_path)
    assert named_ancestor(Bundle.from_pretrained(tmp_path)) == named_ancestor(old)


def test_ancestors_of_ancestors():
    first = shared_bundle("level")
    second = grown(first)
    model = grown_model(grown_model(), counts=(0, 2), seed=6)
    third = grow_bundle(second, LoadedImageTokenizer(model, first.image_processor, ""))
    assert [each.vocab_size for each in third.vocabulary.ancestors] == [
        each.vocabulary.vocab_size for each in (first, second)
    ]
    for old, name in zip((first, second), third.vocabulary.ancestors, strict=True):
        older = ancestor_bundle(third, name)
        assert older.vocabulary == old.vocabulary and same_weights(older, old)


@pytest.mark.parametrize("architecture", ["qwen3", "qwen3 tied", "llama", "phi"])
def test_extended_models(architecture):
    old = extended(architecture)
    new = grown(old)
    older = ancestor_bundle(new, new.vocabulary.ancestors[0])
    assert older.vocabulary == old.vocabulary and same_weights(older, old)


def changed(new: Bundle, part: str) -> Bundle:
    """With one number that is another."""
    models = {"prior": new.prior.state_dict(), "tokenizer": new.image_tokenizer.state_dict()}  # pyright: ignore
    model, name = part.split(" ")
    with torch.no_grad():
        next(tensor for key, tensor in models[model].items() if name in key).view(-1)[0] += 1e-3
    return new


@pytest.mark.parametrize(
    "part", ["prior embed_tokens", "prior lm_head", "prior q_proj", "tokenizer decoder", "tokenizer encoder"]
)
def test_a_claim_that_is_no_longer_true_is_refused(part):
    new = changed(grown(bundle()), part)
    with pytest.raises(InputError, match=r"names model [0-9a-f]{8} as its ancestor, .* its weights have changed since"):
        ancestor_bundle(new, new.vocabulary.ancestors[0])


def test_other_cuts_are_refused():
    old = shared_bundle("level")
    with pytest.raises(InputError, match="no segment of the vocabulary ends with 7 ids"):
        cut_bundle(old, 7)
    with pytest.raises(InputError, match="AdaptedTokenizer has no ancestors"):
        cut_bundle(replace(old, image_tokenizer=adapted("vqvae2")), old.vocabulary.vocab_size)
