"""Checks that wait for a GPU: `pytest -m gpu`."""

import pytest
import tiny_chain
import torch

from pictogram.lm.bundle import Bundle
from pictogram.pipelines.text_to_image import TextToImagePipeline

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_codes_are_those_of_the_cpu():
    tokenizer = tiny_chain.image_tokenizer()
    pixel_values = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = tokenizer.encode(pixel_values)
    for level, on_cpu in zip(tokenizer.to("cuda").encode(pixel_values.cuda()), expected, strict=True):  # pyright: ignore
        assert torch.equal(level.cpu(), on_cpu)


def test_the_sampler_draws_the_tokens_of_the_cpu():
    def draw(device: str) -> torch.Tensor:
        bundle = Bundle.from_pretrained(tiny_chain.bundle_folder()).to(device)
        bundle.prior.double()  # in float64 rounding moves no draw
        output = TextToImagePipeline(bundle)(["red apple", "grinning face"], num_images=3, guidance_scale=1.5)
        return torch.cat([level.flatten(1).cpu() for level in output.codes], 1)

    assert torch.equal(draw("cuda"), draw("cpu"))
