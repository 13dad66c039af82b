"""The classifier behind the classification accuracy score: one small residual network, one recipe for all pictures.

Ravuri and Vinyals 2019, "Classification accuracy score for conditional generative models" (arXiv:1905.10887): a
classifier learns from samples and is tested on real pictures. Whatever differs between two scores but the pictures
spoils the comparison, so the recipe is fixed: no arm has a longer training, another augmentation or a chosen epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from ..hub.errors import InputError
from ..tokenizer.batches import derived_generator, global_batch
from ..tokenizer.progress import progress_bar
from ..tokenizer.schedule import cosine, set_learning_rate

_AT_ONCE = 500
"""Pictures that a trained classifier looks at in one pass."""


@dataclass(frozen=True)
class ClassifierRecipe:
    """How every classifier learns; the last weights count.

    Attributes:
        widths: channels of the residual blocks; each halves the grid but the first.
        num_steps: of AdamW, whatever the number of pictures.
        batch_size: pictures a step.
        learning_rate: peak, after a twentieth of the steps; falls to zero along half a cosine.
        weight_decay: decoupled, of all weights.
        label_smoothing: share of every target that all classes divide.
        most_shift: pixels by which a picture moves, in both directions; its border is repeated.
        flip: mirror half of the pictures, left and right.
    """

    widths: tuple[int, ...] = (32, 64, 128)
    num_steps: int = 2000
    batch_size: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    label_smoothing: float = 0.1
    most_shift: int = 2
    flip: bool = True


class SampleClassifier(nn.Module):
    """A residual network (He et al. 2016, arXiv:1603.05027, without its first activation).

    Args:
        num_channels: of the pictures.
        num_classes: C.
        widths: see `ClassifierRecipe`.

    Attributes:
        num_features: F, of a picture before the last layer.
    """

    def __init__(self, num_channels: int, num_classes: int, widths: tuple[int, ...]):
        super().__init__()
        self.stem = nn.Conv2d(num_channels, widths[0], 5, stride=2, padding=2, bias=False)
        inner = (widths[0], *widths[:-1])
        strides = (1, *[2] * (len(widths) - 1))
        self.blocks = nn.Sequential(*(_Block(*shape) for shape in zip(inner, widths, strides, strict=True)))
        self.norm = nn.BatchNorm2d(widths[-1])
        self.head = nn.Linear(widths[-1], num_classes)
        self.num_features = widths[-1]

    def embed(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) in [-1, 1] -> (B, F) features."""
        return self.norm(self.blocks(self.stem(pixel_values))).relu().mean((2, 3))

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) in [-1, 1] -> (B, classes) logits."""
        return self.head(self.embed(pixel_values))

    @torch.no_grad()
    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) uint8 -> (N, F) float32 on the CPU."""
        self.eval()
        return torch.cat([self.embed(self._floats(part)).cpu() for part in pixels.split(_AT_ONCE)])

    @torch.no_grad()
    def chances(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) uint8 -> (N, classes) float32, probabilities, on the CPU."""
        self.eval()
        return torch.cat([self(self._floats(part)).softmax(1).cpu() for part in pixels.split(_AT_ONCE)])

    def classify(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) uint8 -> (N,) int64 classes on the CPU."""
        return self.chances(pixels).argmax(1)

    def _floats(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.to(self.head.weight.device).float() / 127.5 - 1


class _Block(nn.Module):
    """Two 3x3 convolutions behind norms, added to the input, or to a 1x1 convolution of it where the shape changes."""

    def __init__(self, inner: int, outer: int, stride: int):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inner), nn.BatchNorm2d(outer)
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1, bias=False)
        same = inner == outer and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inner, outer, 1, stride, bias=False)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, C', h', w')."""
        active = self.norm1(hidden).relu()
        return self.shortcut(hidden) + self.conv2(self.norm2(self.conv1(active)).relu())


def train_classifier(
    pixels: torch.Tensor,
    classes: torch.Tensor,
    num_classes: int,
    seed: int,
    recipe: ClassifierRecipe | None = None,
    device: str | torch.device = "cpu",
    title: str = "classifier",
) -> SampleClassifier:
    """Trains a classifier of pictures.

    Args:
        pixels: (N, C, H, W) uint8.
        classes: (N,) int64, 0 up to `num_classes` - 1.
        num_classes: at least 2.
        seed: of the first weights, the order and the augmentation, which are the same for equal N.
        recipe: by default the standard one.
        device: to train on.
        title: of the progress bar.

    Returns:
        The classifier in evaluation mode.

    Raises:
        InputError: no pictures, or fewer than two classes.
    """
    if not len(pixels) or num_classes < 2:
        raise InputError(f"a classifier needs pictures of 2 classes, got {len(pixels)} and {num_classes}")
    recipe = recipe or ClassifierRecipe()
    with torch.random.fork_rng([]):
        torch.manual_seed(derived_generator(seed, "classifier").initial_seed())
        model = SampleClassifier(pixels.shape[1], num_classes, recipe.widths).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=recipe.weight_decay)
    with progress_bar(title, recipe.num_steps) as advance:
        for step in range(recipe.num_steps):
            rows = torch.tensor(global_batch(len(pixels), recipe.batch_size, seed, step))
            batch = augment(pixels[rows], derived_generator(seed, "augment", step), recipe)
            rate = cosine(step, recipe.num_steps, recipe.num_steps // 20)
            set_learning_rate(optimizer, recipe.learning_rate * rate)
            logits = model(batch.to(device).float() / 127.5 - 1)
            loss = F.cross_entropy(logits, classes[rows].to(device), label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            advance(1)
    return model.eval()


def augment(pixels: torch.Tensor, generator: torch.Generator, recipe: ClassifierRecipe) -> torch.Tensor:
    """Moves and mirrors each picture by itself.

    Args:
        pixels: (B, C, H, W) uint8.
        generator: of the moves.
        recipe: how far, and whether mirrored.

    Returns:
        The same shape.
    """
    count, _, height, width = pixels.shape
    most = recipe.most_shift
    moves = torch.randint(-most, most + 1, (2, count, 1), generator=generator)
    rows = (torch.arange(height) + moves[0]).clamp(0, height - 1)
    columns = (torch.arange(width) + moves[1]).clamp(0, width - 1)
    if recipe.flip:
        mirrored = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    places = torch.arange(count)[:, None, None]
    # Advanced indices apart from each other put their axes first: (B, H, W, C).
    return pixels[places, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
