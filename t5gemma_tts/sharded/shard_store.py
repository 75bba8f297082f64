"""The finished rows on disk while the others are worked on: a shard is there whole or not at all."""

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
    Shards of consecutive rows of a source, `shards/00000012.arrow`. What is to be noted of a shard, such as rows that
    were skipped, is in the same file, so that both appear together.

    Args:
        output (`str` or `os.PathLike`): Folder of the work.
        num_rows (`int`): Of the source.
        rows_per_shard (`int`)
        features (`datasets.Features`): Columns of a shard.
    """

    def __init__(self, output: str | os.PathLike[str], num_rows: int, rows_per_shard: int, features: Features):
        self.output, self.folder = Path(output), Path(output) / SHARDS_FOLDER
        self.num_rows, self.rows_per_shard, self.features = num_rows, rows_per_shard, features

    def __len__(self) -> int:
        return -(-self.num_rows // self.rows_per_shard)

    def rows(self, shard: int) -> range:
        """The rows of the source that belong to `shard`."""
        return range(shard * self.rows_per_shard, min((shard + 1) * self.rows_per_shard, self.num_rows))

    def path(self, shard: int) -> Path:
        return self.folder / f"{shard:08d}.arrow"

    def pending(self) -> list[int]:
        """The shards that are not yet on disk, or cannot be read."""
        return [shard for shard in range(len(self)) if not self.is_complete(shard)]

    def is_complete(self, shard: int) -> bool:
        """Whether it is on disk, and can be read."""
        path = self.path(shard)
        if not path.is_file():
            return False
        try:
            with pa.memory_map(str(path)) as file:
                pa.ipc.open_stream(file).read_all()
        except pa.ArrowInvalid:  # cut short by a power failure
            return False
        return True

    def remove_leftovers(self) -> None:
        """Removes what killed processes were writing. Not while others write."""
        for path in self.folder.glob("*.tmp"):
            path.unlink(missing_ok=True)

    def write(self, shard: int, rows: list[dict[str, Any]], notes: Sequence[dict[str, Any]] = ()) -> None:
        """
        Writes a shard: to a temporary file, which is renamed when it is safely on disk.

        Raises:
            OSError: if it cannot be written; on a full disk the message says how to go on.
        """
        columns = {name: [row.get(name) for row in rows] for name in self.features}
        table = Dataset.from_dict(columns, features=self.features).data.table
        noted = json.dumps(list(notes)).encode("utf-8")
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), _NOTES_KEY: noted})
        path = self.path(shard)
        # of its own: two machines may write the same shard, if one was given up too early
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
        """All shards in order, memory-mapped, with their notes. All must have been written."""
        for shard in range(len(self)):
            path = self.path(shard)
            with pa.memory_map(str(path)) as file:
                noted = pa.ipc.open_stream(file).schema.metadata[_NOTES_KEY]
            yield Dataset.from_file(str(path)), json.loads(noted)


@contextlib.contextmanager
def explain_full_disk(output: Path) -> Iterator[None]:
    """Turns "no space left" into a message that says what is kept and how to continue."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        finished = len(list((Path(output) / SHARDS_FOLDER).glob("*.arrow")))
        raise OSError(
            error.errno,
            f"the disk of {str(output)!r} is full. The {finished} shards written so far are kept and stay valid: make "
            "room, and start the same command again; it goes on with the first shard that is missing.",
        ) from error


@contextlib.contextmanager
def put_in_place(output: Path, last: str) -> Iterator[Path]:
    """
    A folder to write to, whose files are moved into `output` when the block ends, `last` after all others: as long as
    that one is not there, whoever looks for it finds nothing.
    """
    aside = output / MERGING_FOLDER
    if aside.exists():
        shutil.rmtree(aside)
    aside.mkdir(parents=True)
    yield aside
    for path in sorted(aside.iterdir(), key=lambda path: path.name == last):
        place = output / path.name
        if place.is_dir():
            shutil.rmtree(place)
        os.replace(path, place)
    aside.rmdir()
