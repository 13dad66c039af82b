"""What it takes to turn a data set into codes and to train a prior on them: tokens, operations, hours and bytes.

python benchmarks/plan.py --images 1281167 --image-size 256 --strides image,32,16 --size large --epochs 20
python benchmarks/plan.py --images 1000000000 --image-size 256 --strides image,32,16 --layers 24 --width 1536 --epochs 1

Counted, not guessed: the codes of the strides, the operations of the image tokenizer (by torch's counter, on one
picture), those of the prior (6 for every weight that multiplies and every token, and attention), and the bytes of a
dataset of codes (random codes written as `pictogram tokenize` writes them). Assumed, and said so: what a GPU can do,
and which share of it a training reaches. Nothing is said about how good the pictures would be.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import torch
from interleaved import print_report
from torch.utils.flop_counter import FlopCounterMode

from pictogram import ImageTokenizer, ImageTokenizerConfig, InputError
from pictogram.hub.command_line import entries, whole_numbers
from pictogram.lm.model import PRIOR_SIZES, PriorSize
from pictogram.tokenizer.training_config import TokenizerTrainingConfig

_SAMPLE_ROWS = 2000


@dataclass(frozen=True)
class Plan:
    """What is planned.

    Attributes:
        images: pictures.
        image_size: their side, pixels.
        strides: of the levels, coarse to fine.
        codebook_size: codes of every level but the first, which has 1024.
        hidden_size: channels of the image tokenizer.
        caption_tokens: text tokens of a picture, on average.
        width: of the prior.
        layers: of the prior.
        mlp: width of its feed-forward layers.
        text_pieces: of the vocabulary.
        epochs: passes of the prior over all pictures.
        tokenizer_images: pictures that the image tokenizer's training sees, with repetition.
        gpu_flops: operations a second that a GPU can do, by its maker.
        utilisation: share of them that a training reaches.
    """

    images: int
    image_size: int
    strides: tuple[int | str, ...]
    codebook_size: int
    hidden_size: int
    caption_tokens: int
    width: int
    layers: int
    mlp: int
    text_pieces: int
    epochs: float
    tokenizer_images: int
    gpu_flops: float
    utilisation: float

    def __post_init__(self):
        """Raises InputError for what no plan can have."""
        for name in ("images", "caption_tokens", "tokenizer_images", "epochs"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if self.gpu_flops <= 0 or not 0 < self.utilisation <= 1:
            got = f"{self.gpu_flops} and {self.utilisation}"
            raise InputError(f"gpu_flops must be above 0 and utilisation above 0 and at most 1, got {got}")

    def tokenizer_config(self) -> ImageTokenizerConfig:
        """An image tokenizer of these levels."""
        sizes = [1024 if level == 0 else self.codebook_size for level in range(len(self.strides))]
        return ImageTokenizerConfig(
            image_size=self.image_size,
            strides=list(self.strides),
            codebook_sizes=sizes,
            hidden_size=self.hidden_size,
        )


def codes_per_image(plan: Plan) -> int:
    """Codes of all levels."""
    grids = plan.tokenizer_config().grids(plan.image_size, plan.image_size)
    return sum(rows * columns for rows, columns in grids)


def tokenizer_flops(plan: Plan) -> dict[str, float]:
    """Operations of one picture: `encode`, `decode`, and `train`, three times both for the gradients.

    A training decodes every prefix of the levels as well, for a share of the pictures: as costly as all levels.
    """
    torch.manual_seed(0)
    model = ImageTokenizer(plan.tokenizer_config()).eval()
    pixels = torch.zeros(1, 3, plan.image_size, plan.image_size)
    found = {}
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            codes = model.encode(pixels)
        found["encode"] = float(counter.get_total_flops())
        with FlopCounterMode(display=False) as counter:
            model.decode(codes)
        found["decode"] = float(counter.get_total_flops())
    decodings = 1 + TokenizerTrainingConfig().prefix_share * (len(plan.strides) - 1)
    return found | {"train": 3 * (found["encode"] + decodings * found["decode"])}


def prior_flops(plan: Plan, tokens: int) -> dict[str, float]:
    """Weights that multiply, and operations of a token in training: 6 a weight, and attention to half of the document.

    Kaplan et al. 2020 (arXiv:2001.08361, section 2.1); heads of 64, one head of keys and values.
    """
    vocabulary = plan.text_pieces + 1024 + plan.codebook_size * (len(plan.strides) - 1)
    attention = plan.width * (2 * plan.width + 2 * 64)
    weights = plan.layers * (attention + 3 * plan.width * plan.mlp) + plan.width * vocabulary
    scores = 6 * plan.layers * plan.width * tokens  # two products, forward and backward, causal
    return {"weights": float(weights), "train_per_token": 6.0 * weights + scores}


def bytes_per_code(plan: Plan) -> float:
    """Of a dataset of codes: parquet, integers of 16 bits or 32, codes that have nothing to do with each other."""
    kind = "uint16" if plan.codebook_size <= 1 << 16 else "uint32"
    generator = torch.Generator().manual_seed(0)
    count = min(codes_per_image(plan), 2048)
    codes = torch.randint(plan.codebook_size, (_SAMPLE_ROWS, count), generator=generator).numpy().astype(kind)
    column = pyarrow.array(list(codes), type=pyarrow.list_(pyarrow.type_for_alias(kind)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "codes.parquet"
        pyarrow.parquet.write_table(pyarrow.table({"codes": column}), path)
        return path.stat().st_size / codes.size


def make_plan(plan: Plan) -> dict[str, Any]:
    """Everything that can be said beforehand."""
    codes = codes_per_image(plan)
    tokens = codes + plan.caption_tokens + 4  # <bos>, <image>, </image>, <eos>
    tokenizer, prior = tokenizer_flops(plan), prior_flops(plan, tokens)
    work = {
        "image tokenizer, training": tokenizer["train"] * plan.tokenizer_images,
        "encoding": tokenizer["encode"] * plan.images,
        "prior, training": prior["train_per_token"] * tokens * plan.images * plan.epochs,
    }
    reached = plan.gpu_flops * plan.utilisation
    return {
        "plan": asdict(plan),
        "codes_per_image": codes,
        "tokens_per_image": tokens,
        "tokens_seen": tokens * plan.images * plan.epochs,
        "prior_weights": prior["weights"],
        "tokenizer_flops_per_image": tokenizer,
        "prior_flops_per_token": prior["train_per_token"],
        "flops": work,
        "gpu_hours": {name: flops / reached / 3600 for name, flops in work.items()},
        "codes_bytes": bytes_per_code(plan) * codes * plan.images,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_281_167)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--strides", default="image,32,16")
    parser.add_argument("--codebook-size", type=int, default=4096)
    parser.add_argument("--hidden-size", type=int, default=256, help="channels of the image tokenizer")
    parser.add_argument("--caption-tokens", type=int, default=4)
    parser.add_argument("--size", default="large", choices=list(PRIOR_SIZES))
    parser.add_argument("--width", type=int, help="of the prior, in place of the size's; with --layers")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--text-pieces", type=int, default=1024)
    parser.add_argument("--epochs", type=float, default=20)
    parser.add_argument("--tokenizer-images", type=int, default=20_000_000)
    parser.add_argument("--gpu-flops", type=float, default=312e12, help="an A100's in bf16, by its maker")
    parser.add_argument("--utilisation", type=float, default=0.4, help="assumed")
    parser.add_argument("--json", type=Path, help="file for the report")
    given = vars(parser.parse_args(arguments))
    path, size = given.pop("json"), PRIOR_SIZES[given.pop("size")]
    try:
        print_report(make_plan(_plan(given, size)), path)
    except InputError as error:
        parser.error(str(error))


def _plan(given: dict[str, Any], size: PriorSize) -> Plan:
    width, layers = given.pop("width"), given.pop("layers")
    if (width is None) != (layers is None):
        raise InputError("width and layers go together")
    strides = entries(given.pop("strides"))
    pixels = whole_numbers("strides", ",".join(stride for stride in strides if stride != "image"))
    levels = ["image", *pixels] if strides[:1] == ["image"] else pixels
    width, layers = width or size.hidden_size, layers or size.num_hidden_layers
    mlp = size.intermediate_size if width == size.hidden_size else round(width * 8 / 3 / 64) * 64
    return Plan(**given, strides=tuple(levels), width=width, layers=layers, mlp=mlp)


if __name__ == "__main__":
    main()
