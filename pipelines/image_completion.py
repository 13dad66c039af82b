"""Pictures of which a part is kept, and the rest drawn anew."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from PIL import Image

from ..hub.errors import InputError
from ..lm.documents import ids_to_images
from ..lm.drawing import SamplingConfig, uniforms
from ..lm.first_code import FirstCodes, score_first_codes
from ..lm.image_sampler import DrawnImages, ImageSampling, PerLevel
from ..lm.order import document_order
from ..tokenizer.image_processor import to_images
from ..tokenizer.interface import ImageCodes
from ..tokenizer.pictures import picture_grid, save_picture
from .bundle_pipeline import BundlePipeline, check_positive
from .kept_codes import KeptCodes, Mask, kept_codes, kept_pixels
from .picture_drawing import candidate_seeds, decode_pictures, draw_pictures, sum_levels, words_to_prompt
from .picture_input import EncodedPictures, Picture, encode_pictures, open_pictures
from .picture_origin import PictureOrigin
from .picture_request import PictureRequest, spell_seeds


@dataclass(frozen=True)
class ImageCompletionOutput:
    """Completions of pictures, all those of the first picture first. N completions of pictures of H x W pixels.

    Attributes:
        images: decoded pictures with the kept pixels of the originals pasted over them.
        decoded: the same without pasting: what all codes say together.
        originals: the picture that each completes, as the image tokenizer read it.
        kept_pixels: (N, H, W) bool, True where `images` shows the original.
        prompts: of each.
        seeds: of each; the same picture, region, prompt and seed give the same completion in any company.
        codes: of all completions, kept and drawn.
        num_kept: (N, L) int64, how many codes of each level were kept.
        num_exact: (N,) int64, how many of them all that is drawn is conditioned on exactly, see the pipeline.
        level_bits: (N, L) float64, -log2 of the probability of each level's codes given the prompt and all before them,
            kept ones included, under the plain model.
        forced_bits: (N,) float64, the share of the kept codes that are not exact in it.
        image_code_entropy: (N,) float64, bits of doubt about the whole-image code when the exact codes are known; None
            for a tokenizer without one.
        origin: the bundle and the settings that drew them.
    """

    images: list[Image.Image]
    decoded: list[Image.Image]
    originals: list[Image.Image]
    kept_pixels: torch.Tensor
    prompts: list[str]
    seeds: list[int]
    codes: ImageCodes
    num_kept: torch.Tensor
    num_exact: torch.Tensor
    level_bits: torch.Tensor
    forced_bits: torch.Tensor
    image_code_entropy: torch.Tensor | None
    origin: PictureOrigin

    @property
    def bits(self) -> torch.Tensor:
        """(N,) float64, -log2 of the probability of each completion's codes given its prompt."""
        return self.level_bits.sum(1)

    def png_text(self, rows: slice = slice(None)) -> dict[str, str]:
        """Text chunks for a PNG file of some of the completions, see `PictureOrigin.png_text`."""
        codes = tuple(level[rows] for level in self.codes)
        return self.origin.png_text(self.prompts[rows], self.seeds[rows], codes)

    def save(self, path: str | os.PathLike[str], index: int = 0) -> None:
        """Writes one completion as a PNG file that says how it was made, see `picture_origin.read_origin`."""
        save_picture(self.images[index], path, self.png_text(slice(index, index + 1)))


class ImageCompletionPipeline(BundlePipeline):
    """Draws a part of a picture anew.

    A code is kept if its whole cell of pixels is; the others are drawn. What the prior can be conditioned on exactly
    are the codes that a document begins with:

    - **Exact**: the whole-image code is drawn from p(code | prompt, kept codes that directly follow it), for which all
      its codes are scored; and all later codes are drawn given that beginning. In order "pyramid" the kept top rows of
      the first spatial level with everything below them are such a beginning; in order "level" only the kept top rows
      of the first spatial level.
    - **Approximate**: every other kept code stands at its place when its turn comes. What comes later knows it, what
      was drawn before it did not. `num_candidates` above 1 draws that often and takes the candidate under which these
      codes are the most likely, given what precedes them.

    So with temperature 1, no truncation and no guidance, a completion whose kept codes are all exact is a fair draw
    from the prior given these codes.

    The codes are not the pixels: an image tokenizer makes every code from more than its cell, ours also from the
    whole-image code. Kept codes therefore know something of the pixels that are drawn anew, and completions of whole
    pictures look better than those of pictures whose rest is really missing: paint over what must not be known.

    Args:
        bundle: the prior and its tokenizers.

    Example:
        complete = ImageCompletionPipeline.from_pretrained("pictogram-demo/bundle")
        complete("apple.png", keep_rows=0.5, num_images=4, seed=0).save("completed.png")
    """

    def __call__(
        self,
        images: Picture | Sequence[Picture],
        *,
        keep_rows: float | None = None,
        mask: Mask | Sequence[Mask] | None = None,
        prompts: str | Sequence[str] = "",
        num_images: int = 1,
        seed: int | Sequence[int] = 0,
        guidance_scale: PerLevel = 1.0,
        guidance_interval: tuple[float, float] = (0.0, 1.0),
        temperature: PerLevel | None = None,
        top_k: int | Sequence[int] | None = None,
        top_p: PerLevel | None = None,
        num_candidates: int = 1,
        batch_size: int = 64,
        progress: bool = False,
    ) -> ImageCompletionOutput:
        """Draws `num_images` completions of each picture. Give either `keep_rows` or `mask`.

        Args:
            images: PIL pictures or paths of files. Where the bundle keeps native sizes, all are of one size.
            keep_rows: share of the height that is kept at the top, above 0 and below 1.
            mask: white where pixels are drawn anew, black where they are kept: PIL pictures, paths, or bool or uint8
                arrays, of the pictures' size; one for all or one for each. See `kept_pixels`.
            prompts: words for all pictures or for each; the empty prompt says nothing.
            num_images: completions per picture, at least 1.
            seed: of the first completion, the others count up from it; or one seed per completion.
            guidance_scale: see `TextToImagePipeline`, as for the four that follow. They apply to the whole-image code
                too, after it has been conditioned.
            guidance_interval: shares of the codes between which guidance is on.
            temperature: below 1 prefers likely codes.
            top_k: draws from the k most likely codes only.
            top_p: draws from the most likely codes that hold this share of the chances.
            num_candidates: completions drawn for each one returned, see the class.
            batch_size: completions at a time, and whole-image codes that are scored at a time.
            progress: shows a bar on a terminal.

        Raises:
            InputError: an argument outside its range, a region that keeps no code or draws nothing, see `kept_pixels`;
                a picture that cannot be read or whose size is not in the vocabulary; a prompt longer than the model's
                context; or candidates that nothing tells apart, since all kept codes are exact.
        """
        sampling = ImageSampling(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            guidance_scale=guidance_scale,
            guidance_interval=guidance_interval,
        ).of_model(self.bundle.image_generation_config)
        for name, value in {
            "num_images": num_images,
            "num_candidates": num_candidates,
            "batch_size": batch_size,
        }.items():
            check_positive(name, value)
        pictures = open_pictures(images, self.bundle.image_processor.background_colour)
        words = _one_for_each(prompts, len(pictures))
        seeds = spell_seeds(seed, len(pictures) * num_images)
        regions = kept_pixels(self.bundle.image_processor, pictures, keep_rows=keep_rows, mask=mask)
        encoded = encode_pictures(self.bundle, pictures)
        pixels = torch.stack(regions)
        kept = kept_codes(self.bundle.vocabulary, encoded, pixels)
        if num_candidates > 1 and not kept.is_forced.any():
            raise InputError("all kept codes are exact here, so nothing tells candidates apart: use num_candidates=1")
        task = _Task(words, encoded, pixels, kept, num_images, seeds)
        first = self._first_codes(task, sampling, batch_size) if kept.has_image_code else None
        drawn = self._draw(task, first, sampling, num_candidates, batch_size, progress)
        settings = asdict(sampling) | {"size": encoded.size, "num_candidates": num_candidates, "keep_rows": keep_rows}
        return self._output(task, first, drawn, PictureOrigin.of(self.bundle, "completion", settings))

    def _first_codes(self, task: _Task, sampling: ImageSampling, batch_size: int) -> FirstCodes:
        """Scores all whole-image codes of every picture, with its words and, where guidance asks, without."""
        bundle, size, kept = self.bundle, task.encoded.size, task.kept

        def scores(words: Sequence[str]) -> torch.Tensor:
            rows = [
                score_first_codes(
                    bundle.prior,
                    bundle.vocabulary,
                    size,
                    words_to_prompt(bundle, each, size),
                    kept.exact_ids(picture),
                    batch_size,
                )
                for picture, each in enumerate(words)
            ]
            return torch.stack(rows)

        is_guided = self._first_sampling(task, sampling).guidance_scale != 1
        without = scores([""] * len(task.words)) if is_guided else None
        return FirstCodes(bundle.vocabulary.level_ids(0), scores(task.words), without)

    def _draw(
        self,
        task: _Task,
        first: FirstCodes | None,
        sampling: ImageSampling,
        num_candidates: int,
        batch_size: int,
        progress: bool,
    ) -> DrawnImages:
        """Of the candidates for each completion the one whose forced codes cost least, the first of equal ones."""
        pictures = task.pictures.repeat_interleave(num_candidates)
        seeds = candidate_seeds(task.seeds, num_candidates)
        given = task.kept.given[pictures]
        if first is not None:
            draws = uniforms(seeds, given.shape[1])[:, 0]
            given[:, 0] = first.draw(pictures, draws, self._first_sampling(task, sampling))
        prompts = [task.words[picture] for picture in pictures.tolist()]
        request = PictureRequest(prompts, seeds, task.encoded.size, given)
        drawn = draw_pictures(self.bundle, request, sampling, batch_size, progress)
        forced_bits = (drawn.bits * task.kept.is_forced[pictures]).sum(1)
        best = forced_bits.view(-1, num_candidates).argmin(1) + torch.arange(len(task.seeds)) * num_candidates
        return DrawnImages(drawn.token_ids[best], drawn.bits[best])

    def _first_sampling(self, task: _Task, sampling: ImageSampling) -> SamplingConfig:
        vocabulary = self.bundle.vocabulary
        levels = document_order(vocabulary.grids(task.encoded.size), vocabulary.order).levels
        return sampling.schedule(levels.tolist(), vocabulary.num_levels)[0]

    def _output(
        self, task: _Task, first: FirstCodes | None, drawn: DrawnImages, origin: PictureOrigin
    ) -> ImageCompletionOutput:
        vocabulary, kept, pictures = self.bundle.vocabulary, task.kept, task.pictures
        codes = ids_to_images(vocabulary, drawn.token_ids, task.encoded.size)
        read = to_images(task.encoded.pixel_values)
        originals = [read[picture] for picture in pictures.tolist()]
        decoded, pixels = decode_pictures(self.bundle, codes), task.pixels[pictures]
        triples = zip(originals, decoded, pixels.numpy(), strict=True)
        levels = document_order(vocabulary.grids(task.encoded.size), vocabulary.order).levels
        return ImageCompletionOutput(
            images=[Image.composite(original, drawn, Image.fromarray(region)) for original, drawn, region in triples],
            decoded=decoded,
            originals=originals,
            kept_pixels=pixels,
            prompts=[task.words[picture] for picture in pictures.tolist()],
            seeds=task.seeds,
            codes=codes,
            num_kept=kept.num_kept[pictures],
            num_exact=kept.num_exact[pictures],
            level_bits=sum_levels(drawn.bits, levels),
            forced_bits=(drawn.bits * kept.is_forced[pictures]).sum(1),
            image_code_entropy=None if first is None else first.entropy[pictures],
            origin=origin,
        )


def completion_grid(output: ImageCompletionOutput, num_images: int) -> Image.Image:
    """One row per picture: the original, what is kept of it, and its `num_images` completions."""
    rows = []
    for first in range(0, len(output.images), num_images):
        original = output.originals[first]
        hidden = Image.new("RGB", original.size, _HIDDEN).convert(original.mode)
        kept = Image.composite(original, hidden, Image.fromarray(output.kept_pixels[first].numpy()))
        rows.append([original, kept, *output.images[first : first + num_images]])
    return picture_grid(rows, header=["original", "kept", "completed"], cell=128)


_HIDDEN = (200, 200, 200)


@dataclass(frozen=True, eq=False)
class _Task:
    """P pictures to be completed, `num_images` times each."""

    words: list[str]
    encoded: EncodedPictures
    pixels: torch.Tensor
    """(P, H, W) bool, True where kept."""
    kept: KeptCodes
    num_images: int
    seeds: list[int]
    """Of all completions."""

    @property
    def pictures(self) -> torch.Tensor:
        """LongTensor (N,): the picture of each completion."""
        return torch.arange(len(self.words)).repeat_interleave(self.num_images)


def _one_for_each(prompts: str | Sequence[str], count: int) -> list[str]:
    words = [prompts] * count if isinstance(prompts, str) else list(prompts)
    if len(words) != count:
        raise InputError(f"one prompt for all pictures or one for each of {count} is expected, got {len(words)}")
    return words
