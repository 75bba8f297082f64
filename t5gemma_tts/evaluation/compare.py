"""Paired comparison of two evaluations of the same test list."""

import json
import os
from pathlib import Path

import numpy as np

from .bootstrap import bootstrap_statistic, confidence_interval
from .plots import new_figure
from .report import RESULTS_FILE, markdown_table
from .run import read_rows
from .statistics import METRICS


def compare(first: str | os.PathLike, second: str | os.PathLike) -> dict:
    """
    Compares two evaluations item by item.

    Args:
        first, second (`str` or `os.PathLike`): folders of evaluations.

    Returns:
        `dict`: names of both evaluations, and per metric `{"first", "second", "difference", "low", "high", "better",
        "items"}`. The difference is second minus first, over the items that have the metric in both; "low" and "high"
        are its 95 % interval by paired bootstrap; "better" is the fraction of bootstrap samples in which the second is
        better, with ties counted as half.

    Raises:
        FileNotFoundError: if a folder has no evaluation.
        ValueError: if an evaluation has not finished, or the test lists differ.
    """
    sides = []
    for folder in (first, second):
        rows = read_rows(folder)
        settings = json.loads(Path(folder, RESULTS_FILE).read_text(encoding="utf-8"))["settings"]
        sides.append((settings, {row["id"]: row for row in rows}))
    (_, first_rows), (_, second_rows) = sides
    if different := sorted(
        name
        for name in first_rows.keys() | second_rows.keys()
        if first_rows.get(name, {}).get("text") != second_rows.get(name, {}).get("text")
    ):
        raise ValueError(
            f"{str(first)!r} and {str(second)!r} are of different lists: {len(different)} items are missing or have "
            f"another text, the first of them is {different[0]!r}."
        )
    figures = {}
    for metric in METRICS:
        both = [(metric.of(first_rows[name]), metric.of(second_rows[name])) for name in first_rows]
        both = [pair for pair in both if None not in pair]
        arrays = [np.array(one, float).reshape(-1, 2).T for one in zip(*both, strict=True)]
        if not arrays or not all(array[1].sum() for array in arrays):
            continue
        values = [float(metric.statistic(*array)) for array in arrays]
        draws = bootstrap_statistic(arrays, metric.statistic)
        low, high = confidence_interval(draws[1] - draws[0])
        gain = draws[0] - draws[1] if metric.lower_is_better else draws[1] - draws[0]
        figures[metric.name] = {
            "first": values[0],
            "second": values[1],
            "difference": values[1] - values[0],
            "low": low,
            "high": high,
            "better": float(np.mean((gain > 0) + (gain == 0) / 2)),
            "items": len(both),
        }
    names = [settings["model"] for settings, _ in sides]
    if names[0] == names[1]:
        names = [Path(folder).resolve().name for folder in (first, second)]
    return {"first": names[0], "second": names[1], "items": len(first_rows), "figures": figures}


def as_markdown(comparison: dict) -> str:
    """Formats the result of [`compare`] as Markdown."""
    body = []
    for metric in METRICS:
        if found := comparison["figures"].get(metric.name):
            low, high = (metric.format(found[end], signed=True) for end in ("low", "high"))
            body.append(
                [
                    metric.title,
                    metric.format(found["first"]),
                    metric.format(found["second"]),
                    f"{metric.format(found['difference'], signed=True)} ({low.removesuffix(' %')} to {high})",
                    f"{100 * found['better']:.0f} %",
                ]
            )
    head = ["", comparison["first"], comparison["second"], "difference", "second better"]
    lines = [
        f"{comparison['items']} texts, the same for both. Differences have 95 % intervals by paired bootstrap over "
        "texts. The last column is the fraction of bootstrap samples in which the second is better.",
        "",
        *markdown_table(head, body),
        "![Differences with 95 % intervals](comparison.png)",
    ]
    return "\n".join(lines) + "\n"


def draw(comparison: dict, picture: Path) -> None:
    """Plots the differences with their intervals to a PNG file."""
    shown = [metric for metric in METRICS if metric.name in comparison["figures"] and metric.percent]
    figure = new_figure(8, 0.8 + 0.35 * len(shown))
    panel = figure.subplots()
    for place, one in enumerate(shown):
        found = comparison["figures"][one.name]
        low, middle, high = (100 * found[key] for key in ("low", "difference", "high"))
        panel.plot([low, high], [place, place], "-", color="tab:blue")
        panel.plot([middle], [place], "o", color="tab:blue")
    panel.axvline(0, color="grey", linewidth=0.8)
    panel.set_yticks(range(len(shown)), [one.title for one in shown], fontsize="small")
    panel.invert_yaxis()
    panel.set_xlabel(f"{comparison['second']} minus {comparison['first']}, percentage points")
    figure.savefig(picture, dpi=90)


def write_comparison(first, second, output: str | os.PathLike) -> dict:
    """Compares two evaluations and writes `comparison.json`, `comparison.md` and `comparison.png` to `output`."""
    comparison = compare(first, second)
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    draw(comparison, output / "comparison.png")
    (output / "comparison.json").write_text(json.dumps(comparison, indent=1) + "\n", encoding="utf-8")
    (output / "comparison.md").write_text(as_markdown(comparison), encoding="utf-8")
    return comparison


__all__ = ["compare", "write_comparison"]
