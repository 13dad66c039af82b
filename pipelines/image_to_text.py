"""Pictures to words."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from ..hub.errors import InputError
from ..lm.bundle import Bundle
from ..lm.documents import image_to_text_prompt, images_to_ids
from ..lm.sampler import SamplingConfig, sample, uniforms
from ..tokenizer.images import decode_row
from ..tokenizer.progress import progress_bar
from ..tokenizer.rgb import to_rgb


@dataclass(frozen=True)
class ImageToTextOutput:
    """Captions of pictures, in the order of the pictures.

    Attributes:
        captions: one per picture.
        bits: (N,) float64, -log2 of each caption's probability given its picture, its end included.
    """

    captions: list[str]
    bits: torch.Tensor


class ImageToTextPipeline:
    """Writes captions for pictures.

    Args:
        bundle: the prior and its tokenizers.

    Example:
        ImageToTextPipeline.from_pretrained("pictogram-demo/bundle")("apple.png").captions
    """

    def __init__(self, bundle: Bundle):
        self.bundle = bundle
        self.grammar = bundle.grammar

    @classmethod
    def from_pretrained(cls, bundle: str | os.PathLike[str], device: str | None = None) -> ImageToTextPipeline:
        """Loads a bundle's folder onto a device: by default a GPU if there is one.

        Raises:
            InputError: the folder is not a whole bundle.
        """
        return cls(Bundle.from_pretrained(bundle).to(device or ("cuda" if torch.cuda.is_available() else "cpu")))

    def __call__(
        self,
        images: Picture | Sequence[Picture],
        *,
        seed: int = 0,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        max_new_tokens: int = 48,
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
            max_new_tokens: longest caption, text pieces.
            batch_size: pictures at a time.
            progress: shows a bar on a terminal.

        Raises:
            InputError: a file that cannot be read, no pictures, or an argument outside its range.
        """
        sampling = SamplingConfig(temperature=temperature, top_k=top_k, top_p=top_p)
        pictures = [images] if isinstance(images, str | os.PathLike | Image.Image) else list(images)
        if not pictures or batch_size < 1 or max_new_tokens < 1:
            got = f"{len(pictures)}, batch_size {batch_size}, max_new_tokens {max_new_tokens}"
            raise InputError(f"at least one picture, batch_size and max_new_tokens of at least 1 are expected, got {got}")
        opened = [_open(picture) for picture in pictures]
        captions, bits = [], []
        with progress_bar("captions", len(opened), enabled=progress) as advance:
            for first in range(0, len(opened), batch_size):
                group = opened[first : first + batch_size]
                prompts = self._prompts(group)
                draws = uniforms(range(seed + first, seed + first + len(group)), max_new_tokens)
                samples = sample(self.bundle.prior, self.grammar, prompts, draws, sampling, stop=self._ends)
                captions += [self.bundle.text_tokenizer.decode(ids) for ids in samples.token_ids]
                bits.append(samples.bits)
                advance(len(group))
        return ImageToTextOutput(captions, torch.cat(bits))

    def _prompts(self, images: list[Image.Image]) -> list[list[int]]:
        vocabulary, model = self.bundle.vocabulary, self.bundle.image_tokenizer
        pixel_values = self.bundle.image_processor(images, return_tensors="pt")["pixel_values"]
        codes = tuple(level.cpu() for level in model.encode(pixel_values.to(model.device)))
        size = vocabulary.size_of([level.shape[-2:] for level in codes])
        return [image_to_text_prompt(vocabulary, ids, size) for ids in images_to_ids(vocabulary, codes)]

    def _ends(self, id_: int) -> bool:
        """A caption ends with the document, or where another picture would begin."""
        return not self.bundle.vocabulary.is_text(id_)


Picture = Image.Image | str | os.PathLike[str]


def _open(picture: Picture) -> Image.Image:
    if isinstance(picture, Image.Image):
        return to_rgb(picture)
    if not Path(picture).is_file():
        raise InputError(f"{picture} is not a file; expected a picture")
    try:
        return decode_row({"bytes": Path(picture).read_bytes(), "path": None})
    except InputError as error:
        raise InputError(f"{picture} cannot be read: {error}") from None
