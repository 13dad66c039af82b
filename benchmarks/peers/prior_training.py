"""Training both priors of a two-level tokenizer at once: a cosine, and running means of the weights.

A killed run goes on from its last checkpoint and ends with the same bytes.
"""

from __future__ import annotations

import copy
import time
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

import torch
from gated_convolutions import CausalConvolution
from labelled_codes import LabelledCodes
from running_mean import follow
from torch import nn
from two_level_prior import TwoLevelPrior, save_prior

from pictogram.hub.errors import InputError
from pictogram.hub.files import atomic_write_bytes
from pictogram.lm.estimates import estimate
from pictogram.tokenizer.batches import derived_generator, global_batch
from pictogram.tokenizer.checkpoints import MetricsLog, TrainingFolder
from pictogram.tokenizer.muon import Muon
from pictogram.tokenizer.progress import progress_bar
from pictogram.tokenizer.schedule import cosine, set_learning_rate

_EVALUATED_AT_ONCE = 250
_WEIGHT_DECAY = 0.01

OPTIMIZERS = ("adamw", "muon")
"""The one of the papers, nearly, and the one that this project's own priors learn with."""


@dataclass(frozen=True)
class TrainingConfig:
    """How the priors learn.

    Attributes:
        num_steps: of both together.
        batch_size: pictures a step.
        optimizer: one of `OPTIMIZERS`.
        learning_rate: peak.
        warmup_steps: of linear warm-up; a cosine to 0 follows.
        average_decay: of the running means of the weights, per step; less in the first steps.
        seed: of weights, order and dropout.
        checkpoint_every: steps between checkpoints.
        log_every: steps between lines of metrics.jsonl.

    Raises:
        InputError: a number below its least value.
    """

    num_steps: int
    batch_size: int = 64
    optimizer: str = "adamw"
    learning_rate: float = 4e-3
    warmup_steps: int = 100
    average_decay: float = 0.995
    seed: int = 0
    checkpoint_every: int = 500
    log_every: int = 50

    def __post_init__(self) -> None:
        for name in ("num_steps", "batch_size", "checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.optimizer not in OPTIMIZERS:
            raise InputError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {self.optimizer!r}")
        if self.learning_rate <= 0 or self.seed < 0:
            raise InputError(f"expected learning_rate > 0 and seed >= 0, got {self.learning_rate} and {self.seed}")

    def settings(self) -> dict[str, Any]:
        """What a resumed run must agree on."""
        reporting = {"checkpoint_every", "log_every"}
        return {name: value for name, value in asdict(self).items() if name not in reporting}


class PriorTraining:
    """The state of a run.

    Args:
        prior: untrained.
        codes: to learn from.
        config: of the training.
        folder: of the run.
    """

    def __init__(self, prior: TwoLevelPrior, codes: LabelledCodes, config: TrainingConfig, folder: TrainingFolder):
        self.prior, self.codes, self.config, self.folder = prior.train(), codes, config, folder
        self.average = copy.deepcopy(prior).eval().requires_grad_(False)
        self.optimizers = build_optimizers(prior, config.optimizer)
        self.checkpoint = folder.checkpoints / "state.pt"
        self.spent = {"seconds": 0.0, "cpu_seconds": 0.0}

    def run(self) -> dict[str, float]:
        """Trains to the end and saves the averaged weights; returns seconds of all runs that worked on them."""
        first_step = self._load()
        self.folder.open()
        log = MetricsLog(self.folder.path / "metrics.jsonl", first_step)
        before, clock, cpu = dict(self.spent), time.perf_counter(), time.process_time()
        with progress_bar("priors", self.config.num_steps, first_step) as advance:
            for done in range(first_step + 1, self.config.num_steps + 1):
                bits = self._step(done - 1)
                self.spent["seconds"] = before["seconds"] + time.perf_counter() - clock
                self.spent["cpu_seconds"] = before["cpu_seconds"] + time.process_time() - cpu
                if done % self.config.log_every == 0 or done == self.config.num_steps:
                    top, bottom = bits.tolist()
                    log.write(done, top_bits=top, bottom_bits=bottom, cpu_seconds=round(self.spent["cpu_seconds"], 3))
                if done % self.config.checkpoint_every == 0 and done < self.config.num_steps:
                    self._save(done)
                advance(1)
        save_prior(self.folder.path, self.average)
        return self.spent

    def _step(self, step: int) -> torch.Tensor:
        """One optimizer step; returns (2,) bits a picture of both levels, before it."""
        config = self.config
        torch.manual_seed(derived_generator(config.seed, "dropout", step).initial_seed())
        top, bottom, classes = self.codes.batch(global_batch(len(self.codes), config.batch_size, config.seed, step))
        bits = self.prior(top, bottom, classes).mean(0)
        (bits[0] / top[0].numel() + bits[1] / bottom[0].numel()).backward()
        for parameters in self.prior.parts().values():  # each level as if it were alone
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        rate = config.learning_rate * cosine(step, config.num_steps, config.warmup_steps)
        for optimizer in self.optimizers:
            set_learning_rate(optimizer, rate)
            optimizer.step()
            optimizer.zero_grad()
        follow(self.average, self.prior, config.average_decay, step)
        return bits.detach()

    def _save(self, step: int) -> None:
        buffer = BytesIO()
        states = [part.state_dict() for part in self._parts()]
        torch.save({"step": step, "spent": self.spent, "states": states}, buffer)
        atomic_write_bytes(self.checkpoint, buffer.getvalue())

    def _load(self) -> int:
        """Steps done, after the state was restored."""
        if not self.checkpoint.exists():
            return 0
        try:
            found = torch.load(self.checkpoint, weights_only=True)
            for part, state in zip(self._parts(), found["states"], strict=True):
                part.load_state_dict(state)
        except Exception as error:  # of a damaged file the unpickler may say anything
            raise InputError(f"{self.checkpoint} is damaged; delete it to start again") from error
        self.spent = found["spent"]
        return found["step"]

    def _parts(self) -> list[nn.Module | torch.optim.Optimizer]:
        return [self.prior, self.average, *self.optimizers]


def build_optimizers(prior: TwoLevelPrior, name: str) -> list[torch.optim.Optimizer]:
    """Optimizers that together cover every parameter once.

    Args:
        prior: both networks.
        name: "adamw", or "muon" for the matrices between embeddings and logits (Jordan et al. 2024) and AdamW for the
            rest, with updates of one size (Liu et al. 2025, arXiv:2502.16982, eq. 4).
    """
    heads = (prior.top.head, prior.bottom.head)
    layers = [module for module in prior.modules() if isinstance(module, nn.Linear | CausalConvolution)]
    matrices = [layer.weight for layer in layers if name == "muon" and layer not in heads]
    known = {id(weight) for weight in matrices}
    rest = [parameter for parameter in prior.parameters() if id(parameter) not in known]
    adamw = torch.optim.AdamW(rest, betas=(0.9, 0.95), weight_decay=_WEIGHT_DECAY, fused=True)
    if not matrices:
        return [adamw]
    return [adamw, Muon(matrices, weight_decay=_WEIGHT_DECAY)]


@torch.no_grad()
def held_out_bits(prior: TwoLevelPrior, codes: LabelledCodes) -> dict[str, Any]:
    """Bits a picture of both levels and their sum, with 95 % intervals.

    Args:
        prior: in evaluation mode.
        codes: pictures that it did not learn from.
    """
    parts = torch.arange(len(codes)).split(_EVALUATED_AT_ONCE)
    bits = torch.cat([prior(*codes.batch(rows)) for rows in parts]).double()
    top, bottom = bits.unbind(1)
    return {
        name: estimate(values).to_dict() for name, values in {"top": top, "bottom": bottom, "all": top + bottom}.items()
    }
