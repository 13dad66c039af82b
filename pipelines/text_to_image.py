"""Words to pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from ..hub.errors import InputError
from ..lm.documents import ids_to_images, text_to_image_prompt
from ..lm.sampler import Samples, SamplingConfig, sample, uniforms
from ..tokenizer.image_processor import to_images
from ..tokenizer.interface import ImageCodes
from ..tokenizer.progress import progress_bar
from .bundle_pipeline import BundlePipeline, check_positive


@dataclass(frozen=True)
class TextToImageOutput:
    """Pictures drawn from prompts, all images of the first prompt first.

    Attributes:
        images: RGB pictures.
        prompts: the prompt of each picture.
        seeds: the seed of each picture; the same prompt and seed give the same picture in any company.
        codes: of all pictures.
        bits: (N,) float64, -log2 of each picture's probability given its prompt, under the plain model.
    """

    images: list[Image.Image]
    prompts: list[str]
    seeds: list[int]
    codes: ImageCodes
    bits: torch.Tensor


class TextToImagePipeline(BundlePipeline):
    """Draws pictures from words.

    Args:
        bundle: the prior and its tokenizers.

    Example:
        pipeline = TextToImagePipeline.from_pretrained("pictogram-demo/bundle")
        pipeline("red apple", num_images=4, seed=0).images[0].save("apple.png")
    """

    def __call__(
        self,
        prompts: str | Sequence[str],
        *,
        num_images: int = 1,
        seed: int | Sequence[int] = 0,
        guidance_scale: float = 1.0,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        size: str | None = None,
        batch_size: int = 50,
        progress: bool = False,
    ) -> TextToImageOutput:
        """Draws `num_images` pictures per prompt.

        Args:
            prompts: one or several; the empty prompt asks for any picture.
            num_images: pictures per prompt, at least 1.
            seed: of the first picture, the others count up from it; or one seed per picture.
            guidance_scale: 1 draws as the model does; more follows the words more closely, with less variety.
                1.5 to 3 helps a prior that has seen few documents, and hurts one that knows its pictures by heart.
            temperature: below 1 prefers likely codes; 0 takes the most likely ones.
            top_k: draws from the k most likely codes only; 0 from all.
            top_p: draws from the most likely codes that hold this share of the chances.
            size: name of a size of the bundle, such as "4x4"; by default its first one.
            batch_size: pictures at a time.
            progress: shows a bar on a terminal.

        Raises:
            InputError: an argument outside its range, an unknown size, or a prompt longer than the model's context.
        """
        sampling = SamplingConfig(temperature=temperature, top_k=top_k, top_p=top_p, guidance_scale=guidance_scale)
        repeated = _repeat(prompts, num_images)
        seeds = _seeds(seed, len(repeated))
        size = next(iter(self.bundle.vocabulary.sizes)) if size is None else size
        samples: list[Samples] = []
        with progress_bar("pictures", len(repeated), enabled=progress) as advance:
            for first in range(0, len(repeated), check_positive("batch_size", batch_size)):
                part = slice(first, first + batch_size)
                samples.append(self._draw(repeated[part], seeds[part], size, sampling))
                advance(len(repeated[part]))
        token_ids = torch.tensor([ids for group in samples for ids in group.token_ids])
        codes = ids_to_images(self.bundle.vocabulary, token_ids, size)
        images = self._decode(codes, batch_size)
        return TextToImageOutput(images, repeated, seeds, codes, torch.cat([group.bits for group in samples]))

    def _draw(self, prompts: list[str], seeds: list[int], size: str, sampling: SamplingConfig) -> Samples:
        vocabulary, encode = self.bundle.vocabulary, self.bundle.text_tokenizer.encode
        num_codes = sum(height * width for height, width in vocabulary.grids(size))
        return sample(
            self.bundle.prior,
            self.grammar,
            [text_to_image_prompt(vocabulary, encode(prompt), size) for prompt in prompts],
            uniforms(seeds, num_codes),
            sampling,
            stop=lambda _: False,  # the grammar fixes the number of codes
            unconditional=[text_to_image_prompt(vocabulary, [], size)] * len(prompts),
        )

    def _decode(self, codes: ImageCodes, batch_size: int) -> list[Image.Image]:
        device = self.bundle.image_tokenizer.device
        groups = zip(*(level.to(device).split(batch_size) for level in codes), strict=True)
        return [image for group in groups for image in to_images(self.bundle.image_tokenizer.decode(group))]


def _repeat(prompts: str | Sequence[str], num_images: int) -> list[str]:
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not prompts:
        raise InputError("at least one prompt is expected, got none")
    return [prompt for prompt in prompts for _ in range(check_positive("num_images", num_images))]


def _seeds(seed: int | Sequence[int], count: int) -> list[int]:
    if isinstance(seed, int):
        return list(range(seed, seed + count))
    if len(seed) != count:
        raise InputError(f"one seed per picture is expected, {count} in all, got {len(seed)}")
    return list(seed)
