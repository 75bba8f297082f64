"""Names of output files, and checks that they can be written, before slow work."""

import os
import string
from pathlib import Path

from ..model.audio_formats import WRITABLE_FORMATS


PATTERN_FIELDS = ("n", "seed")
STANDARD_OUTPUT = "-"


def output_paths(pattern: str, count: int, seeds: list[int] | None = None) -> list[Path]:
    """
    The paths of `count` audio files.

    Args:
        pattern (`str`): `{n}` in it becomes the number of the file from 1, and `{seed}` its seed; format
            specifications as in `{n:03}` are possible. Without these fields, several files get `-1`, `-2` … before
            the suffix.
        count (`int`): number of files.
        seeds (`list[int]`, *optional*): the seed of each file; None where there are none.

    Raises:
        ValueError: if the suffix is not that of a writable format, or the pattern is not valid or gives two files the
            same name.
    """
    path = Path(pattern)
    if path.suffix.lower() not in WRITABLE_FORMATS:
        raise ValueError(f"--output must end in one of {', '.join(WRITABLE_FORMATS)}, got {pattern!r}.")
    fields = pattern_fields(pattern)
    if not fields:
        path = Path(pattern.format())  # "{{" stands for a brace
        if count == 1:
            return [path]
        return [path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(1, count + 1)]
    if "seed" in fields and seeds is None:
        raise ValueError(f"--output: {{seed}} in {pattern!r} needs a command that samples.")
    try:
        names = [pattern.format(n=index + 1, seed=seeds[index] if seeds else None) for index in range(count)]
    except ValueError as error:  # such as {n:x!}
        raise ValueError(f"--output: {pattern!r} is not a valid pattern: {error}.") from error
    if len(set(names)) < count:
        raise ValueError(f"--output: {pattern!r} gives several files the same name; put {{n}} into it.")
    return [Path(name) for name in names]


def pattern_fields(pattern: str) -> set[str]:
    """
    The fields of an output pattern.

    Raises:
        ValueError: for a field other than `{n}` and `{seed}`, or an unbalanced brace.
    """
    try:
        fields = {field for _, field, _, _ in string.Formatter().parse(pattern) if field is not None}
    except ValueError as error:
        raise ValueError(f"--output: {pattern!r} is not a valid pattern: {error}; write {{{{ for a brace.") from error
    if unknown := fields - set(PATTERN_FIELDS):
        raise ValueError(
            f"--output: {pattern!r} may have the fields {{n}} and {{seed}}, got {{{sorted(unknown)[0]}}}; write {{{{ "
            "for a brace."
        )
    return fields


def check_outputs(paths: list[Path], overwrite: bool) -> None:
    """
    Checks that files can be written; creates nothing.

    Raises:
        FileExistsError: if a file exists and `overwrite` is False.
        IsADirectoryError: if a path is a folder.
        NotADirectoryError: if the folder of a path cannot be made, because a file is in its place.
        PermissionError: if the folder may not be written to.
    """
    for path in paths:
        if path.is_dir():
            raise IsADirectoryError(f"{str(path)!r} is a folder, not a file to write.")
        if path.exists() and not overwrite:
            raise FileExistsError(f"{str(path)!r} exists; pass --overwrite to replace it.")
        there = next(parent for parent in path.absolute().parents if parent.exists())
        if not there.is_dir():
            raise NotADirectoryError(f"the folder of {str(path)!r} cannot be made: {str(there)!r} is a file.")
        if not os.access(there, os.W_OK):
            raise PermissionError(f"{str(path)!r} cannot be written: {str(there)!r} is write-protected.")


def make_folders(paths: list[Path]) -> None:
    """Makes the folders of files that are about to be written."""
    for parent in {path.parent for path in paths}:
        parent.mkdir(parents=True, exist_ok=True)


__all__ = ["STANDARD_OUTPUT", "check_outputs", "make_folders", "output_paths", "pattern_fields"]
