"""Runs a batch: starts or resumes it in the output folder, generates the shards and merges them."""

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
from .ray_engine import synthesize_with_ray
from .worker import BatchWorker


KIND = "batch"


@dataclass(frozen=True)
class Summary:
    """Result of a batch: numbers of rows, hours of speech, and id and error of the first failed row."""

    num_rows: int
    num_failed: int
    hours: float
    first_error: str | None

    def __str__(self) -> str:
        spoken = f"{self.num_rows - self.num_failed} of {self.num_rows} rows spoken, {self.hours:.2f} h"
        if not self.num_failed:
            return spoken
        return f"{spoken}; {self.num_failed} could not be, see the column `error`. First {self.first_error}"


def synthesize_batch(
    arguments: BatchArguments,
    on_begin: Callable[[int, int], None] = lambda done, total: None,
    on_rows: Callable[[int], None] = lambda count: None,
) -> Summary:
    """
    Generates speech for all rows of a dataset, or resumes an interrupted batch.

    The output is a `datasets` folder with the columns `id`, `text`, `language` and `speaker` of the source; `audio`
    (content of a FLAC file); `codes` (uint16); `seconds` of speech; `seed`, which reproduces the row; and `error`, null
    unless the row failed.

    Args:
        arguments (`BatchArguments`): Options.
        on_begin (callable, *optional*): Called once with the number of completed rows and the number of all rows.
        on_rows (callable, *optional*): Called with the number of newly completed rows.

    Returns:
        `Summary`

    Raises:
        FileExistsError: if the output folder holds other files.
        FileNotFoundError: if the source does not exist.
        ImportError: if an optional package is missing.
        OSError: if the model does not exist, writing fails, or another run is using the output folder.
        ValueError: if the source cannot be read, or the batch was started with different settings.
    """
    if arguments.engine == "ray":
        import_ray()
    worker, output = BatchWorker(arguments), Path(arguments.output)
    state = FolderState(output, KIND, worker.settings())
    with exclusive_lock(output, KIND):
        state.begin(arguments.overwrite)
        if not state.is_complete:
            _process_shards(worker, on_begin, on_rows)
            with explain_full_disk(output):
                _merge(worker, output)
            state.finish()
        shutil.rmtree(worker.store.folder, ignore_errors=True)
    return summarize(load_from_disk(str(output)))


def _process_shards(worker: BatchWorker, on_begin: Callable[[int, int], None], on_rows: Callable[[int], None]) -> None:
    store = worker.store
    store.remove_leftovers()
    pending = store.pending()
    missing = sum(len(store.rows(shard)) for shard in pending)
    on_begin(store.num_rows - missing, store.num_rows)
    if worker.arguments.engine == "local":
        for shard in pending:
            worker.process_shard(shard, lambda: on_rows(1))
    elif pending:
        for shard in synthesize_with_ray(worker.arguments, pending):
            on_rows(len(store.rows(shard)))


def _merge(worker: BatchWorker, output: Path) -> None:
    rows = concatenate_datasets([part for part, _ in worker.store.datasets()])
    if "audio" in rows.column_names:
        rows = rows.cast_column("audio", Audio(decode=False))  # `datasets` needs torchcodec for decoding
    with staged_output(output, last="state.json") as folder:
        rows.save_to_disk(folder)


def summarize(rows: Dataset) -> Summary:
    """Summarizes the output of a batch."""
    errors = rows.data.column("error")
    first = pc.index(errors.is_valid(), True).as_py()
    return Summary(
        num_rows=len(rows),
        num_failed=len(errors) - errors.null_count,
        hours=(pc.sum(rows.data.column("seconds")).as_py() or 0.0) / 3600,
        first_error=f"{rows['id'][first]!r}: {errors[first].as_py()}" if first >= 0 else None,
    )
