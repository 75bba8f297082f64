"""Input rows of a batch, from a text file, a JSON Lines file or a dataset."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..sharded import columns
from ..sharded.columns import optional_string, pick_column
from ..sharded.fingerprint import file_fingerprint, fingerprint
from ..sharded.open_dataset import open_split, parse_audio_cell


OPTIONAL_COLUMNS = ("language", "duration_seconds", "speaker", "reference_audio", "reference_text")


@dataclass(frozen=True)
class BatchRow:
    """
    A row of the source.

    Args:
        id (`str`): Unique id.
        text, duration_seconds, reference_audio: Unchecked cells of the source.
        language, speaker, reference_text (`str`, *optional*): Cells as strings; None if empty.
    """

    id: str
    text: Any
    language: str | None = None
    duration_seconds: Any = None
    speaker: str | None = None
    reference_audio: Any = None
    reference_text: str | None = None


class BatchSource:
    """
    Sequence of the rows of a batch.

    Args:
        name (`str`): A `.txt` file with one text per line; a `.jsonl` file with one object of columns per line; or a
            folder or Hub name for `datasets`. Paths of recordings are relative to the folder.
        text_column, id_column (`str`, *optional*): Columns; by default, those with usual names. Rows without ids are
            numbered.
        config_name (`str`, *optional*), split (`str`): Configuration and split of a dataset.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the source cannot be read, has no text column or no rows, or two rows have the same id.
    """

    def __init__(
        self,
        name: str,
        text_column: str | None = None,
        id_column: str | None = None,
        config_name: str | None = None,
        split: str = "train",
    ):
        path = Path(name)
        is_file = path.suffix.lower() in (".txt", ".jsonl")
        if is_file and not path.is_file():
            raise FileNotFoundError(f"`source` {name!r} does not exist.")
        if path.is_file() and not is_file:
            raise ValueError(f"`source` must be a .txt or .jsonl file, a folder or a Hub name, got {name!r}.")
        if is_file and config_name is not None:
            raise ValueError(f"`config_name` is for datasets; {name!r} is a file.")
        self.folder = path.parent if is_file else path if path.is_dir() else None
        if not is_file:
            self._rows = open_split(name, config_name, split)
            names = self._rows.column_names
        elif path.suffix.lower() == ".txt":
            self._rows = [{"text": line.strip()} for line in read_text(path).splitlines() if line.strip()]
            names = ["text"]
        else:
            self._rows = read_json_lines(path)
            names = list(dict.fromkeys(key for row in self._rows for key in row))
        if not len(self._rows):
            raise ValueError(f"{name!r} has no rows.")
        self.text_column = pick_column(names, text_column, columns.TEXT, "text_column", repr(name), required=True)
        self.id_column = pick_column(names, id_column, columns.ID, "id_column", repr(name))
        self.optional = [column for column in OPTIONAL_COLUMNS if column in names]
        if not is_file:  # other columns may be large
            used = [self.text_column, *self.optional, *([self.id_column] if self.id_column else [])]
            self._rows = self._rows.select_columns(list(dict.fromkeys(used)))
        id_cells = self._cells(self.id_column) if self.id_column else [None] * len(self._rows)
        self.ids = [optional_string(cell) or f"{index:08d}" for index, cell in enumerate(id_cells)]
        first: dict[str, int] = {}
        for index, row_id in enumerate(self.ids):
            if first.setdefault(row_id, index) != index:
                raise ValueError(f"ids must be unique: rows {first[row_id]} and {index} both have {row_id!r}.")

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> BatchRow:
        cells = self._rows[index]
        row = {column: cells.get(column) for column in self.optional}
        for column in ("language", "speaker", "reference_text"):
            row[column] = optional_string(row.get(column))
        return BatchRow(self.ids[index], cells.get(self.text_column), **row)

    def speakers(self) -> list[str]:
        """Returns all speakers in alphabetical order."""
        cells = self._cells("speaker") if "speaker" in self.optional else []
        return sorted({speaker for cell in cells if (speaker := optional_string(cell))})

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of all columns, including the recordings."""
        parts = [self.ids, list(self._cells(self.text_column))]
        parts += [list(self._cells(column)) for column in self.optional if column != "reference_audio"]
        if "reference_audio" in self.optional:
            parts.append([self._audio_fingerprint(cell) for cell in self._cells("reference_audio")])
        return fingerprint([[fingerprint(part) for part in parts], self.optional])

    def _audio_fingerprint(self, cell: object) -> str | None:
        if cell is None:
            return None
        try:
            audio = parse_audio_cell(cell, self.folder)
        except ValueError:  # reported later, as the error of its row
            return fingerprint(cell)
        if "audio_bytes" in audio:
            return fingerprint(audio["audio_bytes"].hex())
        if "waveform" in audio:
            return fingerprint([audio["waveform"].tolist(), audio["sampling_rate"]])
        path = Path(audio["file"])
        return file_fingerprint(path) if path.is_file() else None

    def _cells(self, column: str) -> Iterable[Any]:
        """Returns the cells of a column in row order."""
        if isinstance(self._rows, list):
            return (row.get(column) for row in self._rows)
        return self._rows.select_columns([column])[column]


def read_text(path: Path) -> str:
    """
    Reads a UTF-8 text file.

    Raises:
        ValueError: if the file is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} is not UTF-8: {error}") from error


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """
    Reads a JSON Lines file with one object per line; blank lines are skipped.

    Raises:
        ValueError: if a line is not a JSON object; the message has its number.
    """
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            json.dumps(row, ensure_ascii=False).encode("utf-8")  # raises an error for lone surrogates
        except ValueError as error:
            raise ValueError(f"{str(path)!r}, line {number} cannot be read: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{str(path)!r}, line {number} must be a JSON object, got {line[:80]!r}.")
        rows.append(row)
    return rows
