"""Lists and reads recordings for codec training, codec evaluation and speech evaluation."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..model.audio import check_waveform, to_mono
from ..model.audio_reading import load_audio
from ..sharded.fingerprint import fingerprint
from .arguments import PrepareDatasetArguments
from .rows import BadRow, SourceRow
from .shard_encoder import open_source, source_format


@dataclass(frozen=True)
class Recording:
    """Reference to a clip: its source, its index there, its id and its split."""

    source: object
    index: int
    id: str
    split: str

    @property
    def file(self) -> str:
        return self.source.file_of(self.index)

    def row(self) -> SourceRow:
        """
        Returns the source row.

        Raises:
            BadRow: if the row is invalid.
        """
        return self.source[self.index]


def open_recordings(name: str):
    """
    Opens a source of recordings: a folder, or a `datasets` dataset.

    Raises:
        FileNotFoundError: if the folder does not exist.
        ValueError: if it has codes instead of recordings, or no readable rows.
    """
    if (name.startswith((".", "/", "~")) or name.count("/") != 1) and not Path(name).is_dir():
        raise FileNotFoundError(f"there is no folder of recordings {name!r}.")
    arguments = PrepareDatasetArguments(source=name, output="", codec="")
    if source_format(arguments) == "original":
        raise ValueError(f"{name!r} holds codes of the original project; training a codec needs the recordings.")
    return open_source(arguments)


def select_recordings(names: list[str], split: str, limit: int | None = None) -> list[Recording]:
    """
    Selects rows of `split` and rows without a split; at most `limit`, evenly spaced.

    Raises:
        FileNotFoundError, ValueError: as `open_recordings`; if there are no such rows.
    """
    recordings = []
    for name in names:
        source = open_recordings(name)
        for index, row_id in enumerate(source.ids):
            if split_of(source, index) in (None, split):
                recordings.append(Recording(source, index, row_id, split))
    if not recordings:
        raise ValueError(f"none of {', '.join(map(repr, names))} has rows of the split {split!r}.")
    if limit is not None and limit < len(recordings):
        chosen = np.linspace(0, len(recordings) - 1, limit).round().astype(int)
        recordings = [recordings[index] for index in chosen]
    return recordings


def split_of(source, index: int) -> str | None:
    """Returns the split in the metadata of a folder; None for datasets, which are opened by split."""
    if not getattr(source, "has_splits", False):
        return None
    try:
        return source[index].split
    except BadRow:  # `read_audio` reports the error
        return None


def read_audio(recording: Recording) -> tuple[np.ndarray, float]:
    """
    Reads a clip.

    Returns:
        `(waveform, sampling_rate)`: float32 of shape (num_samples,), and Hz.

    Raises:
        ValueError: if it cannot be read, or has NaN or infinite samples; the message names the file.
    """
    try:
        row = recording.row()
        if row.waveform is not None:
            waveform, sampling_rate = row.waveform, row.sampling_rate
        else:
            waveform, sampling_rate = load_audio(row.audio_bytes or row.file)
        return to_mono(check_waveform(waveform, sampling_rate)), sampling_rate
    except (BadRow, OSError, ValueError) as error:
        raise ValueError(f"{recording.file} ({recording.id!r}) cannot be trained on: {error}") from error


def recordings_fingerprint(recordings: list[Recording]) -> str:
    """Returns a hash of rows, splits, and sizes and modification times of the audio files."""
    sources = {id(recording.source): recording.source for recording in recordings}
    files = []
    for recording in recordings:
        path = Path(recording.file)
        about = path.stat() if path.is_file() else None
        files.append([recording.id, recording.split, about and [about.st_size, about.st_mtime_ns]])
    return fingerprint([[source.fingerprint for source in sources.values()], files])


__all__ = [
    "Recording",
    "open_recordings",
    "read_audio",
    "recordings_fingerprint",
    "select_recordings",
    "split_of",
]
