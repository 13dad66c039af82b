"""A judge of patches for adversarial training, its losses, and the weight that keeps it from ruling the decoder."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from ..hub.errors import InputError
from .batches import derived_generator
from .layers import ChannelNorm

_SLOPE = 0.2
"""Of the leaky rectifiers, for negative values."""
_WIDEST = 8
"""The channels double per halving of the grid, up to this multiple of the first layer's."""
_SMALLEST_NORM = 1e-6
"""Added to the norm that `adaptive_weight` divides by; delta in the paper."""
_LARGEST_WEIGHT = 1e4
"""Greatest adaptive weight."""


class PatchDiscriminator(nn.Module):
    """Looks at overlapping patches and says for each how real it looks (PatchGAN, Isola et al. 2017, arXiv:1611.07004).

    Fully convolutional: 4x4 kernels, `num_halvings` of them with stride 2, the last two with stride 1. One patch has 16
    pixels a side after one halving, 34 after two, 70 after three. Normalised by `ChannelNorm`, which keeps no running
    statistics and does not mix the pictures of a batch, so that processes need not agree on anything but gradients.

    Args:
        num_channels: colour channels.
        hidden_size: channels of the first layer.
        num_halvings: how often the grid is halved; see `num_halvings_for`.
    """

    def __init__(self, num_channels: int, hidden_size: int, num_halvings: int):
        super().__init__()
        widths = [hidden_size * min(2**index, _WIDEST) for index in range(num_halvings + 1)]
        layers: list[nn.Module] = [nn.Conv2d(num_channels, widths[0], 4, stride=2, padding=1), nn.LeakyReLU(_SLOPE)]
        for index in range(1, num_halvings + 1):
            stride = 2 if index < num_halvings else 1
            layers += [nn.Conv2d(widths[index - 1], widths[index], 4, stride=stride, padding=1)]
            layers += [ChannelNorm(widths[index]), nn.LeakyReLU(_SLOPE)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, padding=1))
        self.apply(_initialise)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, 1, h, w) scores, above 0 for real; h = H / 2 ** num_halvings - 2, rounded down."""
        return self.layers(pixel_values)


@torch.no_grad()
def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, _SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def num_halvings_for(image_size: int) -> int:
    """How often a discriminator halves pictures of `image_size` pixels: at 28 two times, from 64 on three times.

    Raises:
        InputError: pictures too small to hold a patch.

    Example:
        >>> [num_halvings_for(size) for size in (16, 28, 32, 64, 256)]
        [1, 2, 2, 3, 3]
    """
    if image_size < 6:
        raise InputError(f"adversarial training needs pictures of at least 6 pixels a side, got {image_size}")
    return 3 if image_size >= 64 else 2 if image_size >= 24 else 1


def seeded_discriminator(num_channels: int, image_size: int, hidden_size: int, seed: int) -> PatchDiscriminator:
    """A new discriminator whose weights depend on `seed` alone; the global random state stays as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(derived_generator(seed, "discriminator").initial_seed())
        return PatchDiscriminator(num_channels, hidden_size, num_halvings_for(image_size))


def discriminator_loss(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Hinge loss of the discriminator (Lim & Ye 2017, arXiv:1705.02894, section 3): scores of any shape -> scalar.

    At least 2 for whoever gives all patches one score, 0 for who keeps real ones above 1 and the others below -1.
    """
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def adversarial_loss(fake: torch.Tensor) -> torch.Tensor:
    """Hinge loss of the generator (same paper): minus the mean score of what it made, unbounded."""
    return -fake.mean()


def adaptive_weight(
    reconstruction_loss: torch.Tensor,
    adversarial_term: torch.Tensor,
    last_layer: torch.Tensor,
    mean: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Factor that gives the adversarial term a gradient as large as that of the reconstruction loss at the last layer.

    Esser et al. 2021 (arXiv:2012.09841, eq. 7): the ratio of the two gradients' norms, clamped to 0..10,000.

    Args:
        reconstruction_loss: scalar; its graph stays for the backward pass.
        adversarial_term: scalar, likewise.
        last_layer: the decoder's last weight.
        mean: averages a gradient over all processes, so that each finds the same factor.

    Returns:
        Scalar, constant for the gradient.
    """
    norms = []
    for loss in (reconstruction_loss, adversarial_term):
        (gradient,) = torch.autograd.grad(loss, last_layer, retain_graph=True)
        norms.append(mean(gradient).norm())
    return (norms[0] / (norms[1] + _SMALLEST_NORM)).clamp(max=_LARGEST_WEIGHT)
