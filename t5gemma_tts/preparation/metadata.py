"""Metadata of a prepared dataset, which lets training check that dataset and model use the same codebook."""

import dataclasses
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path


METADATA_FILE = "t5gemma_tts_dataset.json"
LARGEST_CODEBOOK = 1 << 16  # codes are stored as uint16


@dataclass
class DatasetMetadata:
    """
    Metadata of a prepared dataset.

    Args:
        codec (`str`): Name of the codec; "" if unknown.
        codebook_size (`int`): Codes are in [0, `codebook_size`).
        frame_rate (`float`): Codes per second.
        speed_factors (`list[float]`, *optional*): Speed factors of `codes_stretched`, in the same order; above 1 is
            faster.
        format_version (`int`, *optional*, defaults to 1)
    """

    codec: str
    codebook_size: int
    frame_rate: float
    speed_factors: list[float] = field(default_factory=list)
    format_version: int = 1

    def __post_init__(self):
        size = self.codebook_size
        if isinstance(size, bool) or not isinstance(size, int) or not 0 < size <= LARGEST_CODEBOOK:
            raise ValueError(
                f"`codebook_size` must be in 1 to {LARGEST_CODEBOOK}, as codes are stored in 16 bits, got {size!r}."
            )
        if not math.isfinite(self.frame_rate) or self.frame_rate <= 0:
            raise ValueError(f"`frame_rate` must be above 0 codes per second, got {self.frame_rate!r}.")

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True)

    @classmethod
    def from_json(cls, text: str, origin: str) -> "DatasetMetadata":
        """
        Raises:
            ValueError: if `text` is not output of `to_json`; the message names `origin`.
        """
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{origin} does not describe a prepared dataset: {error}") from error

    @classmethod
    def load(cls, name: str | os.PathLike, revision: str | None = None) -> "DatasetMetadata":
        """
        Reads the metadata of a prepared dataset.

        Args:
            name (`str` or `os.PathLike`): Folder or Hub name of the dataset.
            revision (`str`, *optional*): Revision of the Hub repository.

        Raises:
            FileNotFoundError: if the folder was not created by `prepare_dataset.py`.
            ValueError: if the file is damaged.
        """
        folder = Path(name)
        if not folder.is_dir():
            from huggingface_hub import hf_hub_download

            path = Path(hf_hub_download(str(name), METADATA_FILE, repo_type="dataset", revision=revision))
        else:
            path = folder / METADATA_FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"no {METADATA_FILE} in {str(folder)!r}: it was not created by training/prepare_dataset.py, or "
                "its preparation has not finished."
            )
        return cls.from_json(path.read_text(encoding="utf-8"), repr(str(path)))

    @classmethod
    def from_dataset(cls, dataset) -> "DatasetMetadata":
        """Reads the metadata from the description of a `datasets.Dataset` loaded with `load_from_disk`."""
        return cls.from_json(dataset.info.description or "", "the description of the dataset")

    def check_codebook(self, codebook_size: int, name: str = "the dataset") -> None:
        """
        Checks the codebook size of a model or codec.

        Raises:
            ValueError: if `codebook_size` differs from that of the dataset.
        """
        if codebook_size != self.codebook_size:
            raise ValueError(
                f"{name} has codes of a codebook of {self.codebook_size} entries (codec {self.codec or 'unknown'!r}), "
                f"but the model's `codebook_size` is {codebook_size}: prepare the dataset with the model's codec."
            )
