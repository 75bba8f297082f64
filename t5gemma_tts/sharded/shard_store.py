"""Shard files of a resumable job, which are written atomically."""

import contextlib
import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, Features


SHARDS_FOLDER = "shards"
MERGING_FOLDER = "merging"
_NOTES_KEY = b"notes"
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class ShardStore:
    """
    Shard files such as `shards/00000012.arrow`, each with the output of consecutive rows of the source.

    The notes of a shard, such as its skipped rows, are in the same file, so that both are written together.

    Args:
        output (`str` or `os.PathLike`): Output folder of the job.
        num_rows (`int`): Number of rows of the source.
        rows_per_shard (`int`): Number of source rows per shard.
        features (`datasets.Features`): Columns of a shard.
    """

    def __init__(self, output: str | os.PathLike[str], num_rows: int, rows_per_shard: int, features: Features):
        self.output, self.folder = Path(output), Path(output) / SHARDS_FOLDER
        self.num_rows, self.rows_per_shard, self.features = num_rows, rows_per_shard, features

    def __len__(self) -> int:
        return -(-self.num_rows // self.rows_per_shard)

    def rows(self, shard: int) -> range:
        """Returns the indices of the source rows of `shard`."""
        return range(shard * self.rows_per_shard, min((shard + 1) * self.rows_per_shard, self.num_rows))

    def path(self, shard: int) -> Path:
        return self.folder / f"{shard:08d}.arrow"

    def pending(self) -> list[int]:
        """Returns the shards that are missing or cannot be read."""
        return [shard for shard in range(len(self)) if not self.is_complete(shard)]

    def is_complete(self, shard: int) -> bool:
        """Whether the shard exists and can be read."""
        path = self.path(shard)
        if not path.is_file():
            return False
        try:
            with pa.memory_map(str(path)) as file:
                pa.ipc.open_stream(file).read_all()
        except pa.ArrowInvalid:  # truncated by a power failure
            return False
        return True

    def remove_leftovers(self) -> None:
        """Removes temporary files of killed processes. Must not run while other processes write shards."""
        for path in self.folder.glob("*.tmp"):
            path.unlink(missing_ok=True)

    def write(self, shard: int, rows: list[dict[str, Any]], notes: Sequence[dict[str, Any]] = ()) -> None:
        """
        Writes a shard to a temporary file, syncs it and renames it.

        Args:
            shard (`int`): Index of the shard.
            rows (`list[dict]`): Values of `features`; missing ones are null.
            notes (sequence of `dict`): JSON-serializable notes.

        Raises:
            OSError: if the file cannot be written; if the disk is full, the message says how to resume.
        """
        columns = {name: [row.get(name) for row in rows] for name in self.features}
        table = Dataset.from_dict(columns, features=self.features).data.table
        encoded_notes = json.dumps(list(notes)).encode("utf-8")
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), _NOTES_KEY: encoded_notes})
        path = self.path(shard)
        # unique name: Ray may give a shard to a second machine while the first one still writes it
        temporary = path.with_suffix(f".{secrets.token_hex(8)}.tmp")
        with explain_full_disk(self.output):
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._write_table(table, temporary)
                os.replace(temporary, path)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise

    @staticmethod
    def _write_table(table: pa.Table, path: Path) -> None:
        with open(path, "wb") as file:
            with pa.ipc.new_stream(file, table.schema) as writer:
                writer.write_table(table)
            file.flush()
            os.fsync(file.fileno())

    def datasets(self) -> Iterator[tuple[Dataset, list[dict[str, Any]]]]:
        """Yields `(rows, notes)` of all shards in order, memory-mapped. All shards must be complete."""
        for shard in range(len(self)):
            path = self.path(shard)
            with pa.memory_map(str(path)) as file:
                notes = pa.ipc.open_stream(file).schema.metadata[_NOTES_KEY]
            yield Dataset.from_file(str(path)), json.loads(notes)


@contextlib.contextmanager
def explain_full_disk(output: Path) -> Iterator[None]:
    """Extends the error of a full disk: which shards are kept, and how to resume."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        finished = len(list((Path(output) / SHARDS_FOLDER).glob("*.arrow")))
        raise OSError(
            error.errno,
            f"the disk of {str(output)!r} is full. The {finished} completed shards are kept. Free some space and run "
            "the same command again; it continues with the missing shards.",
        ) from error


@contextlib.contextmanager
def staged_output(output: Path, last: str) -> Iterator[Path]:
    """
    Yields a temporary folder, whose files are moved to `output` when the block ends.

    The file `last` is moved last: a reader that looks for it never sees a partial output.
    """
    temporary = output / MERGING_FOLDER
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir(parents=True)
    yield temporary
    for path in sorted(temporary.iterdir(), key=lambda path: path.name == last):
        target = output / path.name
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(path, target)
    temporary.rmdir()
