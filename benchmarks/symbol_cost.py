"""What the symbol for the whole image costs: does a picture take more bits with its symbol first than without one?

python benchmarks/symbol_cost.py --codes codes --tokenizer image-tokenizer --json cost.json
python benchmarks/symbol_cost.py --quick

One prior learns the same pictures with the same finer codes and other symbols before them: half of the time their own;
else the same for all (so that it says nothing and costs nothing), or those of other pictures, drawn at random. A token
at the beginning of the document says which. With bits(s) of the symbol and bits(rest | s) of the finer codes behind it,
the cost is

    bits(s) + bits(rest | s) - bits(rest)

A symbol that says what the finer codes would have had to say costs nothing. A random one costs all of its bits, or the
measurement is wrong. No prior can do better than H(s | rest), what the finer codes leave open of the symbol; a network
that reads them all at once says how much that is at most. Priors of their own for the three kinds would differ by more
than the cost, whatever the symbols say: of a few hundred steps each, by a bit and a half.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from interleaved import print_report
from torch import nn
from torch.nn import functional as F
from transformers import Qwen3ForCausalLM

from pictogram.lm.costs import token_nats
from pictogram.lm.data import DocumentBatch, DocumentBatches
from pictogram.lm.documents import images_to_ids
from pictogram.lm.estimates import estimate
from pictogram.lm.grammar import Grammar
from pictogram.lm.model import prior_config
from pictogram.lm.optimizers import build_optimizers
from pictogram.lm.products import quicken_linears
from pictogram.lm.token_bits import TokenScorer
from pictogram.lm.vocabulary import JointVocabulary
from pictogram.tokenizer.batches import derived_generator, global_batch
from pictogram.tokenizer.codes_dataset import load_codes
from pictogram.tokenizer.interface import ImageCodes
from pictogram.tokenizer.loading import load_image_tokenizer
from pictogram.tokenizer.progress import progress_bar
from pictogram.tokenizer.schedule import set_learning_rate, warmup_stable_decay

SYMBOLS = ("own", "none", "random")
LEARNED = ("own", "own", "none", "random")
"""With a symbol that tells something as often as without one: what a prior sees more often it knows better."""
_PROBE_EPOCHS, _PROBE_BATCH = 5, 256
NUM_TEXT = 257
"""Text ids that no document uses: a vocabulary has some."""


@dataclass(frozen=True)
class Setting:
    """How the prior learns.

    Attributes:
        size: of the prior.
        num_steps: of its training.
        batch_size: documents a step.
        learning_rate: peak.
        max_images: pictures scored.
        seed: of weights, order and random symbols.
    """

    size: str = "nano"
    num_steps: int = 1500
    batch_size: int = 64
    learning_rate: float = 2e-3
    max_images: int = 2000
    seed: int = 0


@dataclass
class Pictures:
    """Documents of pictures, without words: a `DocumentSource`."""

    ids: torch.Tensor  # (N, T) int64

    @classmethod
    def of(cls, vocabulary: JointVocabulary, codes: ImageCodes, kind: str, seed: int) -> Pictures:
        """One document a picture, with symbols of a kind, which a text id tells."""
        size = vocabulary.size_of([level.shape[-2:] for level in codes])
        ids = images_to_ids(vocabulary, with_symbols(codes, kind, seed))
        before = torch.tensor([vocabulary.bos_id, SYMBOLS.index(kind), vocabulary.image_start_id(size)])
        after = torch.tensor([vocabulary.image_end_id, vocabulary.eos_id])
        return cls(torch.cat([before.expand(len(ids), -1), ids, after.expand(len(ids), -1)], 1))

    @property
    def shard_sizes(self) -> tuple[int, ...]:
        """See `DocumentSource`."""
        return (len(self.ids),)

    def documents(self, rows: Sequence[int], draws: torch.Tensor) -> list[list[int]]:
        """See `DocumentSource`."""
        return self.ids[torch.as_tensor(rows)].tolist()


def with_symbols(codes: ImageCodes, kind: str, seed: int) -> ImageCodes:
    """The pictures with their own symbols, none, or those of other pictures."""
    symbols = codes[0]
    if kind == "none":
        symbols = torch.zeros_like(symbols)
    elif kind == "random":
        symbols = symbols[torch.randperm(len(symbols), generator=derived_generator(seed, "symbols", len(symbols)))]
    return (symbols, *codes[1:])


def learn(vocabulary: JointVocabulary, pictures: Pictures, setting: Setting) -> Qwen3ForCausalLM:
    """A prior of these documents."""
    torch.manual_seed(setting.seed)
    model = Qwen3ForCausalLM(prior_config(vocabulary, setting.size, pictures.ids.shape[1])).train()
    quicken_linears(model)
    batches = DocumentBatches(pictures, pad_id=vocabulary.pad_id, batch_size=setting.batch_size, seed=setting.seed)
    optimizers = build_optimizers(model, "muon", learning_rate=setting.learning_rate, weight_decay=0.1)
    with progress_bar("prior", setting.num_steps) as advance:
        for step in range(setting.num_steps):
            rate = setting.learning_rate * warmup_stable_decay(step, setting.num_steps, 50, 0.4)
            take_step(model, optimizers, batches.batch(step), rate)
            advance(1)
    return model.eval()


def take_step(
    model: Qwen3ForCausalLM, optimizers: Sequence[torch.optim.Optimizer], batch: DocumentBatch, learning_rate: float
) -> None:
    """One step on a batch of documents."""
    logits = model(input_ids=batch.input_ids, use_cache=False).logits
    (token_nats(logits, batch.labels).sum() / batch.num_targets).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        set_learning_rate(optimizer, learning_rate)
        optimizer.step()
        optimizer.zero_grad()


def score(vocabulary: JointVocabulary, model: Qwen3ForCausalLM, pictures: Pictures) -> torch.Tensor:
    """(N, 2) float64: bits of the symbol and of the finer codes of every picture."""
    scorer = TokenScorer(model, Grammar(vocabulary))
    parts = [scorer.score(part, with_illegal=False) for part in pictures.ids.split(64)]
    bits = torch.cat([part.of_levels(vocabulary.num_levels) for part in parts])
    return torch.stack([bits[:, 0], bits[:, 1:].sum(1)], 1)


def measure(learned: ImageCodes, scored: ImageCodes, codebook_sizes: Sequence[int], setting: Setting) -> dict[str, Any]:
    """Mean bits of symbols and finer codes for each kind of symbol, and what the symbol costs, with 95 % intervals."""
    grids = [tuple(level.shape[-2:]) for level in learned]
    vocabulary = JointVocabulary.from_scratch(NUM_TEXT, codebook_sizes, [grids])
    seen = torch.cat([Pictures.of(vocabulary, learned, kind, setting.seed).ids for kind in LEARNED])
    model = learn(vocabulary, Pictures(seen), setting)
    bits = {kind: score(vocabulary, model, Pictures.of(vocabulary, scored, kind, setting.seed)) for kind in SYMBOLS}
    report: dict[str, Any] = {"seed": setting.seed, "num_steps": setting.num_steps, "num_images": len(scored[0])}
    report["left_open"] = left_open(learned, scored, codebook_sizes, setting)
    for kind, (symbol, finer) in ((kind, each.unbind(1)) for kind, each in bits.items()):
        report[kind] = {"symbol": symbol.mean().item(), "rest": finer.mean().item()}
        if kind != "none":
            beyond = symbol + finer - bits["none"].sum(1)  # of each picture, with the same weights
            report[kind]["cost"] = estimate(beyond).to_dict()
            report[kind]["share"] = estimate(beyond, symbol).to_dict()
    return report


def left_open(
    learned: ImageCodes, scored: ImageCodes, codebook_sizes: Sequence[int], setting: Setting
) -> dict[str, float]:
    """Bits of the symbol for who knows all finer codes, at most: the cross-entropy of a perceptron that reads them."""
    torch.manual_seed(setting.seed)
    inputs, targets = _places(learned, codebook_sizes), learned[0].flatten()
    num_inputs = sum(size * level[0].numel() for size, level in zip(codebook_sizes[1:], learned[1:], strict=True))
    places = nn.EmbeddingBag(num_inputs, 64, mode="sum")
    nn.init.normal_(places.weight, std=0.02)
    model = nn.Sequential(
        places,
        *(nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.2)),
        nn.Linear(256, codebook_sizes[0]),
    )
    optimizer = torch.optim.Adam(model.parameters())
    steps = _PROBE_EPOCHS * len(targets) // _PROBE_BATCH
    for step in range(steps):
        rows = torch.tensor(global_batch(len(targets), _PROBE_BATCH, setting.seed, step))
        set_learning_rate(optimizer, 2e-3 * (1 - step / steps))
        loss = F.cross_entropy(model(inputs[rows]), targets[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        logits, truth = model.eval()(_places(scored, codebook_sizes)), scored[0].flatten()
    bits = float(F.cross_entropy(logits, truth)) / math.log(2)
    return {"bits": bits, "accuracy": float((logits.argmax(1) == truth).float().mean())}


def _places(codes: ImageCodes, codebook_sizes: Sequence[int]) -> torch.Tensor:
    """(N, n) numbers, each of one value of one finer code at one place."""
    sizes = [size for size, level in zip(codebook_sizes[1:], codes[1:], strict=True) for _ in range(level[0].numel())]
    first = torch.tensor([0, *sizes[:-1]]).cumsum(0)
    return torch.cat([level.flatten(1) for level in codes[1:]], 1) + first


def random_codes(count: int) -> ImageCodes:
    """Pictures of which the symbol decides most."""
    generator = derived_generator(0, "codes")
    symbols = torch.randint(4, (count, 1, 1), generator=generator)
    finer = (symbols + torch.randint(2, (count, 2, 2), generator=generator)) % 8
    return (symbols, finer)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codes", help="folder of a dataset of codes with a whole-image level")
    parser.add_argument("--tokenizer", help="folder of the image tokenizer that made them")
    parser.add_argument("--split", default="train")
    parser.add_argument("--test-split", default="test")
    parser.add_argument("--size", default=Setting.size)
    parser.add_argument("--num-steps", type=int, default=Setting.num_steps)
    parser.add_argument("--max-images", type=int, default=Setting.max_images)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the report")
    parser.add_argument("--quick", action="store_true", help="random codes and few steps, to try the script")
    given = parser.parse_args(arguments)
    setting = Setting(size=given.size, num_steps=given.num_steps, max_images=given.max_images, seed=given.seed)
    if given.quick:
        codes, sizes = random_codes(512), (4, 8)
        sets = [tuple(level[part] for level in codes) for part in (slice(384), slice(384, 512))]
        setting = replace(setting, num_steps=6, batch_size=16)
    else:
        if not given.codes or not given.tokenizer:
            parser.error("give --codes and --tokenizer, or --quick")
        tokenizer = load_image_tokenizer(given.tokenizer)
        sizes = tokenizer.model.config.codebook_sizes
        if not tokenizer.model.config.has_image_level:
            parser.error(f"{given.tokenizer} has no whole-image code, whose cost could be measured")
        splits = [load_codes(given.codes, split, tokenizer=tokenizer) for split in (given.split, given.test_split)]
        sets = [splits[0].codes(range(len(splits[0]))), splits[1].codes(range(min(len(splits[1]), setting.max_images)))]
    print_report(measure(sets[0], sets[1], sizes, setting), given.json)


if __name__ == "__main__":
    main()
