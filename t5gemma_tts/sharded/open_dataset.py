"""Opens `datasets` datasets from the Hub, a local folder or the output of `save_to_disk`."""

from pathlib import Path
from typing import Any

import numpy as np
from datasets import Audio, Dataset, DatasetDict, config, load_dataset, load_from_disk
from huggingface_hub.constants import HF_HUB_CACHE

from .files import is_within


def open_split(name: str, config_name: str | None = None, split: str = "train") -> Dataset:
    """
    Opens a split of a dataset. Audio columns are not decoded, because `datasets` needs torchcodec for that.

    Args:
        name (`str`): Hub repository or local folder.
        config_name (`str`, *optional*): Configuration of the dataset.
        split (`str`, *optional*, defaults to `"train"`): Split; ignored for a saved dataset without splits.

    Raises:
        ValueError: if the split does not exist.
    """
    if is_saved_to_disk(name):
        dataset = load_from_disk(name)
        if isinstance(dataset, DatasetDict):
            if split not in dataset:
                raise ValueError(f"{name!r} has no split {split!r}; it has {', '.join(dataset)}.")
            dataset = dataset[split]
    else:
        dataset = load_dataset(name, config_name, split=split)
    for column, feature in dataset.features.items():
        if isinstance(feature, Audio):
            dataset = dataset.cast_column(column, Audio(decode=False))
    return dataset


def is_saved_to_disk(name: str) -> bool:
    """Whether `name` is a folder that `save_to_disk` wrote."""
    return any((Path(name) / file).is_file() for file in ("dataset_dict.json", "state.json"))


def parse_audio_cell(cell: object, folder: Path | None = None) -> dict[str, Any]:
    """
    Parses a cell of an audio column.

    Args:
        cell: Path, or dict with "bytes", "path", or "array" and "sampling_rate".
        folder (`Path`, *optional*): Folder of relative paths. If it is None, as for a dataset from the Hub, paths must
            be inside the cache of `datasets` or the Hub, so that a dataset cannot read other local files.

    Returns:
        `dict` with one of: `file` (path); `audio_bytes` (content of a file) and its name `file`; `waveform` (array) and
        `sampling_rate` in Hz.

    Raises:
        ValueError: if the cell holds no audio, or the path of a file that was not downloaded.
    """
    if isinstance(cell, str):
        return {"file": _check_downloaded(cell) if folder is None else folder / cell}
    if isinstance(cell, dict):
        if cell.get("bytes") is not None:
            return {"audio_bytes": cell["bytes"], "file": cell.get("path")}
        if cell.get("array") is not None and cell.get("sampling_rate"):
            return {"waveform": np.asarray(cell["array"]), "sampling_rate": cell["sampling_rate"]}
        if cell.get("path"):
            return {"file": _check_downloaded(cell["path"]) if folder is None else cell["path"]}
    raise ValueError(f"no audio, but {str(cell)[:80]}.")


def _check_downloaded(path: str) -> str:
    if not any(is_within(path, cache) for cache in (config.HF_DATASETS_CACHE, HF_HUB_CACHE)):
        raise ValueError(f"{path!r:.200}, a file that was not downloaded with the dataset.")
    return path
