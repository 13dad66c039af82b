"""Words to pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import torch
from PIL import Image

from ..hub.errors import InputError
from ..hub.files import atomic_write_bytes
from ..lm.bundle import Bundle
from ..lm.documents import ids_to_images, image_to_text
from ..lm.image_sampler import DRAWN, DrawnImages, ImageSampling, PerLevel
from ..lm.order import document_order
from ..lm.rate import score_documents
from ..lm.token_bits import TokenScorer
from ..tokenizer.interface import ImageCodes
from ..tokenizer.pictures import png_bytes
from .bundle_pipeline import BundlePipeline, check_positive
from .completion_server import CompletionServer
from .picture_drawing import candidate_seeds, decode_pictures, draw_pictures, start_drawing, sum_levels
from .picture_origin import PictureOrigin
from .picture_request import PictureRequest, new_request


@dataclass(frozen=True)
class TextToImageOutput:
    """Pictures drawn from prompts, all images of the first prompt first.

    Attributes:
        images: RGB pictures.
        prompts: the prompt of each picture.
        seeds: the seed of each picture; the same prompt and seed give the same picture in any company.
        codes: of all pictures; of a preview, those of the levels drawn so far.
        level_bits: (N, L) float64, -log2 of the probability of each level's codes given the prompt and all before them,
            under the plain model.
        origin: the bundle and the settings that drew them.
        caption_bits: (N,) float64, -log2 of the prompt's probability given the picture; None unless reranked.
    """

    images: list[Image.Image]
    prompts: list[str]
    seeds: list[int]
    codes: ImageCodes
    level_bits: torch.Tensor
    origin: PictureOrigin
    caption_bits: torch.Tensor | None = None

    @property
    def bits(self) -> torch.Tensor:
        """(N,) float64, -log2 of each picture's probability given its prompt: its log-likelihood in bits, negated."""
        return self.level_bits.sum(1)

    def png_text(self, rows: slice = slice(None)) -> dict[str, str]:
        """Text chunks for a PNG file of some of the pictures, see `PictureOrigin.png_text`."""
        codes = tuple(level[rows] for level in self.codes)
        return self.origin.png_text(self.prompts[rows], self.seeds[rows], codes)

    def png(self, index: int = 0) -> bytes:
        """One picture as a PNG file that says how it was made."""
        return png_bytes(self.images[index], self.png_text(slice(index, index + 1)))

    def save(self, path: str | os.PathLike[str], index: int = 0) -> None:
        """Writes one picture as a PNG file that says how it was made, see `picture_origin.read_origin`."""
        atomic_write_bytes(path, self.png(index))


class TextToImagePipeline(BundlePipeline):
    """Draws pictures from words.

    Args:
        bundle: the prior and its tokenizers.
        backend: a server that runs the bundle's prior and draws the codes, such as vLLM: its URL,
            "http://127.0.0.1:8000/v1", or a `CompletionServer`. Pictures are decoded, and bits measured, here. None
            draws here.

    Example:
        pipeline = TextToImagePipeline.from_pretrained("pictogram-demo/bundle")
        pipeline("red apple", num_images=4, seed=0).save("apple.png")
        pipeline(symbol=17, num_images=4)  # whatever the whole-image code 17 stands for
    """

    def __init__(self, bundle: Bundle, backend: str | CompletionServer | None = None):
        super().__init__(bundle)
        self.backend = CompletionServer(backend) if isinstance(backend, str) else backend

    @classmethod
    def from_pretrained(
        cls,
        bundle: str | os.PathLike[str],
        device: str | None = None,
        revision: str | None = None,
        backend: str | CompletionServer | None = None,
        *,
        token: str | None = None,
    ) -> TextToImagePipeline:
        """Loads a bundle onto a device.

        Args:
            bundle: its folder, its name on the Hub, owner/name, or a shipped model's: "noto" or "fashion".
            device: by default a GPU if there is one.
            revision: branch, tag or commit on the Hub; the main branch unless told.
            backend: see the class.
            token: of an account that may read it on the Hub; by default that of the login.

        Raises:
            InputError: see `Bundle.from_pretrained`, or a backend's URL that is none.
        """
        return cls(super().from_pretrained(bundle, device, revision, token=token).bundle, backend)

    def __call__(
        self,
        prompts: str | Sequence[str] = "",
        *,
        num_images: int = 1,
        seed: int | Sequence[int] = 0,
        guidance_scale: PerLevel = 1.0,
        guidance_interval: tuple[float, float] = (0.0, 1.0),
        temperature: PerLevel | None = None,
        top_k: int | Sequence[int] | None = None,
        top_p: PerLevel | None = None,
        size: str | None = None,
        symbol: int | Sequence[int] | None = None,
        coarse_codes: ImageCodes | None = None,
        num_candidates: int = 1,
        batch_size: int = 64,
        progress: bool = False,
    ) -> TextToImageOutput:
        """Draws `num_images` pictures per prompt.

        The numbers from `guidance_scale` to `top_p` may be sequences with one value per level, coarse to fine. Those
        left out are the bundle's own, see `ImageSampling.of_model`.

        Args:
            prompts: one or several; the empty prompt asks for any picture. A prior that was trained on the names of
                classes draws a class by its name.
            num_images: pictures per prompt, at least 1.
            seed: of the first picture, the others count up from it; or one seed per picture.
            guidance_scale: 1 draws as the model does; more follows the words more closely, with less variety.
                1.5 to 3 helps a prior that has seen few documents, and hurts one that knows its pictures by heart.
            guidance_interval: first and last share, 0..1, of a picture's codes between which guidance is on.
            temperature: below 1 prefers likely codes; 0 takes the most likely ones.
            top_k: draws from the k most likely codes only; 0 from all.
            top_p: draws from the most likely codes that hold this share of the chances.
            size: name of a size of the bundle, such as "4x4"; by default its first one.
            symbol: whole-image code that the pictures must have, one for all or one for each.
            coarse_codes: codes of the first levels that are kept, as `codes[:k]` of another result; one picture's for
                all, or one for each.
            num_candidates: pictures drawn for each one returned, the one from which the prior reads the prompt best.
            batch_size: pictures at a time.
            progress: shows a bar on a terminal.

        Raises:
            InputError: an argument outside its range, an unknown size, or a prompt longer than the model's context.
                With a backend also guidance, or `ServerError`.
        """
        request = new_request(
            self.bundle.vocabulary,
            prompts,
            num_images=num_images,
            seed=seed,
            size=size,
            symbol=symbol,
            coarse_codes=coarse_codes,
        )
        sampling = ImageSampling(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            guidance_scale=guidance_scale,
            guidance_interval=guidance_interval,
        ).of_model(self.bundle.image_generation_config)
        origin = self._origin(request, sampling, num_candidates)
        check_positive("batch_size", batch_size)
        if check_positive("num_candidates", num_candidates) == 1:
            return self._output(request, self._draw(request, sampling, batch_size, progress), origin)
        if not all(request.prompts):
            raise InputError("candidates are told apart by the prompt; an empty prompt needs num_candidates=1")
        return self._best(request, sampling, num_candidates, batch_size, progress)

    def stream(
        self,
        prompts: str | Sequence[str] = "",
        *,
        num_images: int = 1,
        seed: int | Sequence[int] = 0,
        sampling: ImageSampling | None = None,
        size: str | None = None,
        symbol: int | Sequence[int] | None = None,
        coarse_codes: ImageCodes | None = None,
    ) -> Iterator[TextToImageOutput]:
        """Draws like a call, and shows the pictures after every level: each prefix of levels as soon as it is complete.

        All pictures are drawn together. The last output is that of a call.

        Args:
            prompts: see a call, as for the other arguments.
            num_images: pictures per prompt.
            seed: of the first picture, or one per picture.
            sampling: how codes are drawn.
            size: name of a size of the bundle.
            symbol: whole-image code that the pictures must have.
            coarse_codes: codes of the first levels that are kept.

        Raises:
            InputError: see a call; or the bundle's order is not "level", in which levels are not complete before the
                end.
        """
        vocabulary = self.bundle.vocabulary
        if vocabulary.order != "level":
            raise InputError(f'previews need codes in order "level"; this bundle has {vocabulary.order!r}')
        request = new_request(
            vocabulary, prompts, num_images=num_images, seed=seed, size=size, symbol=symbol, coarse_codes=coarse_codes
        )
        sampling = (sampling or ImageSampling()).of_model(self.bundle.image_generation_config)
        drawing = start_drawing(self.bundle, request, sampling, self.backend)
        origin = self._origin(request, sampling)
        counts = [rows * columns for rows, columns in vocabulary.grids(request.size)]
        return (self._output(request, drawing.draw(count), origin) for count in counts)

    def check(
        self,
        prompts: str | Sequence[str] = "",
        *,
        num_images: int = 1,
        seed: int | Sequence[int] = 0,
        sampling: ImageSampling | None = None,
        size: str | None = None,
        symbol: int | Sequence[int] | None = None,
    ) -> None:
        """Raises what a call would raise, and draws nothing; arguments as for `stream`. A backend is not asked."""
        request = new_request(
            self.bundle.vocabulary, prompts, num_images=num_images, seed=seed, size=size, symbol=symbol
        )
        sampling = (sampling or ImageSampling()).of_model(self.bundle.image_generation_config)
        start_drawing(self.bundle, request, sampling, self.backend)

    def _draw(self, request: PictureRequest, sampling: ImageSampling, batch_size: int, progress: bool) -> DrawnImages:
        return draw_pictures(self.bundle, request, sampling, batch_size, progress, self.backend)

    def _best(
        self, request: PictureRequest, sampling: ImageSampling, num_candidates: int, batch_size: int, progress: bool
    ) -> TextToImageOutput:
        """Of the candidates for each picture the one that makes its prompt most likely, the first of equal ones."""
        seeds = candidate_seeds(request.seeds, num_candidates)
        rows = torch.arange(len(request)).repeat_interleave(num_candidates)
        prompts = [request.prompts[row] for row in rows.tolist()]
        candidates = PictureRequest(prompts, seeds, request.size, request.given[rows])
        drawn = self._draw(candidates, sampling, batch_size, progress)
        encode, vocabulary = self.bundle.text_tokenizer.encode, self.bundle.vocabulary
        documents = [
            image_to_text(vocabulary, ids, encode(prompt), request.size)
            for ids, prompt in zip(drawn.token_ids.tolist(), prompts, strict=True)
        ]
        caption_bits = score_documents(TokenScorer(self.bundle.prior, self.grammar), documents).caption
        best = caption_bits.view(-1, num_candidates).argmin(1) + torch.arange(len(request)) * num_candidates
        chosen = DrawnImages(drawn.token_ids[best], drawn.bits[best])
        origin = self._origin(request, sampling, num_candidates)
        return self._output(request, chosen, origin, caption_bits[best])

    def _origin(self, request: PictureRequest, sampling: ImageSampling, num_candidates: int = 1) -> PictureOrigin:
        settled = int((request.given != DRAWN).sum(1).max())  # codes that a picture began with
        settings = asdict(sampling) | {
            "size": request.size,
            "num_candidates": num_candidates,
            "given_codes": settled,
        }
        return PictureOrigin.of(self.bundle, "text-to-image", settings)

    def _output(
        self,
        request: PictureRequest,
        drawn: DrawnImages,
        origin: PictureOrigin,
        caption_bits: torch.Tensor | None = None,
    ) -> TextToImageOutput:
        """Pictures of whole levels; `drawn` may end with any of them in order "level"."""
        vocabulary = self.bundle.vocabulary
        grids = vocabulary.grids(request.size)
        levels = document_order(grids, vocabulary.order).levels[: drawn.token_ids.shape[1]]
        num_levels = int(levels.max()) + 1
        whole = torch.zeros(len(request), sum(rows * columns for rows, columns in grids), dtype=torch.int64)
        first_ids = [int(vocabulary.codes_to_ids(level, 0)) for level in range(len(grids))]
        whole[:] = torch.tensor(first_ids)[document_order(grids, vocabulary.order).levels]  # stands for what is to come
        whole[:, : len(levels)] = drawn.token_ids
        codes = ids_to_images(vocabulary, whole, request.size)[:num_levels]
        level_bits = sum_levels(drawn.bits, levels)
        images = decode_pictures(self.bundle, codes, num_levels)
        return TextToImageOutput(images, request.prompts, request.seeds, codes, level_bits, origin, caption_bits)
