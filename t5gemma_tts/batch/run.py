"""Runs a batch: opens or resumes the output folder, speaks the shards, merges them."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
from datasets import Audio, Dataset, concatenate_datasets, load_from_disk

from ..sharded.folder_state import FolderState, exclusive_lock
from ..sharded.ray_pool import import_ray
from ..sharded.shard_store import explain_full_disk, staged_output
from .arguments import BatchArguments
from .ray_engine import speak_with_ray
from .shard_work import Work


KIND = "batch"


@dataclass(frozen=True)
class Summary:
    """What became of the rows of a batch; `first_error` is that of the first row that could not be spoken."""

    num_rows: int
    num_failed: int
    hours: float
    first_error: str | None

    def __str__(self) -> str:
        spoken = f"{self.num_rows - self.num_failed} of {self.num_rows} rows spoken, {self.hours:.2f} h"
        if not self.num_failed:
            return spoken
        return f"{spoken}; {self.num_failed} could not be, see the column `error`. First {self.first_error}"


def speak_batch(
    arguments: BatchArguments,
    on_begin: Callable[[int, int], None] = lambda done, total: None,
    on_rows: Callable[[int], None] = lambda count: None,
) -> Summary:
    """
    Speaks a dataset, or goes on with it.

    The output is a `datasets` folder: `id`, `text`, `language` and `speaker` as they were given; `audio`, a FLAC file;
    `codes`; `seconds` of speech; `seed`, with which the row is spoken the same again; and `error`, null unless it could
    not be spoken.

    Args:
        arguments (`BatchArguments`)
        on_begin (callable, *optional*): told how many rows were done before, and how many there are.
        on_rows (callable, *optional*): told how many more are done.

    Raises:
        FileExistsError, FileNotFoundError: for an output folder of something else, or a source that is not there.
        ImportError: if an optional package is missing.
        OSError: if there is no such model, writing fails, or another run has the output folder.
        ValueError: for a source that cannot be read, or settings other than those it was begun with.
    """
    if arguments.engine == "ray":
        import_ray()
    work, output = Work(arguments), Path(arguments.output)
    state = FolderState(output, KIND, work.settings())
    with exclusive_lock(output, KIND):
        state.begin(arguments.overwrite)
        if not state.is_complete:
            _speak(work, on_begin, on_rows)
            with explain_full_disk(output):
                _merge(work, output)
            state.finish()
        shutil.rmtree(work.store.folder, ignore_errors=True)
    return summarize(load_from_disk(str(output)))


def _speak(work: Work, on_begin: Callable[[int, int], None], on_rows: Callable[[int], None]) -> None:
    store = work.store
    store.remove_leftovers()
    pending = store.pending()
    missing = sum(len(store.rows(shard)) for shard in pending)
    on_begin(store.num_rows - missing, store.num_rows)
    if work.arguments.engine == "local":
        for shard in pending:
            work.speak_shard(shard, lambda: on_rows(1))
    elif pending:
        for shard in speak_with_ray(work.arguments, pending):
            on_rows(len(store.rows(shard)))


def _merge(work: Work, output: Path) -> None:
    rows = concatenate_datasets([part for part, _ in work.store.datasets()])
    if "audio" in rows.column_names:
        rows = rows.cast_column("audio", Audio(decode=False))  # decoding by `datasets` would need torchcodec
    with staged_output(output, last="state.json") as aside:
        rows.save_to_disk(aside)


def summarize(rows: Dataset) -> Summary:
    """Of the output of a batch."""
    errors = rows.data.column("error")
    first = pc.index(errors.is_valid(), True).as_py()
    return Summary(
        num_rows=len(rows),
        num_failed=len(errors) - errors.null_count,
        hours=(pc.sum(rows.data.column("seconds")).as_py() or 0.0) / 3600,
        first_error=f"{rows['id'][first]!r}: {errors[first].as_py()}" if first >= 0 else None,
    )
