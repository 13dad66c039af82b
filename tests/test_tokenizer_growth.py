"""Codebooks that grow."""

from typing import Any

import pytest
import torch
from tiny_model import SHAPES, equal, make, pictures, random_codes

from pictogram.hub.errors import InputError
from pictogram.tokenizer.ancestors import Ancestor
from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.fingerprints import codes_fingerprint, decoder_fingerprint
from pictogram.tokenizer.growth import grow_codebooks
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil
from pictogram.tokenizer.model import ImageTokenizer
from pictogram.tokenizer.training_config import TokenizerTrainingConfig


def processor() -> ImageTokenizerImageProcessorPil:
    return TokenizerTrainingConfig(image_size=16).image_processor()


def new_rows(model: ImageTokenizer, *counts: int, far: float = 0.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(count, model.config.codebook_dim, generator=generator) + far for count in counts]


@pytest.mark.parametrize("shape", SHAPES)
def test_old_codes_decode_as_ever(shape):
    model = make(**shape)
    counts = range(1, 1 + model.config.num_levels)
    grown = grow_codebooks(model, processor(), new_rows(model, *counts))
    sizes = zip(model.config.codebook_sizes, counts, strict=True)
    assert grown.config.codebook_sizes == [size + count for size, count in sizes]
    pixel_values = pictures(3)[:, : model.config.num_channels]
    codes = random_codes(model, model.encode(pixel_values))
    assert torch.equal(grown.decode(codes), model.decode(codes))
    assert codes_fingerprint(grown, processor()) != codes_fingerprint(model, processor())


@pytest.mark.parametrize("rate_weight", [0.0, 1.0])
def test_pictures_keep_their_codes_where_no_new_one_is_nearer(rate_weight):
    model = make(rate_weight=rate_weight)
    grown = grow_codebooks(model, processor(), new_rows(model, 2, 0, 3, far=30))
    assert all(equal(grown.encode(pictures(8)), model.encode(pictures(8))))


def test_every_old_row_keeps_its_bits():
    model = make(rate_weight=1e4)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    grown = grow_codebooks(model, processor(), new_rows(model, 2, 4, 3)).state_dict()
    for name, tensor in before.items():
        assert torch.equal(model.state_dict()[name], tensor)
        rows = tensor.shape[0] if tensor.ndim else None
        assert torch.equal(grown[name][:rows] if rows else grown[name], tensor), name


def test_a_new_code_costs_a_bit_more_than_the_one_beside_it():
    model = make(rate_weight=1e4)
    near = model.code_vectors(1)[2:3] + 1e-4
    grown = grow_codebooks(model, processor(), [torch.empty(0, 4), near, torch.empty(0, 4)])
    assert grown.rate_model is not None
    context, vectors = torch.randn(1, 8, 2, 2), torch.randn(1, 4, 2, 2)
    bits = grown.rate_model.bits(1, context, vectors)
    assert torch.allclose(bits[:, -1], bits[:, 2] + 1, atol=1e-4)


def test_it_names_its_ancestors_and_grows_again(tmp_path):
    model = make()
    first = grow_codebooks(model, processor(), new_rows(model, 1, 2, 3))
    second = grow_codebooks(first, processor(), new_rows(model, 0, 1, 0))
    second.save_pretrained(tmp_path)
    loaded = ImageTokenizer.from_pretrained(tmp_path).eval()
    found = [Ancestor.from_json(content) for content in loaded.config.ancestors or []]
    assert found == [
        Ancestor(codes_fingerprint(each, processor()), decoder_fingerprint(each), tuple(each.config.codebook_sizes))
        for each in (model, first)
    ]
    assert all(equal(loaded.encode(pictures(4)), second.encode(pictures(4))))


@pytest.mark.parametrize("quantizer, sizes", [("fsq", [15, 15, 15]), ("lfq", [4, 8, 8]), ("l2", [5, 6, 7])])
def test_other_quantizers_are_refused(quantizer, sizes):
    model = ImageTokenizer(ImageTokenizerConfig(hidden_size=8, quantizer=quantizer, codebook_sizes=sizes))
    with pytest.raises(InputError, match=f'"ema" can grow, got .{quantizer}'):
        grow_codebooks(model, processor(), [torch.empty(0, 4)] * 3)


@pytest.mark.parametrize(
    "rows",
    [[torch.zeros(1, 4)], [torch.zeros(1, 5)] * 3, [torch.zeros(4)] * 3, [torch.full((1, 4), float("nan"))] * 3],
)
def test_rows_that_do_not_fit_are_refused(rows: Any):
    with pytest.raises(InputError, match="finite rows of 4 numbers for each of 3 levels"):
        grow_codebooks(make(), processor(), rows)
