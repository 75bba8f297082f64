"""Evaluations in a card: one in full, others as rows of a table, their first speeches as samples."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import EvalResult
from huggingface_hub.repocard_data import model_index_to_eval_results

from ..evaluation.failures import FAILURES
from ..evaluation.report import RESULTS_FILE, as_markdown, with_interval


FOLDER, AUDIO_FOLDER = "evaluation", "audio"


@dataclass
class Evaluations:
    """
    What cards say of evaluations.

    Args:
        markdown (`str`): report of the first.
        overview (`list[dict]`): a row of each, if there are several.
        results (`list[EvalResult]`): for the head.
        samples (`list[dict]`): "file", "kind", "text" and "heard".
    """

    markdown: str
    overview: list[dict]
    results: list[EvalResult]
    samples: list[dict]


def read_evaluation(folder: Path) -> dict:
    """
    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged.
    """
    path = folder / RESULTS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{str(folder)!r} is no evaluation: it lacks {RESULTS_FILE}.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is damaged: {error}") from error


def include_evaluations(folder: Path, evaluations: list[Path]) -> Evaluations:
    """
    Takes the pictures of the first evaluation and the samples of all into the checkpoint `folder`, as far as they are
    not there.

    Raises:
        FileNotFoundError, ValueError: as `read_evaluation`; if one lacks a picture or a sample that it names.
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
    A document with its pictures, which are copied into the checkpoint `folder`.

    Raises:
        FileNotFoundError: if it or one of its pictures is not there.
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
        "wrong": with_interval(rate, figures.get(rate)),
        "recordings": with_interval(rate, recordings.get(rate)),
        "within": with_interval("within_5_percent", figures.get("within_5_percent")),
        "similarity": with_interval("similarity", figures.get("similarity")),
        "own_voice": with_interval("own_voice", figures.get("own_voice")),
        "failures": failed,
    }


__all__ = ["Evaluations", "include_evaluations", "include_markdown", "read_evaluation"]
