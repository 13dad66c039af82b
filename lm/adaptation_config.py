"""The settings of adapting a prior to a grown image tokenizer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..hub.command_line import check_options, option, seed_option
from ..hub.errors import InputError
from .training_config import PriorTrainingConfig

MOVED_ROWS = ("new", "invoked")
"""Which rows may move: those of new codes alone, or those of all codes that the new pictures invoke."""

_REPORTING = {"from_bundle", "tokenizer", "codes", "reference_codes", "output", "checkpoint_every", "log_every"}
_OWN = {"moved_rows", "reference_codes", "reference_split", "reference_eval_split", "reference_share", "rate_images"}


@dataclass(kw_only=True)
class PriorAdaptationConfig:
    """Everything the numbers of an adaptation depend on, and where it writes.

    The description of each field is its command-line help.
    """

    from_bundle: str = option("bundle", "Bundle that grows: a folder, or its name on the Hub.", flag="--from")
    tokenizer: str = option(
        "grown-tokenizer", "Image tokenizer that was grown from the bundle's own: a folder, or its name on the Hub."
    )
    codes: str = option("codes", "Dataset of codes of the new pictures, made with the grown tokenizer.")
    split: str = option("train", "Split of these codes to train on.")
    eval_split: str = option("", "Split of these codes that is scored; by default the one that is trained on.")
    reference_codes: str = option(
        "", "Dataset of codes of old pictures, as the bundle was trained on, so that new codes stay unlikely in them."
    )
    reference_split: str = option("train", "Split of the old codes to train on.")
    reference_eval_split: str = option(
        "", "Split of the old codes that is scored; by default the one that is trained on."
    )
    reference_share: float = option(
        0.5, "Share of old pictures in what is trained on; 0: they are scored alone.", at_least=0, at_most=0.99
    )
    moved_rows: str = option(
        "new",
        'Rows of the embeddings and the output layer that may move: "new", those of new codes, or "invoked", those of '
        "old codes in the new pictures as well, after which old files need the old bundle.",
        one_of=MOVED_ROWS,
    )
    lora_rank: int = option(
        0,
        "Train adapters of this rank (LoRA) beside the rows; needs peft, and old files then need the old bundle. "
        "0: rows alone.",
        at_least=0,
    )
    output: str = option("adapted-bundle", "Folder for the bundle; adapting again into it goes on.")
    rate_images: int = option(1000, "Most pictures of each dataset whose rate is measured.", at_least=1)
    image_to_text: float = option(0.3, "Share of documents with the picture before its caption.", at_least=0, at_most=1)
    caption_dropout: float = option(
        0.1, "Share of the other documents that lose their caption, for guidance.", at_least=0, at_most=1
    )
    num_steps: int = option(1000, "Training steps.", at_least=1)
    batch_size: int = option(64, "Documents per step, over all processes.", at_least=1)
    micro_batch_size: int = option(
        0, "Documents at a time per process; their gradients add up to one step. 0: all at once.", at_least=0
    )
    learning_rate: float = option(3e-3, "Peak learning rate (AdamW).", above=0)
    warmup_steps: int = option(50, "Steps of linear warm-up.", at_least=0)
    decay_share: float = option(
        0.4, "Share of the steps, at the end, over which the rate falls to zero.", at_least=0, at_most=1
    )
    weight_decay: float = option(0.0, "Weight decay of the output rows and adapters that move.", at_least=0)
    max_grad_norm: float = option(1.0, "Gradient norm above which gradients are scaled down.", above=0)
    seed: int = seed_option()
    checkpoint_every: int = option(500, "Steps between checkpoints.", at_least=1)
    log_every: int = option(50, "Steps between lines of metrics.jsonl.", at_least=1)

    def __post_init__(self) -> None:
        check_options(self)
        for name, plain in (("reference_split", "train"), ("reference_eval_split", "")):
            if getattr(self, name) != plain and not self.reference_codes:
                raise InputError(f"{name} is of old codes; give them with --reference-codes")

    @property
    def keeps_ancestor(self) -> bool:
        """Whether all old rows and the rest of the prior stay, so that files of the bundle before are read."""
        return self.moved_rows == "new" and not self.lora_rank

    def training(self) -> PriorTrainingConfig:
        """The same as a training of a prior."""
        shared = {name: value for name, value in asdict(self).items() if name not in _OWN}
        return PriorTrainingConfig(**shared, optimizer="adamw")

    def settings(self) -> dict[str, Any]:
        """What a resumed run must agree on."""
        kept = {name: value for name, value in asdict(self).items() if name not in _REPORTING}
        return {"stage": "prior-adaptation", "has_reference": bool(self.reference_codes)} | kept
