"""Recordings for codec training: the sources of dataset preparation, read as audio, split, with bad clips named."""

import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from t5gemma_tts.audio_t5gemma_tts import check_waveform, load_audio, to_mono
from t5gemma_tts.sharded.fingerprint import fingerprint
from training.codec_training.arguments import CodecDataArguments
from training.data_preparation.arguments import PrepareDatasetArguments
from training.data_preparation.rows import BadRow, SourceRow
from training.data_preparation.splitting import TRAIN, VALIDATION, split_by_id
from training.data_preparation.work import open_source, source_format


@dataclass(frozen=True)
class Recording:
    """A clip that has not been read yet: its source, its place there, and what it is for."""

    source: object
    index: int
    id: str
    split: str

    @property
    def file(self) -> str:
        return self.source.file_of(self.index)

    def row(self) -> SourceRow:
        """
        Raises:
            BadRow: if the source cannot make sense of it.
        """
        return self.source[self.index]


def open_recordings(name: str):
    """
    The source called `name`, as dataset preparation opens it.

    Raises:
        FileNotFoundError: for a path that is not there.
        ValueError: if it holds codes, or nothing that can be read.
    """
    if (name.startswith((".", "/", "~")) or name.count("/") != 1) and not Path(name).is_dir():
        raise FileNotFoundError(f"there is no folder of recordings {name!r}.")
    arguments = PrepareDatasetArguments(source=name, output="", codec="")
    if source_format(arguments) == "original":
        raise ValueError(f"{name!r} holds codes of the original project; training a codec needs the recordings.")
    return open_source(arguments)


def list_recordings(arguments: CodecDataArguments) -> list[Recording]:
    """
    All clips for training and validation. Rows of `data` with another split than those two are left out.

    Raises:
        FileNotFoundError, ValueError: as `open_recordings`; if no clip is for training; if `validation_count` is given
            although the data have a validation split.
    """
    recordings = []
    for name in arguments.data:
        recordings += _rows_of(open_recordings(name), arguments.validation_split)
    for name in arguments.validation_data:
        source = open_recordings(name)
        recordings += [Recording(source, index, row_id, VALIDATION) for index, row_id in enumerate(source.ids)]
    if arguments.validation_count:
        if any(recording.split == VALIDATION for recording in recordings):
            raise ValueError("`validation_count` cannot be used with data that have rows for validation already.")
        splits = split_by_id([recording.id for recording in recordings], 0.0, arguments.validation_count)
        recordings = [
            Recording(recording.source, recording.index, recording.id, split)
            for recording, split in zip(recordings, splits, strict=True)
        ]
    if arguments.max_clips_per_speaker is not None:
        recordings = _first_of_speakers(recordings, arguments.max_clips_per_speaker)
    if not any(recording.split == TRAIN for recording in recordings):
        raise ValueError("no recording of `data` is left for training.")
    return recordings


def select_recordings(names: list[str], split: str, limit: int | None = None) -> list[Recording]:
    """
    Rows of `split`, or without one; at most `limit`, spread evenly.

    Raises:
        FileNotFoundError, ValueError: as `open_recordings`; if no row is of that split.
    """
    recordings = []
    for name in names:
        source = open_recordings(name)
        for index, row_id in enumerate(source.ids):
            if _split_of(source, index) in (None, split):
                recordings.append(Recording(source, index, row_id, split))
    if not recordings:
        raise ValueError(f"none of {', '.join(map(repr, names))} has rows of the split {split!r}.")
    if limit is not None and limit < len(recordings):
        chosen = np.linspace(0, len(recordings) - 1, limit).round().astype(int)
        recordings = [recordings[index] for index in chosen]
    return recordings


def _rows_of(source, validation_split: str) -> list[Recording]:
    recordings = []
    for index, row_id in enumerate(source.ids):
        split = _split_of(source, index) or TRAIN
        if split in (TRAIN, validation_split):
            recordings.append(Recording(source, index, row_id, TRAIN if split == TRAIN else VALIDATION))
    return recordings


def _first_of_speakers(recordings: list[Recording], count: int) -> list[Recording]:
    """Drops clips for training after the first `count` of each speaker."""
    seen, kept = Counter(), []
    for recording in recordings:
        if recording.split == TRAIN:
            try:
                speaker = recording.row().speaker
            except BadRow:  # said when its audio is read
                speaker = ""
            seen[speaker] += 1
            if seen[speaker] > count:
                continue
        kept.append(recording)
    return kept


def _split_of(source, index: int) -> str | None:
    """What the metadata of a folder say; of datasets, one split is open."""
    if not getattr(source, "has_splits", False):
        return None
    try:
        return source[index].split
    except BadRow:  # said when its audio is read
        return None


def read_audio(recording: Recording) -> tuple[np.ndarray, float]:
    """
    Reads a clip.

    Returns:
        `(waveform, sampling_rate)`: float32 of shape (num_samples,), and Hz.

    Raises:
        ValueError: if it cannot be read, or has NaN or infinite samples; names the file.
    """
    try:
        row = recording.row()
        if row.waveform is not None:
            waveform, sampling_rate = row.waveform, row.sampling_rate
        else:
            waveform, sampling_rate = load_audio(io.BytesIO(row.audio_bytes) if row.audio_bytes else row.file)
        return to_mono(check_waveform(waveform, sampling_rate)), sampling_rate
    except (BadRow, OSError, ValueError) as error:
        raise ValueError(f"{recording.file} ({recording.id!r}) cannot be trained on: {error}") from error


def recordings_fingerprint(recordings: list[Recording]) -> str:
    """Changes when rows, their splits, or the audio files behind them do."""
    sources = {id(recording.source): recording.source for recording in recordings}
    files = []
    for recording in recordings:
        path = Path(recording.file)
        about = path.stat() if path.is_file() else None
        files.append([recording.id, recording.split, about and [about.st_size, about.st_mtime_ns]])
    return fingerprint([[source.fingerprint for source in sources.values()], files])


__all__ = [
    "Recording",
    "list_recordings",
    "open_recordings",
    "read_audio",
    "recordings_fingerprint",
    "select_recordings",
]
