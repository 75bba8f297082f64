"""Test lists: texts with optional reference voices and recordings to compare with."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Audio, DatasetDict, load_dataset, load_from_disk

from ..model.audio import to_mono
from ..model.audio_reading import load_audio
from ..model.language import canonical_language, detect_language
from ..preparation.recordings import select_recordings


SAVED_DATASET = ("dataset_dict.json", "dataset_info.json")
REFERENCE_SECONDS = (3.0, 10.0)  # minimum and maximum length of recordings used as references


@dataclass(eq=False)
class TestItem:
    """
    A text to synthesize.

    Args:
        id (`str`): unique in the list.
        text (`str`)
        language (`str`): language tag such as "en", "ja", "zh".
        duration_seconds (`float`, *optional*): requested duration; estimated by the processor if None.
        reference_audio (*optional*): reference audio in a format that the processor accepts.
        reference_text (`str`, *optional*): transcript of the reference audio.
        recording (*optional*): recording of the same text, in a format that [`read_item_audio`] accepts.
        recording_seconds (`float`, *optional*): duration of the recording, if known.
        speaker (`str`, *optional*)
    """

    __test__ = False  # prevents collection by pytest

    id: str
    text: str
    language: str
    duration_seconds: float | None = None
    reference_audio: object = None
    reference_text: str | None = None
    recording: object = None
    recording_seconds: float | None = None
    speaker: str = ""


def read_item_audio(sound, codec=None) -> tuple[np.ndarray, float]:
    """
    Float32 waveform (num_samples,) and Hz of what a [`TestItem`] holds: a path, or a dict with "bytes" of an audio
    file, "array" and "sampling_rate", or "codes", for which `codec` is needed.
    """
    if isinstance(sound, dict) and "codes" in sound:
        return codec.decode(torch.tensor(sound["codes"])), codec.sampling_rate
    if isinstance(sound, dict) and "array" in sound:
        waveform, sampling_rate = np.asarray(sound["array"], np.float32), sound["sampling_rate"]
    else:
        waveform, sampling_rate = load_audio(sound["bytes"] if isinstance(sound, dict) else sound)
    return to_mono(waveform), sampling_rate


def recording_duration(item: TestItem) -> float | None:
    """Returns the duration of the recording of an item in seconds, or None without a recording."""
    if item.recording_seconds is None and item.recording is not None:
        waveform, sampling_rate = read_item_audio(item.recording)
        item.recording_seconds = len(waveform) / sampling_rate
    return item.recording_seconds


def read_test_list(
    name: str | os.PathLike,
    split: str = "validation",
    speaker: str | None = None,
    language: str | None = None,
    limit: int | None = None,
    same_speaker_references: bool = False,
    reference_seconds: tuple[float, float] = REFERENCE_SECONDS,
    recorded_lengths: bool = False,
) -> list[TestItem]:
    """
    Reads a test list.

    Args:
        name (`str`): one of
            - a `.lst` file in the format of Seed-TTS-eval, `id|prompt text|prompt audio|text`, with paths relative to
              the file; an optional fifth field is a recording of the text;
            - another UTF-8 file with one text per line; blank lines are skipped;
            - a folder of recordings with transcripts, as `training/prepare_dataset.py` reads it;
            - a `datasets` folder or Hub name with the column `text`, and optionally `id`, `language`, `speaker`,
              `audio` or `codes`, `duration_seconds` (of the recording), `reference_audio`, `reference_text`.
        split (`str`, *optional*, defaults to `"validation"`): split of a dataset or of a metadata file with splits.
        speaker (`str`, *optional*): use only rows of this speaker.
        language (`str`, *optional*): language of texts without one in the list (default: detected).
        limit (`int`, *optional*): maximum number of items, selected at even spacing.
        same_speaker_references (`bool`, *optional*, defaults to `False`): use other recordings of the same speaker as
            references for rows without one.
        reference_seconds (`tuple[float, float]`, *optional*, defaults to `(3.0, 10.0)`): minimum and maximum duration
            of these references.
        recorded_lengths (`bool`, *optional*, defaults to `False`): request the durations of the recordings.

    Raises:
        FileNotFoundError: if the list or one of its files does not exist.
        ValueError: if the list is invalid or has no items.
    """
    path = Path(name)
    if limit is not None and limit < 1:
        raise ValueError(f"`limit` must be at least 1, got {limit}.")
    if path.is_file():
        rows = read_seed_tts(path) if path.suffix == ".lst" else read_lines(path)
    elif path.is_dir() and not any((path / file).is_file() for file in SAVED_DATASET):
        rows = read_recordings(str(path), split)
    else:
        rows = read_dataset(str(name), split)
    items, known = [], set()
    for number, row in enumerate(rows):
        row = {key: value for key, value in row.items() if value is not None and value != ""}
        if not isinstance(text := row.get("text"), str) or not text.strip():
            raise ValueError(f"entry {number} of {str(name)!r} has no text to say, got {text!r}.")
        row |= {"text": text.strip(), "id": str(row.get("id", f"{number:05d}"))}
        row["language"] = canonical_language(row.get("language") or language or detect_language(text))
        if row["id"] in known:
            raise ValueError(f"the id {row['id']!r} occurs twice in {str(name)!r}; ids must be unique.")
        known.add(row["id"])
        row["recording_seconds"] = row.pop("duration_seconds", None)
        items.append(TestItem(**row))
    if speaker is not None:
        names = sorted({item.speaker for item in items})
        items = [item for item in items if item.speaker == speaker]
        if not items:
            raise ValueError(f"`speaker` {speaker!r} has no rows of {split!r}; there are {names}.")
    if not items:
        raise ValueError(f"{str(name)!r} has no texts.")
    if same_speaker_references:
        assign_references(items, reference_seconds)
    if limit is not None and limit < len(items):
        items = [items[index] for index in np.linspace(0, len(items) - 1, limit).round().astype(int)]
    if recorded_lengths:
        for item in items:
            item.duration_seconds = recording_duration(item)
            if item.duration_seconds is None:
                raise ValueError(
                    f"{item.id!r} of {str(name)!r} has no recording, so `recorded_lengths` cannot be used."
                )
    return items


def assign_references(items: list[TestItem], reference_seconds: tuple[float, float] = REFERENCE_SECONDS) -> None:
    """
    Assigns another recording of the same speaker to each item without a reference, cycling through them.

    Raises:
        ValueError: if a speaker has no other recording of suitable duration.
    """
    shortest, longest = reference_seconds
    candidates: dict[str, list[TestItem]] = {}
    for item in items:
        seconds = recording_duration(item)
        if item.speaker and seconds and shortest <= seconds <= longest:
            candidates.setdefault(item.speaker, []).append(item)
    for number, item in enumerate(items):
        if item.reference_audio is not None:
            continue
        others = [other for other in candidates.get(item.speaker, []) if other.text != item.text]
        if not others:
            raise ValueError(
                f"no reference found for {item.id!r}: its speaker {item.speaker!r} has no other recording of "
                f"{shortest:g} to {longest:g} seconds."
            )
        chosen = others[number % len(others)]
        item.reference_audio, item.reference_text = chosen.recording, chosen.text


def read_seed_tts(path: Path) -> list[dict]:
    """Reads a test list in the format of Seed-TTS-eval."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        fields = [field.strip() for field in line.split("|")]
        if len(fields) not in (4, 5):
            raise ValueError(
                f"line {number} of {str(path)!r} must be id|prompt text|prompt audio|text, optionally |recording; got "
                f"{len(fields)} fields."
            )
        names = ("id", "reference_text", "reference_audio", "text", "recording")
        row = dict(zip(names, fields, strict=False))
        for sound in ("reference_audio", "recording"):
            if row.get(sound):
                row[sound] = _check_file(path.parent / row[sound], f"line {number} of {str(path)!r}")
        rows.append(row)
    return rows


def read_lines(path: Path) -> list[dict]:
    """Reads a text file with one text per line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [{"text": line} for line in lines if line.strip()]


def read_recordings(folder: str, split: str) -> list[dict]:
    """Reads a folder of recordings with transcripts."""
    rows = []
    for recording in select_recordings([folder], split):
        row = recording.row()
        found = {"id": recording.id, "text": row.text, "language": row.language, "speaker": row.speaker}
        rows.append(found | {"recording": {"bytes": row.audio_bytes} if row.audio_bytes else str(row.file)})
    return rows


def read_dataset(name: str, split: str) -> list[dict]:
    """Reads one split of a `datasets` dataset, from a folder or from the Hub."""
    if Path(name).is_dir():
        dataset = load_from_disk(name)
        if isinstance(dataset, DatasetDict):
            if split not in dataset:
                raise ValueError(f"{name!r} has no split {split!r}; it has {', '.join(dataset)}.")
            dataset = dataset[split]
    elif name.count("/") == 1 and not name.startswith((".", "/", "~")):
        dataset = load_dataset(name, split=split)
    else:
        raise FileNotFoundError(f"there is no test list {name!r}.")
    if "text" not in dataset.column_names:
        raise ValueError(f"{name!r} has no column text; it has {', '.join(dataset.column_names)}.")
    for column, feature in dataset.features.items():
        if isinstance(feature, Audio):
            dataset = dataset.cast_column(
                column, Audio(decode=False)
            )  # the audio decoder of datasets may not be installed
    plain = ("id", "text", "language", "speaker", "reference_text", "duration_seconds")
    sounds = {"codes": "recording", "audio": "recording", "reference_audio": "reference_audio"}
    rows = []
    for row in dataset.select_columns([c for c in (*plain, *sounds) if c in dataset.column_names]):
        kept = {key: row[key] for key in plain if key in row}
        rows.append(kept | {ours: _audio_source(name, row[name]) for name, ours in sounds.items() if row.get(name)})
    return rows


def _audio_source(column: str, value):
    """Returns the audio of a dataset cell as codes, file bytes or path."""
    if column == "codes":
        return {"codes": value}
    return {"bytes": value["bytes"]} if value.get("bytes") else value["path"]


def _check_file(path: Path, where: str) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"{where} names {str(path)!r}, which does not exist.")
    return str(path)


__all__ = ["TestItem", "assign_references", "read_item_audio", "read_test_list", "recording_duration"]
