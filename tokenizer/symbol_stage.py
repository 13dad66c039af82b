"""The whole-image codes come first: they learn which pictures are of one kind before a single pixel is drawn.

Codes that only draw prototypes divide pictures by where they are bright. Here pictures are of one kind if many short
steps between near neighbours, by their edges, lead from one to the other; a network learns to see that in a single
picture, also in a shifted or mirrored one. No label is used, and none of what classes there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from .balanced_kmeans import balanced_kmeans
from .batches import derived_generator, global_batch, permutation
from .ema_codebook import EMACodebook
from .gradient_histograms import edges_of
from .model import ImageTokenizer
from .neighbours import find_neighbours
from .optimizers import build_optimizers
from .pixel_dataset import PixelDataset
from .principal_components import PrincipalComponents
from .progress import progress_bar
from .quantizer import channels_last
from .reconstructions import row_batches
from .schedule import cosine, set_learning_rate
from .spectral_embedding import spectral_embedding
from .training_config import TokenizerTrainingConfig

_MOST_PICTURES = 60_000
"""Among which neighbours are sought: the time grows with the square."""

_NUM_COMPONENTS = 96
"""Principal components of the edge histograms by which pictures are compared."""

_BATCH_SIZE = 256
_WARMUP_STEPS = 50

_NUM_STARTS = 3
"""Tries to cluster: with few codes one in ten or so goes astray."""


def learn_symbols(model: ImageTokenizer, dataset: PixelDataset, config: TokenizerTrainingConfig) -> None:
    """Trains the network that decides the whole-image code, and places the codes.

    Args:
        model: with `own_image_features`, on its device.
        dataset: pictures of one size.
        config: `symbol_steps`, `symbol_neighbours`, `symbol_shift`, `symbol_flip`, the learning rate and the seed.
    """
    rows = permutation(len(dataset), config.seed, 0)[:_MOST_PICTURES].sort().values
    kinds = _kinds(dataset, rows, config, model.config.codebook_dim).to(model.device)
    encoder = model.encoder
    trained = nn.ModuleList([cast(nn.Module, encoder.image_features), encoder.to_latents[0]]).requires_grad_(True)
    _learn_to_see(model, trained, dataset, rows, kinds, config)
    trained.zero_grad()  # no optimizer will: they would count in the norm that later gradients are clipped by
    trained.requires_grad_(False)
    _place_codes(model, dataset, rows, config.seed)


@torch.no_grad()
def _kinds(dataset: PixelDataset, rows: torch.Tensor, config: TokenizerTrainingConfig, dim: int) -> torch.Tensor:
    """(N, D) rows of length 1: the spectral embedding of the pictures."""
    points = edges_of(dataset, rows.tolist())
    points = PrincipalComponents.of(points, _NUM_COMPONENTS).project(points)
    with progress_bar("neighbours", len(rows)) as advance:
        neighbours = find_neighbours(points, min(config.symbol_neighbours, len(rows) - 1), advance)
    return spectral_embedding(neighbours, dim, seed=config.seed)


def _learn_to_see(
    model: ImageTokenizer,
    trained: nn.Module,
    dataset: PixelDataset,
    rows: torch.Tensor,
    kinds: torch.Tensor,
    config: TokenizerTrainingConfig,
) -> None:
    """From one picture, shifted and mirrored at random, to its place in the embedding."""
    optimizers = build_optimizers(
        trained, config.optimizer, learning_rate=config.learning_rate, weight_decay=config.weight_decay
    )
    with progress_bar("symbols", config.symbol_steps) as advance:
        for step in range(config.symbol_steps):
            batch = torch.tensor(global_batch(len(rows), _BATCH_SIZE, config.seed, step))
            pictures = dataset.pixels(rows[batch].tolist()).to(model.device)
            views = random_views(pictures, config, derived_generator(config.seed, "views", step))
            latents = channels_last(model.encoding(views).next_latents())  # (B, D)
            loss = (latents - kinds[batch]).square().sum(1).mean()
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained.parameters(), config.max_grad_norm)
            for optimizer in optimizers:
                rate = config.learning_rate * cosine(step, config.symbol_steps, _WARMUP_STEPS)
                set_learning_rate(optimizer, rate)
                optimizer.step()
            advance(1)


def random_views(pictures: torch.Tensor, config: TokenizerTrainingConfig, generator: torch.Generator) -> torch.Tensor:
    """Each picture shifted by up to `symbol_shift` pixels, its border repeated, and half of them mirrored.

    Args:
        pictures: (B, C, H, W).
        config: of the training.
        generator: of the draws.
    """
    most, (height, width) = config.symbol_shift, pictures.shape[-2:]
    padded = F.pad(pictures, (most,) * 4, mode="replicate")
    down, right = torch.randint(2 * most + 1, (2, len(pictures)), generator=generator).tolist()
    shifted = [picture[:, y : y + height, x : x + width] for picture, y, x in zip(padded, down, right, strict=True)]
    views = torch.stack(shifted)
    mirrored = torch.rand(len(views), generator=generator) < 0.5
    if config.symbol_flip:
        views[mirrored] = views[mirrored].flip(3)
    return views


@torch.no_grad()
def _place_codes(model: ImageTokenizer, dataset: PixelDataset, rows: torch.Tensor, seed: int) -> None:
    """The codes' vectors are the means of clusters of the pictures themselves, unchanged, all about equally large."""
    points = torch.cat(list(_latents(model, dataset, rows)))
    codebook = model.codebooks[0]
    assert isinstance(codebook, EMACodebook)
    size = codebook.codebook_size
    codebook.place(balanced_kmeans(points, size, seed=seed, num_starts=_NUM_STARTS), points)


def _latents(model: ImageTokenizer, dataset: PixelDataset, rows: torch.Tensor) -> Iterator[torch.Tensor]:
    """(B, D) latents of the whole-image level, batch by batch."""
    for batch in row_batches(len(rows), 256):
        pictures = dataset.pixels(rows[batch].tolist()).to(model.device)
        yield channels_last(model.encoding(pictures).next_latents()).float()
