"""The settings of a prior's training."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..hub.command_line import check_options, option, seed_option
from ..hub.errors import InputError
from ..tokenizer.accelerators import PRECISIONS, tracker_names
from .code_documents import DocumentMix
from .model import PRIOR_SIZES
from .optimizers import OPTIMIZERS
from .order import ORDERS
from .text_tokenizer import MIN_TEXT_VOCAB_SIZE

_REPORTING = {"codes", "documents", "tokenizer", "from_bundle", "output", "checkpoint_every", "log_every", "trackers"}
"""Where things lie and how often a run reports: what a resumed run may change."""


@dataclass(kw_only=True)
class PriorTrainingConfig:
    """Everything the numbers of a prior's training depend on, and where it writes.

    The description of each field is its command-line help.
    """

    codes: str = option(
        "codes", "Folder with a dataset of codes, made by `pictogram tokenize`, or its name on the Hub."
    )
    documents: str = option(
        "", "Folder of documents to train on in place of codes, made by `pictogram build-documents` or write_documents."
    )
    tokenizer: str = option(
        "image-tokenizer", "Folder of the image tokenizer that made the codes, or its name on the Hub."
    )
    from_bundle: str = option(
        "",
        "Bundle to go on from, a folder or a name on the Hub, such as an extended language model: its vocabulary, "
        "order, shape and image tokenizer stand, whatever is said here.",
        flag="--from",
    )
    lora_rank: int = option(
        0,
        "Train adapters of this rank (LoRA) and the rows of image and control tokens alone; needs --from and peft. "
        "0: everything.",
        at_least=0,
    )
    output: str = option("bundle", "Folder for the trained bundle; training again into it goes on.")
    split: str = option("train", "Split of the codes to train on.")
    streaming: bool = option(False, "Leave the codes where they are, on disk or the Hub, and hold a few shards.")
    holdout_share: float = option(
        0.0,
        "Share of the rows, chosen by the hash of their keys, that is scored and not learned.",
        at_least=0,
        at_most=1,
    )
    eval_split: str = option("", "Another split to score instead.")
    eval_every: int = option(500, "Steps between scores of these rows; the last step is always scored.", at_least=1)
    eval_images: int = option(1000, "Most pictures that are scored.", at_least=1)
    order: str = option("level", 'Order of the codes: "level" (coarse grid, then finer) or "pyramid".', one_of=ORDERS)
    size: str = option("nano", "Size of the prior: pico, nano, small, base or large.", one_of=PRIOR_SIZES)
    num_key_value_heads: int = option(1, "Heads of keys and values; 1 samples fastest.", at_least=1)
    tie_word_embeddings: bool = option(False, "One matrix for input and output embeddings.")
    codebook_embeddings: bool = option(True, "Image tokens start where their codes' vectors put them.")
    context_length: int = option(
        0, "Longest document, tokens; longer captions are cut. 0: room for captions twice as long as seen.", at_least=0
    )
    text_vocab_size: int = option(
        1024, "Most text pieces; fewer if the captions need fewer.", at_least=MIN_TEXT_VOCAB_SIZE
    )
    image_to_text: float = option(0.3, "Share of documents with the picture before its caption.", at_least=0, at_most=1)
    caption_dropout: float = option(
        0.1, "Share of the other documents that lose their caption, for guidance.", at_least=0, at_most=1
    )
    describe_by_first: bool = option(False, "Of several captions, only the first is learned behind a picture.")
    num_steps: int = option(3000, "Training steps.", at_least=1)
    batch_size: int = option(64, "Documents per step, over all processes.", at_least=1)
    micro_batch_size: int = option(
        0, "Documents at a time per process; their gradients add up to one step. 0: all at once.", at_least=0
    )
    optimizer: str = option("muon", '"muon" or "adamw".', one_of=OPTIMIZERS)
    learning_rate: float = option(
        3e-3, "Peak learning rate; a prior that is trained already wants a tenth of it or less.", above=0
    )
    warmup_steps: int = option(100, "Steps of linear warm-up.", at_least=0)
    decay_share: float = option(
        0.4, "Share of the steps, at the end, over which the rate falls to zero.", at_least=0, at_most=1
    )
    weight_decay: float = option(0.1, "Weight decay of the matrices (not of embeddings and gains).", at_least=0)
    dropout: float = option(0.0, "Share of each layer's outputs dropped in training.", at_least=0, at_most=0.9)
    code_noise: float = option(
        0.0, "Share of the codes that are exchanged for others where the prior reads them.", at_least=0, at_most=0.5
    )
    max_grad_norm: float = option(1.0, "Gradient norm above which gradients are scaled down.", above=0)
    gradient_checkpointing: bool = option(False, "Compute activations twice instead of keeping them.")
    compile: bool = option(False, "Compile the model with torch.compile; needs a C++ compiler on a CPU.")
    seed: int = seed_option()
    checkpoint_every: int = option(500, "Steps between checkpoints.", at_least=1)
    log_every: int = option(50, "Steps between lines of metrics.jsonl.", at_least=1)
    mixed_precision: str = option(
        "auto", '"auto" (bf16 on a GPU that has it, else no), "no", "fp16" or "bf16".', one_of=("auto", *PRECISIONS)
    )
    trackers: str = option("", "accelerate trackers to report to, such as tensorboard or wandb, comma-separated.")

    def __post_init__(self) -> None:
        check_options(self)
        tracker_names(self.trackers)
        if self.lora_rank and not self.from_bundle:
            raise InputError("lora_rank adapts a prior that is trained already; give one with --from")
        if self.mixed_precision == "fp16" and self.optimizer == "muon":
            # Its gradient scaler is updated by the first optimizer's step, and would unscale the second one wrongly.
            raise InputError('mixed_precision "fp16" works with one optimizer; take "bf16", or the optimizer adamw')
        if self.holdout_share == 1:
            raise InputError("holdout_share must be below 1: something must be left to train on")
        if self.holdout_share and self.eval_split:
            raise InputError("holdout_share and eval_split both say what is scored; give one of them")
        if self.documents and (self.holdout_share or self.streaming):
            raise InputError("documents are trained on as they are; holdout_share and streaming go with codes")
        if self.holdout_share and self.streaming:
            raise InputError("holdout_share looks at every key, which streaming does not read; give eval_split")

    def document_mix(self) -> DocumentMix:
        """Which documents pictures and their captions turn into."""
        return DocumentMix(
            image_to_text=self.image_to_text,
            caption_dropout=self.caption_dropout,
            describe_by_first=self.describe_by_first,
        )

    def settings(self) -> dict[str, Any]:
        """What a resumed run must agree on."""
        return {"stage": "prior"} | {key: value for key, value in asdict(self).items() if key not in _REPORTING}
