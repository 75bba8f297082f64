"""Evaluations in model cards: the full report of the first, an overview of all, and audio samples."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import EvalResult
from huggingface_hub.repocard_data import model_index_to_eval_results

from ..evaluation.failures import FAILURES
from ..evaluation.report import RESULTS_FILE, as_markdown, format_with_interval


FOLDER, AUDIO_FOLDER = "evaluation", "audio"


@dataclass
class Evaluations:
    """
    Content of a model card about evaluations.

    Args:
        markdown (`str`): report of the first evaluation.
        overview (`list[dict]`): table rows, one per evaluation; empty for a single evaluation.
        results (`list[EvalResult]`): results for the card metadata.
        samples (`list[dict]`): audio samples with "file", "kind", "text" and "heard".
    """

    markdown: str
    overview: list[dict]
    results: list[EvalResult]
    samples: list[dict]


def read_evaluation(folder: Path) -> dict:
    """
    Reads `evaluation.json`.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is damaged.
    """
    path = folder / RESULTS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{str(folder)!r} is not an evaluation: it lacks {RESULTS_FILE}.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is damaged: {error}") from error


def include_evaluations(folder: Path, evaluations: list[Path]) -> Evaluations:
    """
    Copies the plots of the first evaluation and the samples of all to the checkpoint `folder`.

    Raises:
        FileNotFoundError, ValueError: as `read_evaluation`; if a plot or sample is missing.
    """
    found = [(source, read_evaluation(source)) for source in evaluations]
    (first, results), *_ = found
    target = folder / FOLDER
    inside = first.resolve() == target.resolve()
    if not inside:
        target.mkdir(exist_ok=True)
        for name in results["pictures"]:
            shutil.copyfile(first / name, target / name)
    samples = []
    for source, one in found:
        for sample in one["samples"]:
            if "file" not in sample:
                continue
            name = Path(sample["file"]).name
            (folder / AUDIO_FOLDER).mkdir(exist_ok=True)
            shutil.copyfile(source / sample["file"], folder / AUDIO_FOLDER / name)
            kind = one["settings"]["title"]
            samples.append({"file": name, "kind": kind, "text": sample["text"], "heard": sample.get("heard")})
    return Evaluations(
        markdown=as_markdown(results, f"{FOLDER}/", with_sounds=inside).strip(),
        overview=[_row(one) for _, one in found] if len(found) > 1 else [],
        results=[result for _, one in found if one["model-index"] for result in _eval_results(one)],
        samples=samples,
    )


def include_markdown(folder: Path, document: Path) -> str:
    """
    Reads a Markdown document and copies its images to the checkpoint `folder`.

    Raises:
        FileNotFoundError: if the document or one of its images is missing.
    """

    def link(match: re.Match) -> str:
        caption, name = match.groups()
        (folder / FOLDER).mkdir(exist_ok=True)
        shutil.copyfile(document.parent / name, folder / FOLDER / Path(name).name)
        return f"![{caption}]({FOLDER}/{Path(name).name})"

    text = document.read_text(encoding="utf-8")
    return re.sub(r"!\[([^\]]*)\]\((?!https?:)([^)\s]+)\)", link, text).strip()


def _eval_results(results: dict) -> list[EvalResult]:
    return model_index_to_eval_results(results["model-index"])[1]


def _row(results: dict) -> dict:
    figures, recordings = results["figures"], results["recordings"]
    failed = sum(round(figures[name]["value"] * figures[name]["items"]) for name in FAILURES if name in figures)
    rate = "wer" if "wer" in figures else "cer"
    return {
        "title": results["settings"]["title"],
        "texts": results["settings"]["items"],
        "wrong": format_with_interval(rate, figures.get(rate)),
        "recordings": format_with_interval(rate, recordings.get(rate)),
        "within": format_with_interval("within_5_percent", figures.get("within_5_percent")),
        "similarity": format_with_interval("similarity", figures.get("similarity")),
        "own_voice": format_with_interval("own_voice", figures.get("own_voice")),
        "failures": failed,
    }


__all__ = ["Evaluations", "include_evaluations", "include_markdown", "read_evaluation"]
