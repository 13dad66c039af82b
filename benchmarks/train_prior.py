"""How fast a prior trains: beside transformers' `Trainer`, and as a share of what the machine's matrix products reach.

python benchmarks/train_prior.py --sizes small base --json train.json
python benchmarks/train_prior.py --quick

The same stock model with the same first weights, the same documents, the same batch size, optimizer and clipping. See
benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from interleaved import print_report
from transformers import PreTrainedModel, Qwen3ForCausalLM, Trainer, TrainingArguments

from pictogram.lm.costs import token_nats
from pictogram.lm.data import DocumentBatches, collate
from pictogram.lm.documents import text_to_image
from pictogram.lm.model import prior_config
from pictogram.lm.optimizers import build_optimizers
from pictogram.lm.products import convolved_linear, prefers_onednn, quicken_linears
from pictogram.lm.vocabulary import JointVocabulary
from pictogram.tokenizer.batches import derived_generator

GRIDS = [(1, 1), (4, 4), (8, 8)]
CODEBOOKS = (64, 256, 256)
NUM_TEXT = 320


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Attributes:
        batch_size: documents per step.
        num_steps: of each round.
        repeats: rounds; the first does not count.
        captions: shortest and longest caption, text pieces.
        sizes: of the priors.
    """

    batch_size: int = 64
    num_steps: int = 8
    repeats: int = 4
    captions: tuple[int, int] = (3, 12)
    sizes: tuple[str, ...] = ("small", "base")


@dataclass
class Documents:
    """Random codes behind random captions, the same for both sides: what a token costs to learn depends on neither."""

    vocabulary: JointVocabulary
    rows: list[list[int]] = field(default_factory=list)

    @classmethod
    def new(cls, setting: Setting) -> Documents:
        """As many as both sides need."""
        vocabulary = JointVocabulary.from_scratch(NUM_TEXT, CODEBOOKS, [GRIDS])
        generator = derived_generator(0, "documents")
        count = 32 * setting.batch_size * 2
        shortest, longest = setting.captions
        lengths = torch.randint(shortest, longest + 1, (count,), generator=generator).tolist()
        levels = [level for level, (rows, columns) in enumerate(GRIDS) for _ in range(rows * columns)]
        starts = [int(vocabulary.codes_to_ids(level, 0)) for level in range(len(GRIDS))]
        documents = cls(vocabulary)
        for length in lengths:
            text = torch.randint(257, NUM_TEXT, (length,), generator=generator)
            draws = torch.rand(len(levels), generator=generator).tolist()
            codes = [starts[level] + int(draw * CODEBOOKS[level]) for level, draw in zip(levels, draws, strict=True)]
            documents.rows.append(text_to_image(vocabulary, text, codes, "4x4"))
        return documents

    @property
    def shard_sizes(self) -> tuple[int, ...]:
        """See `DocumentSource`."""
        return (len(self.rows),)

    def documents(self, rows: Any, draws: torch.Tensor) -> list[list[int]]:
        """See `DocumentSource`."""
        return [self.rows[row] for row in rows]


def new_model(size: str, vocabulary: JointVocabulary) -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    return Qwen3ForCausalLM(prior_config(vocabulary, size, 256))


def ours(size: str, documents: Documents, setting: Setting, compiled: bool) -> Callable[[int], int]:
    """A function of a number of steps that trains and returns the tokens it learned: the loop of `lm/train.py`."""
    model = new_model(size, documents.vocabulary).train()
    quicken_linears(model)
    if compiled:
        model.compile()
    batches = DocumentBatches(documents, pad_id=documents.vocabulary.pad_id, batch_size=setting.batch_size, seed=0)
    (optimizer,) = build_optimizers(model, "adamw", learning_rate=1e-4, weight_decay=0.1)
    position = 0

    def train(num_steps: int) -> int:
        nonlocal position
        tokens = 0
        for _ in range(num_steps):
            batch = batches.batch(position)
            optimizer.zero_grad()
            logits = model(input_ids=batch.input_ids, use_cache=False).logits
            (token_nats(logits, batch.labels).sum() / batch.num_targets).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            position, tokens = position + 1, tokens + batch.num_targets
        return tokens

    return train


def theirs(size: str, documents: Documents, setting: Setting, compiled: bool) -> Callable[[int], int]:
    """The same for `Trainer`, which makes its batches of documents as they come."""
    model = new_model(size, documents.vocabulary)
    count = setting.batch_size * setting.num_steps

    def collator(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        batch = collate([row["input_ids"] for row in rows], documents.vocabulary.pad_id)
        return {"input_ids": batch.input_ids, "labels": batch.labels}

    def train(num_steps: int) -> int:
        rows = [{"input_ids": row} for row in documents.rows[:count]]
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                folder,
                max_steps=num_steps,
                per_device_train_batch_size=setting.batch_size,
                learning_rate=1e-4,
                weight_decay=0.1,
                optim="adamw_torch_fused",
                max_grad_norm=1.0,
                logging_strategy="no",
                save_strategy="no",
                report_to=[],
                use_cpu=True,
                disable_tqdm=True,
                torch_compile=compiled,
                torch_compile_backend="inductor" if compiled else None,
            )
            Trainer(model, arguments, data_collator=collator, train_dataset=rows).train()  # pyright: ignore
        return sum(len(row["input_ids"]) - 1 for row in rows)

    return train


def floating_point_operations(model: PreTrainedModel, documents: Documents) -> float:
    """Of learning one token, forward and backward: 6 per weight of a product, and those of causal attention."""
    config = model.config
    products = sum(p.numel() for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name)
    length = sum(map(len, documents.rows)) / len(documents.rows)
    width = config.num_attention_heads * config.head_dim
    return 6 * products + 6 * config.num_hidden_layers * 2 * width * length / 2


def product_rate(product: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> float:
    """Floating point operations per second of CPU time, of a product of float32 matrices of 2048x2048."""
    a, b = torch.randn(2, 2048, 2048)
    times = []
    for _ in range(8):
        started = time.process_time()
        product(a, b)
        times.append(time.process_time() - started)
    return 2 * 2048**3 / sorted(times)[len(times) // 2]


def convolved(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The product of `a` and `b` transposed, by oneDNN."""
    return convolved_linear(a.view(32, -1, a.shape[1]), b)


def compare(size: str, setting: Setting, compiled: bool) -> dict[str, Any]:
    documents = Documents.new(setting)
    arms = {"ours": ours(size, documents, setting, compiled), "Trainer": theirs(size, documents, setting, compiled)}
    rates: dict[str, list[float]] = {name: [] for name in arms}
    walls: dict[str, list[float]] = {name: [] for name in arms}
    for repeat in range(setting.repeats + 1):
        for name, train in arms.items():
            wall, cpu = time.perf_counter(), time.process_time()
            tokens = train(setting.num_steps)
            if repeat:
                rates[name].append(tokens / (time.process_time() - cpu))
                walls[name].append(tokens / (time.perf_counter() - wall))
    median = {name: sorted(found)[len(found) // 2] for name, found in rates.items()}
    operations = floating_point_operations(new_model(size, documents.vocabulary), documents)
    reached = {"torch": product_rate(torch.mm), "oneDNN": product_rate(convolved)}
    return {
        "tokens_per_cpu_second": {name: round(rate) for name, rate in median.items()},
        "tokens_per_second": {name: round(sorted(found)[len(found) // 2]) for name, found in walls.items()},
        "speedup": round(median["ours"] / median["Trainer"], 3),
        "share_of_torch_products": {n: round(r * operations / reached["torch"], 3) for n, r in median.items()},
        "share_of_best_products": {n: round(r * operations / max(reached.values()), 3) for n, r in median.items()},
        "product_gflops": {name: round(rate / 1e9, 1) for name, rate in reached.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=list(Setting.sizes))
    parser.add_argument("--compile", action="store_true", help="torch.compile on both sides")
    parser.add_argument("--quick", action="store_true", help="seconds, and means nothing")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    setting = Setting(batch_size=4, num_steps=1, repeats=1) if arguments.quick else Setting()
    report: dict[str, Any] = {
        "threads": arguments.threads,
        "compiled": arguments.compile,
        "onednn_products": prefers_onednn(),
    }
    for size in ["pico"] if arguments.quick else arguments.sizes:
        report[size] = compare(size, setting, arguments.compile)
    print_report(report, arguments.json)


if __name__ == "__main__":
    main()
