"""Two evaluations of the same test list, item by item: differences, and how sure they are."""

import json
import os
from pathlib import Path

import numpy as np

from .bootstrap import interval, resampled
from .plots import new_figure
from .report import RESULTS_FILE, table
from .run import read_rows
from .statistics import FIGURES


def compare(first: str | os.PathLike, second: str | os.PathLike) -> dict:
    """
    Args:
        first, second (`str` or `os.PathLike`): folders of evaluations.

    Returns:
        names of both, and of every figure that both have: `{"first", "second", "difference", "low", "high", "better",
        "items"}`. The difference is second minus first, over the items that say something in both; its 95 % interval
        is a bootstrap that draws the same items for both. "better" is the share of draws in which the second is better.

    Raises:
        FileNotFoundError, ValueError: for what is no finished evaluation, or lists that are not the same.
    """
    sides = []
    for folder in (first, second):
        rows = read_rows(folder)
        settings = json.loads(Path(folder, RESULTS_FILE).read_text(encoding="utf-8"))["settings"]
        sides.append((settings, {row["id"]: row for row in rows}))
    (_, ours), (_, theirs) = sides
    if different := sorted(
        name
        for name in ours.keys() | theirs.keys()
        if ours.get(name, {}).get("text") != theirs.get(name, {}).get("text")
    ):
        raise ValueError(
            f"{str(first)!r} and {str(second)!r} are of different lists: {len(different)} items are not in both with "
            f"the same text, {different[0]!r} the first of them."
        )
    figures = {}
    for figure in FIGURES:
        both = [(figure.of(ours[name]), figure.of(theirs[name])) for name in ours]
        both = [pair for pair in both if None not in pair]
        arrays = [np.array(one, float).reshape(-1, 2).T for one in zip(*both, strict=True)]
        if not arrays or not all(array[1].sum() for array in arrays):
            continue
        values = [float(figure.statistic(*array)) for array in arrays]
        draws = resampled(arrays, figure.statistic)
        low, high = interval(draws[1] - draws[0])
        gain = draws[0] - draws[1] if figure.lower_is_better else draws[1] - draws[0]
        figures[figure.name] = {
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
    return {"first": names[0], "second": names[1], "items": len(ours), "figures": figures}


def as_markdown(comparison: dict) -> str:
    body = []
    for figure in FIGURES:
        if found := comparison["figures"].get(figure.name):
            low, high = (figure.shown(found[end], signed=True) for end in ("low", "high"))
            body.append(
                [
                    figure.title,
                    figure.shown(found["first"]),
                    figure.shown(found["second"]),
                    f"{figure.shown(found['difference'], signed=True)} ({low.removesuffix(' %')} to {high})",
                    f"{100 * found['better']:.0f} %",
                ]
            )
    head = ["", comparison["first"], comparison["second"], "difference", "second better"]
    lines = [
        f"{comparison['items']} texts, the same for both. Differences with 95 % intervals by paired bootstrap over "
        "texts, and the share of draws in which the second is better (half, where they are equal).",
        "",
        *table(head, body),
        "![Differences with their intervals](comparison.png)",
    ]
    return "\n".join(lines) + "\n"


def draw(comparison: dict, picture: Path) -> None:
    shown = [figure for figure in FIGURES if figure.name in comparison["figures"] and figure.percent]
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
    """Compares, and writes `comparison.json`, `comparison.md` and `comparison.png` into the folder `output`."""
    comparison = compare(first, second)
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    draw(comparison, output / "comparison.png")
    (output / "comparison.json").write_text(json.dumps(comparison, indent=1) + "\n", encoding="utf-8")
    (output / "comparison.md").write_text(as_markdown(comparison), encoding="utf-8")
    return comparison


__all__ = ["compare", "write_comparison"]
