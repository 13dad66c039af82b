"""The image tokenizer: a hierarchical VQ-VAE-2 of any number of levels, every prefix of which decodes.

Razavi et al. 2019 (arXiv:1906.00446): the encoder works bottom-up, then each level is quantized given the coarser ones,
and the decoder reads all levels. Two things are added: level 0 may be one code for the whole image, and training
decodes pictures from each prefix of the levels as well, so that a few codes already make a picture: nested dropout
(Rippel et al. 2014), but every picture is decoded whole, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput, can_return_tuple

from ..hub.errors import InputError
from .checks import check_pixels, complete_codes
from .config import ImageTokenizerConfig
from .encoding import Encoding
from .interface import ImageCodes
from .layers import ChannelNorm, Pointwise, cached_parts
from .networks import Decoder, Encoder
from .picture_loss import prefix_loss
from .quantizer import LevelRateTerms, Quantized, Quantizer
from .quantizers import build_quantizer
from .rate_model import SOFT_SHARE, RateModel, soft_bits, squared_error_unit

_CACHED_PIXELS = 1 << 17
"""Pixels encoded at once on a CPU."""


@dataclass
class ImageTokenizerOutput(ModelOutput):
    """What `ImageTokenizer.forward` returns.

    Attributes:
        loss: scalar, distortion + prefix_loss + commitment_weight * commitment_loss + codebook_loss; where bits count,
            also the rate, in the unit of the distortion, and what teaches the model of the rate.
        distortion: scalar, mean squared error of pixel values in [-1, 1].
        prefix_loss: scalar, the mean squared errors of the proper prefixes' pictures, weighted and summed.
        commitment_loss: scalar, summed over levels, unweighted.
        codebook_loss: scalar, summed over levels; zero for codebooks that do not learn by gradient.
        rate: scalar, bits a picture by the tokenizer's own model of the rate; None where bits do not count.
        reconstruction: (B, C, H, W) in about [-1, 1], not clamped.
        codes: `ImageCodes`.
        latents: one (B, D, h_l, w_l) tensor per level, detached; `update_codebooks` learns from them.
        attached_latents: the same with their gradient.
    """

    loss: torch.Tensor | None = None
    distortion: torch.Tensor | None = None
    prefix_loss: torch.Tensor | None = None
    commitment_loss: torch.Tensor | None = None
    codebook_loss: torch.Tensor | None = None
    rate: torch.Tensor | None = None
    reconstruction: torch.Tensor | None = None
    codes: ImageCodes | None = None
    latents: tuple[torch.Tensor, ...] | None = None
    attached_latents: tuple[torch.Tensor, ...] | None = None


class ImageTokenizer(PreTrainedModel):
    """Pictures to codes and back.

    Example:
        >>> import torch
        >>> config = ImageTokenizerConfig(image_size=16, strides=["image", 8], codebook_sizes=[4, 8], hidden_size=8)
        >>> tokenizer = ImageTokenizer(config).eval()
        >>> codes = tokenizer.encode(torch.zeros(2, 3, 16, 16))
        >>> [tuple(level.shape) for level in codes]
        [(2, 1, 1), (2, 2, 2)]
        >>> tokenizer.decode(codes, num_levels=1).shape
        torch.Size([2, 3, 16, 16])
    """

    config: ImageTokenizerConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    config_class = ImageTokenizerConfig
    base_model_prefix = "image_tokenizer"
    main_input_name = "pixel_values"
    input_modalities = "image"
    _no_split_modules = ["LevelStep"]  # noqa: RUF012

    def __init__(self, config: ImageTokenizerConfig):
        super().__init__(config)
        quantizers = [build_quantizer(config, level) for level in range(config.num_levels)]
        dims = [quantizer.dim for quantizer in quantizers]
        self.encoder = Encoder(config, dims)
        self.codebooks = nn.ModuleList(quantizers)
        self.decoder = Decoder(config, dims)
        self.rate_model = RateModel(config, dims) if config.rate_weight else None
        for level, absent in enumerate(self.decoder.absent, 1):
            # Without a trained prefix that lacks the level it never gets a gradient, for which DDP would wait.
            absent.requires_grad_(any(self._prefix_weights()[:level]))
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d | Pointwise):
            init.kaiming_normal_(module.weight, nonlinearity="linear")
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, ChannelNorm):
            init.ones_(module.weight)
        elif isinstance(module, nn.ParameterList):  # what the decoder reads where a level is left out
            for absent in module:
                init.zeros_(absent)
        elif isinstance(module, Quantizer | RateModel):
            module.reset()

    @can_return_tuple
    def forward(
        self, pixel_values: torch.Tensor, prefix_counts: torch.Tensor | None = None, expect_bits: bool = True
    ) -> ImageTokenizerOutput:
        """Reconstructs pictures, with the training loss.

        Args:
            pixel_values: (B, C, H, W) in [-1, 1].
            prefix_counts: (B, L - 1) how often each picture counts in each proper prefix's mean squared error; where it
                does not count, it is not decoded. None counts every picture once.
            expect_bits: the loss holds the bits expected by the tokenizer's own model of the rate, where bits count;
                False leaves them to the caller, who knows a better model.

        Raises:
            InputError: pixels that `encode` refuses, or counts of another shape.
        """
        attached: list[torch.Tensor] = []
        levels = self._quantize(pixel_values, attached=attached)
        vectors = [level.quantized for level in levels]
        reconstruction = self.decoder(vectors, len(vectors))
        distortion = F.mse_loss(reconstruction.float(), pixel_values.float())
        prefix_loss = self._prefix_loss(vectors, pixel_values, prefix_counts)
        commitment_loss = torch.stack([level.commitment_loss for level in levels]).sum()
        learned = [level.codebook_loss for level in levels if level.codebook_loss is not None]
        codebook_loss = torch.stack(learned).sum() if learned else torch.zeros_like(distortion)
        loss = distortion + prefix_loss + self.config.commitment_weight * commitment_loss + codebook_loss
        rate = None
        if terms := [level.rate for level in levels if level.rate is not None]:
            rate = torch.stack([term.bits for term in terms]).sum()
            num_codes = sum(level.indices[0].numel() for level in levels)
            if expect_bits:
                soft = torch.stack([term.soft_bits for term in terms]).sum()
                loss = loss + SOFT_SHARE * self._rate_weight() * squared_error_unit(pixel_values) * soft
            loss = loss + rate * (math.log(2) / num_codes)
        return ImageTokenizerOutput(
            loss=loss,
            distortion=distortion,
            prefix_loss=prefix_loss,
            commitment_loss=commitment_loss,
            codebook_loss=codebook_loss,
            rate=None if rate is None else rate.detach(),
            reconstruction=reconstruction,
            codes=tuple(level.indices for level in levels),
            latents=tuple(level.latents for level in levels),
            attached_latents=tuple(attached),
        )

    def _prefix_loss(
        self, vectors: Sequence[torch.Tensor], pixel_values: torch.Tensor, counts: torch.Tensor | None
    ) -> torch.Tensor:
        shape = (len(pixel_values), self.config.num_levels - 1)
        counts = pixel_values.new_ones(shape) if counts is None else counts
        if counts.shape != shape:
            raise InputError(f"prefix_counts must be {shape}, one a picture and prefix, got {tuple(counts.shape)}")
        return prefix_loss(self.decoder, vectors, pixel_values, counts, self._prefix_weights())

    def _prefix_weights(self) -> Sequence[float]:
        return self.config.prefix_weights or ()

    @torch.no_grad()
    def encode(self, pixel_values: torch.Tensor) -> ImageCodes:
        """Pixels -> codes. A level's codes depend on the pixels and on coarser codes only.

        Args:
            pixel_values: (B, C, H, W) in [-1, 1]; H and W multiples of the coarsest stride.

        Returns:
            One int64 (B, h_l, w_l) per level, coarse to fine.

        Raises:
            InputError: wrong number of dimensions or channels, no picture at all, sides the strides do not divide,
                values that are no floats, or not finite.
        """
        check_pixels(pixel_values, self.config)
        parts = [self._quantize(part) for part in cached_parts(pixel_values, _CACHED_PIXELS)]
        return tuple(torch.cat([level.indices for level in levels]) for levels in zip(*parts, strict=True))

    def encoding(self, pixel_values: torch.Tensor) -> Encoding:
        """Pictures whose codes are chosen level by level, not by the nearest vectors alone.

        Args:
            pixel_values: as for `encode`.

        Raises:
            InputError: see `encode`.
        """
        check_pixels(pixel_values, self.config)
        return Encoding(self.encoder, self.config, pixel_values)

    @torch.no_grad()
    def choose_codes(self, level: int, latents: torch.Tensor, context: torch.Tensor | None) -> torch.Tensor:
        """The codes that `encode` would take: the nearest, or those that bits and errors prefer.

        Args:
            level: of the codes.
            latents: (B, D, h, w) of the level.
            context: what coarser codes have said, see `Encoding.context`.

        Returns:
            (B, h, w) int64.
        """
        return self._quantize_level(level, self._codebooks()[level], latents, context, True).indices

    def compared_latents(self, level: int, latents: torch.Tensor) -> torch.Tensor:
        """(B, D, h, w) latents of a level -> float32, in the space where they are compared with code vectors."""
        return self._codebooks()[level].compared(latents)

    @torch.no_grad()
    def decode(self, codes: Sequence[torch.Tensor], num_levels: int | None = None) -> torch.Tensor:
        """Codes -> pixels, from all levels or from the first `num_levels`.

        Args:
            codes: one integer (B, h_l, w_l) per level, coarse to fine. With `num_levels`, finer levels may be missing;
                those given tell the picture's size, their values have no effect.
            num_levels: 1..L; None uses all.

        Returns:
            (B, C, H, W) clamped to [-1, 1]. A whole-image code given alone makes a picture of the training size.

        Raises:
            InputError: wrong number of levels, grids that do not belong together, codes outside their codebook.
        """
        used = self.config.num_levels if num_levels is None else num_levels
        codes = complete_codes(codes, used, self.config)
        vectors = [codebook.vectors(level) for codebook, level in zip(self._codebooks(), codes, strict=True)]
        return self.decoder(vectors, used).clamp(-1, 1)

    def code_vectors(self, level: int) -> torch.Tensor:
        """(K, D) float32: the vector of every code of a level."""
        return self._codebooks()[level].table()

    def embed_codes(self, level: int, codes: torch.Tensor) -> torch.Tensor:
        """(B, h, w) codes of a level -> (B, D, h, w) float32, their vectors."""
        return self._codebooks()[level].vectors(codes)

    def codes_tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor that decides codes, by its name; running statistics matter to training only."""
        return self._tensors("encoder.", "rate_model.")

    def picture_tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor that decides pictures, by its name."""
        return self._tensors("decoder.")

    def _tensors(self, *parts: str) -> dict[str, torch.Tensor]:
        tensors = self.state_dict().items()
        return {name: tensor for name, tensor in tensors if name.startswith(parts) or name.endswith("embedding.weight")}

    def codes_settings(self) -> dict[str, Any]:
        """What decides codes beside the tensors."""
        names = ["num_channels", "strides", "codebook_sizes", "codebook_dim", "patch_size"]
        if self.config.quantizer != "ema":  # the first of them, which needs no name
            names.append("quantizer")
        if self.config.rate_weight:
            names.append("rate_weight")
        return {name: getattr(self.config, name) for name in names}

    def picture_settings(self) -> dict[str, Any]:
        """What decides pictures beside the tensors; the training size is that of a whole-image code's own picture."""
        return self.codes_settings() | {"image_size": self.config.image_size}

    def update_codebooks(self, output: ImageTokenizerOutput, first_level: int = 0) -> None:
        """Moves the codebooks from `first_level` on by the statistics of one training batch, summed over processes."""
        assert output.latents is not None and output.codes is not None
        for level in range(first_level, self.config.num_levels):
            revival = self._codebooks()[level].update(output.latents[level], output.codes[level])
            if revival is not None and self.rate_model is not None:
                self.rate_model.split(level, revival)

    @torch.no_grad()
    def start_codebooks(self, pixel_values: torch.Tensor, *, seed: int, first_level: int = 0) -> None:
        """Places codebooks by k-means, each level given the coarser ones.

        Args:
            pixel_values: (B, C, H, W), the same on every process.
            seed: of the k-means start.
            first_level: the first whose codes are placed; coarser ones stay.
        """
        self._quantize(pixel_values, start_seed=seed, first_level=first_level)

    def _quantize(
        self,
        pixel_values: torch.Tensor,
        start_seed: int | None = None,
        attached: list[torch.Tensor] | None = None,
        first_level: int = 0,
    ) -> list[Quantized]:
        """All levels; their latents with their gradient are added to `attached`."""
        check_pixels(pixel_values, self.config)
        encoding = Encoding(self.encoder, self.config, pixel_values)
        levels: list[Quantized] = []
        for level, codebook in enumerate(self._codebooks()):
            latents = encoding.next_latents()
            if attached is not None:
                attached.append(latents)
            if start_seed is not None and level >= first_level:
                codebook.start(latents, seed=start_seed)
            levels.append(self._quantize_level(level, codebook, latents, encoding.context, start_seed is None))
            encoding.take(levels[-1].quantized)
        return levels

    def _quantize_level(
        self, level: int, codebook: Quantizer, latents: torch.Tensor, context: torch.Tensor | None, counts_bits: bool
    ) -> Quantized:
        if self.rate_model is None or not counts_bits:
            quantized = codebook.quantize(latents)
        else:
            quantized = self._quantize_by_rate(level, codebook, latents, context)
        # The first of several levels on one grid carries the gradient to their common latents; once is enough.
        return (
            replace(quantized, quantized=quantized.quantized.detach()) if self.config.is_residual(level) else quantized
        )

    def _quantize_by_rate(
        self, level: int, codebook: Quantizer, latents: torch.Tensor, context: torch.Tensor | None
    ) -> Quantized:
        """Codes that bits and errors prefer. The codes around each are not known yet: the nearest ones stand in."""
        assert self.rate_model is not None
        with torch.no_grad():
            near = codebook.vectors(codebook.quantize(latents.detach()).indices)
            bits = self.rate_model.bits(level, context, near)
        scale, weight = float(self.rate_model.scales[level]), self._rate_weight()
        quantized = codebook.quantize(latents, bias=bits * (weight / scale))
        if not torch.is_grad_enabled():
            return quantized
        learned = self.rate_model.bits(level, context, codebook.vectors(quantized.indices))
        chosen = learned.gather(1, quantized.indices.view(-1, 1)).sum() / len(latents)
        soft = soft_bits(latents, codebook.table(), bits, scale, weight)
        return replace(quantized, rate=LevelRateTerms(chosen, soft))

    def _rate_weight(self) -> float:
        """What a bit is worth now."""
        assert self.rate_model is not None
        return float(self.config.rate_weight) * self.rate_model.warmth

    def _codebooks(self) -> list[Quantizer]:
        return cast(list[Quantizer], list(self.codebooks))
