"""Truncation by plain counting, to compare the sampler with."""

from pictogram.lm.drawing import SamplingConfig


def reference_truncation(chances: list[float], sampling: SamplingConfig) -> list[float]:
    """Top-k and top-p by plain counting; of equal chances the lower id counts first."""
    ranked = sorted(range(len(chances)), key=lambda column: (-chances[column], column))
    kept = [0.0] * len(chances)
    before = 0.0
    for rank, column in enumerate(ranked):
        if (not sampling.top_k or rank < sampling.top_k) and (sampling.top_p == 1 or before < sampling.top_p):
            kept[column] = chances[column]
        before += chances[column]
    return kept
