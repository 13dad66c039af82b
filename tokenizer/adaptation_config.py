"""What the adaptation of a trained tokenizer to new pictures can be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..hub.command_line import check_options, numbers, option, seed_option
from ..hub.errors import InputError
from .optimizers import OPTIMIZERS

GROW, SYMBOLS, FULL, LORA = "grow", "symbols", "full", "lora"

MODES = (GROW, SYMBOLS, FULL, LORA)
"""What moves: new rows; new rows and those that the new pictures invoke; everything; adapters of the decoder."""

LEARNING_RATES = {GROW: 0.05, SYMBOLS: 0.05, FULL: 2e-3, LORA: 4e-3}
"""Peak learning rate of each mode where none is asked for. Rows learn in units of the distance between rows."""


@dataclass(kw_only=True)
class AdaptationSettings:
    """Everything the numbers of an adaptation depend on, beside the tokenizer and the pictures.

    The description of each field is its command-line help.
    """

    mode: str = option("symbols", "What moves: grow, symbols, full or lora.", one_of=MODES)
    new_codes: str = option(
        "3", "New codes per level, with commas; one number: so many times the codes there are, rounded."
    )
    quantile: float = option(
        0.95,
        "New codes grow where latents lie farther from their codes than this share of the old pictures' latents.",
        at_least=0,
        at_most=1,
    )
    invoked_share: float = option(
        0.1, "A code is invoked by the new pictures if they use it more than this fraction of the average.", at_least=0
    )
    own_share: float = option(
        0.9,
        "An invoked code moves if at least this share of its use is the new pictures', both sets counted alike; in the "
        "mode grow a new code stays on the same condition.",
        at_least=0,
        at_most=1,
    )
    num_steps: int = option(500, "Training steps.", at_least=1)
    batch_size: int = option(64, "Pictures per step.", at_least=1)
    learning_rate: float = option(0.0, "Peak learning rate; 0 takes the mode's own.", at_least=0)
    warmup_steps: int = option(20, "Steps of linear warm-up; a cosine follows.", at_least=0)
    weight_decay: float = option(0.01, "Decoupled weight decay; rows decay to where they started.", at_least=0)
    optimizer: str = option("muon", "Of the mode full: muon or adamw; the others use AdamW.", one_of=OPTIMIZERS)
    latent_weight: float = option(
        0.01, "Weight of the distance of rows to their latents, in units of that between rows.", at_least=0
    )
    prefix_share: float = option(0.25, "Share of pictures that each proper prefix is decoded for.", above=0, at_most=1)
    revive_every: int = option(
        25, "Steps after which new rows without any use start anew, in the first half; 0: never.", at_least=0
    )
    lora_rank: int = option(
        0, "Rank of the adapters; 0 takes the greatest that --lora-budget allows, or 4.", at_least=0
    )
    lora_budget: int = option(0, "Most numbers that adapters may train; 0: --lora-rank says.", at_least=0)
    max_surveyed: int = option(
        4096, "Most pictures of each set that say where rows are missing and which are used.", at_least=1
    )
    seed: int = seed_option()

    def __post_init__(self) -> None:
        check_options(self)
        if self.lora_rank and self.lora_budget:
            raise InputError(f"give lora_rank or lora_budget, got {self.lora_rank} and {self.lora_budget}")

    @property
    def peak_learning_rate(self) -> float:
        """The rate asked for, or the mode's own."""
        return self.learning_rate or LEARNING_RATES[self.mode]

    def new_counts(self, codebook_sizes: Sequence[int]) -> list[int]:
        """How many codes each level is to gain at most; the mode lora adds none, whatever is asked for.

        Raises:
            InputError: as many numbers as there are levels, or one, are expected, all 0 or more.
        """
        asked = numbers("new_codes", self.new_codes)
        if len(asked) == 1:
            asked = [round(asked[0] * size) for size in codebook_sizes]
        if len(asked) != len(codebook_sizes) or any(count < 0 or count != int(count) for count in asked):
            raise InputError(
                f"new_codes must be one share, or a whole number for each of {len(codebook_sizes)} levels, "
                f"got {self.new_codes!r}"
            )
        return [int(count) for count in asked]


@dataclass(kw_only=True)
class AdaptationConfig(AdaptationSettings):
    """An adaptation from the command line: its settings, what it reads and where it writes."""

    start_from: str = option("image-tokenizer", "Folder of the tokenizer to adapt, or its name.", flag="--from")
    data: str = option("embedded", "The new pictures: a folder, parquet, or any `datasets` name.")
    split: str = option("train", "Split of the new pictures to learn from.")
    reference: str = option("", "The old pictures, which are counted and measured, not learned from.")
    reference_split: str = option("train", "Split of the old pictures to count.")
    measured_split: str = option("", "Split of both to measure before and after; empty: those above.")
    output: str = option("adapted-tokenizer", "Folder for the adapted tokenizer; it must not exist.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.reference:
            raise InputError("reference must name the old pictures: without them nobody knows which codes they use")

    def settings(self) -> dict[str, Any]:
        """What the numbers depend on, for the provenance: defaults of the mode in full."""
        own = {"learning_rate": self.peak_learning_rate, "optimizer": self.optimizer if self.mode == FULL else "adamw"}
        given = {name: value for name, value in asdict(self).items() if name != "output"}
        return {"stage": "adaptation"} | given | own
