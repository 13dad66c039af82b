"""What evaluations and trainings leave for cards, as far as cards look."""

from typing import Any

from pictogram.hub.provenance import Provenance
from pictogram.tokenizer.loading import LoadedImageTokenizer


def tokenizer_evaluation() -> dict[str, Any]:
    """Of `pictogram evaluate tokenizer`, two levels."""
    return {
        "num_images": 300,
        "psnr": [None, 21.456],
        "ssim": None,
        "usage": [1.0, 0.5],
        "perplexity": [5.5, 8.0],
        "static_bits": [2.5, 12.0],
        "reference_bits": [2.625, 12.125],
        "protocol": {"data": "/home/me/photos", "split": "test", "preprocessing": "RGB; padded"},
    }


def provenance(loaded: LoadedImageTokenizer) -> Provenance:
    """Of an image tokenizer."""
    return Provenance(
        stage="tokenizer",
        fingerprints=loaded.fingerprints,
        data={"name": "embedded", "split": "train", "rows": 1806, "fingerprint": "ff" * 8},
        settings={"seed": 3, "num_steps": 7, "data": "embedded"},
        versions={"torch": "2"},
    )
