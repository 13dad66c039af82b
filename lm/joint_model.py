"""An image tokenizer and its prior as one model, so that what the prior charges for codes reaches the encoder."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import ModelOutput

from ..tokenizer.distortion_scales import SIDE_BY_SIDE, distortion_scales
from ..tokenizer.interface import ImageCodes
from ..tokenizer.model import ImageTokenizer
from ..tokenizer.rate_model import SOFT_SHARE, soft_bits, squared_error_unit
from .costs import token_nats
from .documents import images_to_ids, text_to_image_prompt
from .order import unflatten
from .vocabulary import JointVocabulary

_SHARE_OF_NEW = 0.2
"""What a measurement of the scales counts beside those before it."""


@dataclass
class JointOutput(ModelOutput):
    """What `JointModel.forward` returns.

    Attributes:
        loss: scalar: the tokenizer's, the expected bits in the unit of its distortion, and the prior's nats per token.
        distortion: scalar, mean squared error of pixel values in [-1, 1].
        rate: scalar, bits a picture of its codes by the prior.
        expected_rate: scalar, bits a picture if codes were drawn by what they cost.
    """

    loss: torch.Tensor | None = None
    distortion: torch.Tensor | None = None
    rate: torch.Tensor | None = None
    expected_rate: torch.Tensor | None = None


class JointModel(nn.Module):
    """J = D + rate_weight * R, with R the bits of the prior itself.

    The third stage of RDVQ (CVPR 2026), where the codebooks stay as they are: expected bits under
    soft choices pull the latents towards codes that the prior finds likely, given the codes chosen around them; the
    decoder follows, and the prior learns the codes that come.

    Args:
        tokenizer: chooses codes by its own rule, as `encode` does. Its codebooks are frozen.
        prior: of pictures of the tokenizer's size, codes in level order.
        vocabulary: the prior's.
        rate_weight: squared error of a picture, of pixels of 0 to 255, that a bit is worth.
    """

    def __init__(
        self, tokenizer: ImageTokenizer, prior: PreTrainedModel, vocabulary: JointVocabulary, rate_weight: float
    ):
        super().__init__()
        # Loading makes them trainable, and several processes would wait for gradients that never come.
        tokenizer.codebooks.requires_grad_(False)
        self.tokenizer, self.prior, self.vocabulary, self.rate_weight = tokenizer, prior, vocabulary, rate_weight
        size = tokenizer.config.image_size
        self.grids = tokenizer.config.grids(size, size)
        self._prompt = text_to_image_prompt(vocabulary, (), vocabulary.size_of(self.grids))
        self._end = [vocabulary.image_end_id, vocabulary.eos_id]
        self.register_buffer("scales", torch.zeros(len(self.grids)))
        self.scales: torch.Tensor
        """(L,) squared pixel error per squared latent error; see `distortion_scales`. 0: not measured yet."""

    def forward(self, pixel_values: torch.Tensor, prefix_counts: torch.Tensor | None = None) -> JointOutput:
        """The loss of a batch.

        Args:
            pixel_values: (B, C, H, W) in [-1, 1], of the tokenizer's size.
            prefix_counts: see `ImageTokenizer.forward`.
        """
        output = self.tokenizer(pixel_values, prefix_counts, expect_bits=False)
        documents = self._documents(output.codes)  # (B, T)
        logits: torch.Tensor = self.prior(input_ids=documents, use_cache=False).logits
        nats = token_nats(logits, documents).mean()
        levels = self._level_bits(logits.detach(), output.codes)
        expected = torch.stack([
            soft_bits(latents, self.tokenizer.code_vectors(level), bits, float(self.scales[level]), self.rate_weight)
            for level, (latents, bits) in enumerate(zip(output.attached_latents, levels, strict=True))
        ]).sum()  # fmt: skip
        chosen = [bits.gather(1, codes.reshape(-1, 1)).sum() for bits, codes in zip(levels, output.codes, strict=True)]
        return JointOutput(
            loss=output.loss + SOFT_SHARE * self.rate_weight * squared_error_unit(pixel_values) * expected + nats,
            distortion=output.distortion.detach(),
            rate=torch.stack(chosen).sum() / len(pixel_values),
            expected_rate=expected.detach(),
        )

    def weigh(self, pixel_values: torch.Tensor, seed: int) -> None:
        """Measures the scales on (B, C, H, W) pictures, and moves those known towards them."""
        found = distortion_scales(self.tokenizer, pixel_values, len(self.grids), seed=seed)
        measured = SIDE_BY_SIDE * torch.tensor(found, device=self.scales.device)
        self.scales.lerp_(measured, _SHARE_OF_NEW if bool(self.scales.any()) else 1.0)

    def _documents(self, codes: ImageCodes) -> torch.Tensor:
        """(B, T) ids of pictures without words."""
        ids = images_to_ids(self.vocabulary, tuple(level.cpu() for level in codes)).to(codes[0].device)
        ends = [torch.tensor(part, device=ids.device).expand(len(ids), -1) for part in (self._prompt, self._end)]
        return torch.cat([ends[0], ids, ends[1]], 1)

    def _level_bits(self, logits: torch.Tensor, codes: ImageCodes) -> list[torch.Tensor]:
        """(B * h * w, K) for each level: bits of all its codes at each place, given the codes before it."""
        count = sum(rows * columns for rows, columns in self.grids)
        first = len(self._prompt) - 1  # what stands there predicts the first code
        places = torch.arange(first, first + count, device=logits.device)
        levels = unflatten(places.expand(1, -1), self.grids, self.vocabulary.order)  # (1, h, w) each
        bits: list[torch.Tensor] = []
        for level, where in enumerate(levels):
            columns = self.vocabulary.level_ids(level).to(logits.device)
            chances = logits[:, where.flatten()][..., columns].float().log_softmax(-1)
            bits.append(chances.flatten(0, 1) / -math.log(2))
        return bits
