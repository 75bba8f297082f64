"""Bootstrap confidence intervals over test items, for one evaluation and for paired differences of two."""

import math

import numpy as np


DRAWS = 2000
CONFIDENCE = 0.95
_MAX_INDICES = 2_000_000  # resampled indices in memory at a time


def ratio(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """Returns sum(numerators) / sum(denominators) along the last axis, which is the mean if all denominators are 1."""
    total = denominators.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return numerators.sum(-1) / total


def percentile_90(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """Returns the 90th percentile of the numerators along the last axis, with linear interpolation."""
    return np.quantile(numerators, 0.9, axis=-1)


def bootstrap_statistic(pairs: list[np.ndarray], statistic, seed: int = 0) -> list[np.ndarray]:
    """
    Computes a statistic on `DRAWS` bootstrap samples (Efron, 1979). All evaluations use the same resampled items.

    Args:
        pairs (`list[np.ndarray]`): float arrays `(2, num_items)` of numerators and denominators, one per evaluation.
        statistic (callable): [`ratio`] or [`percentile_90`].
        seed (`int`, *optional*, defaults to 0)

    Returns:
        `list[np.ndarray]`: float arrays `(DRAWS,)`, shorter if the statistic is not finite for some samples.
    """
    generator = np.random.default_rng(seed)
    count = pairs[0].shape[1]
    rows = max(1, _MAX_INDICES // count)
    parts = []
    for start in range(0, DRAWS, rows):
        chosen = generator.integers(count, size=(min(rows, DRAWS - start), count))
        parts.append([statistic(*pair[:, chosen]) for pair in pairs])
    values = [np.concatenate(one) for one in zip(*parts, strict=True)]
    exists = np.all(np.isfinite(values), axis=0)
    return [one[exists] for one in values]


def confidence_interval(values: np.ndarray) -> tuple[float, float]:
    """Returns the ends of the percentile interval with confidence level `CONFIDENCE`."""
    edge = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, (edge, 1 - edge))
    return float(low), float(high)


def wilson_interval(hits: float, count: int) -> tuple[float, float]:
    """Returns the Wilson score interval of a proportion; a bootstrap interval has no width at 0 % and 100 %."""
    z = 1.959964
    center = (hits + z * z / 2) / (count + z * z)
    half = z * math.sqrt(hits * (count - hits) / count + z * z / 4) / (count + z * z)
    return max(0.0, center - half), min(1.0, center + half)


__all__ = [
    "CONFIDENCE",
    "DRAWS",
    "bootstrap_statistic",
    "confidence_interval",
    "percentile_90",
    "ratio",
    "wilson_interval",
]
