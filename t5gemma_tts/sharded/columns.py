"""Finding the columns of a source by their usual names."""

import math
from typing import Literal, overload


AUDIO = ("audio", "file_name", "audio_path", "path", "file", "wav", "mp3", "flac")
TEXT = ("text", "normalized_text", "transcription", "transcript", "sentence")
SPEAKER = ("speaker", "speaker_id", "client_id")
LANGUAGE = ("language", "locale", "lang")
START = ("start_seconds", "start", "start_time")
ID = ("id", "_id", "utterance_id")
SPLIT = ("split",)
# by the argument that names another one
USUAL = {
    "audio_column": AUDIO,
    "text_column": TEXT,
    "speaker_column": SPEAKER,
    "language_column": LANGUAGE,
    "start_column": START,
    "id_column": ID,
}


@overload
def pick_column(
    columns: list[str], wanted: str | None, usual: tuple[str, ...], argument: str, origin: str, required: Literal[True]
) -> str: ...


@overload
def pick_column(
    columns: list[str],
    wanted: str | None,
    usual: tuple[str, ...],
    argument: str,
    origin: str,
    required: bool = False,
) -> str | None: ...


def pick_column(
    columns: list[str], wanted: str | None, usual: tuple[str, ...], argument: str, origin: str, required: bool = False
) -> str | None:
    """
    The column called `wanted`, or else the first of the usual names that is there.

    Raises:
        ValueError: if the wanted column, or any required one, is not there; names the argument and the columns.
    """
    if wanted is not None:
        if wanted not in columns:
            raise ValueError(f"`{argument}` is {wanted!r}, but {origin} has the columns {', '.join(columns)}.")
        return wanted
    found = next((name for name in usual if name in columns), None)
    if found is None and required:
        raise ValueError(
            f"{origin} has none of the columns {', '.join(usual)}, but {', '.join(columns)}: name it by `{argument}`."
        )
    return found


def optional_string(value: object) -> str | None:
    """A cell as a string; None where it is empty."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return str(value).strip() or None


def optional_seconds(value: object) -> float | None:
    """
    A cell as seconds; None where it is empty.

    Raises:
        ValueError: if it is not a finite number.
    """
    text = optional_string(value)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ValueError(f"the start must be a number of seconds, got {value!r}.")
    return seconds
