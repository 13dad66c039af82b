"""Other people's VQ image tokenizers behind our interface: saved, loaded, fingerprinted and bundled like our own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init

from .adapter_config import AdaptedTokenizerConfig
from .checks import check_pixels, complete_codes
from .interface import ImageCodes
from .layout import layout_class
from .layout_vqvae2 import Codebook

_OURS = [0.5]


class AdaptedTokenizer(PreTrainedModel):
    """Pictures to codes and back by another project's network, whose weights never change here.

    `import_tokenizer` makes one of a checkpoint; one made of a configuration has random weights.

    Example:
        >>> import torch
        >>> config = AdaptedTokenizerConfig(layout="vqvae2", settings={"channel": 8, "n_embed": 16})
        >>> tokenizer = AdaptedTokenizer(config)
        >>> codes = tokenizer.encode(torch.zeros(2, 3, 32, 32))
        >>> [tuple(level.shape) for level in codes]
        [(2, 4, 4), (2, 8, 8)]
        >>> tokenizer.decode(codes).shape
        torch.Size([2, 3, 32, 32])
    """

    config: AdaptedTokenizerConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    config_class = AdaptedTokenizerConfig
    base_model_prefix = "adapted_tokenizer"
    main_input_name = "pixel_values"
    input_modalities = "image"

    def __init__(self, config: AdaptedTokenizerConfig):
        super().__init__(config)
        assert config.settings is not None
        self.network = layout_class(config.layout)(config.settings)
        self.requires_grad_(False)
        self.post_init()
        self.eval()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, Codebook):
            for buffer in module.buffers(recurse=False):  # the vectors, and statistics that are not used
                init.normal_(buffer)

    def train(self, mode: bool = True) -> AdaptedTokenizer:
        """Stays in evaluation mode: in training mode some networks would move their running statistics."""
        return super().train(False)

    @torch.no_grad()
    def encode(self, pixel_values: torch.Tensor) -> ImageCodes:
        """Pixels -> codes.

        Args:
            pixel_values: (B, C, H, W) in [-1, 1]; H and W multiples of the coarsest stride.

        Returns:
            One int64 (B, h_l, w_l) per level, coarse to fine.

        Raises:
            InputError: wrong number of dimensions or channels, no picture at all, sides the strides do not divide,
                values that are no floats, or not finite.
        """
        check_pixels(pixel_values, self.config)
        return self.network.encode(self._to_network(pixel_values.to(self.dtype)))

    @torch.no_grad()
    def decode(self, codes: Sequence[torch.Tensor], num_levels: int | None = None) -> torch.Tensor:
        """Codes -> pixels, from all levels or from the first `num_levels`.

        Args:
            codes: one integer (B, h_l, w_l) per level, coarse to fine. With `num_levels`, finer levels may be missing.
            num_levels: 1..L; None uses all. Networks with two levels were not trained to decode the first one alone,
                and show little more than its colours.

        Returns:
            (B, C, H, W) clamped to [-1, 1].

        Raises:
            InputError: wrong number of levels, grids that do not belong together, codes outside their codebook, or a
                network without a decoder.
        """
        used = self.config.num_levels if num_levels is None else num_levels
        codes = complete_codes(codes, used, self.config)
        return self._from_network(self.network.decode(codes, used)).clamp(-1, 1)

    @torch.no_grad()
    def code_vectors(self, level: int) -> torch.Tensor:
        """(K_l, D_l) float32: the vectors that decoding puts in the place of a level's codes."""
        return self.network.vectors(level).float()

    def codes_tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor that decides codes, by its name."""
        return self._tensors(self.network.codes_names)

    def picture_tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor that decides pictures, by its name; the codebook alone where there is no decoder."""
        return self._tensors(self.network.picture_names)

    def codes_settings(self) -> dict[str, Any]:
        """What decides codes beside the tensors."""
        config = self.config
        names = ("layout", "settings", "pixel_mean", "pixel_std")
        return {name: getattr(config, name) for name in names}

    def picture_settings(self) -> dict[str, Any]:
        """What decides pictures beside the tensors."""
        return self.codes_settings()

    def _tensors(self, places: tuple[str, ...]) -> dict[str, torch.Tensor]:
        parts = tuple(place for place in places if place.endswith("."))
        return {
            name: tensor
            for name, tensor in self.network.state_dict().items()
            if name in places or name.startswith(parts)
            # A batch norm's count of batches decides nothing.
            if not name.endswith("num_batches_tracked")
        }

    def _to_network(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """[-1, 1] -> the pixels that the network was trained on; most were trained on [-1, 1] itself."""
        if self.config.pixel_mean == _OURS and self.config.pixel_std == _OURS:
            return pixel_values
        return ((pixel_values + 1) / 2 - self._statistic("pixel_mean")) / self._statistic("pixel_std")

    def _from_network(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """The way back."""
        if self.config.pixel_mean == _OURS and self.config.pixel_std == _OURS:
            return pixel_values
        return (pixel_values * self._statistic("pixel_std") + self._statistic("pixel_mean")) * 2 - 1

    def _statistic(self, name: str) -> torch.Tensor:
        return torch.tensor(getattr(self.config, name), dtype=self.dtype, device=self.device)[:, None, None]
