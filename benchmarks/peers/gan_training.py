"""Training of the projection GAN: hinge losses, Adam, a running mean of the generator, checkpoints that go on exactly.

A step is a pure function of what was learned before, the seed and its number: rows by `global_batch`, z by
`derived_generator`. The seconds in metrics and checkpoints are those of the steps that the result is made of; steps
that a kill lost do not count.
"""

from __future__ import annotations

import copy
import pickle
import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import torch
from gan_networks import Discriminator, Generator, NetworkConfig
from running_mean import follow
from torch import nn
from torch.nn import functional as F

from pictogram.hub.errors import InputError, first_line
from pictogram.hub.files import atomic_write_bytes
from pictogram.tokenizer.batches import derived_generator, global_batch
from pictogram.tokenizer.checkpoints import MetricsLog, TrainingFolder
from pictogram.tokenizer.progress import progress_bar
from pictogram.tokenizer.schedule import set_learning_rate, warmup_stable_decay

_STATISTICS_BATCH = 100
_LOG_EVERY = 50


@dataclass(frozen=True)
class GanSetting:
    """How both networks learn.

    Attributes:
        num_steps: of the generator.
        batch_size: real pictures of a step of the discriminator, and as many drawn ones of the same classes.
        learning_rate: of the generator's Adam.
        discriminator_rate: of the discriminator's, which learns faster instead of more often (Heusel et al. 2017,
            arXiv:1706.08500).
        discriminator_steps: of the discriminator for each one of the generator.
        beta2: of both Adams, whose beta1 is 0.
        decay_share: part of the steps, at the end, in which the rates fall to 0.
        average_decay: of the running mean of the generator's weights.
        statistics_batches: of 100 pictures drawn for the batch norms' statistics in the end.
        seed: of weights, order and z.
    """

    num_steps: int
    batch_size: int = 64
    learning_rate: float = 2e-4
    discriminator_rate: float = 4e-4
    discriminator_steps: int = 1
    beta2: float = 0.999
    decay_share: float = 0.2
    average_decay: float = 0.999
    statistics_batches: int = 50
    seed: int = 0

    def __post_init__(self):
        """Raises InputError for numbers that train nothing."""
        for name in ("num_steps", "batch_size", "discriminator_steps"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "discriminator_rate"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be above 0, got {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class ClassPictures:
    """Pictures to learn from.

    Attributes:
        pixels: (N, 1, 28, 28) float32 in [-1, 1].
        classes: (N,) int64.
        names: of the classes.
    """

    pixels: torch.Tensor
    classes: torch.Tensor
    names: tuple[str, ...]


class _Batch(NamedTuple):
    real: torch.Tensor  # (B, 1, 28, 28)
    drawn: torch.Tensor  # of the same classes, with the generator's gradient where it learns
    classes: torch.Tensor  # (B,) int64


def discriminator_loss(real: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
    """The hinge loss of scores (B,) of real and drawn pictures (Lim & Ye 2017, arXiv:1705.02894)."""
    return F.relu(1 - real).mean() + F.relu(1 + drawn).mean()


def generator_loss(drawn: torch.Tensor) -> torch.Tensor:
    """What the generator lowers, of scores (B,) of drawn pictures."""
    return -drawn.mean()


class GanTraining:
    """Networks, optimizers and the running mean at some step of a training.

    Args:
        pictures: to learn from.
        config: sizes of the networks.
        setting: how they learn.
    """

    def __init__(self, pictures: ClassPictures, config: NetworkConfig, setting: GanSetting):
        torch.manual_seed(setting.seed)
        self.pictures, self.setting = pictures, setting
        self.generator, self.discriminator = Generator(config), Discriminator(config)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.step, self.seconds, self.cpu_seconds = 0, 0.0, 0.0
        self._adams = [
            torch.optim.Adam(model.parameters(), lr=rate, betas=(0.0, setting.beta2))
            for model, rate in self._rates(setting)
        ]

    def _rates(self, setting: GanSetting) -> list[tuple[nn.Module, float]]:
        return [(self.generator, setting.learning_rate), (self.discriminator, setting.discriminator_rate)]

    def take_step(self) -> dict[str, float]:
        """One step of the generator and those of the discriminator before it; returns their last losses."""
        clock, cpu = time.perf_counter(), time.process_time()
        factor = warmup_stable_decay(self.step, self.setting.num_steps, 0, self.setting.decay_share)
        for adam, (_, rate) in zip(self._adams, self._rates(self.setting), strict=True):
            set_learning_rate(adam, rate * factor)
        losses = self._teach()
        follow(self.average, self.generator, self.setting.average_decay, self.step)
        self.step += 1
        self.seconds += time.perf_counter() - clock
        self.cpu_seconds += time.process_time() - cpu
        return losses

    def _teach(self) -> dict[str, float]:
        last = (self.step + 1) * self.setting.discriminator_steps - 1
        for number in range(self.step * self.setting.discriminator_steps, last):
            with torch.no_grad():
                batch = self._batch(number)
            self._teach_discriminator(batch)
        batch = self._batch(last)  # drawn once: the generator learns from what the discriminator saw last
        return {
            "discriminator_loss": self._teach_discriminator(batch),
            "generator_loss": self._teach_generator(batch),
        }

    def _batch(self, number: int) -> _Batch:
        rows = global_batch(len(self.pictures.classes), self.setting.batch_size, self.setting.seed, number)
        latents = torch.randn(
            (len(rows), self.generator.config.latent_dim), generator=derived_generator(self.setting.seed, "gan", number)
        )
        classes = self.pictures.classes[rows]
        return _Batch(self.pictures.pixels[rows], self.generator(latents, classes), classes)

    def _teach_discriminator(self, batch: _Batch) -> float:
        pixels = torch.cat([batch.real, batch.drawn.detach()])
        scores = self.discriminator(pixels, torch.cat([batch.classes, batch.classes]))
        return self._descend(discriminator_loss(*scores.chunk(2)), self._adams[1])

    def _teach_generator(self, batch: _Batch) -> float:
        self.discriminator.requires_grad_(False)  # saves a third of its way back
        loss = self._descend(generator_loss(self.discriminator(batch.drawn, batch.classes)), self._adams[0])
        self.discriminator.requires_grad_(True)
        return loss

    def _descend(self, loss: torch.Tensor, adam: torch.optim.Optimizer) -> float:
        loss.backward()
        adam.step()
        adam.zero_grad()
        return loss.item()

    def save(self, path: Path) -> None:
        """Writes everything that the next step depends on, all or nothing."""
        models = {name: model.state_dict() for name, model in self._models.items()}
        state = {"models": models, "adams": [adam.state_dict() for adam in self._adams], "counts": self._counts}
        buffer = BytesIO()
        torch.save(state, buffer)
        atomic_write_bytes(path, buffer.getvalue())

    def load(self, path: Path) -> None:
        """Goes on from a checkpoint.

        Raises:
            InputError: the file is damaged.
        """
        try:
            state = torch.load(path, weights_only=True)
            for name, model in self._models.items():
                model.load_state_dict(state["models"][name])
            for adam, found in zip(self._adams, state["adams"], strict=True):
                adam.load_state_dict(found)
            self.step, self.seconds, self.cpu_seconds = state["counts"]
        except (OSError, EOFError, KeyError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
            reason = first_line(error)
            raise InputError(f"{path} is damaged ({reason}); delete it to start the training again") from error

    @property
    def _models(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, "discriminator": self.discriminator, "average": self.average}

    @property
    def _counts(self) -> list[float]:
        return [self.step, self.seconds, self.cpu_seconds]


def train(run: GanTraining, folder: TrainingFolder, checkpoint_every: int) -> Generator:
    """Trains from the last checkpoint, if there is one, to the end.

    Args:
        run: a new training.
        folder: for `metrics.jsonl` and the checkpoint.
        checkpoint_every: steps.

    Returns:
        The running mean of the generator with statistics of its own, ready to draw.

    Raises:
        InputError: the checkpoint is damaged, or a loss is not finite.
    """
    checkpoint, setting = folder.checkpoints / "state.pt", run.setting
    if checkpoint.exists():
        run.load(checkpoint)
    log = MetricsLog(folder.path / "metrics.jsonl", run.step)
    with progress_bar("gan", setting.num_steps, run.step) as advance:
        while run.step < setting.num_steps:
            losses = run.take_step()
            if run.step % _LOG_EVERY == 0 or run.step == setting.num_steps:
                log.write(run.step, **losses, cpu_seconds=round(run.cpu_seconds, 2))
            if run.step % checkpoint_every == 0:
                run.save(checkpoint)
            advance(1)
    take_statistics(run.average, setting.statistics_batches, setting.seed)
    return run.average


@torch.no_grad()
def take_statistics(generator: Generator, num_batches: int, seed: int) -> None:
    """Sets the batch norms' statistics to means over batches of drawn pictures ("standing statistics" of BigGAN).

    The statistics that came along while it learned are of weights that it no longer has. Every class is drawn about
    equally often.
    """
    for module in generator.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    generator.train()
    for number in range(num_batches):
        random = derived_generator(seed, "gan", "statistics", number)
        classes = (number + torch.arange(_STATISTICS_BATCH)) % generator.config.num_classes
        generator(torch.randn(_STATISTICS_BATCH, generator.config.latent_dim, generator=random), classes)
    generator.eval()


def summary(run: GanTraining) -> dict[str, Any]:
    """Steps and seconds, for the training's last file."""
    return {"num_steps": run.step, "seconds": round(run.seconds, 1), "cpu_seconds": round(run.cpu_seconds, 1)}
