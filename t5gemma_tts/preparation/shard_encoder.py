"""Encodes shards; used by single processes, accelerate and Ray workers."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

from ..loading import load_codec
from ..sharded.columns import USUAL_NAMES
from ..sharded.open_dataset import is_saved_to_disk
from ..sharded.shard_store import ShardStore
from .arguments import (
    DEFAULT_CODEBOOK_SIZE,
    DEFAULT_FRAME_RATE,
    PrepareDatasetArguments,
)
from .datasets_source import DatasetsSource
from .encoding import ClipEncoder, CodesImporter
from .folder_source import AUDIO_SUFFIXES, FolderSource
from .metadata import DatasetMetadata
from .original_source import OriginalSource
from .rows import BadRow, SkippedRow
from .schema import prepared_features, shard_features
from .speed import import_av


# reasons that do not stop a strict run
FILTER_REASONS = {"language", "characters", "repetition", "seconds", "characters_per_second"}


def source_format(arguments: PrepareDatasetArguments) -> str:
    """
    Returns the source format, detected if it is "auto".

    Raises:
        FileNotFoundError: if the format needs a folder that does not exist.
    """
    folder = Path(arguments.source)
    if arguments.source_format in ("folder", "original") and not folder.is_dir():
        raise FileNotFoundError(f"`source` {arguments.source!r} is not a folder.")
    if arguments.source_format != "auto":
        return arguments.source_format
    if not folder.is_dir() or is_saved_to_disk(arguments.source):
        return "datasets"
    if (folder / arguments.manifest_folder).is_dir():
        return "original"
    if any((folder / name).is_file() for name in ("metadata.csv", "metadata.jsonl")):
        return "folder"
    is_recordings = any(
        path.suffix.lower() in AUDIO_SUFFIXES and path.with_suffix(".txt").exists() for path in folder.rglob("*")
    )
    return "folder" if is_recordings or not any(folder.rglob("*.parquet")) else "datasets"


def open_source(arguments: PrepareDatasetArguments):
    """
    Opens the source, a sequence of `SourceRow` with `ids`, `fingerprint` and `file_of(index)`.

    Raises:
        FileNotFoundError: if the source does not exist.
        ValueError: if the source is invalid, or options do not apply to its format.
    """
    kind = source_format(arguments)
    columns = {name: getattr(arguments, name) for name in USUAL_NAMES}
    if kind == "original":
        audio_options = ("split_column", "config_name", "speed_factors", "validation_count")
        _reject_options(arguments, "an import of codes", *USUAL_NAMES, *audio_options)
        return OriginalSource(
            arguments.source,
            arguments.text_folder,
            arguments.codes_folder,
            arguments.manifest_folder,
            arguments.neighbors_folder,
        )
    _reject_options(arguments, "audio, because the codec defines them", "codebook_size", "frame_rate")
    if arguments.codec is None:
        raise ValueError("`codec` is needed to encode audio: Hub name or folder of an XCodec2 or a checkpoint.")
    if kind == "folder":
        _reject_options(arguments, "a folder of recordings", "config_name")
        source = FolderSource(arguments.source, **columns, split_column=arguments.split_column)
        if source.has_splits:
            _reject_options(arguments, "a folder whose rows have splits", "validation_count")
        return source
    _reject_options(arguments, "a dataset, whose split is chosen by `split`", "split_column")
    return DatasetsSource(arguments.source, arguments.config_name, arguments.split, **columns)


def _reject_options(arguments: PrepareDatasetArguments, source: str, *names: str) -> None:
    if given := [name for name in names if getattr(arguments, name) not in (None, [])]:
        raise ValueError(f"{', '.join(f'`{name}`' for name in given)} cannot be used with {source}.")


class ShardEncoder:
    """
    Encodes the shards of a preparation.

    Args:
        arguments (`PrepareDatasetArguments`)
        device (`str`, *optional*): Device of the codec (default: `arguments.device`).
    """

    def __init__(self, arguments: PrepareDatasetArguments, device: str | None = None):
        self.arguments, self.device = arguments, device or arguments.device
        self.source = open_source(arguments)
        self.is_import = isinstance(self.source, OriginalSource)
        if arguments.speed_factors:
            import_av()
        self.features = prepared_features(self.is_import, bool(arguments.speed_factors))
        self.num_rows = min(len(self.source), arguments.limit or len(self.source))
        self.store = ShardStore(
            arguments.output, self.num_rows, arguments.rows_per_shard, shard_features(self.features)
        )

    @cached_property
    def codec(self):
        return None if self.is_import else load_codec(self.arguments.codec, self.device)

    @cached_property
    def metadata(self) -> DatasetMetadata:
        """
        Metadata of the prepared dataset.

        Raises:
            ValueError: if codes do not fit into 16 bits.
        """
        arguments = self.arguments
        if self.is_import:
            return DatasetMetadata(
                codec=arguments.codec or "",
                codebook_size=arguments.codebook_size or DEFAULT_CODEBOOK_SIZE,
                frame_rate=arguments.frame_rate or DEFAULT_FRAME_RATE,
            )
        return DatasetMetadata(
            codec=arguments.codec,
            codebook_size=self.codec.codebook_size,
            frame_rate=self.codec.frame_rate,
            speed_factors=arguments.speed_factors,
        )

    @cached_property
    def encoder(self) -> ClipEncoder | CodesImporter:
        arguments, filters = self.arguments, self.arguments.filters(self.is_import)
        normalize = arguments.normalize_text
        if self.is_import:
            metadata = self.metadata
            return CodesImporter(
                filters, metadata.codebook_size, metadata.frame_rate, bool(normalize), arguments.language
            )
        return ClipEncoder(self.codec, filters, normalize in (None, True), arguments.language, arguments.speed_factors)

    @cached_property
    def first_rows(self) -> dict[str, int]:
        first = {}
        for index in range(self.num_rows):
            first.setdefault(self.source.ids[index], index)
        return first

    def settings(self) -> dict:
        """Returns everything that affects the output: options, source and codec."""
        metadata = self.metadata
        return {
            **self.arguments.settings(),
            "source_fingerprint": self.source.fingerprint,
            "source_rows": len(self.source),
            "codebook_size": metadata.codebook_size,
            "frame_rate": metadata.frame_rate,
        }

    def encode_shard(
        self, shard: int, on_row: Callable[[], None] = lambda: None, on_skip: Callable[[SkippedRow], None] | None = None
    ) -> tuple[int, int]:
        """
        Encodes a shard and writes it.

        Args:
            shard (`int`)
            on_row (callable, *optional*): Called after each row.
            on_skip (callable, *optional*): Called with each skipped row.

        Returns:
            `(num_kept, num_skipped)`

        Raises:
            OSError: if the shard cannot be written.
            ValueError: if `strict` is set and a row cannot be read.
        """
        rows, skipped = [], []
        with ThreadPoolExecutor(self.arguments.num_workers) as pool:
            pending, indices = deque(), iter(self.store.rows(shard))
            try:
                while True:
                    # prefetch only a few clips: a shard of long clips does not fit into memory
                    while len(pending) <= self.arguments.num_workers and (index := next(indices, None)) is not None:
                        pending.append((index, pool.submit(self._load, index)))
                    if not pending:
                        break
                    index, future = pending.popleft()
                    try:
                        rows.append(self.encoder.encode(future.result()))
                    except BadRow as error:
                        skipped.append(self._skip(index, error))
                        if on_skip is not None:
                            on_skip(skipped[-1])
                    on_row()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        self.store.write(shard, rows, [row.to_dict() for row in skipped])
        return len(rows), len(skipped)

    def _load(self, index: int):
        row_id = self.source.ids[index]
        first = self.first_rows[row_id]
        if first != index:
            raise BadRow("duplicate_id", f"the id {row_id!r} is already used by row {first}.")
        return self.encoder.load(row_id, self.source[index])

    def _skip(self, index: int, error: BadRow) -> SkippedRow:
        row = SkippedRow(index, self.source.ids[index], self.source.file_of(index), error.reason, str(error))
        if self.arguments.strict and error.reason not in FILTER_REASONS:
            raise ValueError(str(row)) from error
        return row
