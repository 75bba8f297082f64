"""A folder of recordings with transcripts: metadata.csv, metadata.jsonl, or pairs of audio and .txt files."""

import csv
import io
import json
import os
import re
from pathlib import Path

from ..sharded import columns
from ..sharded.columns import optional_seconds, optional_string, pick_column
from ..sharded.files import file_within, read_utf8
from ..sharded.fingerprint import fingerprint
from .rows import BadRow, SourceRow


AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".opus", ".m4a", ".mp4", ".webm", ".aac", ".aiff", ".caf", ".amr")
LJSPEECH_FOLDER = "wavs"
_SPLIT_NAME = re.compile(r"\w+", re.ASCII)


class FolderSource:
    """
    Rows of a folder, ordered by its metadata file or by file name.

    - `metadata.csv` in LJSpeech format, `id|text` or `id|text|normalized text`, with audio in `wavs/` or the folder;
    - `metadata.csv` with a header, or `metadata.jsonl`: columns with file names relative to the folder and texts, and
      optionally id, speaker, language, start in the source recording, and split;
    - pairs of files with equal names, also in subfolders: `a/b.wav` (or .flac, .mp3, .m4a and others) and `a/b.txt`.

    Args:
        folder (`str` or `os.PathLike`)
        audio_column, text_column, speaker_column, language_column, start_column, id_column, split_column (`str`,
            *optional*): Column names (default: detected).

    Raises:
        ValueError: if the folder has none of these, its metadata cannot be read, or a column is missing.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        **column_names: str | None,
    ):
        self.folder = Path(folder)
        usual = columns.USUAL_NAMES | {"split_column": columns.SPLIT}
        if unknown := set(column_names) - set(usual):
            raise TypeError(f"{sorted(unknown)[0]!r} is no argument; there are {', '.join(usual)}.")
        self._column_options = {
            name.removesuffix("_column"): (column_names.get(name), names) for name, names in usual.items()
        }
        # cells by role per row, or the error for an unreadable line; converted to SourceRow on access
        self._rows: list[dict | BadRow] = []
        self.ids: list[str] = []
        self.metadata_file = next(
            (path for name in ("metadata.csv", "metadata.jsonl") if (path := self.folder / name).is_file()), None
        )
        if self.metadata_file is None:
            self._list_pairs()
        elif self.metadata_file.suffix == ".jsonl":
            self._read_jsonl()
        else:
            self._read_csv()
        if not self._rows:
            raise ValueError(
                f"no recordings in {str(self.folder)!r}: expected metadata.csv, metadata.jsonl, or audio files "
                f"({', '.join(AUDIO_SUFFIXES)}) with a .txt of the same name beside each."
            )

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def has_splits(self) -> bool:
        """Whether any row has a split."""
        return any(not isinstance(row, BadRow) and optional_string(row.get("split")) for row in self._rows)

    @property
    def fingerprint(self) -> str:
        return fingerprint([str(row) if isinstance(row, BadRow) else row for row in self._rows])

    def file_of(self, index: int) -> str:
        """Returns the file to name in messages about a row: its audio, or the metadata file if its line is invalid."""
        row = self._rows[index]
        return str(self.metadata_file if isinstance(row, BadRow) else self.folder / row["audio"])

    def __getitem__(self, index: int) -> SourceRow:
        """
        Raises:
            BadRow: if its line or text file cannot be read, or its audio file is outside the folder.
        """
        row = self._rows[index]
        if isinstance(row, BadRow):
            raise row
        try:
            file = file_within(self.folder, row["audio"])
        except ValueError as error:
            raise BadRow("metadata", str(error)) from error
        if "text_file" in row:
            path = self.folder / row["text_file"]
            try:
                text = path.read_text(encoding="utf-8-sig").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise BadRow("transcript", f"cannot read the transcript {str(path)!r}: {error}") from error
        else:
            text = row["text"]
        try:
            start_seconds = optional_seconds(row.get("start"))
        except ValueError as error:
            raise BadRow("metadata", str(error)) from error
        split = optional_string(row.get("split"))
        if split is not None and not _SPLIT_NAME.fullmatch(split):
            raise BadRow("metadata", f"the name of a split may have letters, digits and underscores, got {split!r}.")
        return SourceRow(
            text=text,
            file=file,
            speaker=optional_string(row.get("speaker")) or "",
            language=optional_string(row.get("language")),
            start_seconds=start_seconds,
            split=split,
        )

    def _add(self, row_id: str, row: dict | BadRow) -> None:
        self.ids.append(row_id)
        self._rows.append(row)

    def _list_pairs(self) -> None:
        for path in sorted(self.folder.rglob("*")):
            if path.suffix.lower() in AUDIO_SUFFIXES:
                name = path.relative_to(self.folder)
                self._add(
                    name.with_suffix("").as_posix(),
                    {"audio": name.as_posix(), "text_file": name.with_suffix(".txt").as_posix()},
                )

    def _read_csv(self) -> None:
        text = read_utf8(self.metadata_file)
        lines = text.splitlines()
        try:
            header = next(csv.reader(lines[:1]), [])
            if "|" in (lines[0] if lines else "") and not set(header) & {
                *columns.AUDIO,
                self._column_options["audio"][0],
            }:
                self._read_ljspeech(lines)
                return
            reader = csv.DictReader(io.StringIO(text, newline=""))
            names = self._column_names(list(reader.fieldnames or []))
            for cells in reader:
                self._add_cells(names, cells, f"line {reader.line_num}")
        except csv.Error as error:
            raise ValueError(f"{str(self.metadata_file)!r} cannot be read as CSV: {error}.") from error

    def _read_ljspeech(self, lines: list[str]) -> None:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            cells = line.split("|")
            if len(cells) < 2 or not cells[0].strip():
                message = f"line {number} of {str(self.metadata_file)!r} must be `id|text`, got {line[:80]!r}."
                self._add(f"line-{number}", BadRow("metadata", message))
                continue
            row_id = cells[0].strip()
            text = cells[2] if len(cells) > 2 and cells[2].strip() else cells[1]
            self._add(row_id, {"audio": self._ljspeech_audio(row_id), "text": text.strip()})

    def _ljspeech_audio(self, name: str) -> str:
        candidates = [name] if name.lower().endswith(AUDIO_SUFFIXES) else [name + suffix for suffix in AUDIO_SUFFIXES]
        for parent in (Path(LJSPEECH_FOLDER), Path()):
            for candidate in candidates:
                if os.path.isfile(
                    self.folder / parent / candidate
                ):  # `Path.is_file` raises an error for very long names
                    return (parent / candidate).as_posix()
        return f"{LJSPEECH_FOLDER}/{candidates[0]}"

    def _read_jsonl(self) -> None:
        names = None
        for number, line in enumerate(read_utf8(self.metadata_file).split("\n"), start=1):
            if not line.strip():
                continue
            where = f"line {number}"
            try:
                cells = json.loads(line)
            except (ValueError, RecursionError) as error:
                self._add(f"line-{number}", BadRow("metadata", f"{where} is not JSON: {error}."))
                continue
            if not isinstance(cells, dict):
                self._add(f"line-{number}", BadRow("metadata", f"{where} must be a JSON object, got {line[:80]!r}."))
                continue
            if names is None:
                names = self._column_names(list(cells))
            # optional keys may be missing in the first line
            for role, (column_name, usual) in self._column_options.items():
                names[role] = names[role] or next((key for key in (column_name, *usual) if key in cells), None)
            self._add_cells(names, cells, where)

    def _column_names(self, found: list[str]) -> dict[str, str | None]:
        return {
            role: pick_column(
                found,
                column_name,
                usual,
                f"{role}_column",
                str(self.metadata_file),
                required=role in ("audio", "text"),
            )
            for role, (column_name, usual) in self._column_options.items()
        }

    def _add_cells(self, names: dict[str, str | None], cells: dict, where: str) -> None:
        row = {role: cells.get(name) for role, name in names.items() if name is not None}
        audio = optional_string(row.get("audio"))
        row_id = optional_string(row.get("id"))
        if audio is None:
            self._add(row_id or where.replace(" ", "-"), BadRow("metadata", f"{where} names no audio file."))
            return
        text = row.get("text")
        row["audio"], row["text"] = audio, text.strip() if isinstance(text, str) else optional_string(text)
        # `Path.with_suffix` raises an error for "." and "/"
        self._add(row_id or os.path.splitext(Path(audio).as_posix())[0], row)
