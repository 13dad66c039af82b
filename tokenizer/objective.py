"""What a tokenizer's training minimises: the model's own loss, and terms that are off unless asked for.

The perceptual term compares pictures in the features of another network. The adversarial term is the score that a
discriminator, trained alongside, gives to reconstructions. The tokenizer itself knows neither of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import cast

import torch
from accelerate import Accelerator
from torch import nn
from torch.func import functional_call

from ..hub.errors import InputError
from .config import ImageTokenizerConfig
from .discriminator import adaptive_weight, adversarial_loss, discriminator_loss, seeded_discriminator
from .layers import Upsample
from .model import ImageTokenizer, ImageTokenizerOutput
from .perceptual import PerceptualLoss, load_extractor
from .schedule import set_learning_rate
from .training_config import TokenizerTrainingConfig

_BETAS = (0.5, 0.9)
"""Of the discriminator's Adam: less momentum than the tokenizer's, since what it judges keeps moving."""
_RATE_SHARE = 0.25
"""The discriminator's learning rate, by the tokenizer's."""


@dataclass
class ObjectiveTerms:
    """One step's loss and what it is made of, on this process. A term that is off is None.

    Attributes:
        loss: scalar to minimise: the model's loss + weighted perceptual loss + scaled adversarial loss.
        perceptual_loss: scalar, unweighted.
        adversarial_loss: scalar, minus the mean score of the reconstructions, unscaled.
        adversarial_scale: scalar, what the adversarial loss is multiplied by: weight x ramp x adaptive weight.
        discriminator_loss: scalar, hinge loss of the discriminator before its step; 2 is chance.
    """

    loss: torch.Tensor
    perceptual_loss: torch.Tensor | None = None
    adversarial_loss: torch.Tensor | None = None
    adversarial_scale: torch.Tensor | None = None
    discriminator_loss: torch.Tensor | None = None

    def metrics(self) -> dict[str, torch.Tensor]:
        """The terms that are on, by name, without gradient."""
        return dict(self._metrics())

    def _metrics(self) -> Iterator[tuple[str, torch.Tensor]]:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                yield field.name, value.detach()


class Adversary:
    """A discriminator in training, and the term it adds to the tokenizer's loss.

    Before step `start` neither acts. From then on the discriminator learns at once, and the term's weight grows
    linearly over `ramp_steps` steps: a fresh discriminator's opinion is noise, and at full weight would undo
    reconstructions.

    Args:
        accelerator: takes discriminator and optimizer into its care, checkpoints included.
        weight: of the term at its full height, relative to the reconstruction loss's gradient at the last layer.
        start: first step, counted from 0, on which the term acts.
        ramp_steps: steps over which the weight grows.
        num_channels: colour channels of the pictures.
        image_size: side of the pictures, pixels.
        hidden_size: channels of the discriminator's first layer.
        seed: of the discriminator's weights.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        *,
        weight: float,
        start: int,
        ramp_steps: int,
        num_channels: int,
        image_size: int,
        hidden_size: int,
        seed: int,
    ):
        self.accelerator, self.weight, self.start, self.ramp_steps = accelerator, weight, start, ramp_steps
        discriminator = seeded_discriminator(num_channels, image_size, hidden_size, seed).to(accelerator.device)
        optimizer = torch.optim.Adam(discriminator.parameters(), betas=_BETAS)
        self.discriminator, self.optimizer = accelerator.prepare(discriminator, optimizer)

    def ramp(self, step: int) -> float:
        """0 before `start`, then growing to 1, which `ramp_steps` steps reach."""
        done = step - self.start + 1
        return 0.0 if done <= 0 else min(1.0, done / max(1, self.ramp_steps))

    def judge(self, reconstruction: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> scores, with a gradient to the pictures and none to the discriminator."""
        discriminator = self.accelerator.unwrap_model(self.discriminator)
        constants = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
        return functional_call(discriminator, constants, reconstruction)

    def scale(self, step: int, distance: torch.Tensor, term: torch.Tensor, last_layer: nn.Parameter) -> torch.Tensor:
        """What the term is multiplied by on this step, the same on every process.

        Args:
            step: counted from 0.
            distance: scalar, the reconstruction loss that the term is measured by.
            term: scalar, the adversarial loss.
            last_layer: the decoder's last weight.
        """

        def mean(gradient: torch.Tensor) -> torch.Tensor:
            return cast(torch.Tensor, self.accelerator.reduce(gradient, "mean"))

        return self.weight * self.ramp(step) * adaptive_weight(distance, term, last_layer, mean)

    def learn(self, pixel_values: torch.Tensor, reconstruction: torch.Tensor, learning_rate: float) -> torch.Tensor:
        """One step of the discriminator; returns its loss before the step.

        Args:
            pixel_values: (B, C, H, W), this process's share.
            reconstruction: (B, C, H, W), what the tokenizer made of them.
            learning_rate: of this step.
        """
        scores = self.discriminator(torch.cat([pixel_values, reconstruction.detach()]))
        loss = discriminator_loss(*scores.chunk(2))
        self.accelerator.backward(loss)
        set_learning_rate(self.optimizer, learning_rate)
        self.optimizer.step()
        self.optimizer.zero_grad()  # now, since clipping the tokenizer's gradients would touch those left here
        return loss.detach()


class Objective:
    """The model's loss with its optional terms.

    Args:
        perceptual: the perceptual term, on the device of the training; None leaves it out.
        perceptual_weight: of that term.
        adversary: the adversarial term; None leaves it out.
    """

    def __init__(
        self,
        perceptual: PerceptualLoss | None = None,
        perceptual_weight: float = 1.0,
        adversary: Adversary | None = None,
    ):
        self.perceptual, self.perceptual_weight, self.adversary = perceptual, perceptual_weight, adversary

    def terms(
        self, step: int, model: ImageTokenizer, output: ImageTokenizerOutput, pixel_values: torch.Tensor
    ) -> ObjectiveTerms:
        """The loss of one step, to be minimised by the tokenizer.

        Args:
            step: counted from 0.
            model: the tokenizer, unwrapped.
            output: what it made of `pixel_values`.
            pixel_values: (B, C, H, W) in [-1, 1], this process's share.
        """
        assert output.loss is not None and output.distortion is not None and output.reconstruction is not None
        terms, distance = ObjectiveTerms(output.loss), output.distortion
        if self.perceptual is not None:
            perceptual_loss: torch.Tensor = self.perceptual(output.reconstruction, pixel_values)
            terms.perceptual_loss = perceptual_loss
            terms.loss = terms.loss + self.perceptual_weight * perceptual_loss
            distance = distance + self.perceptual_weight * perceptual_loss
        if self.adversary is not None and step >= self.adversary.start:
            terms.adversarial_loss = adversarial_loss(self.adversary.judge(output.reconstruction))
            terms.adversarial_scale = self.adversary.scale(step, distance, terms.adversarial_loss, last_layer(model))
            terms.loss = terms.loss + terms.adversarial_scale * terms.adversarial_loss
        return terms

    def learn(
        self, step: int, terms: ObjectiveTerms, output: ImageTokenizerOutput, pixel_values: torch.Tensor, rate: float
    ) -> None:
        """Trains the discriminator on what `terms` looked at, and notes its loss there; `rate` is the tokenizer's."""
        if self.adversary is not None and step >= self.adversary.start:
            assert output.reconstruction is not None
            terms.discriminator_loss = self.adversary.learn(pixel_values, output.reconstruction, _RATE_SHARE * rate)


def last_layer(model: ImageTokenizer) -> nn.Parameter:
    """The decoder's last weight, by which the adversarial term is measured."""
    return cast(nn.Parameter, cast(Upsample, model.decoder.head[-1]).project.weight)


def new_perceptual(
    config: TokenizerTrainingConfig, model_config: ImageTokenizerConfig, extractor: nn.Module | None
) -> PerceptualLoss | None:
    """The perceptual term that a training asks for, tried on pictures of its shape; None if it asks for none.

    Args:
        config: of the training.
        model_config: of its tokenizer.
        extractor: a network given from Python in place of the path `config.perceptual`.

    Raises:
        InputError: a network without a weight, a weight without a network, two networks, or one that fails.
    """
    path, weight = config.perceptual, config.perceptual_weight
    if path and extractor is not None:
        raise InputError(f"perceptual came twice: as a module and as the path {path!r}; give one of them")
    if not path and extractor is None:
        if weight:
            raise InputError(f"perceptual_weight {weight} needs a network to compare pictures in: give perceptual, too")
        return None
    if not weight:
        raise InputError("perceptual has no effect at perceptual_weight 0; give it a weight, such as 0.1")
    loss = PerceptualLoss(load_extractor(path) if extractor is None else extractor)
    loss.check(model_config.num_channels, model_config.image_size)
    return loss


def new_objective(
    config: TokenizerTrainingConfig,
    model_config: ImageTokenizerConfig,
    accelerator: Accelerator,
    perceptual: PerceptualLoss | None,
) -> Objective:
    """The objective that a training asks for; call it after the tokenizer itself was prepared.

    Args:
        config: of the training.
        model_config: of its tokenizer.
        accelerator: of the training.
        perceptual: the perceptual term; None leaves it out.
    """
    adversary = None
    if config.adversarial_weight:
        adversary = Adversary(
            accelerator,
            weight=config.adversarial_weight,
            start=config.adversarial_start,
            ramp_steps=config.adversarial_ramp,
            num_channels=model_config.num_channels,
            image_size=model_config.image_size,
            hidden_size=max(1, model_config.hidden_size // 2),
            seed=config.seed,
        )
    if perceptual is not None:
        perceptual.to(accelerator.device)
    return Objective(perceptual, config.perceptual_weight, adversary)
