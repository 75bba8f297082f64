"""Reads text files of a source, and checks that paths in rows stay inside its folder."""

import os
from pathlib import Path


def read_utf8(path: Path) -> str:
    """
    Reads a UTF-8 file, without a byte order mark and with unchanged line ends.

    Raises:
        ValueError: if the file is not UTF-8; the message names it.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} must be UTF-8: {error}.") from error


def is_within(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> bool:
    """Whether `path` is inside `folder`. Symbolic links are not resolved, because the folder's owner may use them."""
    return Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))


def file_within(folder: Path, name: str) -> Path:
    """
    Returns the path of a row's file `name`, which is relative to `folder`.

    Raises:
        ValueError: if the path is outside the folder.
    """
    path = folder / name
    if not is_within(path, folder):
        raise ValueError(f"the file {name!r:.200} is outside {str(folder)!r}; rows can only use files in that folder.")
    return path


__all__ = ["file_within", "is_within", "read_utf8"]
