"""The course of a preparation."""

import dataclasses
import logging
import shutil
from pathlib import Path

from tqdm import tqdm

from ..sharded.folder_state import FolderState, exclusive
from ..sharded.shard_store import explain_full_disk
from .arguments import PrepareDatasetArguments
from .assemble import KIND, Summary, load_finished, read_shards, summarize, write_dataset
from .card import make_card
from .processes import Processes
from .publish import push_dataset
from .rows import SkippedRow
from .shard_work import FILTER_REASONS, Work


logger = logging.getLogger(__name__)


def prepare_dataset(arguments: PrepareDatasetArguments) -> Summary | None:
    """
    Prepares a dataset, or goes on with one; under `accelerate launch` together with the other processes.

    Returns:
        `Summary`, or None in a process other than the main one.

    Raises:
        FileExistsError, FileNotFoundError: for an output folder of something else, or a source that is not there.
        ImportError: if an optional package is missing.
        OSError: if writing fails, or another run has the output folder.
        ValueError: for options that do not fit, settings other than those it was begun with, or no rows left.
    """
    processes = Processes(arguments.device)
    if arguments.engine == "ray":
        if processes.count > 1:
            raise ValueError("`engine` ray starts processes of its own: run it without `accelerate launch`.")
        from ..sharded.ray_pool import import_ray
        from .ray_engine import encode_with_ray

        import_ray()
    # the first one downloads, the others find it
    with processes.main_first():
        work = Work(arguments, processes.device)
        settings = work.settings()
    if not processes.is_main:
        _encode(work, processes)
        return None
    with exclusive(arguments.output, KIND):
        record = FolderState(arguments.output, KIND, settings)
        record.begin(arguments.overwrite)
        if not record.is_complete:
            work.store.remove_leftovers()
        if arguments.engine == "ray":
            if not record.is_complete and (pending := work.store.pending()):
                encode_with_ray(arguments, pending)
        else:
            _encode(work, processes, complete=record.is_complete)
        return _finish(work, record)


def _encode(work: Work, processes: Processes, complete: bool = False) -> None:
    """Encodes this process's share of the shards that are missing, and waits for the others."""
    processes.wait()  # for the main process to have checked the folder
    pending = [] if complete or _is_complete(work) else work.store.pending()
    processes.wait()  # all have seen the same list before anyone adds to it
    mine = pending[processes.index :: processes.count]
    num_rows = sum(len(work.store.rows(shard)) for shard in mine)
    with tqdm(total=num_rows, unit="clip", desc="encoding", disable=not processes.is_main or not mine) as bar:
        for shard in mine:
            work.encode_shard(shard, bar.update, _report)
    processes.wait()


def _is_complete(work: Work) -> bool:
    return FolderState(work.arguments.output, KIND, {}).is_complete


def _report(row: SkippedRow) -> None:
    if row.reason not in FILTER_REASONS:
        with tqdm.external_write_mode():
            logger.warning("skipped %s", row)


def _finish(work: Work, record: FolderState) -> Summary:
    arguments, output = work.arguments, Path(work.arguments.output)
    metadata = work.metadata
    if record.is_complete:
        logger.info("%s is complete: nothing to encode.", output)
        splits, skipped = load_finished(output)
        summary = summarize(splits, skipped)
    else:
        splits, skipped = read_shards(work.store, metadata, arguments.validation_share, arguments.validation_count)
        summary = summarize(splits, skipped)
        parquet = arguments.engine == "ray"
        card = _card(work, str(output), summary, "load_dataset" if parquet else "load_from_disk")
        with explain_full_disk(output):
            write_dataset(output, splits, skipped, metadata, card, parquet)
        record.finish()
    if arguments.push_to_hub:
        card = _card(work, arguments.push_to_hub, summary, "load_dataset")
        push_dataset(splits, arguments.push_to_hub, metadata, card, output, arguments.private)
    del splits
    shutil.rmtree(work.store.folder, ignore_errors=True)
    return summary


def _card(work: Work, name: str, summary: Summary, loader: str) -> str:
    arguments = work.arguments
    options = {
        field.name: value
        for field in dataclasses.fields(arguments)
        if (value := getattr(arguments, field.name)) != field.default and field.name in arguments.settings()
    }
    limits = dataclasses.asdict(arguments.filters(work.is_import))
    settings = options | {limit: value for limit, value in limits.items() if value is not None}
    metadata = dataclasses.replace(work.metadata, codec=_public_name(work.metadata.codec))
    settings |= {key: _public_name(settings[key]) for key in ("source", "codec") if settings.get(key)}
    return make_card(name, summary, metadata, list(work.features), settings, arguments.license, loader)


def _public_name(name: str) -> str:
    """Without the folders above it on this machine."""
    return Path(name).resolve().name if name and Path(name).exists() else name
