"""The errors of decoded pictures."""

import pytest
import torch
from tiny_model import make, pictures

from pictogram.tokenizer.picture_loss import picture_loss


@pytest.mark.parametrize("counts", [[[1.0, 1.0], [1.0, 1.0]], [[2.0, 0.0], [0.0, 2.0]], [[0.0, 0.0], [0.0, 0.0]]])
def test_it_is_what_the_model_counts(counts):
    model = make(prefix_weights=[0.3, 0.1])
    pixel_values, counted = pictures(2), torch.tensor(counts)
    output = model(pixel_values, counted)
    vectors = [model.embed_codes(level, each) for level, each in enumerate(output.codes)]
    loss = picture_loss(model.decoder, vectors, pixel_values, counted, [0.3, 0.1])
    assert torch.allclose(loss, output.distortion + output.prefix_loss)


def test_prefixes_without_weight_are_not_decoded():
    def decode(vectors, num_levels):
        assert num_levels == 2
        return vectors[0] + vectors[1]

    vectors = [torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2)]
    assert picture_loss(decode, vectors, torch.zeros(1, 1, 2, 2), torch.ones(1, 1), [0.0]) == 4
    assert picture_loss(decode, vectors, torch.zeros(1, 1, 2, 2), torch.ones(1, 1), []) == 4
