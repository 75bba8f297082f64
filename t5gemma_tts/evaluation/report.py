"""The report of an evaluation: metrics as JSON and Markdown, plots, and audio of the first and worst items."""

import json
import os
import shutil
from pathlib import Path

from huggingface_hub import EvalResult
from huggingface_hub.repocard_data import eval_results_to_model_index

from ..model.audio import save_audio
from ..model.audio_reading import load_audio
from .bootstrap import CONFIDENCE, DRAWS
from .plots import draw_duration, draw_errors
from .statistics import METRICS, METRICS_BY_NAME, by_language, by_length, recording_rows, summarize


NUM_WORST = 10
IN_MODEL_INDEX = ("wer", "cer", "duration_error", "within_5_percent", "similarity", "dnsmos_overall")
RESULTS_FILE, MARKDOWN_FILE = "evaluation.json", "evaluation.md"


def write_report(
    output: Path, settings: dict, rows: list[dict], audio: Path, names: dict[str, str], num_samples: int = 3
) -> dict:
    """
    Writes the report of an evaluation.

    Args:
        output (`Path`): folder of the evaluation.
        settings (`dict`): settings of the run.
        rows (`list[dict]`): metrics of all items.
        audio (`Path`): folder with the generated audio; files may be missing.
        names (`dict[str, str]`): audio file name per item id.
        num_samples (`int`, *optional*, defaults to 3): number of items whose audio is kept as samples.

    Returns:
        `dict`: content of `evaluation.json`.
    """
    results = {
        "settings": settings,
        "confidence": CONFIDENCE,
        "bootstrap_draws": DRAWS,
        "figures": summarize(rows),
        "recordings": summarize(recording_rows(rows)),
        "by_length": by_length(rows),
        "by_language": by_language(rows),
        "failures": [
            {"id": row["id"], "text": row["text"], "failed": row["failures"]} for row in rows if row["failures"]
        ],
    }
    results["samples"] = _keep_audio(output / "samples", rows[:num_samples], audio, names, ".wav")
    results["worst"] = _keep_audio(output / "worst", worst_rows(rows), audio, names, ".flac")
    results["model-index"] = model_index(results)
    pictures = {"error_by_length.png": draw_errors, "duration.png": draw_duration}
    results["pictures"] = [name for name, draw in pictures.items() if draw(results, rows, output / name)]
    _write(output / RESULTS_FILE, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    _write(output / MARKDOWN_FILE, as_markdown(results))
    return results


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def severity(row: dict) -> tuple[int, float, float]:
    """Sort key of the worst items: number of failures, then error rate, then duration error."""
    errors = row.get("errors", {})
    wrong, length = errors.get("words") or errors.get("characters") or (0, 1)
    return len(row["failures"]), wrong / max(length, 1), abs(row["seconds"] / row["asked_seconds"] - 1)


def worst_rows(rows: list[dict]) -> list[dict]:
    """Returns at most `NUM_WORST` rows with failures or errors, the worst first."""
    ranked = sorted(rows, key=severity, reverse=True)[:NUM_WORST]
    return [row for row in ranked if severity(row)[:2] > (0, 0.0)]


def _keep_audio(folder: Path, rows: list[dict], audio: Path, names: dict[str, str], suffix: str) -> list[dict]:
    """Copies the audio of `rows` to `folder` and deletes other files there; returns entries for the report."""
    entries = []
    for row in rows:
        name = Path(names[row["id"]]).stem + suffix
        source = audio / names[row["id"]]
        if source.is_file():
            folder.mkdir(exist_ok=True)
            if suffix == source.suffix:
                shutil.copyfile(source, folder / name)
            else:
                save_audio(*_sound(source, folder / name), overwrite=True)
        entry = {key: row[key] for key in ("id", "text", "heard", "failures", "seconds") if key in row}
        if (folder / name).is_file():
            entry["file"] = f"{folder.name}/{name}"
        entries.append(entry)
    kept = {entry["file"].split("/")[1] for entry in entries if "file" in entry}
    for path in folder.glob("*") if folder.is_dir() else ():
        if path.name not in kept:
            path.unlink()
    return entries


def _sound(source: Path, target: Path):
    waveform, sampling_rate = load_audio(source)
    return waveform, target, sampling_rate


def model_index(results: dict) -> list[dict]:
    """Returns the results as `model-index` metadata of the Hub, with proportions in percent."""
    settings = results["settings"]
    entries = []
    for name in IN_MODEL_INDEX:
        if name not in results["figures"]:
            continue
        metric, value = METRICS_BY_NAME[name], results["figures"][name]["value"]
        entries.append(
            EvalResult(
                task_type="text-to-speech",
                task_name="Text to speech",
                dataset_type=settings["list"],
                dataset_name=settings["title"],
                # the Hub merges results with equal type, config and split
                dataset_config=settings["title"] if settings["title"] != settings["list"] else None,
                dataset_split=settings.get("split"),
                metric_type=name,
                metric_name=metric.title + (", %" if metric.percent else ""),
                metric_value=round(100 * value if metric.percent else value, 3),
            )
        )
    return eval_results_to_model_index(settings["model"], entries) if entries else []


def format_with_interval(name: str, found: dict | None) -> str:
    """Formats a metric with its interval, e.g. "9.7 % (7.9 to 11.7 %)"; "" if there is none."""
    if not found:
        return ""
    value, low, high = (METRICS_BY_NAME[name].format(found[key]) for key in ("value", "low", "high"))
    return f"{value} ({low.removesuffix(' %')} to {high})"


def escape_cell(text: str) -> str:
    """Escapes a text for a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def markdown_table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Returns the lines of a Markdown table, followed by an empty line."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines] + [""]


def as_markdown(results: dict, folder: str = "", with_sounds: bool = True) -> str:
    """
    Formats results as Markdown with headings of level 3, also for model cards.

    Args:
        results (`dict`): content of `evaluation.json`.
        folder (`str`, *optional*): relative path from the document to plots and audio, e.g. "evaluation/".
        with_sounds (`bool`, *optional*, defaults to `True`): whether to link audio files.
    """
    settings, figures, recordings = results["settings"], results["figures"], results["recordings"]
    lines = [_introduction(settings), ""]
    present = [metric for metric in METRICS if metric.name in figures]
    head = ["", "speech", *(["recordings"] if recordings else [])]
    body = []
    for metric in present:
        columns = [metric.title, format_with_interval(metric.name, figures[metric.name])]
        body.append(columns + ([format_with_interval(metric.name, recordings.get(metric.name))] if recordings else []))
    lines += markdown_table(head, body)
    for groups, label in ((results["by_length"], "length"), (results["by_language"], "language")):
        if len(groups) > 1:
            lines += _breakdown(groups, label)
    captions = {
        "error_by_length.png": "Error rates by text length, with 95 % intervals",
        "duration.png": "Actual against requested duration, and the distribution of the error",
    }
    lines += [f"![{captions[name]}]({folder}{name})\n" for name in results["pictures"]]
    if results["worst"]:
        lines += [f"### The {len(results['worst'])} worst items", ""]
        head = ["text", "transcript", "failures", *(["audio"] if with_sounds else [])]
        lines += markdown_table(head, [_worst(entry, folder)[: len(head)] for entry in results["worst"]])
    return "\n".join(lines).rstrip() + "\n"


def _introduction(settings: dict) -> str:
    setup = [f"{settings['items']} texts of {settings['title']}"]
    setup.append("with references" if settings["with_references"] else "without references")
    lengths = "durations of the recordings" if settings["recorded_lengths"] else "estimated durations"
    setup.append(lengths + (f" divided by {settings['speed']:g}" if settings["speed"] != 1 else ""))
    setup.append(f"seed {settings['seed']}")
    models = [f"transcripts by {settings['asr']}"] if settings["asr"] else []
    models += [f"speaker embeddings by {settings['speaker_encoder']}"] if settings["speaker_encoder"] else []
    intervals = "in parentheses: 95 % intervals, Wilson for proportions, bootstrap over texts for other metrics"
    sentences = [", ".join(setup), ", ".join(models), intervals]
    return "".join(f"{one[0].upper()}{one[1:]}. " for one in sentences if one).rstrip()


def _breakdown(groups: list[dict], label: str) -> list[str]:
    names = [
        name
        for name in ("wer", "cer", "within_5_percent", "similarity", "dnsmos_overall")
        if any(name in group["figures"] for group in groups)
    ]
    rates = [name for name in ("wer", "cer") if any(name in group["recordings"] for group in groups)]
    head = [label, "texts", *(METRICS_BY_NAME[name].title for name in names)]
    head += [f"{METRICS_BY_NAME[name].title}, recordings" for name in rates]
    body = []
    for group in groups:
        title = f"{group['length']} {group['unit']}" if label == "length" else group["language"]
        cells = [format_with_interval(name, group["figures"].get(name)) for name in names]
        cells += [format_with_interval(name, group["recordings"].get(name)) for name in rates]
        body.append([title, str(group["items"]), *cells])
    return [f"### By {label}", "", *markdown_table(head, body)]


def _worst(entry: dict, folder: str) -> list[str]:
    link = f"[{Path(entry['file']).name}]({folder}{entry['file']})" if "file" in entry else ""
    return [escape_cell(entry["text"]), escape_cell(entry.get("heard", "")), ", ".join(entry["failures"]), link]


__all__ = [
    "MARKDOWN_FILE",
    "RESULTS_FILE",
    "as_markdown",
    "escape_cell",
    "format_with_interval",
    "markdown_table",
    "write_report",
]
