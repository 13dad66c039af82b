"""A tokenizer without a network: codebooks of patches, learned in seconds to minutes.

pictogram train-patches --data zalando-datasets/fashion_mnist --image-size 28 --num-channels 1 --output patches
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ..hub.command_line import check_options, command, option, seed_option
from .adapter import AdaptedTokenizer
from .adapter_config import AdaptedTokenizerConfig
from .batches import derived_generator
from .image_processor import ImageTokenizerImageProcessorPil
from .images import Failure
from .import_tokenizer import check_output, save
from .loading import LoadedImageTokenizer
from .patch_vq import PatchCodebook, draw_points, fit_codebooks, patches_by_codebook
from .pixel_dataset import PixelDataset, load_pixels
from .progress import progress_bar
from .training_provenance import learned_from, tokenizer_provenance

_DOUBLINGS = 5
"""The rate weight is approached from 1/32 of it: a large weight at once would empty most codes."""

_UNUSED = 1e6
"""Cost of a code that a place does not have: above all squared distances of patches in [-1, 1]."""

_ITERATIONS = 10
_PICTURES_AT_ONCE = 256


@dataclass(kw_only=True)
class PatchesTrainingConfig:
    """What the codebooks of patches depend on, and where they go.

    The description of each field is its command-line help.
    """

    output: str = option("image-tokenizer", "Folder for the image tokenizer.")
    data: str = option("embedded", 'Pictures: "embedded", a folder of images, parquet, or any `datasets` name.')
    split: str = option("train", "Split of the data to learn from.")
    image_size: int = option(32, "Side of the pictures, pixels.", at_least=1)
    num_channels: int = option(3, "3 for colour, 1 for grey.", one_of=(1, 3))
    pad: bool = option(False, "Pad smaller pictures to the size instead of enlarging them.")
    background: str = option(
        "white", 'Behind transparent pixels and around padded ones: "white" or "black".', one_of=("white", "black")
    )
    patch_size: int = option(4, "Side of a patch, pixels; divides the picture's.", at_least=1)
    codebook_size: int = option(256, "Codes of a codebook, at most.", at_least=1)
    per_place: bool = option(False, "A codebook for every place in the picture: for things that all lie alike.")
    rate_weight: float = option(
        0.0, "Squared error of a picture, of pixels of 0 to 255, that a bit is worth; 0: bits do not count.", at_least=0
    )
    max_images: int = option(60000, "Most pictures to learn from, drawn at random.", at_least=1)
    max_points: int = option(30000, "Most patches that a codebook learns from, drawn at random.", at_least=1)
    seed: int = seed_option()

    def __post_init__(self) -> None:
        check_options(self)
        self.model_config(self.codebook_size)  # checks that patches tile pictures

    def model_config(self, codebook_size: int) -> AdaptedTokenizerConfig:
        """The configuration of the tokenizer with so many codes."""
        side = self.image_size // self.patch_size
        settings = {
            "patch_size": self.patch_size,
            "codebook_size": codebook_size,
            "num_channels": self.num_channels,
            "places": [side, side] if self.per_place else [],
        }
        return AdaptedTokenizerConfig(layout="patches", settings=settings, image_size=self.image_size)

    def image_processor(self) -> ImageTokenizerImageProcessorPil:
        """What makes pixels of the pictures."""
        return ImageTokenizerImageProcessorPil(
            size={"height": self.image_size, "width": self.image_size},
            num_channels=self.num_channels,
            do_pad=self.pad,
            background=(255, 255, 255) if self.background == "white" else (0, 0, 0),
        )

    def settings(self) -> dict[str, Any]:
        """What the codebooks depend on, for the provenance."""
        return {"stage": "patches"} | {name: value for name, value in asdict(self).items() if name != "output"}

    def weights(self) -> list[float]:
        """Rate weights of the codebooks on the way, from small to large."""
        return [self.rate_weight / 2**power for power in range(_DOUBLINGS, -1, -1)] if self.rate_weight else [0.0]


@dataclass(frozen=True)
class PatchesTrainingResult:
    """What a training leaves.

    Attributes:
        loaded: the tokenizer, which is saved by then.
        failures: pictures that could not be read and were left out.
    """

    loaded: LoadedImageTokenizer
    failures: list[Failure]


def train_patches(config: PatchesTrainingConfig) -> PatchesTrainingResult:
    """Learns codebooks of patches and saves them as an image tokenizer, which all of the pipeline takes.

    Without a rate weight it is k-means; with one, entropy-constrained vector quantization (Chou, Lookabaugh & Gray
    1989): each code minimises squared error + rate_weight * bits, its bits those of its share of the training patches.

    Raises:
        InputError: unusable pictures or settings, or an output folder with other files.
    """
    check_output(Path(config.output))
    processor = config.image_processor()
    dataset, failures = load_pixels(config.data, config.split, processor)
    data = learned_from(config.data, config.split, dataset)
    pictures = _read(dataset, config)
    books = patches_by_codebook(pictures, (config.patch_size, config.patch_size), per_place=config.per_place)
    generator = derived_generator(config.seed, "patches")
    found: list[PatchCodebook] = []
    with progress_bar("codebooks", len(books)) as advance:
        for points in books:
            drawn = draw_points(points, config.max_points, generator)
            *_, last = fit_codebooks(drawn, config.codebook_size, config.weights(), _ITERATIONS, config.seed)
            found.append(last)
            advance(1)
    model = _model(config, found)
    made = tokenizer_provenance(model, processor, data=data, settings=config.settings())
    return PatchesTrainingResult(save(model, processor, Path(config.output), made), failures)


def _read(dataset: PixelDataset, config: PatchesTrainingConfig) -> torch.Tensor:
    """(N, H, W, C) uint8."""
    order = torch.randperm(len(dataset), generator=derived_generator(config.seed, "patches' pictures"))
    rows = order[: config.max_images].sort().values
    parts = []
    with progress_bar("read", len(rows)) as advance:
        for part in rows.split(_PICTURES_AT_ONCE):
            pixels = dataset.pixels(part.tolist()).movedim(1, -1)
            parts.append(((pixels + 1) * 127.5).round().to(torch.uint8))
            advance(len(part))
    return torch.cat(parts)


def _model(config: PatchesTrainingConfig, books: list[PatchCodebook]) -> AdaptedTokenizer:
    """Books in 8-bit values as a tokenizer of pixels in [-1, 1]; the shorter ones are filled with codes never taken."""
    size = max(len(book.bits) for book in books)
    model = AdaptedTokenizer(config.model_config(size))
    vectors, costs = (model.get_parameter(f"network.{name}").data for name in ("codebooks", "costs"))
    vectors.zero_()
    costs.fill_(_UNUSED)
    for number, book in enumerate(books):
        count = len(book.bits)
        vectors[number, :count] = book.vectors / 127.5 - 1
        costs[number, :count] = config.rate_weight * book.bits / 127.5**2
    return model


def run_training(config: PatchesTrainingConfig) -> dict[str, Any]:
    """Trains, and returns what the command prints."""
    result = train_patches(config)
    loaded = result.loaded
    return {
        "image_tokenizer": config.output,
        "codebooks": int(loaded.model.codes_tensors()["costs"].shape[0]),
        "codebook_size": loaded.model.config.codebook_sizes[0],
        "codes_fingerprint": loaded.codes_fingerprint,
        "failures": [asdict(failure) for failure in result.failures],
    }


main = command(
    PatchesTrainingConfig,
    run_training,
    "train-patches",
    """Make a tokenizer without a network, in seconds: codebooks of patches. A baseline for learned ones.

    Example: pictogram train-patches --data zalando-datasets/fashion_mnist --image-size 28 --num-channels 1 --per-place
    """,
)
