"""A classical peer: VQ-VAE-2 with PixelSNAIL-like priors, of classes; its held-out bits, and a set of samples.

pictogram train-tokenizer --data DATA --preset fashion32 --strides 8,4 --codebook-sizes 512,512 --prefix-weights 0
pictogram tokenize --data DATA --split train --caption-column label     # and split test
python benchmarks/peers/pixelsnail.py --codes codes --tokenizer image-tokenizer --output DIR
python benchmarks/peers/pixelsnail.py --codes codes --tokenizer image-tokenizer --output DIR --eval-split test
python benchmarks/peers/pixelsnail.py --quick --output DIR

The tokenizer above is Razavi et al.'s (2019, arXiv:1906.00446): two levels, codebooks of running means, and no prefix
of the levels that is decoded by itself. Any other of two levels does as well; the top one may be the whole image.
`two_level_prior.py` has the priors. Training and drawing go on where a killed run stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from activation_cache import draw_codes
from labelled_codes import LabelledCodes, load_labelled_codes, random_codes
from PIL import Image
from prior_training import OPTIMIZERS, PriorTraining, TrainingConfig, held_out_bits
from two_level_prior import PriorConfig, TwoLevelPrior, load_prior

from pictogram.hub.command_line import quiet_libraries
from pictogram.hub.errors import InputError
from pictogram.hub.files import read_json
from pictogram.hub.fingerprint import fingerprint
from pictogram.lm.drawing import SamplingConfig, uniforms
from pictogram.pipelines.sample_shards import DrawClasses, write_samples
from pictogram.tokenizer.checkpoints import TrainingFolder
from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.fingerprints import decoder_fingerprint
from pictogram.tokenizer.image_processor import to_images
from pictogram.tokenizer.loading import load_image_tokenizer
from pictogram.tokenizer.model import ImageTokenizer
from pictogram.tokenizer.padding import Box

sys.path.append(str(Path(__file__).parents[1]))
from interleaved import print_report  # pyright: ignore[reportMissingImports]

_DECODED_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Setup:
    """What is trained, measured and drawn.

    Attributes:
        tokenizer: made the codes, and decodes them.
        box: where pictures lie in what it decodes; around them there is only padding.
        train: codes to learn from.
        held_out: codes to measure, if any.
        prior: its shapes.
        training: how it learns.
        sampling: how codes are drawn.
        num_samples: pictures to draw.
        batch_size: pictures that are drawn at once.
        origin: of the codes; a run with other ones is another run.
    """

    tokenizer: ImageTokenizer
    box: Box
    train: LabelledCodes
    held_out: LabelledCodes | None
    prior: PriorConfig
    training: TrainingConfig
    sampling: SamplingConfig
    num_samples: int
    batch_size: int
    origin: dict[str, Any]


def trained_prior(setup: Setup, output: Path) -> tuple[TwoLevelPrior, dict[str, Any]]:
    """The prior in a folder, trained first if it is not there, and the summary of its training."""
    settings = {"peer": "pixelsnail", **setup.training.settings(), **asdict(setup.prior), **setup.origin}
    folder = TrainingFolder(output, settings)
    if not folder.is_complete:
        torch.manual_seed(setup.training.seed)
        training = PriorTraining(TwoLevelPrior(setup.prior), setup.train, setup.training, folder)
        folder.complete(training.run())
    return load_prior(output), read_json(output / "complete.json")


def drawing(setup: Setup, prior: TwoLevelPrior) -> DrawClasses:
    """Classes and seeds -> pictures, each of which depends on its class and its seed alone."""
    num_codes = sum(rows * columns for rows, columns in prior.config.grids)

    def draw(classes: Sequence[int], seeds: Sequence[int]) -> list[Image.Image]:
        images: list[Image.Image] = []
        for start in range(0, len(seeds), setup.batch_size):
            part = slice(start, start + setup.batch_size)
            missing = setup.batch_size - len(seeds[part])
            # Always as many at once: products of other shapes round otherwise.
            padded = [*classes[part], *[0] * missing], [*seeds[part], *[0] * missing]
            codes = draw_codes(prior, torch.tensor(padded[0]), uniforms(padded[1], num_codes), setup.sampling)
            images += decoded(setup.tokenizer, codes, setup.box)[: len(seeds[part])]
        return images

    return draw


@torch.no_grad()
def decoded(tokenizer: ImageTokenizer, codes: Sequence[torch.Tensor], box: Box) -> list[Image.Image]:
    """Pictures of codes, without the padding around them."""
    groups = zip(*(level.split(_DECODED_AT_ONCE) for level in codes), strict=True)
    return [image for group in groups for image in to_images(box.of(tokenizer.decode(group)))]


def measure(setup: Setup, output: Path, samples: Path) -> dict[str, Any]:
    """Trains, draws, and returns the report."""
    prior, summary = trained_prior(setup, output)
    origin = {
        "peer": "pixelsnail",
        "prior": fingerprint(prior.state_dict(), {}),
        "decoder": decoder_fingerprint(setup.tokenizer),
        "sampling": asdict(setup.sampling),
    }
    draw, names = drawing(setup, prior), prior.config.classes
    times = write_samples(samples, draw, names, setup.num_samples, seed=setup.training.seed, origin=origin)
    parameters = {level: sum(weights.numel() for weights in part) for level, part in prior.parts().items()}
    return {
        "parameters": parameters | {"tokenizer": setup.tokenizer.num_parameters()},
        "training": setup.training.settings() | {name: summary[name] for name in ("seconds", "cpu_seconds")},
        "sampling": asdict(times),
        **({} if setup.held_out is None else {"bits": held_out_bits(prior, setup.held_out)}),
    }


def real_setup(given: argparse.Namespace) -> Setup:
    """What the command line asks for.

    Raises:
        InputError: unusable codes, tokenizer or settings.
    """
    if min(given.num_samples, given.sample_batch) < 1:
        counts = f"{given.num_samples} and {given.sample_batch}"
        raise InputError(f"--num-samples and --sample-batch must be at least 1, got {counts}")
    loaded = load_image_tokenizer(given.tokenizer)
    if not isinstance(loaded.model, ImageTokenizer):
        raise InputError(f"{given.tokenizer} is another system's tokenizer behind an adapter")
    train = load_labelled_codes(given.codes, given.split, loaded)
    held_out = load_labelled_codes(given.codes, given.eval_split, loaded) if given.eval_split else None
    if given.split == given.eval_split or (held_out is not None and train.names != held_out.names):
        raise InputError(f"splits {given.split} and {given.eval_split} must be two, of the same classes")
    config = loaded.model.config
    grids = tuple((level.shape[1], level.shape[2]) for level in (train.top, train.bottom))
    prior = PriorConfig(
        (config.codebook_sizes[0], config.codebook_sizes[1]),
        (grids[0], grids[1]),
        train.names,
        width=given.width,
        dropout=given.dropout,
    )
    origin = {"codes": loaded.codes_fingerprint, "split": given.split, "num_train": len(train)}
    return Setup(
        loaded.model,
        loaded.processor.content_box(*train.picture_size),
        train,
        held_out,
        prior,
        training_config(given),
        SamplingConfig(temperature=given.temperature),
        given.num_samples,
        given.sample_batch,
        origin,
    )


def training_config(given: argparse.Namespace) -> TrainingConfig:
    """What the command line says of the training."""
    return TrainingConfig(
        num_steps=given.num_steps,
        batch_size=given.batch_size,
        optimizer=given.optimizer,
        learning_rate=given.learning_rate,
        seed=given.seed,
        checkpoint_every=given.checkpoint_every,
    )


def quick_setup(given: argparse.Namespace) -> Setup:
    """Random codes of an untrained tokenizer of small pictures, and few steps."""
    torch.manual_seed(0)
    sizes = [8, 16]
    config = ImageTokenizerConfig(
        image_size=16, num_channels=1, strides=[8, 4], codebook_sizes=sizes, prefix_weights=[0], hidden_size=8
    )
    tokenizer = ImageTokenizer(config).eval()
    (top, bottom), num_classes = config.grids(16, 16), 3
    train, held_out = (random_codes(count, (top, bottom), sizes, num_classes) for count in (64, 16))
    prior = PriorConfig(
        (sizes[0], sizes[1]), (top, bottom), train.names, 8, (1, 1), num_blocks=1, num_heads=2, num_context_blocks=1
    )
    training = replace(training_config(given), num_steps=6, batch_size=8, checkpoint_every=2, log_every=2)
    return Setup(
        tokenizer, Box(0, 0, 16, 16), train, held_out, prior, training, SamplingConfig(), 9, 4, {"codes": "random"}
    )


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codes", help="folder of a dataset of codes of two levels, with a label column")
    parser.add_argument("--tokenizer", help="folder of the image tokenizer that made them")
    parser.add_argument("--split", default="train", help="to learn from")
    parser.add_argument("--eval-split", help="to measure bits on, of a trained prior as well")
    parser.add_argument("--output", type=Path, required=True, help="folder for the priors; again into it goes on")
    parser.add_argument("--samples", type=Path, help="folder for the samples; OUTPUT/samples unless told")
    parser.add_argument("--num-steps", type=int, default=3000)
    parser.add_argument("--batch-size", type=int, default=TrainingConfig.batch_size)
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default=TrainingConfig.optimizer)
    parser.add_argument("--learning-rate", type=float, default=TrainingConfig.learning_rate)
    parser.add_argument("--width", type=int, default=PriorConfig.width, help="channels of both networks")
    parser.add_argument("--dropout", type=float, default=PriorConfig.dropout)
    parser.add_argument("--checkpoint-every", type=int, default=TrainingConfig.checkpoint_every)
    parser.add_argument("--num-samples", type=int, default=10_000)
    parser.add_argument("--sample-batch", type=int, default=250, help="pictures drawn at once")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0, help="of the training, and of the first sample")
    parser.add_argument("--json", type=Path, help="file for the report")
    parser.add_argument("--quick", action="store_true", help="random codes and few steps, to try the script")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    parser = command_line()
    given = parser.parse_args(arguments)
    if not given.quick and not (given.codes and given.tokenizer):
        parser.error("give --codes and --tokenizer, or --quick")
    quiet_libraries()
    try:
        setup = quick_setup(given) if given.quick else real_setup(given)
        report = measure(setup, given.output, given.samples or given.output / "samples")
    except InputError as error:
        parser.exit(2, f"pixelsnail.py: {error}\n")
    print_report(report, given.json)


if __name__ == "__main__":
    main()
