"""How each mode of adaptation learns: rows of the codebooks, adapters of the decoder, or everything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import nn

from .adaptation_config import FULL, LORA, AdaptationSettings
from .batches import global_batch, prefix_counts
from .ema_codebook import EMACodebook
from .low_rank import LowRankAdapters, rank_within
from .model import ImageTokenizer
from .optimizers import build_optimizers
from .picture_loss import picture_loss
from .pixel_dataset import PixelDataset
from .progress import progress_bar
from .schedule import cosine, set_learning_rate
from .trained_rows import TrainedRows, worst_latents

_MAX_GRAD_NORM = 1.0
_BETAS = (0.9, 0.95)
_LORA_RANK = 4
"""Of adapters, where neither rank nor budget is given."""


def train_adaptation(
    model: ImageTokenizer,
    rows: Sequence[torch.Tensor],
    sizes: Sequence[int],
    dataset: PixelDataset,
    settings: AdaptationSettings,
) -> int:
    """Adapts `model` in place to the pictures of `dataset`, and leaves it in evaluation mode.

    Args:
        model: with the new rows, which stand behind the old ones.
        rows: one (n,) int64 a level, the rows that learn; the modes full and lora pay no heed to them.
        sizes: codes per level before; rows beyond are new.
        dataset: the new pictures, of one size.
        settings: of the adaptation.

    Returns:
        How many numbers were trained.
    """
    if settings.mode not in (FULL, LORA) and not any(map(len, rows)):
        model.eval()
        return 0
    if settings.mode == FULL:
        step, trained = _everything(model, settings)
    elif settings.mode == LORA:
        step, trained = _adapters(model, settings)
    else:
        step, trained = _rows(model, rows, sizes, settings)
    with progress_bar(settings.mode, settings.num_steps) as advance:
        for number in range(settings.num_steps):
            chosen = global_batch(len(dataset), settings.batch_size, settings.seed, number)
            counts = prefix_counts(number, settings.batch_size, model.config.num_levels - 1, settings.prefix_share)
            step(number, dataset.pixels(chosen).to(model.device), counts.to(model.device))
            advance(1)
    if isinstance(trained, LowRankAdapters):
        trained.merge()
    elif settings.mode != FULL:
        _match_statistics(model, rows)
    model.eval()
    count = sum(parameter.numel() for parameter in trained.parameters() if parameter.requires_grad)
    return count + sum(table.numel() for table in _tables(model)) if settings.mode == FULL else count


def _tables(model: ImageTokenizer) -> list[torch.Tensor]:
    return [cast(EMACodebook, codebook).embedding.weight for codebook in model.codebooks]


def _match_statistics(model: ImageTokenizer, rows: Sequence[torch.Tensor]) -> None:
    """Gives the running sums of rows that learned what their rows say, so that another training goes on from there."""
    for codebook, learned in zip(cast(list[EMACodebook], list(model.codebooks)), rows, strict=True):
        learned = learned.to(codebook.sums.device)
        codebook.sums[learned] = codebook.embedding.weight[learned] * codebook.counts[learned].unsqueeze(1)


Step = Callable[[int, torch.Tensor, torch.Tensor], None]
"""One step of learning: its number, (B, C, H, W) pixels, (B, L - 1) how often each picture counts in each prefix."""


class _Optimization:
    """Optimizers with the schedule of the learning rate."""

    def __init__(
        self, trained: nn.Module, settings: AdaptationSettings, optimizers: list[torch.optim.Optimizer] | None = None
    ):
        self.trained, self.settings = trained, settings
        decay = settings.weight_decay
        self.optimizers = optimizers or [torch.optim.AdamW(trained.parameters(), betas=_BETAS, weight_decay=decay)]

    def step(self, number: int, loss: torch.Tensor) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained.parameters(), _MAX_GRAD_NORM)
        settings = self.settings
        rate = settings.peak_learning_rate * cosine(number, settings.num_steps, settings.warmup_steps)
        for optimizer in self.optimizers:
            set_learning_rate(optimizer, rate)
            optimizer.step()


def _everything(model: ImageTokenizer, settings: AdaptationSettings) -> tuple[Step, nn.Module]:
    """The model's own objective, its codebooks by running means."""
    model.train()
    built = build_optimizers(
        model, settings.optimizer, learning_rate=settings.peak_learning_rate, weight_decay=settings.weight_decay
    )
    optimization = _Optimization(model, settings, built)
    if model.rate_model is not None:  # as at the end of a training: a code may be too dear to be used
        for codebook in model.codebooks:
            cast(EMACodebook, codebook).revival_threshold = 0.0

    def step(number: int, pixel_values: torch.Tensor, counts: torch.Tensor) -> None:
        output = model(pixel_values, counts)
        optimization.step(number, output.loss)
        model.update_codebooks(output)

    return step, model


def _adapters(model: ImageTokenizer, settings: AdaptationSettings) -> tuple[Step, LowRankAdapters]:
    """The decoder's matrices by products of low rank; codes stay what they are."""
    rank = settings.lora_rank or _LORA_RANK
    if settings.lora_budget:
        rank = rank_within(model.decoder, settings.lora_budget)
    adapters = LowRankAdapters(model.decoder, rank, seed=settings.seed)
    model.requires_grad_(False)
    optimization = _Optimization(adapters, settings)
    weights = model.config.prefix_weights or ()

    def step(number: int, pixel_values: torch.Tensor, counts: torch.Tensor) -> None:
        codes = model.encode(pixel_values)
        vectors = [model.embed_codes(level, each) for level, each in enumerate(codes)]
        optimization.step(number, picture_loss(adapters.decode, vectors, pixel_values, counts, weights))

    return step, adapters


def _rows(
    model: ImageTokenizer, rows: Sequence[torch.Tensor], sizes: Sequence[int], settings: AdaptationSettings
) -> tuple[Step, nn.ModuleList]:
    """Rows by the error of pictures through the frozen decoder, and by the distance to the latents that chose them."""
    learning = RowLearning(model, rows, sizes, settings)
    return learning.step, learning.levels


class RowLearning:
    """Rows that learn in a model that does not.

    Args:
        model: in evaluation mode; after every step its codebooks hold the rows as they are.
        rows: one (n,) int64 a level.
        sizes: codes per level before; only rows beyond start anew where they are of no use.
        settings: of the adaptation.
    """

    def __init__(
        self,
        model: ImageTokenizer,
        rows: Sequence[torch.Tensor],
        sizes: Sequence[int],
        settings: AdaptationSettings,
    ):
        self.model, self.sizes, self.settings = model.eval(), sizes, settings
        self.tables = _tables(model)
        self.levels = nn.ModuleList(
            TrainedRows(table, each.to(table.device)) for table, each in zip(self.tables, rows, strict=True)
        )
        self.uses = [torch.zeros(len(table), dtype=torch.int64, device=table.device) for table in self.tables]
        self._optimization = _Optimization(self.levels, settings)
        # The decoder is frozen: its gradients would only cost time.
        self.model.requires_grad_(False)

    def step(self, number: int, pixel_values: torch.Tensor, counts: torch.Tensor) -> None:
        """Learns from one batch; codes are those that `encode` gives."""
        settings, encoding = self.settings, self.model.encoding(pixel_values)
        vectors: list[torch.Tensor] = []
        worst: list[torch.Tensor] = []
        pull = pixel_values.new_zeros(())
        for level, trained in enumerate(self._levels()):
            with torch.no_grad():
                latents = encoding.next_latents()
                codes = self.model.choose_codes(level, latents, encoding.context)
            chosen = trained.vectors(codes)
            encoding.take(chosen.detach())
            pull = pull + trained.latent_error(latents, chosen)
            self.uses[level] += torch.bincount(codes.flatten(), minlength=len(self.uses[level]))
            worst.append(worst_latents(latents, chosen.detach(), len(trained.indices)))
            vectors.append(chosen)
        weights = self.model.config.prefix_weights or ()
        loss = picture_loss(self.model.decoder, vectors, pixel_values, counts, weights)
        self._optimization.step(number, loss + settings.latent_weight * pull)
        if settings.revive_every and (number + 1) % settings.revive_every == 0:
            self._revive(worst, number + 1 <= settings.num_steps // 2)
        for trained, table in zip(self._levels(), self.tables, strict=True):
            trained.write(table)

    def _revive(self, worst: Sequence[torch.Tensor], allowed: bool) -> None:
        """New rows without any use since last time start anew at the latents of the last batch that fit worst."""
        for trained, size, uses, latents in zip(self._levels(), self.sizes, self.uses, worst, strict=True):
            is_dead = (trained.indices >= size) & (uses[trained.indices] == 0)
            dead = is_dead.nonzero().squeeze(1)[: len(latents)]
            if allowed and len(dead):
                trained.restart(dead, latents[: len(dead)])
                self._forget(trained.offsets, dead)
            uses.zero_()

    def _forget(self, parameter: nn.Parameter, places: torch.Tensor) -> None:
        """A row that starts anew has no momentum of where it was."""
        state = self._optimization.optimizers[0].state[parameter]
        for name in ("exp_avg", "exp_avg_sq"):
            state[name][places] = 0

    def _levels(self) -> list[TrainedRows]:
        return cast(list[TrainedRows], list(self.levels))
