"""Named recipes for training image tokenizers, found by the measurements in docs/log.md."""

from __future__ import annotations

from typing import Any

RECIPE: dict[str, Any] = {"optimizer": "muon", "learning_rate": 8e-3, "commitment_weight": 0.1}
"""What all presets for small pictures share."""

PRESETS: dict[str, dict[str, Any]] = {
    # Grey 28x28 pictures, padded to 32x32: 81 codes.
    "fashion32": {
        "image_size": 32,
        "num_channels": 1,
        "pad": True,
        "background": "black",
        "strides": "image,8,4",
        "codebook_sizes": "64,256,256",
        **RECIPE,
        "prefix_weights": "0.04,0.15",
        "prefix_share": 1.0,
        "num_steps": 8000,
    },
    # Drawings on white: 81 codes.
    "emoji32": {"image_size": 32, "strides": "image,8,4", "codebook_sizes": "64,256,256", **RECIPE},
    # Drawings on white: 321 codes.
    "emoji64": {
        "image_size": 64,
        "strides": "image,8,4",
        "codebook_sizes": "256,512,512",
        **RECIPE,
        "batch_size": 32,
        "num_steps": 4000,
    },
    # Crops of photographs: 385 codes in steps of about 50, 120 and 250 bytes, for curves of rate and distortion.
    "photo64": {
        "image_size": 64,
        "strides": "image,8,8,4",
        "codebook_sizes": "256,128,512,64",
        **RECIPE,
        "batch_size": 32,
        "num_steps": 4000,
    },
    # The layouts of Razavi et al. 2019, section 3.1 and table 2: 32x32 + 64x64 codes, and a third level above them.
    "vqvae2-256": {
        "image_size": 256,
        "strides": "8,4",
        "codebook_sizes": "512,512",
        "codebook_dim": 64,
        "hidden_size": 128,
        "batch_size": 128,
    },
    "vqvae2-1024": {
        "image_size": 1024,
        "strides": "32,16,8",
        "codebook_sizes": "512,512,512",
        "codebook_dim": 64,
        "patch_size": 8,
        "hidden_size": 128,
        "batch_size": 64,
    },
}
"""Options of `TokenizerTrainingConfig` by the preset's name."""
