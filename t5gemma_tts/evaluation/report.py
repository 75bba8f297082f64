"""The report of an evaluation: figures as JSON and Markdown, pictures, the first speeches and the worst."""

import json
import os
import shutil
from pathlib import Path

from huggingface_hub import EvalResult
from huggingface_hub.repocard_data import eval_results_to_model_index

from ..model.audio import load_audio, save_audio
from .bootstrap import CONFIDENCE, DRAWS
from .plots import draw_duration, draw_errors
from .statistics import BY_NAME, FIGURES, by_language, by_length, recordings_of, summarise


NUM_WORST = 10
IN_MODEL_INDEX = ("wer", "cer", "duration_error", "within_5_percent", "similarity", "dnsmos_overall")
RESULTS_FILE, MARKDOWN_FILE = "evaluation.json", "evaluation.md"


def write_report(
    output: Path, settings: dict, rows: list[dict], audio: Path, names: dict[str, str], num_samples: int = 3
) -> dict:
    """
    Args:
        output (`Path`): folder of the evaluation.
        settings (`dict`): of the run.
        rows (`list[dict]`): of all items.
        audio (`Path`): what was said, as far as it is kept.
        names (`dict[str, str]`): file name there of each id.
        num_samples (`int`): of the first items, kept as sound.

    Returns:
        what `evaluation.json` holds.
    """
    results = {
        "settings": settings,
        "confidence": CONFIDENCE,
        "bootstrap_draws": DRAWS,
        "figures": summarise(rows),
        "recordings": summarise(recordings_of(rows)),
        "by_length": by_length(rows),
        "by_language": by_language(rows),
        "failures": [
            {"id": row["id"], "text": row["text"], "failed": row["failures"]} for row in rows if row["failures"]
        ],
    }
    results["samples"] = _keep_sound(output / "samples", rows[:num_samples], audio, names, ".wav")
    results["worst"] = _keep_sound(output / "worst", worst_rows(rows), audio, names, ".flac")
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


def badness(row: dict) -> tuple[int, float, float]:
    """Failures first, then wrong words (or characters), then how far the length is off."""
    errors = row.get("errors", {})
    wrong, length = errors.get("words") or errors.get("characters") or (0, 1)
    return len(row["failures"]), wrong / max(length, 1), abs(row["seconds"] / row["asked_seconds"] - 1)


def worst_rows(rows: list[dict]) -> list[dict]:
    """At most ten, the worst first; none that is flawless."""
    ranked = sorted(rows, key=badness, reverse=True)[:NUM_WORST]
    return [row for row in ranked if badness(row)[:2] > (0, 0.0)]


def _keep_sound(folder: Path, rows: list[dict], audio: Path, names: dict[str, str], suffix: str) -> list[dict]:
    """Copies what was said into `folder`, whose other files go. A later report finds it there."""
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
    """The Hub's metadata of results; shares as per cent."""
    settings = results["settings"]
    entries = []
    for name in IN_MODEL_INDEX:
        if name not in results["figures"]:
            continue
        figure, value = BY_NAME[name], results["figures"][name]["value"]
        entries.append(
            EvalResult(
                task_type="text-to-speech",
                task_name="Text to speech",
                dataset_type=settings["list"],
                dataset_name=settings["title"],
                # results with equal type, configuration and split would become one entry
                dataset_config=settings["title"] if settings["title"] != settings["list"] else None,
                dataset_split=settings.get("split"),
                metric_type=name,
                metric_name=figure.title + (", %" if figure.percent else ""),
                metric_value=round(100 * value if figure.percent else value, 3),
            )
        )
    return eval_results_to_model_index(settings["model"], entries) if entries else []


def with_interval(name: str, found: dict | None) -> str:
    if not found:
        return ""
    shown = BY_NAME[name].shown
    return f"{shown(found['value'])} ({shown(found['low']).removesuffix(' %')} to {shown(found['high'])})"


def cell(text: str) -> str:
    """As it can stand in a table."""
    return " ".join(text.split()).replace("|", "\\|")


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines] + [""]


def as_markdown(results: dict, folder: str = "", with_sounds: bool = True) -> str:
    """
    What the model card includes: headings of the third level, pictures and sounds by relative links.

    Args:
        results (`dict`): of `evaluation.json`.
        folder (`str`, *optional*): where pictures and sounds are, as seen from the document, e.g. "evaluation/".
        with_sounds (`bool`, *optional*, defaults to `True`): whether there are sounds.
    """
    settings, figures, recordings = results["settings"], results["figures"], results["recordings"]
    lines = [_introduction(settings), ""]
    present = [figure for figure in FIGURES if figure.name in figures]
    head = ["", "speech", *(["recordings"] if recordings else [])]
    body = []
    for figure in present:
        columns = [figure.title, with_interval(figure.name, figures[figure.name])]
        body.append(columns + ([with_interval(figure.name, recordings.get(figure.name))] if recordings else []))
    lines += table(head, body)
    for groups, label in ((results["by_length"], "length"), (results["by_language"], "language")):
        if len(groups) > 1:
            lines += _breakdown(groups, label)
    captions = {
        "error_by_length.png": "Words or characters wrong by the length of the text, with 95 % intervals",
        "duration.png": "Spoken length against the one asked for, and how far it is off",
    }
    lines += [f"![{captions[name]}]({folder}{name})\n" for name in results["pictures"]]
    if results["worst"]:
        lines += [f"### The worst {len(results['worst'])}", ""]
        head = ["text", "heard", "failed", *(["sound"] if with_sounds else [])]
        lines += table(head, [_worst(entry, folder)[: len(head)] for entry in results["worst"]])
    return "\n".join(lines).rstrip() + "\n"


def _introduction(settings: dict) -> str:
    said = [f"{settings['items']} texts of {settings['title']}"]
    said.append("with references" if settings["with_references"] else "without references")
    lengths = "the recordings' lengths" if settings["recorded_lengths"] else "estimated lengths"
    said.append(lengths + (f" divided by {settings['speed']:g}" if settings["speed"] != 1 else ""))
    said.append(f"seed {settings['seed']}")
    ears = [f"words by {settings['asr']}"] if settings["asr"] else []
    ears += [f"voices by {settings['speaker_encoder']}"] if settings["speaker_encoder"] else []
    intervals = "in brackets: 95 % intervals, of shares Wilson's, of others by bootstrap over texts"
    sentences = [", ".join(said), ", ".join(ears), intervals]
    return "".join(f"{one[0].upper()}{one[1:]}. " for one in sentences if one).rstrip()


def _breakdown(groups: list[dict], label: str) -> list[str]:
    names = [
        name
        for name in ("wer", "cer", "within_5_percent", "similarity", "dnsmos_overall")
        if any(name in group["figures"] for group in groups)
    ]
    heard = [name for name in ("wer", "cer") if any(name in group["recordings"] for group in groups)]
    head = [label, "texts", *(BY_NAME[name].title for name in names)]
    head += [f"{BY_NAME[name].title}, recordings" for name in heard]
    body = []
    for group in groups:
        title = f"{group['length']} {group['unit']}" if label == "length" else group["language"]
        cells = [with_interval(name, group["figures"].get(name)) for name in names]
        cells += [with_interval(name, group["recordings"].get(name)) for name in heard]
        body.append([title, str(group["items"]), *cells])
    return [f"### By {label}", "", *table(head, body)]


def _worst(entry: dict, folder: str) -> list[str]:
    link = f"[{Path(entry['file']).name}]({folder}{entry['file']})" if "file" in entry else ""
    return [cell(entry["text"]), cell(entry.get("heard", "")), ", ".join(entry["failures"]), link]


__all__ = ["MARKDOWN_FILE", "RESULTS_FILE", "as_markdown", "cell", "table", "with_interval", "write_report"]
