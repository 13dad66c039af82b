"""A class-conditional projection GAN in BigGAN's manner, for grey pictures of 28x28: trains and draws a set of samples.

python benchmarks/peers/projection_gan.py --data zalando-datasets/fashion_mnist --num-steps 12000 --output gan
python benchmarks/peers/projection_gan.py --output try --quick

Written after Miyato & Koyama 2018 (arXiv:1802.05637), Miyato et al. 2018 (arXiv:1802.05957) and Brock et al. 2019
(arXiv:1809.11096), at the size of a small prior: 1.54 million parameters in the generator, .44 in the discriminator.
The output folder gets `metrics.jsonl`, `generator.safetensors` (the running mean of the weights, with statistics of its
own) and `samples/`, a set for `evaluate samples`, without truncation. A command that was killed goes on when it is
given again, and the same seed gives the same bytes.

With glibc, MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000 in the environment saves a tenth of the
time: memory between steps stays with the process. On one core give OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from gan_networks import Block, Discriminator, Generator, NetworkConfig, count_parameters
from gan_training import ClassPictures, GanSetting, GanTraining, summary, train
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save

from pictogram.hub.errors import InputError
from pictogram.hub.files import atomic_write_bytes, read_json_object
from pictogram.hub.fingerprint import fingerprint
from pictogram.pipelines.labelled_pictures import labelled_pictures
from pictogram.pipelines.sample_shards import DrawClasses, write_samples
from pictogram.tokenizer.batches import derived_generator
from pictogram.tokenizer.checkpoints import TrainingFolder
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil, to_images
from pictogram.tokenizer.reconstructions import row_batches

sys.path.append(str(Path(__file__).parents[1]))
from interleaved import print_report  # pyright: ignore[reportMissingImports]

SIZE = 28
DRAWN_AT_ONCE = 100
_QUICK_SAMPLES = 20


def load_pictures(data: str, split: str) -> ClassPictures:
    """The labelled pictures of a split, grey, 28x28.

    Raises:
        InputError: see `labelled_pictures`.
    """
    processor = ImageTokenizerImageProcessorPil(size={"height": SIZE, "width": SIZE}, num_channels=1)
    found = labelled_pictures(data, split, processor)
    pixels = torch.cat([found.dataset.pixels(rows) for rows in row_batches(len(found.dataset), 1024)])
    return ClassPictures(pixels, found.classes, found.labels.names)


def random_pictures(count: int = 40, num_classes: int = 10) -> ClassPictures:
    """Noise in classes."""
    pixels = torch.rand(count, 1, SIZE, SIZE, generator=derived_generator(0, "pixels")) * 2 - 1
    return ClassPictures(pixels, torch.arange(count) % num_classes, tuple(map(str, range(num_classes))))


def save_generator(path: Path, generator: Generator) -> None:
    """Writes weights and statistics, and the sizes as metadata."""
    tensors = {name: tensor.contiguous() for name, tensor in generator.state_dict().items()}
    atomic_write_bytes(path, save(tensors, metadata={"config": json.dumps(asdict(generator.config))}))


def load_generator(path: Path) -> Generator:
    """A generator that is ready to draw."""
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["config"])
    for network in ("generator", "discriminator"):
        config[network] = tuple(Block(*block) for block in config[network])
    generator = Generator(NetworkConfig(**config))
    generator.load_state_dict(load_file(path))
    return generator.eval()


def sampler(generator: Generator) -> DrawClasses:
    """Draws pictures of classes; each z is that of its seed.

    Batches are always of one size, the last one filled up: products of another shape may be rounded otherwise, and a
    picture must not depend on how many are drawn.
    """

    @torch.inference_mode()
    def draw(classes: Sequence[int], seeds: Sequence[int]) -> list[Image.Image]:
        images: list[Image.Image] = []
        for start in range(0, len(seeds), DRAWN_AT_ONCE):
            stop = min(start + DRAWN_AT_ONCE, len(seeds))
            latents = torch.zeros(DRAWN_AT_ONCE, generator.config.latent_dim)
            wanted = torch.zeros(DRAWN_AT_ONCE, dtype=torch.int64)
            wanted[: stop - start] = torch.tensor(classes[start:stop])
            for place, seed in enumerate(seeds[start:stop]):
                latents[place] = torch.randn(latents.shape[1], generator=derived_generator(seed, "gan", "sample"))
            images += to_images(generator(latents, wanted)[: stop - start])
        return images

    return draw


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Trains, or goes on, or finds the trained generator; then draws. Returns the report.

    Raises:
        InputError: a count below 1, pictures without labels, or an output folder that holds something else.
    """
    setting = _setting(given)
    counts = given.num_samples, given.checkpoint_every
    if min(counts) < 1:  # said before an hour of training
        raise InputError(f"--num-samples and --checkpoint-every must be at least 1, got {counts[0]}, {counts[1]}")
    pictures = random_pictures() if given.quick else load_pictures(given.data, given.split)
    config = NetworkConfig(num_classes=len(pictures.names))
    origin = {"pictures": fingerprint({"pixels": pictures.pixels, "classes": pictures.classes}, {})}
    folder = TrainingFolder(given.output, {"network": asdict(config), "training": asdict(setting)} | origin)
    folder.open()
    weights = folder.path / "generator.safetensors"
    if not folder.is_complete:
        training = GanTraining(pictures, config, setting)
        save_generator(weights, train(training, folder, given.checkpoint_every))
        folder.complete(summary(training))
    generator = load_generator(weights)
    times = write_samples(
        folder.path / "samples",
        sampler(generator),
        pictures.names,
        given.num_samples,
        seed=setting.seed,
        origin={"system": "projection gan", "generator": fingerprint(generator.state_dict(), asdict(config))},
    )
    return {
        "parameters": {
            "generator": count_parameters(generator),
            "discriminator": count_parameters(Discriminator(config)),
        },
        "training": asdict(setting) | read_json_object(folder.path / "complete.json"),
        "sampling": asdict(times),
    }


def _setting(given: argparse.Namespace) -> GanSetting:
    if given.quick:
        given.num_samples = _QUICK_SAMPLES
        return GanSetting(num_steps=4, batch_size=8, statistics_batches=1, seed=given.seed)
    return GanSetting(
        num_steps=given.num_steps,
        batch_size=given.batch_size,
        learning_rate=given.learning_rate,
        discriminator_rate=given.discriminator_rate,
        discriminator_steps=given.discriminator_steps,
        seed=given.seed,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="pictures with class labels: a folder, parquet files, or a dataset's name")
    parser.add_argument("--split", default="train")
    parser.add_argument("--num-steps", type=int, help="of the generator")
    parser.add_argument("--output", type=Path, required=True, help="folder of the training and its samples")
    parser.add_argument("--num-samples", type=int, default=10000)
    parser.add_argument("--batch-size", type=int, default=GanSetting.batch_size)
    parser.add_argument("--learning-rate", type=float, default=GanSetting.learning_rate, help="of the generator")
    parser.add_argument("--discriminator-rate", type=float, default=GanSetting.discriminator_rate)
    parser.add_argument("--discriminator-steps", type=int, default=GanSetting.discriminator_steps)
    parser.add_argument("--checkpoint-every", type=int, default=500, help="steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the report")
    parser.add_argument("--quick", action="store_true", help="random pictures and few steps, to try the script")
    given = parser.parse_args(arguments)
    if not given.quick and (given.data is None or given.num_steps is None):
        parser.error("give --data and --num-steps, or --quick")
    try:
        print_report(run(given), given.json)
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
