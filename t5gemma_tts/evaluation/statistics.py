"""Figures of an evaluation: each a statistic over its items, with an interval."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .bootstrap import interval, ninetieth, ratio, resampled, share_interval
from .failures import FAILURES
from .text_errors import counts_characters


TOLERANCE = 0.05  # of the length that was asked for


@dataclass(frozen=True)
class Figure:
    """
    Args:
        name (`str`): key in the results.
        title (`str`): for people.
        of (callable): numerator and denominator of a row, or None where it says nothing.
        statistic (callable): over all rows.
        share (`bool`): whether each row is 0 or 1.
        percent (`bool`): whether it is shown in per cent.
        lower_is_better (`bool`)
    """

    name: str
    title: str
    of: Callable[[dict], tuple[float, float] | None]
    statistic: Callable = ratio
    share: bool = False
    percent: bool = True
    lower_is_better: bool = True

    def pairs(self, rows: list[dict]) -> np.ndarray:
        """Float64 `(2, num_rows)` of the rows that say something."""
        found = [pair for pair in map(self.of, rows) if pair is not None]
        return np.array(found, float).reshape(-1, 2).T

    def shown(self, value: float, signed: bool = False) -> str:
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


FIGURES = [
    Figure("wer", "words wrong", _errors("words")),
    Figure("cer", "characters wrong", _errors("characters")),
    Figure("duration_error", "off the length, mean", _mean(_duration_error)),
    Figure("duration_error_p90", "off the length, 90th percentile", _mean(_duration_error), ninetieth),
    Figure(
        "within_5_percent",
        "within 5 % of the length",
        _mean(lambda row: _duration_error(row) <= TOLERANCE if "asked_seconds" in row else None),
        share=True,
        lower_is_better=False,
    ),
    Figure(
        "similarity",
        "speaker similarity",
        _mean(lambda row: row.get("similarity")),
        percent=False,
        lower_is_better=False,
    ),
    Figure(
        "own_voice",
        "most like its own speaker",
        _mean(lambda row: row["nearest_speaker"] == row["speaker"] if "nearest_speaker" in row else None),
        share=True,
        lower_is_better=False,
    ),
    *(
        Figure(f"dnsmos_{name}", f"DNSMOS, {name}", _dnsmos(name), percent=False, lower_is_better=False)
        for name in ("overall", "signal", "background")
    ),
    Figure(
        "real_time_factor",
        "seconds of work for a second of speech",
        lambda row: (row["taken_seconds"], row["seconds"]) if "taken_seconds" in row else None,
        percent=False,
    ),
    *(Figure(name, f"failed: {what}", _failed(name), share=True) for name, what in FAILURES.items()),
]
BY_NAME = {figure.name: figure for figure in FIGURES}
# upper ends of the lengths that are told apart, in words and in characters
WORD_BOUNDS, CHARACTER_BOUNDS = (3, 7, 15), (10, 25, 50)


def summarise(rows: list[dict], figures: list[Figure] = FIGURES) -> dict[str, dict]:
    """
    Returns:
        for each figure that the rows say something about: `{"value", "low", "high", "items"}`, the ends of its 95 %
        interval and the number of rows that count.
    """
    results = {}
    for figure in figures:
        pairs = figure.pairs(rows)
        if not pairs.size or not pairs[1].sum():
            continue
        low, high = (
            share_interval(pairs[0].sum(), pairs.shape[1])
            if figure.share
            else interval(resampled([pairs], figure.statistic)[0])
        )
        value = float(figure.statistic(*pairs))
        results[figure.name] = {"value": value, "low": low, "high": high, "items": pairs.shape[1]}
    return results


def recordings_of(rows: list[dict]) -> list[dict]:
    """What is known of the recordings of the same words; their lengths are not those that were asked for."""
    return [row["recording"] for row in rows if "recording" in row]


def length_of(row: dict) -> tuple[str, int, str]:
    """Unit, place and name of the class of lengths that a row's text is in."""
    if counts_characters(row["language"]):
        unit, size, bounds = "characters", len("".join(row["text"].split())), CHARACTER_BOUNDS
    else:
        unit, size, bounds = "words", len(row["text"].split()), WORD_BOUNDS
    place = sum(size > bound for bound in bounds)
    first = bounds[place - 1] + 1 if place else 1
    return unit, place, f"{first}-{bounds[place]}" if place < len(bounds) else f"{first}+"


def by_length(rows: list[dict]) -> list[dict]:
    """Classes of lengths, short ones first: `{"unit", "length", "items", "figures", "recordings"}`."""
    return [
        {"unit": unit, "length": name} | _group(chosen) for (unit, _, name), chosen in _grouped(rows, length_of).items()
    ]


def by_language(rows: list[dict]) -> list[dict]:
    """As [`by_length`], of each language."""
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
    return {"items": len(rows), "figures": summarise(rows), "recordings": summarise(recordings_of(rows))}


__all__ = ["BY_NAME", "FIGURES", "Figure", "by_language", "by_length", "recordings_of", "summarise"]
