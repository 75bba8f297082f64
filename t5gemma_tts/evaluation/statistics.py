"""Metrics of an evaluation: statistics over test items with confidence intervals."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .bootstrap import bootstrap_statistic, confidence_interval, percentile_90, ratio, wilson_interval
from .failures import FAILURES
from .text_errors import counts_characters


TOLERANCE = 0.05  # relative to the requested duration


@dataclass(frozen=True)
class Metric:
    """
    A metric of an evaluation.

    Args:
        name (`str`): key in the results.
        title (`str`): name in reports.
        of (callable): maps a row to numerator and denominator, or None if the row does not have the metric.
        statistic (callable, *optional*): aggregates numerators and denominators of all rows.
        share (`bool`, *optional*, defaults to `False`): whether the metric is a proportion, 0 or 1 per row.
        percent (`bool`, *optional*, defaults to `True`): whether reports show it in percent.
        lower_is_better (`bool`, *optional*, defaults to `True`)
    """

    name: str
    title: str
    of: Callable[[dict], tuple[float, float] | None]
    statistic: Callable = ratio
    share: bool = False
    percent: bool = True
    lower_is_better: bool = True

    def pairs(self, rows: list[dict]) -> np.ndarray:
        """Returns numerators and denominators of the rows that have the metric, float64 `(2, num_rows)`."""
        found = [pair for pair in map(self.of, rows) if pair is not None]
        return np.array(found, float).reshape(-1, 2).T

    def format(self, value: float, signed: bool = False) -> str:
        sign = "+" if signed else ""
        return f"{100 * value:{sign}.1f} %" if self.percent else f"{value:{sign}.2f}"


def _errors(unit: str):
    return lambda row: tuple(row["errors"][unit]) if unit in row.get("errors", {}) else None


def _duration_error(row: dict) -> float | None:
    return abs(row["seconds"] / row["asked_seconds"] - 1) if "asked_seconds" in row else None


def _mean(value: Callable[[dict], float | None]):
    def of(row):
        found = value(row)
        return None if found is None else (float(found), 1.0)

    return of


def _dnsmos(name: str):
    return _mean(lambda row: row.get("dnsmos", {}).get(name))


def _failed(name: str):
    return _mean(lambda row: name in row["failures"] if "failures" in row else None)


METRICS = [
    Metric("wer", "word error rate", _errors("words")),
    Metric("cer", "character error rate", _errors("characters")),
    Metric("duration_error", "duration error, mean", _mean(_duration_error)),
    Metric("duration_error_p90", "duration error, 90th percentile", _mean(_duration_error), percentile_90),
    Metric(
        "within_5_percent",
        "duration within 5 %",
        _mean(lambda row: _duration_error(row) <= TOLERANCE if "asked_seconds" in row else None),
        share=True,
        lower_is_better=False,
    ),
    Metric(
        "similarity",
        "speaker similarity",
        _mean(lambda row: row.get("similarity")),
        percent=False,
        lower_is_better=False,
    ),
    Metric(
        "own_voice",
        "closest to the target speaker",
        _mean(lambda row: row["nearest_speaker"] == row["speaker"] if "nearest_speaker" in row else None),
        share=True,
        lower_is_better=False,
    ),
    *(
        Metric(f"dnsmos_{name}", f"DNSMOS, {name}", _dnsmos(name), percent=False, lower_is_better=False)
        for name in ("overall", "signal", "background")
    ),
    Metric(
        "real_time_factor",
        "real-time factor",
        lambda row: (row["taken_seconds"], row["seconds"]) if "taken_seconds" in row else None,
        percent=False,
    ),
    *(Metric(name, f"failed: {what}", _failed(name), share=True) for name, what in FAILURES.items()),
]
METRICS_BY_NAME = {metric.name: metric for metric in METRICS}
# upper bounds of the text length classes
WORD_BOUNDS, CHARACTER_BOUNDS = (3, 7, 15), (10, 25, 50)


def summarize(rows: list[dict], metrics: list[Metric] = METRICS) -> dict[str, dict]:
    """
    Computes metrics with 95 % confidence intervals.

    Returns:
        `dict[str, dict]`: `{"value", "low", "high", "items"}` per metric; "items" is the number of rows that have it.
        Metrics that no row has are left out.
    """
    results = {}
    for metric in metrics:
        pairs = metric.pairs(rows)
        if not pairs.size or not pairs[1].sum():
            continue
        low, high = (
            wilson_interval(pairs[0].sum(), pairs.shape[1])
            if metric.share
            else confidence_interval(bootstrap_statistic([pairs], metric.statistic)[0])
        )
        value = float(metric.statistic(*pairs))
        results[metric.name] = {"value": value, "low": low, "high": high, "items": pairs.shape[1]}
    return results


def recording_rows(rows: list[dict]) -> list[dict]:
    """Returns the metrics of the recordings, without duration errors, as no duration was requested for them."""
    return [row["recording"] for row in rows if "recording" in row]


def length_class(row: dict) -> tuple[str, int, str]:
    """Returns unit, index and name of the length class of a row's text."""
    if counts_characters(row["language"]):
        unit, size, bounds = "characters", len("".join(row["text"].split())), CHARACTER_BOUNDS
    else:
        unit, size, bounds = "words", len(row["text"].split()), WORD_BOUNDS
    place = sum(size > bound for bound in bounds)
    first = bounds[place - 1] + 1 if place else 1
    return unit, place, f"{first}-{bounds[place]}" if place < len(bounds) else f"{first}+"


def by_length(rows: list[dict]) -> list[dict]:
    """Groups rows by text length: `{"unit", "length", "items", "figures", "recordings"}`, short texts first."""
    return [
        {"unit": unit, "length": name} | _group(chosen)
        for (unit, _, name), chosen in _grouped(rows, length_class).items()
    ]


def by_language(rows: list[dict]) -> list[dict]:
    """Groups rows by language, like [`by_length`]."""
    return [
        {"language": language} | _group(chosen)
        for language, chosen in _grouped(rows, lambda row: row["language"]).items()
    ]


def _grouped(rows: list[dict], key) -> dict:
    groups = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return dict(sorted(groups.items(), key=lambda group: group[0]))


def _group(rows: list[dict]) -> dict:
    return {"items": len(rows), "figures": summarize(rows), "recordings": summarize(recording_rows(rows))}


__all__ = ["METRICS", "METRICS_BY_NAME", "Metric", "by_language", "by_length", "recording_rows", "summarize"]
