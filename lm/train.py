"""Training the joint prior: one accelerate loop, the same on one process and on many.

python -m pictogram.lm.train --codes codes/ --tokenizer image-tokenizer/ --output bundle
torchrun --nproc_per_node 2 -m pictogram.lm.train --codes codes/ --tokenizer image-tokenizer/ --output bundle
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed
from torch.nn import functional as F
from transformers import PreTrainedModel

from ..hub.card import write_bundle_card
from ..hub.files import read_json
from ..hub.fingerprint import fingerprint
from ..tokenizer.accelerators import PRECISIONS, finish, start_accelerator, tracker_names
from ..tokenizer.batches import process_slice
from ..tokenizer.checkpoints import MetricsLog, TrainingFolder
from ..tokenizer.codes_dataset import CodesDataset, load_codes
from ..tokenizer.command_line import check_options, command, option, run_command, seed_option
from ..tokenizer.fingerprints import codes_fingerprint, decoder_fingerprint
from ..tokenizer.loading import LoadedImageTokenizer, load_image_tokenizer
from ..tokenizer.progress import progress_bar
from ..tokenizer.schedule import set_learning_rate, warmup_stable_decay
from .bundle import Bundle
from .data import IGNORED, DocumentBatch, DocumentBatches, DocumentMix
from .grammar import KIND_LEVEL, KIND_TEXT, Grammar
from .model import PRIOR_SIZES, build_prior
from .order import ORDERS
from .text_tokenizer import MIN_TEXT_VOCAB_SIZE, TextTokenizer, train_text_tokenizer
from .vocabulary import JointVocabulary


@dataclass(kw_only=True)
class PriorTrainingConfig:
    """Everything the numbers of a prior's training depend on, and where it writes.

    The description of each field is its command-line help.
    """

    codes: str = option(
        "codes", "Folder with a dataset of codes, made by `pictogram tokenize`, or its name on the Hub."
    )
    tokenizer: str = option(
        "image-tokenizer", "Folder of the image tokenizer that made the codes, or its name on the Hub."
    )
    output: str = option("bundle", "Folder for the trained bundle; training again into it goes on.")
    split: str = option("train", "Split of the codes to train on.")
    order: str = option("level", 'Order of the codes: "level" (coarse grid, then finer) or "pyramid".', one_of=ORDERS)
    size: str = option("nano", "Size of the prior: pico, nano, small, base or large.", one_of=PRIOR_SIZES)
    text_vocab_size: int = option(
        1024, "Most text pieces; fewer if the captions need fewer.", at_least=MIN_TEXT_VOCAB_SIZE
    )
    image_to_text: float = option(0.3, "Share of documents with the picture before its caption.", at_least=0, at_most=1)
    caption_dropout: float = option(
        0.1, "Share of the other documents that lose their caption, for guidance.", at_least=0, at_most=1
    )
    num_steps: int = option(3000, "Training steps.", at_least=1)
    batch_size: int = option(64, "Documents per step, over all processes.", at_least=1)
    learning_rate: float = option(2e-3, "Peak learning rate.", above=0)
    warmup_steps: int = option(100, "Steps of linear warm-up.", at_least=0)
    decay_share: float = option(
        0.4, "Share of the steps, at the end, over which the rate falls to zero.", at_least=0, at_most=1
    )
    weight_decay: float = option(0.1, "AdamW weight decay of the matrices (not of embeddings and gains).", at_least=0)
    max_grad_norm: float = option(1.0, "Gradient norm above which gradients are scaled down.", above=0)
    seed: int = seed_option()
    checkpoint_every: int = option(500, "Steps between checkpoints.", at_least=1)
    log_every: int = option(50, "Steps between lines of metrics.jsonl.", at_least=1)
    mixed_precision: str = option("no", '"no", "fp16" or "bf16"; on a CPU "no" is the fast one.', one_of=PRECISIONS)
    trackers: str = option("", "accelerate trackers to report to, such as tensorboard or wandb, comma-separated.")

    def __post_init__(self) -> None:
        check_options(self)
        tracker_names(self.trackers)

    def settings(self) -> dict[str, Any]:
        """What a resumed run must agree on: everything but where things lie and how often it reports."""
        reporting = {"codes", "tokenizer", "output", "checkpoint_every", "log_every", "trackers"}
        return {"stage": "prior"} | {key: value for key, value in asdict(self).items() if key not in reporting}


def train_prior(config: PriorTrainingConfig) -> Bundle:
    """Trains a prior on a dataset of codes and saves the bundle in `config.output`; goes on from the last checkpoint.

    Raises:
        InputError: unusable codes or settings, codes of another tokenizer, or an output folder of another run.
    """
    image_tokenizer = load_image_tokenizer(config.tokenizer)
    made_by = codes_fingerprint(image_tokenizer.model, image_tokenizer.processor)
    codes = load_codes(config.codes, config.split, codes_fingerprint=made_by)
    _ = codes.shared_grids  # pictures of several sizes are refused before any work
    mix = DocumentMix(image_to_text=config.image_to_text, caption_dropout=config.caption_dropout)
    data = {"codes_fingerprint": made_by, "rows": len(codes), "documents": _documents_fingerprint(codes)[:16]}
    folder = TrainingFolder(config.output, config.settings() | data)
    if not folder.is_complete:
        _Trainer(config, folder, codes, image_tokenizer, mix).run()
    return Bundle.from_pretrained(config.output)


def _documents_fingerprint(codes: CodesDataset) -> str:
    """Of all codes and captions: a run goes on with the very documents it began with."""
    rows = range(len(codes))
    levels = {f"level {level}": grid for level, grid in enumerate(codes.codes(rows))}
    return fingerprint(levels, {"captions": list(codes.dataset["caption"])})


def joint_vocabulary(
    codes: CodesDataset, image_tokenizer: LoadedImageTokenizer, text_vocab_size: int, order: str
) -> JointVocabulary:
    """The id space of a new prior: text pieces, control tokens, and every level's codes.

    Raises:
        InputError: the pictures have several sizes.
    """
    return JointVocabulary.from_scratch(
        text_vocab_size,
        codes.codebook_sizes,
        [codes.shared_grids],
        order,
        codes_fingerprint=codes_fingerprint(image_tokenizer.model, image_tokenizer.processor),
        decoder_fingerprint=decoder_fingerprint(image_tokenizer.model),
    )


class _Trainer:
    """The state of one training run on one process."""

    def __init__(
        self,
        config: PriorTrainingConfig,
        folder: TrainingFolder,
        codes: CodesDataset,
        image_tokenizer: LoadedImageTokenizer,
        mix: DocumentMix,
    ):
        self.config, self.folder, self.codes, self.image_tokenizer = config, folder, codes, image_tokenizer
        self.accelerator = start_accelerator(config.mixed_precision, config.trackers, config.output)
        set_seed(config.seed)
        captions = [caption for row in range(len(codes)) for caption in codes.captions(row)]
        self.text_tokenizer = TextTokenizer(train_text_tokenizer(captions, config.text_vocab_size))
        self.vocabulary = joint_vocabulary(codes, image_tokenizer, self.text_tokenizer.vocab_size, config.order)
        self.grammar = Grammar(self.vocabulary)
        self.batches = DocumentBatches(
            codes, self.text_tokenizer, self.vocabulary, mix=mix, batch_size=config.batch_size, seed=config.seed
        )
        self.share = process_slice(config.batch_size, self.accelerator.process_index, self.accelerator.num_processes)
        model = build_prior(
            self.vocabulary,
            image_tokenizer.model,
            size=config.size,
            max_length=_context_length(self.batches.max_length),
            seed=config.seed,
        )
        self.model, self.optimizer = self.accelerator.prepare(model.train(), _optimizer(model, config))
        if self.accelerator.is_main_process:
            folder.open()
        self.accelerator.init_trackers("pictogram-prior", config=config.settings())

    def run(self) -> None:
        """Trains from the last checkpoint to the end, and saves the bundle."""
        first_step = self.folder.load(self.accelerator)
        is_main = self.accelerator.is_main_process
        log = MetricsLog(self.folder.path / "metrics.jsonl" if is_main else None, first_step)
        with progress_bar("prior", self.config.num_steps, first_step, enabled=is_main) as advance:
            for step in range(first_step, self.config.num_steps):
                sums = self._step(step)
                done = step + 1
                if done % self.config.log_every == 0 or done == self.config.num_steps:
                    total = self.accelerator.reduce(sums, "sum")
                    assert isinstance(total, torch.Tensor)
                    values = self._metrics(total)
                    log.write(done, **values)
                    self.accelerator.log(values, step=done)
                if done % self.config.checkpoint_every == 0 and done < self.config.num_steps:
                    self.folder.save(self.accelerator, done)
                advance(1)
        self._finish()

    def _step(self, step: int) -> torch.Tensor:
        """One optimizer step on global batch `step`; returns this process's sums, see `_sums`."""
        config = self.config
        batch = self.batches.batch(step)
        # The mean is over the tokens of the whole batch; DDP averages over processes, whose shares differ in tokens.
        scale = self.accelerator.num_processes / batch.num_targets
        share = DocumentBatch(batch.input_ids[self.share], batch.labels[self.share])
        nats = self._nats(share)  # (B, T - 1)
        self.optimizer.zero_grad()
        self.accelerator.backward(nats.sum() * scale)
        self.accelerator.clip_grad_norm_(self.model.parameters(), config.max_grad_norm)
        factor = warmup_stable_decay(step, config.num_steps, config.warmup_steps, config.decay_share)
        set_learning_rate(self.optimizer, config.learning_rate * factor)
        self.optimizer.step()
        return self._sums(share, nats.detach())

    def _nats(self, batch: DocumentBatch) -> torch.Tensor:
        """(B, T - 1) cost of every token after the first, under the full softmax, 0 for padding."""
        device = self.accelerator.device
        logits = self.model(input_ids=batch.input_ids.to(device)).logits[:, :-1].float()
        labels = batch.labels[:, 1:].to(device)
        return F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")

    def _sums(self, batch: DocumentBatch, nats: torch.Tensor) -> torch.Tensor:
        """Bits per kind of token, then the numbers of tokens, of captions and of documents: one float64 vector."""
        kinds = self.grammar.slots(batch.input_ids).kind[:, 1:]
        kinds = torch.where(batch.labels[:, 1:] == IGNORED, -1, kinds)
        num_kinds = KIND_LEVEL + self.vocabulary.num_levels
        bits = torch.bincount((kinds + 1).flatten(), nats.cpu().double().flatten(), num_kinds + 1)[1:] / math.log(2)
        counts = [(kinds >= 0).sum(), (kinds == KIND_TEXT).any(1).sum(), len(kinds)]
        return torch.cat([bits, torch.tensor(counts, dtype=torch.float64)]).to(self.accelerator.device)

    def _metrics(self, sums: torch.Tensor) -> dict[str, float]:
        """Global sums -> mean nats per token, bits per caption, and bits per image and level."""
        *bits, num_tokens, num_captions, num_documents = sums.tolist()
        levels = bits[KIND_LEVEL:]
        return {
            "loss": sum(bits) * math.log(2) / num_tokens,
            "bits_per_document": sum(bits) / num_documents,
            "text_bits": bits[KIND_TEXT] / max(1, num_captions),
            **{f"level_{level}_bits": value / num_documents for level, value in enumerate(levels)},
        }

    def _finish(self) -> None:
        if self.accelerator.is_main_process:
            prior: PreTrainedModel = self.accelerator.unwrap_model(self.model).eval()
            bundle = Bundle(
                prior,
                self.vocabulary,
                self.text_tokenizer,
                self.image_tokenizer.model,
                self.image_tokenizer.processor,
            )
            bundle.save_pretrained(self.folder.path)
            self._write_card(prior)
            self.folder.complete({"steps": self.config.num_steps, "seed": self.config.seed})
        finish(self.accelerator)

    def _write_card(self, prior: PreTrainedModel) -> None:
        last = MetricsLog.read(self.folder.path / "metrics.jsonl")[-1]
        figures = {f"{name}, training documents": f"{value:.4g}" for name, value in last.items() if name != "step"}
        captions = (caption for row in range(len(self.codes)) for caption in self.codes.captions(row) if caption)
        write_bundle_card(
            self.folder.path,
            architecture=type(prior).__name__,
            prompt=next(captions, ""),
            figures={"steps": f"{self.config.num_steps}", **figures},
        )


def _context_length(longest: int) -> int:
    """A power of two with room for captions twice as long as any seen."""
    return 2 ** math.ceil(math.log2(2 * longest))


def _optimizer(model: PreTrainedModel, config: PriorTrainingConfig) -> torch.optim.Optimizer:
    """AdamW that decays matrices only: embeddings of rare tokens would shrink towards zero between their visits."""
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and "embed_tokens" not in name]
    others = [p for name, p in model.named_parameters() if p.dim() != 2 or "embed_tokens" in name]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95), fused=True)


def run_training(config: PriorTrainingConfig) -> dict[str, Any]:
    """Trains, and returns what the command prints."""
    train_prior(config)
    lines = MetricsLog.read(Path(config.output) / "metrics.jsonl")
    return {"bundle": config.output, **read_json(f"{config.output}/complete.json"), "last": lines[-1]}


main = command(
    PriorTrainingConfig,
    run_training,
    "train-lm",
    """Train the joint prior on a dataset of codes: words -> pictures and pictures -> words.

    Example: pictogram train-lm --codes codes/ --tokenizer image-tokenizer/ --output bundle
    """,
)

if __name__ == "__main__":
    run_command(main)
