"""Other people's networks at tiny sizes with random weights that give many different codes."""

from typing import Any

import torch
from torch import nn

from pictogram.tokenizer.adapter import AdaptedTokenizer
from pictogram.tokenizer.adapter_config import AdaptedTokenizerConfig

SETTINGS: dict[str, dict[str, Any]] = {
    "chameleon": {
        "base_channels": 32, "channel_multiplier": [1, 1, 1], "num_res_blocks": 1, "latent_channels": 32,
        "embed_dim": 8, "num_embeddings": 16, "resolution": 32,
    },
    "emu3": {
        "base_channels": 32, "channel_multiplier": [1, 1, 1], "num_res_blocks": 1, "hidden_size": 32,
        "attn_resolutions": [2], "codebook_size": 16,
    },
    "janus": {
        "base_channels": 32, "channel_multiplier": [1, 1, 1], "num_res_blocks": 1, "latent_channels": 32,
        "num_embeddings": 16,
    },
    "llamagen": {
        "ch": 32, "encoder_ch_mult": [1, 1, 2], "decoder_ch_mult": [1, 2, 2], "num_res_blocks": 1, "z_channels": 24,
        "codebook_size": 16,
    },
    "vqvae2": {"channel": 8, "n_res_block": 1, "n_res_channel": 6, "embed_dim": 4, "n_embed": 16},
}  # fmt: skip
LAYOUTS = sorted(SETTINGS)


def adapted(layout: str, *, image_size: int = 16, seed: int = 0, **config: Any) -> AdaptedTokenizer:
    torch.manual_seed(seed)
    model = AdaptedTokenizer(
        AdaptedTokenizerConfig(layout=layout, settings=SETTINGS[layout], image_size=image_size, **config)
    )
    spread_weights(model)
    return model


@torch.no_grad()
def spread_weights(model: nn.Module) -> None:
    """Weights under which values keep about their size from layer to layer, so that codes vary."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.1)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight)


def pixels(count: int = 2, height: int = 16, width: int = 16, *, seed: int = 0) -> torch.Tensor:
    """(count, 3, height, width) in [-1, 1], a plain colour with noise each."""
    generator = torch.Generator().manual_seed(seed)
    colours = torch.rand(count, 3, 1, 1, generator=generator) * 1.6 - 0.8
    return colours + torch.rand(count, 3, height, width, generator=generator) * 0.4 - 0.2
