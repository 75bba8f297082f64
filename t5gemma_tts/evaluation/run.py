"""An evaluation in a folder: items are spoken and measured a few batches at a time; a killed run goes on after them."""

import json
import os
import re
import shutil
from pathlib import Path

from ..model.audio import save_audio
from ..sharded.fingerprint import fingerprint
from ..sharded.folder_state import FolderState, exclusive
from .generation import BATCHES_AHEAD, Speaker
from .measures import Measures
from .report import write_report
from .test_lists import TestItem


KIND = "run"  # its settings are in run.json
ROWS_FILE, AUDIO_FOLDER = "items.jsonl", "audio"


def audio_names(items: list[TestItem]) -> dict[str, str]:
    """A file name for each id, as near to it as can be."""
    names, taken = {}, set()
    for number, item in enumerate(items):
        name = re.sub(r"[^\w.-]+", "_", item.id).strip(".")[:100]
        if not name or name in taken:
            name = f"{name}-{number:05d}"
        taken.add(name)
        names[item.id] = f"{name}.flac"
    return names


def evaluate_speech(
    speaker: Speaker,
    items: list[TestItem],
    measures: Measures,
    output: str | os.PathLike,
    about: dict,
    keep_audio: bool = False,
    overwrite: bool = False,
    num_samples: int = 3,
) -> dict:
    """
    Speaks and measures `items`, and writes a report.

    Args:
        speaker (`Speaker`), items (`list[TestItem]`), measures (`Measures`)
        output (`str` or `os.PathLike`): folder. Gets `items.jsonl`, a row for each item; `evaluation.json`,
            `evaluation.md` and pictures, all made of the rows; the first speeches in `samples/` and the worst ten in
            `worst/`.
        about (`dict`): what was evaluated, for the report; anything else that decides the results. "title" is a name
            of the test list.
        keep_audio (`bool`, *optional*): leave all speech in `audio/`.
        overwrite (`bool`, *optional*): discard an earlier evaluation in the folder.
        num_samples (`int`, *optional*, defaults to 3)

    Returns:
        what `evaluation.json` holds.

    Raises:
        FileExistsError: if the folder holds something else.
        OSError: if another run has the folder, or writing fails.
        ValueError: if it was begun with other settings, or an item cannot be spoken or measured.
    """
    output = Path(output)
    settings = about | {
        "seed": speaker.seed,
        "speed": speaker.speed,
        "batch_size": speaker.batch_size,
        "sampling": speaker.sampling,
        "items": len(items),
        "items_fingerprint": fingerprint(
            [(item.id, item.text, item.language, item.duration_seconds, item.reference_text) for item in items]
        )[:12],
    }
    state = FolderState(output, KIND, settings)
    with exclusive(output, KIND):
        state.begin(overwrite)
        names = audio_names(items)
        audio = output / AUDIO_FOLDER
        at_once = BATCHES_AHEAD * speaker.batch_size
        rows = _kept_rows(output / ROWS_FILE, at_once, len(items))
        if len(rows) < len(items):
            audio.mkdir(exist_ok=True)
            measures.learn_voices(items)
        while len(rows) < len(items):
            some = items[len(rows) : len(rows) + at_once]
            measured = []
            for item, spoken in zip(some, speaker.speak(some), strict=True):
                if len(spoken.waveform):
                    path = audio / names[item.id]
                    save_audio(spoken.waveform.clip(-1, 1), path, speaker.sampling_rate, overwrite=True)
                measured.append(measures.measure(item, spoken))
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
    Rows of an evaluation.

    Raises:
        FileNotFoundError: if there is none in the folder.
        ValueError: if it has not finished, or its rows are damaged.
    """
    folder = Path(folder)
    state = FolderState(folder, KIND, {})
    if not (folder / ROWS_FILE).is_file() or state.stored() is None:
        raise FileNotFoundError(f"{str(folder)!r} is no evaluation: it lacks {ROWS_FILE} or {state.path.name}.")
    if not state.is_complete:
        raise ValueError(f"the evaluation in {str(folder)!r} has not finished: repeat its command.")
    try:
        return [json.loads(line) for line in (folder / ROWS_FILE).read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise ValueError(f"{str(folder / ROWS_FILE)!r} is damaged: {error}") from error


def _kept_rows(path: Path, at_once: int, count: int) -> list[dict]:
    """
    Rows of what was spoken at once and is complete; the file is cut there. Together with others than before, a speech
    could come out otherwise in the last digit, and then in a token.
    """
    rows = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:  # killed while it was written
                break
    if len(rows) < count:
        rows = rows[: len(rows) // at_once * at_once]
        if path.is_file():
            temporary = path.with_suffix(".tmp")
            temporary.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
            os.replace(temporary, path)
    return rows


__all__ = ["evaluate_speech", "read_rows"]
