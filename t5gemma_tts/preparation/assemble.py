"""Assembles shards into the final dataset."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset, DatasetDict, concatenate_datasets, load_from_disk
from pyarrow import ArrowException

from ..sharded.shard_store import ShardStore, staged_output
from .metadata import METADATA_FILE, DatasetMetadata
from .rows import SkippedRow
from .schema import SPLIT_COLUMN
from .splitting import TRAIN, VALIDATION, split_by_id


KIND = "preparation"
SKIPPED_FILE = "skipped.jsonl"
PARQUET_FOLDER = "data"
PARQUET_FILE_BYTES = 500 << 20


@dataclass
class Summary:
    """Numbers of kept rows per split and of skipped rows per reason."""

    num_rows: dict[str, int]
    hours: dict[str, float]
    speakers: dict[str, int]
    languages: dict[str, int]
    skipped: dict[str, int]

    def __str__(self) -> str:
        lines = [f"{split}: {rows} rows, {self.hours[split]:.2f} h" for split, rows in self.num_rows.items()]
        if self.skipped:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.skipped.items())
            lines.append(f"skipped: {sum(self.skipped.values())} rows ({reasons}), see {SKIPPED_FILE}")
        return "\n".join(lines)


def read_shards(
    store: ShardStore, metadata: DatasetMetadata, share: float = 0.0, count: int | None = None
) -> tuple[DatasetDict, list[SkippedRow]]:
    """
    Loads all shards as one memory-mapped dataset, split by the column of splits, or else by ids.

    Args:
        store (`ShardStore`)
        metadata (`DatasetMetadata`): stored in the description of the dataset.
        share (`float`, *optional*, defaults to 0.0), count (`int`, *optional*): as in `split_by_id`.

    Returns:
        `(splits, skipped)`

    Raises:
        ValueError: if there are no rows or no training rows; the message counts the reasons for skipped rows.
    """
    parts, skipped = [], []
    for part, notes in store.datasets():
        skipped += [SkippedRow(**note) for note in notes]
        if len(part):
            parts.append(part)
    if not parts:
        raise ValueError(f"none of the {store.num_rows} rows can be used. {_reasons(skipped)}")
    rows = concatenate_datasets(parts)
    given_splits = rows.data.column(SPLIT_COLUMN).to_pylist()
    by_id = split_by_id(rows.data.column("id").to_pylist(), share, count)
    split_of_row = [given or hashed for given, hashed in zip(given_splits, by_id, strict=True)]
    if TRAIN not in split_of_row:
        raise ValueError(f"none of the {store.num_rows} rows is left for training. {_reasons(skipped)}")
    rows = rows.remove_columns(SPLIT_COLUMN)
    rows.info.description = metadata.to_json()
    order = [TRAIN, VALIDATION, *sorted(set(split_of_row) - {TRAIN, VALIDATION})]
    indices = {split: [row for row, row_split in enumerate(split_of_row) if row_split == split] for split in order}
    return DatasetDict({split: rows.select(chosen) for split, chosen in indices.items() if chosen}), skipped


def _reasons(skipped: list[SkippedRow]) -> str:
    reasons = []
    for reason, number in Counter(row.reason for row in skipped).most_common():
        first = next(row for row in skipped if row.reason == reason)
        reasons.append(f"{number} for {reason}, e.g. {first}")
    return "Skipped: " + " | ".join(reasons) if reasons else ""


def summarize(splits: DatasetDict, skipped: list[SkippedRow]) -> Summary:
    """Counts rows, hours, speakers, languages and skipped rows."""
    languages, speakers = Counter(), Counter()
    for rows in splits.values():
        languages.update(rows["language"])
        speakers.update(speaker for speaker in rows["speaker"] if speaker)
    return Summary(
        num_rows={split: len(rows) for split, rows in splits.items()},
        hours={split: sum(rows["duration_seconds"]) / 3600 for split, rows in splits.items()},
        speakers=dict(speakers.most_common()),
        languages=dict(languages.most_common()),
        skipped=dict(Counter(row.reason for row in skipped).most_common()),
    )


def write_parquet(splits: DatasetDict, folder: Path) -> None:
    """Writes `folder/data/<split>-00000-of-00001.parquet`, the layout that `load_dataset` expects."""
    (folder / PARQUET_FOLDER).mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        num_files = max(1, min(len(rows), -(-_num_bytes(rows) // PARQUET_FILE_BYTES)))
        for number in range(num_files):
            piece = rows.shard(num_files, number, contiguous=True)
            piece.to_parquet(folder / PARQUET_FOLDER / f"{split}-{number:05d}-of-{num_files:05d}.parquet")


def _num_bytes(rows: Dataset) -> int:
    return rows.data.nbytes * len(rows) // max(len(rows.data), 1)


def write_dataset(
    output: Path,
    splits: DatasetDict,
    skipped: list[SkippedRow],
    metadata: DatasetMetadata,
    card: str,
    parquet: bool = False,
) -> None:
    """
    Writes the dataset with card, metadata and `skipped.jsonl` to a temporary folder, then moves the files to `output`.
    `dataset_dict.json` is moved last, so that an incomplete folder does not load.
    """
    with staged_output(output, last="dataset_dict.json") as temporary:
        if parquet:
            write_parquet(splits, temporary)
        else:
            splits.save_to_disk(temporary)
        write_documents(temporary, metadata, card)
        with open(temporary / SKIPPED_FILE, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row.to_dict(), ensure_ascii=False) + "\n" for row in skipped)


def write_documents(folder: Path, metadata: DatasetMetadata, card: str) -> None:
    """Writes the metadata file and the dataset card."""
    (folder / METADATA_FILE).write_text(metadata.to_json() + "\n", encoding="utf-8")
    (folder / "README.md").write_text(card, encoding="utf-8")


def load_finished(output: Path) -> tuple[DatasetDict, list[SkippedRow]]:
    """
    Loads the dataset and the skipped rows of a complete preparation by either engine.

    Raises:
        ValueError: if the files are damaged.
    """
    try:
        return _load_finished(output)
    except (ArrowException, LookupError, OSError, TypeError, ValueError) as error:
        raise ValueError(
            f"the finished dataset in {str(output)!r} is damaged: {error}. Copy it again, or pass --overwrite."
        ) from error


def _load_finished(output: Path) -> tuple[DatasetDict, list[SkippedRow]]:
    if (output / "dataset_dict.json").is_file():
        splits = load_from_disk(output)
    else:
        files = sorted((output / PARQUET_FOLDER).glob("*.parquet"))
        names = dict.fromkeys(path.name.split("-")[0] for path in files)
        splits = DatasetDict(
            {
                name: Dataset.from_parquet([str(path) for path in files if path.name.startswith(f"{name}-")])
                for name in names
            }
        )
    with open(output / SKIPPED_FILE, encoding="utf-8") as file:
        return splits, [SkippedRow(**json.loads(line)) for line in file]
