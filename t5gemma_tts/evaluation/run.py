"""Runs an evaluation in chunks of a few batches, so that an interrupted run can resume."""

import json
import os
import re
import shutil
from pathlib import Path

from ..model.audio import save_audio
from ..sharded.fingerprint import fingerprint
from ..sharded.folder_state import FolderState, exclusive_lock
from .generation import BATCHES_PER_CHUNK, SpeechGenerator
from .item_metrics import ItemMetrics
from .report import write_report
from .test_lists import TestItem


KIND = "run"  # settings are stored in run.json
ROWS_FILE, AUDIO_FOLDER = "items.jsonl", "audio"


def audio_names(items: list[TestItem]) -> dict[str, str]:
    """Returns a unique, safe file name per id, similar to the id."""
    names, taken = {}, set()
    for number, item in enumerate(items):
        name = re.sub(r"[^\w.-]+", "_", item.id).strip(".")[:100]
        if not name or name in taken:
            name = f"{name}-{number:05d}"
        taken.add(name)
        names[item.id] = f"{name}.flac"
    return names


def evaluate_speech(
    generator: SpeechGenerator,
    items: list[TestItem],
    metrics: ItemMetrics,
    output: str | os.PathLike,
    about: dict,
    keep_audio: bool = False,
    overwrite: bool = False,
    num_samples: int = 3,
) -> dict:
    """
    Generates the speech of `items`, computes metrics and writes a report.

    Args:
        generator (`SpeechGenerator`)
        items (`list[TestItem]`)
        metrics (`ItemMetrics`)
        output (`str` or `os.PathLike`): output folder, for `items.jsonl` with the metrics of each item;
            `evaluation.json`, `evaluation.md` and plots; audio of the first items in `samples/` and of the ten worst
            in `worst/`.
        about (`dict`): settings for the report, with all options that affect the results. "title" is the name of the
            test list.
        keep_audio (`bool`, *optional*, defaults to `False`): keep all audio in `audio/`.
        overwrite (`bool`, *optional*, defaults to `False`): delete an earlier evaluation in the folder.
        num_samples (`int`, *optional*, defaults to 3): number of samples to keep as audio.

    Returns:
        `dict`: content of `evaluation.json`.

    Raises:
        FileExistsError: if the folder has other content.
        OSError: if another run uses the folder, or writing fails.
        ValueError: if the earlier run had other settings, or an item cannot be processed.
    """
    output = Path(output)
    settings = about | {
        "seed": generator.seed,
        "speed": generator.speed,
        "batch_size": generator.batch_size,
        "sampling": generator.sampling,
        "items": len(items),
        "items_fingerprint": fingerprint(
            [(item.id, item.text, item.language, item.duration_seconds, item.reference_text) for item in items]
        )[:12],
    }
    state = FolderState(output, KIND, settings)
    with exclusive_lock(output, KIND):
        state.begin(overwrite)
        names = audio_names(items)
        audio = output / AUDIO_FOLDER
        chunk_size = BATCHES_PER_CHUNK * generator.batch_size
        rows = _kept_rows(output / ROWS_FILE, chunk_size, len(items))
        if len(rows) < len(items):
            audio.mkdir(exist_ok=True)
            metrics.compute_speaker_centroids(items)
        while len(rows) < len(items):
            chunk = items[len(rows) : len(rows) + chunk_size]
            measured = []
            for item, speech in zip(chunk, generator.generate(chunk), strict=True):
                if len(speech.waveform):
                    path = audio / names[item.id]
                    save_audio(speech.waveform.clip(-1, 1), path, generator.sampling_rate, overwrite=True)
                measured.append(metrics.compute(item, speech))
            rows += measured
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in measured)
            with open(output / ROWS_FILE, "a", encoding="utf-8") as file:
                file.write(lines)
            print(f"{output}: {len(rows)} of {len(items)}", flush=True)
        results = write_report(output, state.settings, rows, audio, names, num_samples)
        state.finish()
        if not keep_audio:
            shutil.rmtree(audio, ignore_errors=True)
    return results


def read_rows(folder: str | os.PathLike) -> list[dict]:
    """
    Reads the rows of an evaluation.

    Raises:
        FileNotFoundError: if the folder has no evaluation.
        ValueError: if the evaluation has not finished, or the file is damaged.
    """
    folder = Path(folder)
    state = FolderState(folder, KIND, {})
    if not (folder / ROWS_FILE).is_file() or state.load() is None:
        raise FileNotFoundError(f"{str(folder)!r} is not an evaluation: it lacks {ROWS_FILE} or {state.path.name}.")
    if not state.is_complete:
        raise ValueError(f"the evaluation in {str(folder)!r} has not finished: run its command again.")
    try:
        return [json.loads(line) for line in (folder / ROWS_FILE).read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise ValueError(f"{str(folder / ROWS_FILE)!r} is damaged: {error}") from error


def _kept_rows(path: Path, chunk_size: int, count: int) -> list[dict]:
    """
    Reads the rows of complete chunks and truncates the file after them.

    An incomplete chunk runs again as a whole: in a batch of other items, rounding can change the sampled tokens.
    """
    rows = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:  # the run was killed while writing this line
                break
    if len(rows) < count:
        rows = rows[: len(rows) // chunk_size * chunk_size]
        if path.is_file():
            temporary = path.with_suffix(".tmp")
            temporary.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
            os.replace(temporary, path)
    return rows


__all__ = ["evaluate_speech", "read_rows"]
