"""Source rows and skipped rows."""

import os
from dataclasses import asdict, dataclass, field

import numpy as np


class BadRow(ValueError):
    """
    Error for a row that is invalid or rejected by a filter.

    Args:
        reason (`str`): Category for statistics, such as "seconds" or "audio".
        message (`str`): Error message with the value and the accepted values.
    """

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


@dataclass
class SourceRow:
    """One clip before encoding, with audio as a file, as file bytes, or as samples with a sampling rate."""

    text: str | None
    file: str | os.PathLike | None = None
    audio_bytes: bytes | None = field(default=None, repr=False)
    waveform: np.ndarray | None = field(default=None, repr=False)
    sampling_rate: float | None = None
    speaker: str = ""
    language: str | None = None
    start_seconds: float | None = None
    # imported rows only
    codes_file: str | os.PathLike | None = None
    neighbors_file: str | os.PathLike | None = None
    manifest_num_frames: int | None = None
    split: str | None = None


@dataclass(frozen=True)
class SkippedRow:
    """A line of `skipped.jsonl`; `row` is the index in the source."""

    row: int
    id: str
    file: str
    reason: str
    message: str

    def __str__(self) -> str:
        return f"row {self.row} ({self.id!r}, {self.file}): {self.message}"

    def to_dict(self) -> dict:
        return asdict(self)
