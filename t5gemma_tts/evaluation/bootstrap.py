"""Bootstrap confidence intervals over test items, for one evaluation and for paired differences."""

import math

import numpy as np


DRAWS = 2000
CONFIDENCE = 0.95
_AT_ONCE = 2_000_000  # indices of items that are held at once


def ratio(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """Sum over sum along the last axis: a mean, if the denominators are 1."""
    total = denominators.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return numerators.sum(-1) / total


def ninetieth(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """The 90th percentile of the numerators along the last axis; linear between two values."""
    return np.quantile(numerators, 0.9, axis=-1)


def resampled(pairs: list[np.ndarray], statistic, seed: int = 0) -> list[np.ndarray]:
    """
    The statistic of resampled items, `DRAWS` times; the same items are drawn for all of `pairs`.

    Args:
        pairs: float arrays `(2, num_items)` of numerators and denominators, one for each evaluation.
        statistic (callable): [`ratio`] or [`ninetieth`].

    Returns:
        float arrays `(DRAWS,)`; draws in which the statistic does not exist are left out of all.
    """
    generator = np.random.default_rng(seed)
    count = pairs[0].shape[1]
    rows = max(1, _AT_ONCE // count)
    parts = []
    for start in range(0, DRAWS, rows):
        chosen = generator.integers(count, size=(min(rows, DRAWS - start), count))
        parts.append([statistic(*pair[:, chosen]) for pair in pairs])
    values = [np.concatenate(one) for one in zip(*parts, strict=True)]
    exists = np.all(np.isfinite(values), axis=0)
    return [one[exists] for one in values]


def interval(values: np.ndarray) -> tuple[float, float]:
    """Lower and upper end of what lies within `CONFIDENCE`."""
    edge = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, (edge, 1 - edge))
    return float(low), float(high)


def share_interval(hits: float, count: int) -> tuple[float, float]:
    """Wilson's interval of a share: resampling would be sure of 0 % and of 100 %."""
    z = 1.959964
    centre = (hits + z * z / 2) / (count + z * z)
    half = z * math.sqrt(hits * (count - hits) / count + z * z / 4) / (count + z * z)
    return max(0.0, centre - half), min(1.0, centre + half)


__all__ = ["CONFIDENCE", "DRAWS", "interval", "ninetieth", "ratio", "resampled", "share_interval"]
