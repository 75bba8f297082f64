"""Files of a source: text that may be in another encoding, and names that may lead elsewhere."""

import os
from pathlib import Path


def read_utf8(path: Path) -> str:
    """
    The text of a file, line ends as they are and without a byte order mark.

    Raises:
        ValueError: if it is not UTF-8; names the file.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} must be UTF-8: {error}.") from error


def is_within(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> bool:
    """Whether a path leads into `folder`, as it is written: links that the folder's owner made are followed."""
    return Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))


def file_within(folder: Path, name: str) -> Path:
    """
    The file that a row calls `name`, relative to `folder`.

    Raises:
        ValueError: if that leads out of the folder.
    """
    path = folder / name
    if not is_within(path, folder):
        raise ValueError(f"the file {name!r:.200} is not in {str(folder)!r}: rows can only name files in there.")
    return path


__all__ = ["file_within", "is_within", "read_utf8"]
