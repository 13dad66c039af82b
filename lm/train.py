"""Training the joint prior: one accelerate loop, the same on one process and on many.

python -m pictogram.lm.train --codes codes/ --tokenizer image-tokenizer/ --output bundle
torchrun --nproc_per_node 2 -m pictogram.lm.train --codes codes/ --tokenizer image-tokenizer/ --output bundle
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import DistributedType
from accelerate.utils import set_seed
from torch import nn

from ..hub.command_line import command, run_command
from ..hub.errors import InputError
from ..hub.files import read_json
from ..hub.provenance import Provenance, public_settings, tokenizer_entry
from ..tokenizer.accelerators import finish, start_accelerator
from ..tokenizer.batches import derived_generator, process_slice
from ..tokenizer.checkpoints import MetricsLog, TrainingFolder, check_finite
from ..tokenizer.codes_manifest import library_versions
from ..tokenizer.progress import progress_bar
from ..tokenizer.schedule import set_learning_rate, warmup_stable_decay
from .attention import attend_in_float32
from .bundle import Bundle
from .bundle_card import write_bundle_card
from .code_documents import CodeDocuments, CodeRows
from .code_frequencies import MAX_SYMBOLS
from .code_noise import exchange_codes
from .costs import cost_metrics, cost_sums, token_nats
from .data import DocumentBatch, DocumentBatches
from .document_dataset import StoredDocuments
from .dropout import add_dropout
from .grammar import Grammar
from .held_out import HeldOutDocuments
from .optimizers import build_optimizers
from .products import quicken_linears
from .static_chances import StaticChances, count_rows
from .training_config import PriorTrainingConfig
from .training_rows import TrainingRows, open_rows
from .training_start import PriorStart, new_start

_NUM_EXAMPLES = 16
"""Captions that a card may show pictures of."""

__all__ = ["PriorTrainingConfig", "train_from", "train_prior"]


def train_prior(config: PriorTrainingConfig) -> Bundle:
    """Trains a prior on a dataset of codes and saves the bundle in `config.output`; goes on from the last checkpoint.

    Raises:
        InputError: unusable codes or settings, codes of another tokenizer, or an output folder of another run.
    """
    rows = open_rows(config)
    folder = TrainingFolder(config.output, config.settings() | rows.settings())
    if not folder.is_complete:
        train_from(new_start(config, rows), rows, folder)
    return Bundle.from_pretrained(config.output)


def train_from(
    start: PriorStart, rows: TrainingRows, folder: TrainingFolder, before_saving: Callable[[Bundle], None] | None = None
) -> None:
    """Trains what `start` gives by its configuration, from the last checkpoint on, and saves the bundle.

    Args:
        start: first weights and words.
        rows: what is learned and what is scored.
        folder: for the bundle.
        before_saving: called on the main process with the bundle; if it raises, no bundle is written.
    """
    _Trainer(start.config, folder, rows, start, before_saving).run()


class _Trainer:
    """The state of one training run on one process."""

    def __init__(
        self,
        config: PriorTrainingConfig,
        folder: TrainingFolder,
        rows: TrainingRows,
        start: PriorStart,
        before_saving: Callable[[Bundle], None] | None = None,
    ):
        self.config, self.folder, self.start, self.rows = config, folder, start, rows
        self.before_saving = before_saving
        self.accelerator = start_accelerator(config.mixed_precision, config.trackers, config.output)
        set_seed(config.seed)
        self.grammar = Grammar(start.vocabulary)
        documents = self._documents(rows.trained)
        self.batches = DocumentBatches(
            documents, pad_id=start.vocabulary.pad_id, batch_size=config.batch_size, seed=config.seed
        )
        self.share = process_slice(config.batch_size, self.accelerator.process_index, self.accelerator.num_processes)
        self.held_out = None
        if rows.scored is not None:
            self.held_out = HeldOutDocuments(self._documents(rows.scored), self.grammar, config.eval_images)
        model = start.model().train()
        self._prepare(model)
        if self.accelerator.is_main_process:
            folder.open()
        self.accelerator.init_trackers("pictogram-prior", config=config.settings())

    def _documents(self, rows: CodeRows | StoredDocuments) -> CodeDocuments | StoredDocuments:
        if isinstance(rows, StoredDocuments):
            return rows
        words = (self.start.words.text_tokenizer, self.start.vocabulary)
        mix = self.config.document_mix()
        return CodeDocuments(rows, *words, mix=mix, max_length=self.start.context_length)

    def _prepare(self, model: nn.Module) -> None:
        config = self.config
        if config.optimizer == "muon" and self.accelerator.distributed_type == DistributedType.FSDP:
            raise InputError("muon needs whole matrices, which FSDP cuts up; use --optimizer adamw")
        add_dropout(model, config.dropout)
        quicken_linears(model)
        if self.accelerator.mixed_precision != "no" and self.accelerator.device.type == "cpu":
            attend_in_float32(model)
        if config.gradient_checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})  # pyright: ignore[reportCallIssue]
        optimizers = build_optimizers(
            model, config.optimizer, learning_rate=config.learning_rate, weight_decay=config.weight_decay
        )
        if config.compile:
            model.compile()
        self.model, *self.optimizers = self.accelerator.prepare(model, *optimizers)

    def run(self) -> None:
        """Trains from the last checkpoint to the end, and saves the bundle."""
        first_step = self.folder.load(self.accelerator)
        is_main = self.accelerator.is_main_process
        log = MetricsLog(self.folder.path / "metrics.jsonl" if is_main else None, first_step)
        with progress_bar("prior", self.config.num_steps, first_step, enabled=is_main) as advance:
            for step in range(first_step, self.config.num_steps):
                sums = self._step(step)
                done = step + 1
                if values := self._metrics(done, sums):
                    log.write(done, **values)
                    self.accelerator.log(values, step=done)
                if done % self.config.checkpoint_every == 0 and done < self.config.num_steps:
                    self.folder.save(self.accelerator, done)
                advance(1)
        self._finish()

    def _step(self, step: int) -> torch.Tensor:
        """One optimizer step on global batch `step`; returns this process's sums, see `cost_sums`."""
        config = self.config
        batch = self.batches.batch(step)
        if config.code_noise:  # in the whole batch, so that it is the same however documents are shared out
            generator = derived_generator(config.seed, "code noise", step)
            batch = exchange_codes(batch, self.grammar, config.code_noise, generator)
        if config.dropout:  # depends on no state, so that a training goes on as it would have
            generator = derived_generator(config.seed, "dropout", step, self.accelerator.process_index)
            torch.manual_seed(generator.initial_seed())
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        sums = self._accumulate(batch)
        self.accelerator.clip_grad_norm_(self.model.parameters(), config.max_grad_norm)
        rate = config.learning_rate * warmup_stable_decay(
            step, config.num_steps, config.warmup_steps, config.decay_share
        )
        for optimizer in self.optimizers:
            set_learning_rate(optimizer, rate)
            optimizer.step()
        return sums

    def _accumulate(self, batch: DocumentBatch) -> torch.Tensor:
        """Gradients of this process's share of a batch, a few documents at a time; returns their sums."""
        # The mean is over the tokens of the whole batch; DDP averages over processes, whose shares differ in tokens.
        scale = self.accelerator.num_processes / batch.num_targets
        first, last = self.share.start, self.share.stop
        size = self.config.micro_batch_size or last - first
        sums = []
        for begin in range(first, last, size):
            part = batch.part(slice(begin, min(begin + size, last)))
            is_last = begin + size >= last
            with contextlib.nullcontext() if is_last else self.accelerator.no_sync(self.model):
                nats = self._nats(part)  # (b, T - 1)
                self.accelerator.backward(nats.sum() * scale)
            sums.append(cost_sums(part, nats.detach(), self.grammar))
        return torch.stack(sums).sum(0)

    def _nats(self, batch: DocumentBatch) -> torch.Tensor:
        device = self.accelerator.device
        logits = self.model(input_ids=batch.input_ids.to(device), use_cache=False).logits
        return token_nats(logits, batch.labels.to(device))

    def _metrics(self, done: int, sums: torch.Tensor) -> dict[str, float]:
        """What is to be logged after `done` steps, on every process the same."""
        config, is_last = self.config, done == self.config.num_steps
        values: dict[str, float] = {}
        if done % config.log_every == 0 or is_last:
            total = self.accelerator.reduce(sums.to(self.accelerator.device), "sum")
            assert isinstance(total, torch.Tensor)
            values |= cost_metrics(total.tolist())
        if self.held_out is not None and (done % config.eval_every == 0 or is_last):
            values |= self.held_out.score(self.model, self.accelerator)
        return values

    def _finish(self) -> None:
        prior = self.start.trained_prior(self.accelerator, self.model)
        if self.accelerator.is_main_process:
            check_finite(prior.state_dict())
            bundle = replace(self.start.bundle(prior), static_chances=self._static_chances())
            if self.before_saving is not None:
                self.before_saving(bundle)
            bundle.save_pretrained(self.folder.path)
            self._provenance(bundle).save(self.folder.path)
            write_bundle_card(bundle, self.folder.path, prompt=next(filter(None, self.start.words.captions), ""))
            self.folder.complete({"steps": self.config.num_steps, "seed": self.config.seed})
        finish(self.accelerator)

    def _provenance(self, bundle: Bundle) -> Provenance:
        config, rows = self.config, self.rows
        captions = sorted(set(filter(None, self.start.words.captions)))
        drawn = torch.randperm(len(captions), generator=derived_generator(config.seed, "examples"))[:_NUM_EXAMPLES]
        tokenizer = rows.image_tokenizer
        return Provenance(
            stage=self.folder.settings["stage"],
            fingerprints={"bundle": bundle.fingerprint, "codes": bundle.vocabulary.codes_fingerprint},
            data=rows.data,
            settings=public_settings(self.folder.settings),
            versions=library_versions(),
            examples=[captions[index] for index in drawn.tolist()],
            image_tokenizer=tokenizer_entry(tokenizer.name, tokenizer.revision, tokenizer.provenance),
            earlier=rows.earlier,
        )

    def _static_chances(self) -> StaticChances | None:
        """Tables of the codes learned from, for compression without the prior; documents do not give any."""
        vocabulary, trained = self.start.vocabulary, self.rows.trained
        if isinstance(trained, StoredDocuments) or max(vocabulary.codebook_sizes) > MAX_SYMBOLS:
            return None
        return count_rows(trained, vocabulary.order, vocabulary.codebook_sizes)


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
