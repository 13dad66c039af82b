"""Bits of a picture against the size of the prior and the codes that it has seen, and a law fitted to them.

python benchmarks/scaling.py --codes codes --tokenizer image-tokenizer --work scaling --json scaling.json
python benchmarks/scaling.py --quick
python benchmarks/scaling_plot.py scaling.json scaling.png

Each size learns once with a constant rate; where it has seen the pictures once, twice and four times, the rate falls to
zero over the last part on a branch of its own (Hu et al. 2024, arXiv:2404.06395, section 4.3), so that three lengths of
training cost little more than the longest. `scaling_law.py` fits what comes out. Finished branches lie in --work;
started again, the script goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from interleaved import print_report
from scaling_law import fit_law
from symbol_cost import NUM_TEXT, Pictures, random_codes, score, take_step
from transformers import Qwen3ForCausalLM

from pictogram import InputError
from pictogram.hub.command_line import entries, whole_numbers
from pictogram.hub.files import atomic_write_bytes, read_json_object, write_json
from pictogram.hub.fingerprint import fingerprint
from pictogram.lm.data import DocumentBatches
from pictogram.lm.estimates import estimate
from pictogram.lm.model import PriorSize, prior_config
from pictogram.lm.optimizers import build_optimizers
from pictogram.lm.products import quicken_linears
from pictogram.lm.vocabulary import JointVocabulary
from pictogram.pipelines.evaluation_input import choose_rows
from pictogram.tokenizer.codes_dataset import load_codes
from pictogram.tokenizer.interface import ImageCodes
from pictogram.tokenizer.loading import load_image_tokenizer
from pictogram.tokenizer.progress import progress_bar


@dataclass(frozen=True)
class Setting:
    """How every size learns.

    Attributes:
        epochs: passes over the pictures after which a branch ends, ascending.
        batch_size: pictures a step.
        learning_rate: of all sizes, by Muon.
        warmup_steps: linear.
        decay_share: part of a branch's steps over which its rate falls to zero.
        seed: of weights and order.
    """

    epochs: tuple[int, ...] = (1, 2, 4)
    batch_size: int = 64
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    decay_share: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if list(self.epochs) != sorted(set(self.epochs)):
            raise InputError(f"epochs must ascend, as one training goes through all of them, got {self.epochs}")

    def steps(self, num_images: int, epochs: int) -> int:
        """Steps of a branch."""
        return max(2, round(epochs * num_images / self.batch_size))


def shape_of(size: str) -> str | PriorSize:
    """What `prior_config` takes for a name of a size, or for its width and depth.

    >>> shape_of("64x3")
    PriorSize(hidden_size=64, num_hidden_layers=3, intermediate_size=176)
    >>> shape_of("nano")
    'nano'
    """
    width, times, depth = size.partition("x")
    if not (times and width.isdecimal() and depth.isdecimal()):
        return size
    return PriorSize(int(width), int(depth), int(width) * 11 // 4)  # the MLP of the named sizes, 8/3 to 11/4 as wide


class Learner:
    """A prior, its optimizers, and the step they are at.

    Args:
        vocabulary: of the codes.
        pictures: what it learns.
        size: name of its size, or its width and depth, as "64x3".
        setting: how it learns.
    """

    def __init__(self, vocabulary: JointVocabulary, pictures: Pictures, size: str, setting: Setting):
        torch.manual_seed(setting.seed)
        self.model = Qwen3ForCausalLM(prior_config(vocabulary, shape_of(size), pictures.ids.shape[1])).train()
        quicken_linears(self.model)
        self.setting, self.step = setting, 0
        self.batches = DocumentBatches(
            pictures, pad_id=vocabulary.pad_id, batch_size=setting.batch_size, seed=setting.seed
        )
        self.optimizers = build_optimizers(self.model, "muon", learning_rate=setting.learning_rate, weight_decay=0.1)

    def learn(self, until: int, falls_from: int | None = None) -> None:
        """Goes on to a step; from `falls_from` on, the rate falls to zero there."""
        with progress_bar("prior", until, self.step) as advance:
            for step in range(self.step, until):
                rate = min(1.0, (step + 1) / self.setting.warmup_steps)
                if falls_from is not None:
                    rate = min(rate, (until - step) / (until - falls_from))
                learning_rate = self.setting.learning_rate * rate
                take_step(self.model, self.optimizers, self.batches.batch(step), learning_rate)
                advance(1)
        self.step = until

    def save(self, path: Path) -> None:
        """Writes weights, optimizers and the step."""
        buffer = BytesIO()
        states = [optimizer.state_dict() for optimizer in self.optimizers]
        torch.save({"model": self.model.state_dict(), "optimizers": states, "step": self.step}, buffer)
        atomic_write_bytes(path, buffer.getvalue())

    def load(self, path: Path) -> None:
        """Goes back to what `save` wrote."""
        found = torch.load(path, weights_only=True)
        self.model.load_state_dict(found["model"])
        for optimizer, state in zip(self.optimizers, found["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.step = found["step"]


def branches(
    vocabulary: JointVocabulary, learned: Pictures, scored: Pictures, size: str, setting: Setting, folder: Path
) -> list[dict[str, Any]]:
    """All branches of one size, each a point for the law."""
    learner = Learner(vocabulary, learned, size, setting)
    points = []
    for epochs in setting.epochs:
        steps = setting.steps(len(learned.ids), epochs)
        falls_from = steps - max(1, round(setting.decay_share * steps))
        result, trunk = folder / f"{size}-{epochs}.json", folder / f"{size}-{epochs}.pt"
        if trunk.exists():
            learner.load(trunk)
        else:
            learner.learn(falls_from)
            learner.save(trunk)
        if not result.exists():
            learner.learn(steps, falls_from)
            write_json(result, _point(vocabulary, learner, scored, size, epochs) | {"steps": steps})
            learner.load(trunk)
        points.append(read_json_object(result))
    return points


def _point(vocabulary: JointVocabulary, learner: Learner, scored: Pictures, size: str, epochs: int) -> dict[str, Any]:
    model = learner.model.eval()
    bits = score(vocabulary, model, scored).sum(1)
    model.train()
    codes = scored.ids.shape[1] - 5  # but the five tokens around them
    return {
        "size": size,
        "epochs": epochs,
        "parameters": model.num_parameters() - model.model.embed_tokens.weight.numel(),
        "codes_seen": learner.step * learner.setting.batch_size * codes,
        "bits": estimate(bits).to_dict(),
        "codes_per_image": codes,
    }


def measure(
    learned: ImageCodes,
    scored: ImageCodes,
    codebook_sizes: Sequence[int],
    sizes: Sequence[str],
    setting: Setting,
    folder: Path,
) -> dict[str, Any]:
    """Points of all sizes, and the law."""
    grids = [tuple(level.shape[-2:]) for level in learned]
    vocabulary = JointVocabulary.from_scratch(NUM_TEXT, codebook_sizes, [grids])
    pictures, others = (Pictures.of(vocabulary, codes, "own", setting.seed) for codes in (learned, scored))
    _claim(folder, setting, pictures, others)
    points = [point for size in sizes for point in branches(vocabulary, pictures, others, size, setting, folder)]
    report: dict[str, Any] = {"setting": asdict(setting), "num_images": len(learned[0]), "points": points}
    if len(points) > 5:
        report["law"] = fit_law(points)
    return report


def _claim(folder: Path, setting: Setting, learned: Pictures, scored: Pictures) -> None:
    documents = fingerprint({"learned": learned.ids, "scored": scored.ids}, {})
    path, own = folder / "setting.json", {**asdict(setting), "documents": documents}
    own["epochs"] = list(setting.epochs)
    if path.exists() and read_json_object(path) != own:
        raise InputError(f"{folder} holds another run: {read_json_object(path)}, expected {own}")
    write_json(path, own)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codes", help="folder of a dataset of codes")
    parser.add_argument("--tokenizer", help="folder of the image tokenizer that made them")
    parser.add_argument("--split", default="train")
    parser.add_argument("--test-split", default="test")
    parser.add_argument(
        "--sizes", default="pico,nano,small,base", help='names of sizes, or "64x3": 64 channels in 3 layers'
    )
    parser.add_argument("--epochs", default="1,2,4")
    parser.add_argument("--max-images", type=int, default=2000, help="pictures scored")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("scaling"), help="folder for branches")
    parser.add_argument("--json", type=Path, help="file for the report")
    parser.add_argument("--quick", action="store_true", help="random codes and few steps, to try the script")
    given = parser.parse_args(arguments)
    if not given.quick and not (given.codes and given.tokenizer):
        parser.error("give --codes and --tokenizer, or --quick")
    try:
        setting = Setting(epochs=tuple(whole_numbers("epochs", given.epochs)), seed=given.seed)
        sizes = entries(given.sizes)
        if given.quick:
            codes = random_codes(256)
            learned, scored = (tuple(level[part] for level in codes) for part in (slice(192), slice(192, 256)))
            report = measure(learned, scored, (4, 8), sizes, setting, given.work)
        else:
            report = measure(*_opened(given), sizes, setting, given.work)
    except InputError as error:
        parser.error(str(error))
    print_report(report, given.json)


def _opened(given: argparse.Namespace) -> tuple[ImageCodes, ImageCodes, Sequence[int]]:
    if given.split == given.test_split:
        raise InputError(f"split and test_split must differ, got {given.split} for both")
    loaded = load_image_tokenizer(given.tokenizer)
    parts = []
    for split, most in ((given.split, None), (given.test_split, given.max_images)):
        rows = load_codes(given.codes, split, tokenizer=loaded.model, processor=loaded.processor)
        parts.append(rows.codes(choose_rows(rows, most)))
    return parts[0], parts[1], loaded.model.config.codebook_sizes


if __name__ == "__main__":
    main()
