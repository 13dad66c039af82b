"""What a step of Muon takes beside a step of torch's, for the demo's image tokenizer and for priors.

python benchmarks/muon.py --threads 2 --json muon.json
python benchmarks/muon.py --quick

Both move copies of the same matrices by the same gradients. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from interleaved import measure, print_report
from torch import nn
from train_prior import Documents, Setting, new_model

from pictogram.lm.optimizers import build_optimizers as build_prior_optimizers
from pictogram.pipelines.demo import DemoConfig
from pictogram.tokenizer.model import ImageTokenizer
from pictogram.tokenizer.muon import Muon, orthogonalisation_dtype
from pictogram.tokenizer.optimizers import build_optimizers


def shapes(name: str) -> list[torch.Size]:
    """(rows, columns) of the matrices that Muon trains of "tokenizer", or of a prior of this size."""
    if name == "tokenizer":
        model = ImageTokenizer(DemoConfig().tokenizer_config().model_config())
        muon = build_optimizers(model, "muon", learning_rate=1e-3, weight_decay=0.1)[0]
    else:
        model = new_model(name, Documents.new(Setting()).vocabulary)
        muon = build_prior_optimizers(model, "muon", learning_rate=1e-3, weight_decay=0.1)[0]
    return [matrix.shape for matrix in muon.param_groups[0]["params"]]


def matrices(of: list[torch.Size]) -> list[nn.Parameter]:
    """Parameters with gradients, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in of]
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return parameters


def compare(name: str, repeats: int) -> dict[str, Any]:
    """Seconds of a step of both, and the ratio of their CPU seconds."""
    of = shapes(name)
    arms = {
        "ours": Muon(matrices(of), lr=1e-3, weight_decay=0.1).step,
        "torch": torch.optim.Muon(matrices(of), lr=1e-3, weight_decay=0.1, adjust_lr_fn="match_rms_adamw").step,
    }
    times = measure(arms, repeats)
    weights = sum(rows * columns for rows, columns in of)
    ratio = times["torch"]["cpu_seconds"] / times["ours"]["cpu_seconds"]
    return {"matrices": len(of), "weights": weights, **times, "speedup": round(ratio, 2)}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", nargs="+", default=["tokenizer", "nano", "small"], help="tokenizer, or priors' sizes"
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="seconds, and means nothing")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(argv)

    torch.set_num_threads(arguments.threads)
    dtype = str(orthogonalisation_dtype(torch.device("cpu"))).removeprefix("torch.")
    report: dict[str, Any] = {"threads": arguments.threads, "orthogonalised_in": dtype}
    for name in ["pico"] if arguments.quick else arguments.models:
        report[name] = compare(name, 1 if arguments.quick else arguments.repeats)
    print_report(report, arguments.json)


if __name__ == "__main__":
    main()
