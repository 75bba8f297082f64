"""Arguments of dataset preparation."""

import dataclasses
from dataclasses import dataclass, field

from .filters import DEFAULT_FILTERS, RowFilters
from .speed import check_speed_factors


SOURCE_FORMATS = ("auto", "datasets", "folder", "original")
ENGINES = ("local", "ray")
DEFAULT_CODEBOOK_SIZE, DEFAULT_FRAME_RATE = 65536, 50.0

# options that do not affect the output
_NOT_SETTINGS = {
    "output",
    "device",
    "num_workers",
    "ray_workers",
    "overwrite",
    "push_to_hub",
    "private",
}


def option(default, help: str, **metadata):
    """Returns a dataclass field with a help text for `HfArgumentParser`."""
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": help, **metadata})
    return field(default=default, metadata={"help": help, **metadata})


@dataclass
class PrepareDatasetArguments:
    """Options of `t5gemma-tts prepare` and `prepare_dataset.py`."""

    source: str = field(metadata={"help": "Hub name of a dataset, or a folder with a dataset, recordings, or codes."})
    output: str = field(metadata={"help": "Output folder; an interrupted run resumes in it."})
    source_format: str = option(
        "auto",
        "datasets (Hub name, or a folder that `datasets` loads), folder (metadata.csv, metadata.jsonl, or audio with "
        ".txt files), original (text/, xcodec2_1cb/, manifest_final/, neighbors/), or auto (detected).",
        choices=SOURCE_FORMATS,
    )
    codec: str | None = option(
        None,
        "Codec: Hub name or folder of an XCodec2 or of a T5Gemma-TTS checkpoint. Required for audio; an import only "
        "records the name.",
    )

    config_name: str | None = option(None, "Configuration of a Hub dataset.")
    split: str = option("train", "Split of the dataset to prepare.")
    audio_column: str | None = option(None, "Column with audio or audio file names (default: detected by name).")
    text_column: str | None = option(None, "Column with transcripts (default: detected by name).")
    speaker_column: str | None = option(None, "Column with speakers (default: detected by name).")
    language_column: str | None = option(None, "Column with languages (default: detected by name).")
    start_column: str | None = option(
        None, "Column with the start of the clip in its source recording, in seconds (default: detected by name)."
    )
    id_column: str | None = option(
        None, "Column with unique ids (default: detected by name, else file name or row index)."
    )
    split_column: str | None = option(
        None, "Folder: column with splits (default: `split`, if it exists); its values are used unchanged."
    )

    text_folder: str = option("text", "Import: subfolder of transcripts.")
    codes_folder: str = option("xcodec2_1cb", "Import: subfolder of codes.")
    manifest_folder: str = option("manifest_final", "Import: subfolder of manifests.")
    neighbors_folder: str = option("neighbors", "Import: subfolder of neighbors.")
    codebook_size: int | None = option(None, f"Import: codebook size (default {DEFAULT_CODEBOOK_SIZE}).")
    frame_rate: float | None = option(None, f"Import: codes per second (default {DEFAULT_FRAME_RATE:g}).")

    language: str | None = option(None, "Language of rows without one (default: detected from the text).")
    normalize_text: bool | None = option(
        None, "Normalize transcripts like the processor (default: true for audio, false for imports)."
    )
    speed_factors: list[float] = option([], "Also encode each clip at these speeds with unchanged pitch; needs PyAV.")

    min_seconds: float | None = option(None, f"Skip shorter clips (default {DEFAULT_FILTERS.min_seconds}).")
    max_seconds: float | None = option(None, f"Skip longer clips (default {DEFAULT_FILTERS.max_seconds}).")
    min_characters: int | None = option(None, f"Skip shorter texts (default {DEFAULT_FILTERS.min_characters}).")
    max_characters: int | None = option(None, f"Skip longer texts (default {DEFAULT_FILTERS.max_characters}).")
    min_characters_per_second: float | None = option(
        None, f"Skip slower speech (default {DEFAULT_FILTERS.min_characters_per_second})."
    )
    max_characters_per_second: float | None = option(
        None, f"Skip faster speech (default {DEFAULT_FILTERS.max_characters_per_second})."
    )
    max_repetitions: int | None = option(
        None,
        "Skip texts that repeat a sequence of up to 80 characters more often in a row, over 20 characters or more "
        f"(default {DEFAULT_FILTERS.max_repetitions}). Imports have no default limits.",
    )
    languages: list[str] = option([], "Languages to keep, e.g. en ja (default: all).")

    validation_share: float = option(
        0.01, "Fraction of rows for validation, chosen by a hash of their ids; applies to rows without a split."
    )
    validation_count: int | None = option(None, "Number of rows for validation, instead of a fraction.")
    limit: int | None = option(None, "Use only this many rows from the start of the source.")
    strict: bool = option(False, "Stop at the first unreadable row instead of skipping it.")

    engine: str = option(
        "local",
        "local: this process or those of `accelerate launch`; writes a dataset for `load_from_disk`. ray: Ray Data on "
        "a cluster whose machines share source and output; writes Parquet files for `load_dataset`.",
        choices=ENGINES,
    )
    device: str = option("auto", "Device of the codec: auto, cpu, cuda, cuda:1, mps.")
    num_workers: int = option(2, "Threads per process that prefetch audio.")
    rows_per_shard: int = option(256, "Rows per shard; an interrupted run loses at most one shard per process.")
    ray_workers: int | None = option(None, "Ray: number of actors (default: the cluster's GPUs, or CPUs if none).")

    overwrite: bool = option(False, "Delete an earlier preparation in the output folder and start over.")
    push_to_hub: str | None = option(None, "Also upload the dataset to this Hub repository.")
    private: bool = option(False, "Make the Hub repository private if it is created.")
    license: str | None = option(None, "License of the recordings for the dataset card, e.g. cc-by-4.0.")

    def __post_init__(self):
        for name, choices in (("source_format", SOURCE_FORMATS), ("engine", ENGINES)):
            if getattr(self, name) not in choices:
                raise ValueError(f"`{name}` must be one of {', '.join(choices)}, got {getattr(self, name)!r}.")
        for name in ("rows_per_shard", "num_workers", "limit", "ray_workers"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"`{name}` must be 1 or more, got {value}.")
        if not 0 <= self.validation_share < 1:
            raise ValueError(f"`validation_share` must be in [0, 1), got {self.validation_share}.")
        if self.validation_count is not None and self.validation_count < 0:
            raise ValueError(f"`validation_count` must be 0 or more, got {self.validation_count}.")
        check_speed_factors(self.speed_factors)
        self.filters(is_import=False)

    def filters(self, is_import: bool) -> RowFilters:
        """Returns the row filters: given limits, and default limits for the others if the source is audio."""
        given = {
            name.name: getattr(self, name.name)
            for name in dataclasses.fields(RowFilters)
            if getattr(self, name.name) not in (None, [])
        }
        if "languages" in given:
            given["languages"] = tuple(given["languages"])
        return dataclasses.replace(RowFilters() if is_import else DEFAULT_FILTERS, **given)

    def settings(self) -> dict:
        """Returns all options that affect the output."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in _NOT_SETTINGS}
