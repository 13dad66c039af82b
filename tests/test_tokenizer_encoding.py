"""Level by level comes to the same as all at once."""

import pytest
import torch
from tiny_model import SHAPES, make, pictures


@pytest.mark.parametrize("shape", SHAPES)
def test_nearest_codes_are_those_of_encode(shape):
    model, pixel_values = make(**shape), None
    pixel_values = pictures(3)[:, : model.config.num_channels]
    encoding = model.encoding(pixel_values)
    with torch.no_grad():
        for level, expected in enumerate(model.encode(pixel_values)):
            codebook = model._codebooks()[level]
            quantized = codebook.quantize(encoding.next_latents())
            assert torch.equal(quantized.indices, expected)
            encoding.take(quantized.quantized)


def test_other_codes_change_finer_latents_only():
    model, pixel_values = make(), pictures(2)
    with torch.no_grad():
        first, second = model.encoding(pixel_values), model.encoding(pixel_values)
        latents = first.next_latents()
        assert torch.equal(latents, second.next_latents())
        first.take(latents)
        second.take(-latents)
        assert not torch.equal(first.next_latents(), second.next_latents())
