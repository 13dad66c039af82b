"""Bundles that grow."""

from dataclasses import replace

import pytest
import torch
from tiny_chain import bundle, image_tokenizer, processor, shared_bundle
from tiny_codec import static_chances
from tiny_grown import SIZES, grown, grown_model, grown_tokenizer
from tiny_language_models import extended
from transformers import AutoModelForCausalLM, AutoTokenizer

from pictogram.hub.errors import InputError
from pictogram.lm.bundle import Bundle
from pictogram.lm.grow import grow_bundle, new_ids
from pictogram.tokenizer.loading import LoadedImageTokenizer
from pictogram.tokenizer.quantizer import nearest


def tables(bundle: Bundle) -> list[torch.Tensor]:
    layers = [bundle.prior.get_input_embeddings(), bundle.prior.get_output_embeddings()]
    return [parameter for layer in layers for parameter in layer.parameters()]  # pyright: ignore


@pytest.mark.parametrize("architecture", [None, "qwen3", "qwen3 tied", "gpt2", "phi"])
def test_all_that_was_there_keeps_its_bits(architecture):
    old = bundle() if architecture is None else extended(architecture)
    before = {name: tensor.clone() for name, tensor in old.prior.state_dict().items()}
    after = grown(old).prior.state_dict()
    assert after.keys() == before.keys()
    for name, tensor in before.items():
        assert torch.equal(old.prior.state_dict()[name], tensor)
        assert torch.equal(after[name][: len(tensor)], tensor), name
    first, second, *_ = tables(grown(old))
    assert (first is second) == old.prior.config.tie_word_embeddings


def test_ids_are_appended_level_by_level():
    old, new = shared_bundle("level"), grown(shared_bundle("level"))
    assert new.vocabulary.codebook_sizes == SIZES
    assert new.vocabulary.segments[: len(old.vocabulary.segments)] == old.vocabulary.segments
    first = old.vocabulary.vocab_size
    assert new_ids(new, old) == list(range(first, first + 5))
    assert new.vocabulary.level_ids(0).tolist()[6:] == [first, first + 1]
    assert new.vocabulary.level_ids(1).tolist()[9:] == [first + 2, first + 3, first + 4]
    assert new.vocabulary.ancestors[0].vocab_size == first


@pytest.mark.parametrize("tied", [False, True])
def test_new_rows_start_where_their_neighbours_are(tied):
    old = extended("qwen3 tied" if tied else "qwen3")
    new = grown(old)
    inputs, outputs, *_ = tables(new)
    for level, size in enumerate((6, 9)):
        ids, vectors = new.vocabulary.level_ids(level), grown_model().code_vectors(level)
        near = ids[nearest(vectors[size:], vectors[:size])]
        assert torch.equal(inputs[ids[size:]], inputs[near])
        expected = outputs[near] if tied else (outputs[near] + outputs[ids[:size]].mean(0)) / 2
        assert torch.allclose(outputs[ids[size:]], expected)


def test_growing_draws_nothing():
    loaded = grown_tokenizer()
    before = torch.random.get_rng_state()
    first, second = (grow_bundle(shared_bundle("level"), loaded).prior.state_dict() for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.mark.parametrize("architecture", [None, "qwen3 tied"])
def test_the_saved_bundle_is_an_ordinary_one(architecture, tmp_path):
    old = (
        replace(shared_bundle("level"), static_chances=static_chances())
        if architecture is None
        else extended(architecture)
    )
    new = grown(old)
    assert new.static_chances is None
    new.save_pretrained(tmp_path)
    assert Bundle.from_pretrained(tmp_path).vocabulary == new.vocabulary
    prior, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert len(tokenizer) == prior.config.vocab_size == new.vocabulary.vocab_size
    assert tokenizer.convert_ids_to_tokens(new.vocabulary.vocab_size - 1) == "<|1:00011|>"


def test_strangers_are_refused():
    old = shared_bundle("level")
    with pytest.raises(InputError, match="there is nothing to grow"):
        grow_bundle(old, image_tokenizer(), processor())
    for model in (image_tokenizer(seed=1), grown_model(image_tokenizer(seed=1))):
        with pytest.raises(InputError, match=r"was not grown from the bundle's: none of its ancestors gives codes"):
            grow_bundle(old, LoadedImageTokenizer(model, processor(), ""))
    liar = grown_model(image_tokenizer(seed=1))
    liar.config.ancestors = grown_model().config.ancestors
    with pytest.raises(InputError, match="was not grown from the bundle's"):
        grow_bundle(old, liar, processor())


def test_a_decoder_that_changed_draws_other_pictures():
    """The prior grows with it, but old files are no longer its own."""
    model = grown_model()
    with torch.no_grad():
        next(tensor for name, tensor in model.state_dict().items() if name.startswith("decoder")).view(-1)[0] += 1e-3
    new = grow_bundle(shared_bundle("level"), LoadedImageTokenizer(model, processor(), ""))
    assert new.vocabulary.codebook_sizes == SIZES and new.vocabulary.ancestors == ()


def test_the_tokenizer_may_come_loaded():
    loaded = grown_tokenizer()
    assert grow_bundle(shared_bundle("level"), loaded.model, loaded.processor).vocabulary.codebook_sizes == SIZES
