"""Finds the columns of a source by their usual names."""

import math
from typing import Literal, overload


AUDIO = ("audio", "file_name", "audio_path", "path", "file", "wav", "mp3", "flac")
TEXT = ("text", "normalized_text", "transcription", "transcript", "sentence")
SPEAKER = ("speaker", "speaker_id", "client_id")
LANGUAGE = ("language", "locale", "lang")
START = ("start_seconds", "start", "start_time")
ID = ("id", "_id", "utterance_id")
SPLIT = ("split",)
# argument that overrides the column: its usual names
USUAL_NAMES = {
    "audio_column": AUDIO,
    "text_column": TEXT,
    "speaker_column": SPEAKER,
    "language_column": LANGUAGE,
    "start_column": START,
    "id_column": ID,
}


@overload
def pick_column(
    columns: list[str],
    name: str | None,
    usual_names: tuple[str, ...],
    argument: str,
    source: str,
    required: Literal[True],
) -> str: ...


@overload
def pick_column(
    columns: list[str],
    name: str | None,
    usual_names: tuple[str, ...],
    argument: str,
    source: str,
    required: bool = False,
) -> str | None: ...


def pick_column(
    columns: list[str],
    name: str | None,
    usual_names: tuple[str, ...],
    argument: str,
    source: str,
    required: bool = False,
) -> str | None:
    """
    Returns the column `name` if it is given, else the first of `usual_names` that exists.

    Args:
        columns (`list[str]`): Columns of the source.
        name (`str`, *optional*): Column that the user chose.
        usual_names (`tuple[str, ...]`): Names to try if `name` is None.
        argument (`str`): Argument that sets `name`, for error messages.
        source (`str`): Description of the source, for error messages.
        required (`bool`): Whether to raise an error instead of returning None.

    Raises:
        ValueError: if the column `name` or a required column does not exist; the message lists the columns.
    """
    if name is not None:
        if name not in columns:
            raise ValueError(f"`{argument}` is {name!r}, but {source} has the columns {', '.join(columns)}.")
        return name
    found = next((usual for usual in usual_names if usual in columns), None)
    if found is None and required:
        raise ValueError(
            f"{source} has none of the columns {', '.join(usual_names)}; it has {', '.join(columns)}. Set `{argument}`."
        )
    return found


def optional_string(value: object) -> str | None:
    """Converts a cell to a stripped string; None if it is empty or NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return str(value).strip() or None


def optional_seconds(value: object) -> float | None:
    """
    Converts a cell to seconds; None if it is empty.

    Raises:
        ValueError: if the cell is not a finite number.
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
