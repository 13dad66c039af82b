"""True ancestors, and claims that are none."""

import dataclasses

import pytest
import torch
from tiny_adapters import adapted
from tiny_chain import codes_folder, image_tokenizer, processor
from tiny_grown import grown_codes_folder, grown_model, grown_tokenizer
from tiny_model import equal, make, pictures

from pictogram import load_codes
from pictogram.hub.errors import InputError
from pictogram.tokenizer.descent import ancestor_tokenizer, ancestors_of, makes_codes_of
from pictogram.tokenizer.fingerprints import codes_fingerprint, decoder_fingerprint
from pictogram.tokenizer.growth import grow_codebooks
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil
from pictogram.tokenizer.loading import LoadedImageTokenizer

OLD = codes_fingerprint(image_tokenizer(), processor())


def test_what_grew_can_be_cut_out_again():
    model = make(rate_weight=1e4)
    first = grow_codebooks(model, processor(), [torch.randn(n, 4) for n in (1, 2, 3)])
    second = grow_codebooks(first, processor(), [torch.randn(n, 4) for n in (0, 1, 0)])
    for older in (model, first):
        cut = ancestor_tokenizer(second, older.config.codebook_sizes)
        assert codes_fingerprint(cut, processor()) == codes_fingerprint(older, processor())
        assert decoder_fingerprint(cut) == decoder_fingerprint(older)
        assert all(equal(cut.encode(pictures(4)), older.encode(pictures(4))))
        assert ancestors_of(cut) == ancestors_of(older)
        assert all(torch.equal(tensor, cut.state_dict()[name]) for name, tensor in older.state_dict().items())


def test_a_descendant_reads_the_codes_of_its_ancestor_and_no_other():
    loaded = grown_tokenizer()
    assert makes_codes_of(loaded, loaded.codes_fingerprint, (8, 12))
    assert makes_codes_of(loaded, OLD, (6, 9))
    assert not makes_codes_of(loaded, OLD, (6, 10))
    assert not makes_codes_of(loaded, "0" * 64, (6, 9))
    assert not makes_codes_of(
        LoadedImageTokenizer(image_tokenizer(), processor(), ""), loaded.codes_fingerprint, (8, 12)
    )
    assert not makes_codes_of(LoadedImageTokenizer(adapted("vqvae2"), processor(), ""), OLD, (6, 9))


@pytest.mark.parametrize("name", ["encoder.", "codebooks.1.embedding"])
def test_a_claim_that_is_no_longer_true_counts_for_nothing(name):
    model = grown_model()
    with torch.no_grad():
        part = next(tensor for key, tensor in model.state_dict().items() if key.startswith(name))
        part.view(-1)[0] += 1e-3
    assert not makes_codes_of(LoadedImageTokenizer(model, processor(), ""), OLD, (6, 9))


def test_another_preprocessing_gives_other_codes():
    other = ImageTokenizerImageProcessorPil(size={"height": 16, "width": 16}, background=(0, 0, 0))
    assert not makes_codes_of(LoadedImageTokenizer(grown_model(), other, ""), OLD, (6, 9))


def test_datasets_of_ancestors_load_and_decode():
    loaded = grown_tokenizer()
    codes = load_codes(codes_folder(), tokenizer=loaded)
    assert codes.codebook_sizes == (6, 9)
    old = load_codes(codes_folder()).decode(range(4), image_tokenizer(), processor=processor())
    new = codes.decode(range(4), loaded)
    assert [image.tobytes() for image in new] == [image.tobytes() for image in old]


def test_datasets_of_strangers_and_of_descendants_are_refused():
    for other in (image_tokenizer(seed=1), image_tokenizer()):
        with pytest.raises(InputError, match="holds codes of image tokenizer"):
            load_codes(grown_codes_folder(), tokenizer=LoadedImageTokenizer(other, processor(), ""))
    with pytest.raises(InputError, match="holds codes of image tokenizer"):
        load_codes(codes_folder(), codes_fingerprint=grown_tokenizer().codes_fingerprint)
    rows = load_codes(codes_folder())
    wrong = dataclasses.replace(rows.manifest, codebook_sizes=[6, 12])
    with pytest.raises(InputError, match="split train holds codes of image tokenizer"):
        dataclasses.replace(rows, manifest=wrong).decode([0], grown_tokenizer())
