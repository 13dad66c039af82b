"""Pictures to words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from ..lm.documents import image_to_text_prompt, images_to_ids
from ..lm.sampler import Samples, SamplingConfig, sample, uniforms
from ..tokenizer.progress import progress_bar
from .bundle_pipeline import BundlePipeline, check_positive
from .picture_input import Picture, encode_pictures, open_pictures

_MAX_NEW_TOKENS = 48
"""Text pieces of a caption when the caller names no limit."""


@dataclass(frozen=True)
class ImageToTextOutput:
    """Captions of pictures, in the order of the pictures.

    Attributes:
        captions: one per picture.
        bits: (N,) float64, -log2 of each caption's probability given its picture, its end included.
    """

    captions: list[str]
    bits: torch.Tensor


class ImageToTextPipeline(BundlePipeline):
    """Writes captions for pictures.

    Args:
        bundle: the prior and its tokenizers.

    Example:
        ImageToTextPipeline.from_pretrained("pictogram-demo/bundle")("apple.png").captions
    """

    def __call__(
        self,
        images: Picture | Sequence[Picture],
        *,
        seed: int = 0,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        max_new_tokens: int | None = None,
        batch_size: int = 50,
        progress: bool = False,
    ) -> ImageToTextOutput:
        """Writes one caption per picture.

        Args:
            images: PIL pictures or paths of files, of any size and mode.
            seed: of the first picture, the others count up from it; matters when the temperature is above 0.
            temperature: 0 takes the most likely piece each time.
            top_k: draws from the k most likely pieces only; 0 from all.
            top_p: draws from the most likely pieces that hold this share of the chances.
            max_new_tokens: longest caption, text pieces; by default 48, or what the model's context has room for.
            batch_size: pictures at a time.
            progress: shows a bar on a terminal.

        Raises:
            InputError: a file that cannot be read, no pictures, or an argument outside its range.
        """
        sampling = SamplingConfig(temperature=temperature, top_k=top_k, top_p=top_p)
        check_positive("batch_size", batch_size)
        check_positive("max_new_tokens", _MAX_NEW_TOKENS if max_new_tokens is None else max_new_tokens)
        opened = open_pictures(images, self.bundle.image_processor.background_colour)
        captions, bits = [], []
        with progress_bar("captions", len(opened), enabled=progress) as advance:
            for first in range(0, len(opened), batch_size):
                group = opened[first : first + batch_size]
                prompts = self._prompts(group)
                samples = self._draw(prompts, range(seed + first, seed + first + len(group)), max_new_tokens, sampling)
                captions += [self.bundle.text_tokenizer.decode(ids) for ids in samples.token_ids]
                bits.append(samples.bits)
                advance(len(group))
        return ImageToTextOutput(captions, torch.cat(bits))

    def _prompts(self, images: list[Image.Image]) -> list[list[int]]:
        vocabulary, has_one_size = self.bundle.vocabulary, self.bundle.image_processor.do_resize
        prompts = []
        for group in [images] if has_one_size else [[image] for image in images]:
            encoded = encode_pictures(self.bundle, group)
            ids = images_to_ids(vocabulary, encoded.codes)
            prompts += [image_to_text_prompt(vocabulary, row, encoded.size) for row in ids]
        return prompts

    def _draw(
        self, prompts: list[list[int]], seeds: range, max_new_tokens: int | None, sampling: SamplingConfig
    ) -> Samples:
        vocabulary, prior = self.bundle.vocabulary, self.bundle.prior
        if max_new_tokens is None:
            room = prior.config.max_position_embeddings - max(map(len, prompts))
            max_new_tokens = max(1, min(_MAX_NEW_TOKENS, room))
        # The grammar would let another picture follow. A caption is text and its end.
        pictures = [vocabulary.null_id, *map(vocabulary.image_start_id, vocabulary.sizes)]
        return sample(
            prior,
            self.grammar,
            prompts,
            uniforms(seeds, max_new_tokens),
            sampling,
            stop=lambda id_: id_ == vocabulary.eos_id,
            exclude=pictures,
        )
