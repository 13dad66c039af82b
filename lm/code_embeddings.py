"""First embeddings of image tokens: code vectors under a fixed random projection, so that alike codes start alike."""

from __future__ import annotations

import torch


def projected_codes(vectors: torch.Tensor, width: int, generator: torch.Generator) -> torch.Tensor:
    """Rows for the codes of one level, whose distances to each other are nearly those of the code vectors.

    (A random projection keeps distances up to a common factor, Johnson & Lindenstrauss 1984.)

    Args:
        vectors: (K, D) code vectors.
        width: of the model's embeddings.
        generator: of the projection.

    Returns:
        (K, width) float32 on the CPU, of mean zero per column and standard deviation 1 over all. A codebook of one
        code, or of equal ones, gives standard normal rows.
    """
    projection = torch.randn(vectors.shape[1], width, generator=generator)
    if (vectors == vectors[0]).all():
        return torch.randn(len(vectors), width, generator=generator)
    rows = vectors.detach().cpu().float() @ projection
    rows = rows - rows.mean(0)
    return rows / rows.std()
