"""Plots of an evaluation."""

from pathlib import Path

import numpy as np

from .statistics import TOLERANCE


def new_figure(width: float = 8, height: float = 3.2):
    """
    Returns a matplotlib figure.

    Raises:
        ImportError: if matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need `pip install matplotlib`.") from error
    return Figure(figsize=(width, height), layout="constrained")


def draw_errors(results: dict, rows: list[dict], picture: Path) -> bool:
    """Plots error rates of speech and recordings by text length; returns False if there are no error rates."""
    rates = {"words": "wer", "characters": "cer"}
    groups = [group for group in results["by_length"] if rates[group["unit"]] in group["figures"]]
    units = list(dict.fromkeys(group["unit"] for group in groups))
    if not groups:
        return False
    figure = new_figure(5 * len(units))
    panels = figure.subplots(1, len(units), squeeze=False)[0]
    for panel, unit in zip(panels, units, strict=True):
        own = [group for group in groups if group["unit"] == unit]
        for offset, kind, label in ((-0.2, "figures", "speech"), (0.2, "recordings", "recordings")):
            shown = [(place, group[kind][rates[unit]]) for place, group in enumerate(own) if rates[unit] in group[kind]]
            if not shown:
                continue
            places, found = zip(*shown, strict=True)
            values, low, high = (np.array([one[key] for one in found]) for key in ("value", "low", "high"))
            panel.bar(
                np.array(places) + offset, values, 0.38, yerr=(values - low, high - values), capsize=3, label=label
            )
        panel.set_xticks(range(len(own)), [f"{group['length']}\n({group['items']})" for group in own])
        panel.set(title=f"{unit.removesuffix('s')} error rate", xlabel=f"{unit} per text (number of texts)")
        panel.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
        panel.legend(fontsize="small")
    figure.savefig(picture, dpi=90)
    return True


def draw_duration(results: dict, rows: list[dict], picture: Path) -> bool:
    """Plots actual against requested durations, and the distribution of duration errors; returns True."""
    asked, spoken = (np.array([row[key] for row in rows]) for key in ("asked_seconds", "seconds"))
    figure = new_figure()
    lengths, errors = figure.subplots(1, 2)
    ends = np.array([0, 1.05 * max(asked.max(), spoken.max())])
    lengths.plot(ends, ends, color="grey", linewidth=0.8)
    lengths.fill_between(ends, ends * (1 - TOLERANCE), ends * (1 + TOLERANCE), color="grey", alpha=0.2, linewidth=0)
    lengths.plot(asked, spoken, ".", markersize=4)
    lengths.set(title="duration", xlabel="requested, s", ylabel="actual, s", xlim=ends, ylim=ends)
    off = 100 * np.sort(np.abs(spoken / asked - 1))
    errors.step(off, 100 * np.arange(1, len(off) + 1) / len(off), where="post")
    errors.axvline(100 * TOLERANCE, color="grey", linewidth=0.8, linestyle=":")
    errors.set(title="cumulative duration error", xlabel="duration error, %", ylabel="texts, %", ylim=(0, 103))
    errors.set_xlim(0, max(1.2 * 100 * TOLERANCE, off.max() * 1.05))
    figure.savefig(picture, dpi=90)
    return True


__all__ = ["draw_duration", "draw_errors", "new_figure"]
