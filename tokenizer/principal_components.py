"""Principal components: the directions in which points vary most."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """A projection to fewer dimensions.

    Attributes:
        mean: (D,) float32.
        directions: (D, d) float32, orthonormal columns, the widest first.
    """

    mean: torch.Tensor
    directions: torch.Tensor

    @classmethod
    def of(cls, points: torch.Tensor, count: int) -> PrincipalComponents:
        """The first `count` components of (N, D) points, or all D of them where there are no more."""
        mean = points.double().mean(0)
        centred = points.double() - mean
        _, vectors = torch.linalg.eigh(centred.T @ centred / len(points))  # narrowest first
        return cls(mean.float(), vectors.flip(1)[:, :count].float())

    def project(self, points: torch.Tensor) -> torch.Tensor:
        """(N, D) -> (N, d) float32."""
        return (points.float() - self.mean) @ self.directions
