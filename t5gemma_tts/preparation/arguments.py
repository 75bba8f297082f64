"""The options of `prepare_dataset.py`."""

import dataclasses
from dataclasses import dataclass, field

from .filters import DEFAULT_FILTERS, RowFilters
from .speed import check_speed_factors


SOURCE_FORMATS = ("auto", "datasets", "folder", "original")
ENGINES = ("local", "ray")
DEFAULT_CODEBOOK_SIZE, DEFAULT_FRAME_RATE = 65536, 50.0

# what a preparation writes does not depend on these
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
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": help, **metadata})
    return field(default=default, metadata={"help": help, **metadata})


@dataclass
class PrepareDatasetArguments:
    source: str = field(metadata={"help": "Hub name of a dataset, or a folder: of a dataset, recordings, or codes."})
    output: str = field(metadata={"help": "Folder of the prepared dataset; a run that was killed goes on in it."})
    source_format: str = option(
        "auto",
        "datasets (Hub, or what `datasets` loads), folder (metadata.csv, metadata.jsonl, or audio with .txt), original "
        "(text/, xcodec2_1cb/, manifest_final/, neighbors/), or auto: as the folder looks.",
        choices=SOURCE_FORMATS,
    )
    codec: str | None = option(
        None,
        "Codec: Hub name or folder of an XCodec2, or of a T5Gemma-TTS checkpoint. Needed for audio; an import only "
        "notes the name.",
    )

    config_name: str | None = option(None, "Configuration of a dataset from the Hub.")
    split: str = option("train", "Split of the dataset to prepare.")
    audio_column: str | None = option(None, "Column of audio, or of audio files (default: the usual names).")
    text_column: str | None = option(None, "Column of transcripts (default: the usual names).")
    speaker_column: str | None = option(None, "Column of speakers (default: the usual names, if there).")
    language_column: str | None = option(None, "Column of languages (default: the usual names, if there).")
    start_column: str | None = option(
        None, "Column of seconds where the clip starts in its source recording (default: the usual names, if there)."
    )
    id_column: str | None = option(None, "Column of unique ids (default: the usual names, else file or row number).")
    split_column: str | None = option(
        None, "Folder: column of splits (default: `split`, if there). Its rows are in these splits, whatever they are."
    )

    text_folder: str = option("text", "Import: sub-folder of the transcripts.")
    codes_folder: str = option("xcodec2_1cb", "Import: sub-folder of the codes.")
    manifest_folder: str = option("manifest_final", "Import: sub-folder of the manifests.")
    neighbors_folder: str = option("neighbors", "Import: sub-folder of the neighbours.")
    codebook_size: int | None = option(None, f"Import: codes must be below (default {DEFAULT_CODEBOOK_SIZE}).")
    frame_rate: float | None = option(None, f"Import: codes per second (default {DEFAULT_FRAME_RATE:g}).")

    language: str | None = option(None, "Language of rows without one (default: detected from the text).")
    normalize_text: bool | None = option(
        None, "Normalise transcripts as the processor does (default: yes for audio, no for imports)."
    )
    speed_factors: list[float] = option([], "Also encode each clip at these speeds, same pitch; needs PyAV.")

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
        "Skip texts that say something of up to 80 characters more often in a row, over 20 characters or more (default "
        f"{DEFAULT_FILTERS.max_repetitions}). An import has none of these limits unless they are given.",
    )
    languages: list[str] = option([], "Skip other languages, e.g. en ja (default: keep all).")

    validation_share: float = option(
        0.01, "Share of rows for validation, chosen by a hash of their ids, of rows that do not say their split."
    )
    validation_count: int | None = option(None, "Number of rows for validation, instead of a share.")
    limit: int | None = option(None, "Only the first rows of the source.")
    strict: bool = option(False, "Stop at the first row that cannot be read, instead of skipping it.")

    engine: str = option(
        "local",
        "local: this process, or those of `accelerate launch`; writes what `load_from_disk` reads. ray: Ray Data, over "
        "the machines of a Ray cluster, which must all see source and output; writes Parquet for `load_dataset`.",
        choices=ENGINES,
    )
    device: str = option("auto", "Device of the codec: auto, cpu, cuda, cuda:1, mps.")
    num_workers: int = option(2, "Threads per process that read audio ahead.")
    rows_per_shard: int = option(256, "Rows encoded between two files on disk: what a killed run loses at most.")
    ray_workers: int | None = option(None, "Ray: number of actors (default: the cluster's GPUs, or CPUs if none).")

    overwrite: bool = option(False, "Discard an earlier preparation in the output folder, and start anew.")
    push_to_hub: str | None = option(None, "Also upload the dataset to this Hub repository.")
    private: bool = option(False, "Make a new Hub repository private.")
    license: str | None = option(None, "Licence of the recordings, for the dataset card, e.g. cc-by-4.0.")

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
        """The limits of rows: those given, and for audio the defaults of the others."""
        given = {
            name.name: getattr(self, name.name)
            for name in dataclasses.fields(RowFilters)
            if getattr(self, name.name) not in (None, [])
        }
        if "languages" in given:
            given["languages"] = tuple(given["languages"])
        return dataclasses.replace(RowFilters() if is_import else DEFAULT_FILTERS, **given)

    def settings(self) -> dict:
        """Everything that decides what is written."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in _NOT_SETTINGS}
