"""What models that are no transformers spend on the codes of images, in the order in which a prior writes them.

OMP_NUM_THREADS=1 python benchmarks/prior_baselines.py --codes CODES --json baselines.json --per-image baselines.npz

Histograms, a perceptron that sees the codes around each code, and a mixture of many count tables; benchmarks/README.md
says what each of them is. All learn from rows of one split, choose on other rows of it, and are measured on another.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from code_contexts import LevelContexts, Predictor, bits_per_image
from code_histograms import Histograms
from code_rows import MAX_CAPTIONS, CodeRows, Documents, load_rows
from context_mixing import STEPS, ContextMixing
from interleaved import print_report
from neighbour_mlp import fit_mlp

from pictogram import InputError
from pictogram.hub.files import atomic_write_bytes
from pictogram.lm.order import ORDERS

CONDITIONS = ("none", "caption")


@dataclass(frozen=True)
class Settings:
    """How much is spent.

    Attributes:
        minutes: budget of the perceptron of each level, see `neighbour_mlp`.
        steps: in which each level's mixture learns its weights.
        max_rows: of each part of the data; 0 for all.
    """

    minutes: float
    steps: int
    max_rows: int = 0


QUICK = Settings(minutes=1e-4, steps=3, max_rows=100)


@dataclass(frozen=True, eq=False)
class Fitted:
    """What was learned of one level.

    Attributes:
        predictor: of its codes.
        num_parameters: numbers it holds: counts above 0, weights.
        chosen: on the validation rows.
    """

    predictor: Predictor
    num_parameters: int
    chosen: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Measured:
    """One baseline in one order under one condition.

    Attributes:
        bits: (B, L) of every test image and level.
        levels: what was learned of each.
        seconds: of this process's CPU time for fitting and measuring.
    """

    baseline: str
    order: str
    condition: str
    bits: np.ndarray
    levels: Sequence[Fitted]
    seconds: float

    @property
    def name(self) -> str:
        """Of the array in the file of bits per image."""
        return f"{self.baseline}/{self.order}/{self.condition}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON; bits are means over images."""
        images = self.bits.sum(1)
        return {
            "baseline": self.baseline,
            "order": self.order,
            "condition": self.condition,
            "bits": float(images.mean()),
            "standard_error": float(images.std() / len(images) ** 0.5),
            "level_bits": self.bits.mean(0).tolist(),
            "level_parameters": [level.num_parameters for level in self.levels],
            "level_chosen": [dict(level.chosen) for level in self.levels],
            "seconds": self.seconds,
        }


Fit = Callable[[LevelContexts, Documents, Settings, int], Fitted]


def fit_static_level(contexts: LevelContexts, documents: Documents, settings: Settings, seed: int) -> Fitted:
    return _fit_histograms(contexts, documents, by_position=False)


def fit_static(contexts: LevelContexts, documents: Documents, settings: Settings, seed: int) -> Fitted:
    return _fit_histograms(contexts, documents, by_position=True)


def _fit_histograms(contexts: LevelContexts, documents: Documents, by_position: bool) -> Fitted:
    slots = [contexts.position()] if by_position else []
    slots += [contexts.caption()] if contexts.num_captions else []
    fitted = Histograms(contexts, slots, documents.train, documents.validation)
    return Fitted(fitted, fitted.num_entries, {"smoothing": fitted.smoothing})


def fit_neighbour_mlp(contexts: LevelContexts, documents: Documents, settings: Settings, seed: int) -> Fitted:
    fit = fit_mlp(contexts, documents.train, documents.validation, minutes=settings.minutes, seed=seed)
    chosen = {"width": fit.model.width, "dropout": fit.model.dropout, "epochs": fit.epochs}
    return Fitted(fit.model, fit.model.num_parameters, chosen)


def fit_mixing(contexts: LevelContexts, documents: Documents, settings: Settings, seed: int) -> Fitted:
    mixing = ContextMixing(contexts, documents.train, documents.validation, steps=settings.steps, seed=seed)
    return Fitted(mixing, mixing.num_parameters, {"contexts": len(mixing.tables.tables)})


BASELINES: Mapping[str, Fit] = {
    "static-level": fit_static_level,
    "static": fit_static,
    "mlp": fit_neighbour_mlp,
    "mixing": fit_mixing,
}


def measure(
    baseline: str, rows: CodeRows, documents: Documents, order: str, condition: str, settings: Settings, seed: int
) -> Measured:
    """Fits a baseline to every level and measures it on the test rows."""
    started = time.process_time()
    levels, bits = [], []
    for contexts in rows.contexts(order, condition):
        levels.append(BASELINES[baseline](contexts, documents, settings, seed))
        bits.append(bits_per_image(levels[-1].predictor, contexts, documents.test))
    seconds = time.process_time() - started
    return Measured(baseline, order, condition, np.stack(bits, 1), levels, seconds)


def run(arguments: argparse.Namespace) -> None:
    settings = QUICK if arguments.quick else Settings(arguments.minutes, arguments.steps)
    rows = load_rows(arguments.codes, arguments.train_split, arguments.split, arguments.validation, settings.max_rows)
    conditions = arguments.condition or (CONDITIONS if len(rows.classes) <= MAX_CAPTIONS else CONDITIONS[:1])
    measured = []
    for order in arguments.order:
        documents = rows.documents(order)
        for condition, baseline in product(conditions, arguments.baselines):
            found = measure(baseline, rows, documents, order, condition, settings, arguments.seed)
            levels = ", ".join(f"{bits:.2f}" for bits in found.bits.mean(0))
            line = f"{found.bits.sum(1).mean():8.2f} bits ({levels})  {found.seconds:6.1f} s  {found.name}"
            print(line, file=sys.stderr, flush=True)
            measured.append(found)
    report = {
        "codes": arguments.codes,
        "codes_fingerprint": rows.codes_fingerprint,
        "split": arguments.split,
        "train_split": arguments.train_split,
        "num_rows": rows.num_rows,
        "num_captions": len(rows.classes),
        "grids": rows.grids,
        "codebook_sizes": rows.codebook_sizes,
        "seed": arguments.seed,
        "settings": asdict(settings),
        "baselines": [found.to_dict() for found in measured],
    }
    if arguments.per_image:
        packed = io.BytesIO()
        np.savez(packed, **{found.name: found.bits for found in measured})
        atomic_write_bytes(arguments.per_image, packed.getvalue())
    print_report(report, arguments.json)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codes", required=True, help="a dataset of codes: a folder, or a name on the Hub")
    parser.add_argument("--split", default="test", help="to measure")
    parser.add_argument("--train-split", default="train", help="to learn from")
    parser.add_argument("--validation", type=int, default=5000, help="rows of it to choose on, about")
    parser.add_argument("--order", nargs="+", choices=ORDERS, default=list(ORDERS), help="both unless told")
    known = f"both unless told, if there are at most {MAX_CAPTIONS} captions"
    parser.add_argument("--condition", nargs="+", choices=CONDITIONS, help=f"what is known beforehand; {known}")
    parser.add_argument(
        "--baselines", nargs="+", choices=list(BASELINES), default=list(BASELINES), help="all by default"
    )
    parser.add_argument("--minutes", type=float, default=10, help="budget of the perceptron of each level")
    parser.add_argument("--steps", type=int, default=STEPS, help="in which each mixture learns its weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the report here")
    parser.add_argument("--per-image", type=Path, help="NPZ file for the bits of every image and level, (B, L)")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes; the figures mean nothing")
    try:
        run(parser.parse_args(argv))
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
