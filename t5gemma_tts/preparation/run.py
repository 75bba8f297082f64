"""Dataset preparation: encodes shards, assembles them and uploads the dataset."""

import dataclasses
import logging
import shutil
from pathlib import Path

from tqdm import tqdm

from ..sharded.folder_state import FolderState, exclusive_lock
from ..sharded.shard_store import explain_full_disk
from .arguments import PrepareDatasetArguments
from .assemble import KIND, Summary, load_finished, read_shards, summarize, write_dataset
from .card import make_card
from .processes import Processes
from .publish import push_dataset
from .rows import SkippedRow
from .shard_encoder import FILTER_REASONS, ShardEncoder


logger = logging.getLogger(__name__)


def prepare_dataset(arguments: PrepareDatasetArguments) -> Summary | None:
    """
    Prepares a dataset, or resumes an interrupted preparation. Supports several processes with `accelerate launch`.

    Args:
        arguments (`PrepareDatasetArguments`)

    Returns:
        `Summary`, or None in processes other than the main process.

    Raises:
        FileExistsError: if the output folder has other content.
        FileNotFoundError: if the source does not exist.
        ImportError: if an optional package is missing.
        OSError: if writing fails, or another run uses the output folder.
        ValueError: if options conflict, the earlier run had other settings, or no rows are left.
    """
    processes = Processes(arguments.device)
    if arguments.engine == "ray":
        if processes.count > 1:
            raise ValueError("`engine` ray starts its own processes: run it without `accelerate launch`.")
        from ..sharded.ray_pool import import_ray
        from .ray_engine import encode_with_ray

        import_ray()
    # the main process downloads, the others use the cache
    with processes.main_first():
        shard_encoder = ShardEncoder(arguments, processes.device)
        settings = shard_encoder.settings()
    if not processes.is_main:
        _encode(shard_encoder, processes)
        return None
    with exclusive_lock(arguments.output, KIND):
        record = FolderState(arguments.output, KIND, settings)
        record.begin(arguments.overwrite)
        if not record.is_complete:
            shard_encoder.store.remove_leftovers()
        if arguments.engine == "ray":
            if not record.is_complete and (pending := shard_encoder.store.pending()):
                encode_with_ray(arguments, pending)
        else:
            _encode(shard_encoder, processes, complete=record.is_complete)
        return _finish(shard_encoder, record)


def _encode(shard_encoder: ShardEncoder, processes: Processes, complete: bool = False) -> None:
    """Encodes the pending shards of this process and waits for all processes."""
    processes.wait()  # the main process checks the folder first
    pending = [] if complete or _is_complete(shard_encoder) else shard_encoder.store.pending()
    processes.wait()  # all processes must list pending shards before any is written
    mine = pending[processes.index :: processes.count]
    num_rows = sum(len(shard_encoder.store.rows(shard)) for shard in mine)
    with tqdm(total=num_rows, unit="clip", desc="encoding", disable=not processes.is_main or not mine) as bar:
        for shard in mine:
            shard_encoder.encode_shard(shard, bar.update, _report)
    processes.wait()


def _is_complete(shard_encoder: ShardEncoder) -> bool:
    return FolderState(shard_encoder.arguments.output, KIND, {}).is_complete


def _report(row: SkippedRow) -> None:
    if row.reason not in FILTER_REASONS:
        with tqdm.external_write_mode():
            logger.warning("skipped %s", row)


def _finish(shard_encoder: ShardEncoder, record: FolderState) -> Summary:
    arguments, output = shard_encoder.arguments, Path(shard_encoder.arguments.output)
    metadata = shard_encoder.metadata
    if record.is_complete:
        logger.info("%s is complete: nothing to encode.", output)
        splits, skipped = load_finished(output)
        summary = summarize(splits, skipped)
    else:
        splits, skipped = read_shards(
            shard_encoder.store, metadata, arguments.validation_share, arguments.validation_count
        )
        summary = summarize(splits, skipped)
        parquet = arguments.engine == "ray"
        card = _card(shard_encoder, str(output), summary, "load_dataset" if parquet else "load_from_disk")
        with explain_full_disk(output):
            write_dataset(output, splits, skipped, metadata, card, parquet)
        record.finish()
    if arguments.push_to_hub:
        card = _card(shard_encoder, arguments.push_to_hub, summary, "load_dataset")
        push_dataset(splits, arguments.push_to_hub, metadata, card, output, arguments.private)
    del splits
    shutil.rmtree(shard_encoder.store.folder, ignore_errors=True)
    return summary


def _card(shard_encoder: ShardEncoder, name: str, summary: Summary, loader: str) -> str:
    arguments = shard_encoder.arguments
    options = {
        field.name: value
        for field in dataclasses.fields(arguments)
        if (value := getattr(arguments, field.name)) != field.default and field.name in arguments.settings()
    }
    limits = dataclasses.asdict(arguments.filters(shard_encoder.is_import))
    settings = options | {limit: value for limit, value in limits.items() if value is not None}
    metadata = dataclasses.replace(shard_encoder.metadata, codec=_public_name(shard_encoder.metadata.codec))
    settings |= {key: _public_name(settings[key]) for key in ("source", "codec") if settings.get(key)}
    return make_card(name, summary, metadata, list(shard_encoder.features), settings, arguments.license, loader)


def _public_name(name: str) -> str:
    """Returns the last part of a local path, so that cards have no local paths."""
    return Path(name).resolve().name if name and Path(name).exists() else name
