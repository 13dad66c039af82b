"""From a request to codes, and from codes to pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image

from ..lm.bundle import Bundle
from ..lm.documents import text_to_image_prompt
from ..lm.drawing import uniforms
from ..lm.image_sampler import DrawnImages, ImageDrawing, ImageSampling
from ..tokenizer.batches import derived_generator
from ..tokenizer.image_processor import to_images
from ..tokenizer.interface import ImageCodes
from ..tokenizer.progress import progress_bar
from .completion_server import CompletionServer
from .picture_request import PictureRequest
from .remote_drawing import RemoteDrawing

_AT_ONCE = 64
"""Pictures that the image tokenizer decodes in one pass."""


def start_drawing(
    bundle: Bundle, request: PictureRequest, sampling: ImageSampling, backend: CompletionServer | None = None
) -> ImageDrawing | RemoteDrawing:
    """All pictures of a request before their first code, which the prior draws, or a server that runs it.

    Raises:
        InputError: settings outside their range, a prompt longer than the model's context, or guidance with a server.
    """
    drawing = ImageDrawing(
        bundle.prior,
        bundle.vocabulary,
        request.size,
        [words_to_prompt(bundle, words, request.size) for words in request.prompts],
        uniforms(request.seeds, request.given.shape[1]),
        sampling,
        unconditional=words_to_prompt(bundle, "", request.size),
        given=request.given,
    )
    return drawing if backend is None else RemoteDrawing(backend, bundle.vocabulary, drawing)


def draw_pictures(
    bundle: Bundle,
    request: PictureRequest,
    sampling: ImageSampling,
    batch_size: int,
    progress: bool = False,
    backend: CompletionServer | None = None,
) -> DrawnImages:
    """Draws all pictures of a request, `batch_size` at a time; errors as for `start_drawing`."""
    groups: list[DrawnImages] = []
    with progress_bar("pictures", len(request), enabled=progress) as advance:
        for first in range(0, len(request), batch_size):
            part = request.part(slice(first, first + batch_size))
            groups.append(start_drawing(bundle, part, sampling, backend).draw())
            advance(len(part))
    return DrawnImages(torch.cat([g.token_ids for g in groups]), torch.cat([g.bits for g in groups]))


def words_to_prompt(bundle: Bundle, words: str, size: str) -> list[int]:
    """The ids before the codes of a picture of this size; empty words ask for any picture."""
    return text_to_image_prompt(bundle.vocabulary, bundle.text_tokenizer.encode(words), size)


def decode_pictures(bundle: Bundle, codes: ImageCodes, num_levels: int | None = None) -> list[Image.Image]:
    """The pictures of codes, from all levels or from the first `num_levels`."""
    tokenizer = bundle.image_tokenizer
    groups = zip(*(level.to(tokenizer.device).split(_AT_ONCE) for level in codes), strict=True)
    return [image for group in groups for image in to_images(tokenizer.decode(group, num_levels))]


def sum_levels(bits: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """(B, n) float64 bits of codes and (n,) their levels -> (B, L) bits of every level that is there."""
    sums = torch.zeros(len(bits), int(levels.max()) + 1, dtype=torch.float64)
    return sums.index_add_(1, levels, bits)


def candidate_seeds(seeds: Sequence[int], num_candidates: int) -> list[int]:
    """Seeds of the candidates for each picture; its first candidate is what its seed gives without candidates."""
    return [
        seed if number == 0 else derived_generator(seed, "candidate", number).initial_seed()
        for seed in seeds
        for number in range(num_candidates)
    ]
