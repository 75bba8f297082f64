"""A row of a source, and a row that has to be left out."""

import os
from dataclasses import asdict, dataclass, field

import numpy as np


class BadRow(ValueError):
    """
    A row that cannot or shall not be used.

    Args:
        reason (`str`): One word for counting, such as "duration" or "audio".
        message (`str`): What is wrong, with the value and what would be accepted.
    """

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


@dataclass
class SourceRow:
    """One clip before encoding. Audio comes as a file, as the bytes of one, or as samples with their rate."""

    text: str | None
    file: str | os.PathLike | None = None
    audio_bytes: bytes | None = field(default=None, repr=False)
    waveform: np.ndarray | None = field(default=None, repr=False)
    sampling_rate: float | None = None
    speaker: str = ""
    language: str | None = None
    start_seconds: float | None = None
    # of imported rows
    codes_file: str | os.PathLike | None = None
    neighbors_file: str | os.PathLike | None = None
    manifest_num_frames: int | None = None
    split: str | None = None


@dataclass(frozen=True)
class SkippedRow:
    """A line of `skipped.jsonl`. `row` counts the rows of the source from 0."""

    row: int
    id: str
    file: str
    reason: str
    message: str

    def __str__(self) -> str:
        return f"row {self.row} ({self.id!r}, {self.file}): {self.message}"

    def to_dict(self) -> dict:
        return asdict(self)
