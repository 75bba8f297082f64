"""Options of a batch."""

from dataclasses import dataclass, field
from typing import Any

from ..loading import ModelOptions
from ..model.lexicon import Lexicon
from ..model.marks import check_watermark


ENGINES = ("local", "ray")
CONTENTS = ("audio", "codes")


@dataclass(frozen=True)
class BatchArguments:
    """
    Args:
        source (`str`): Text file with one text per line (.txt), JSON Lines file (.jsonl), folder or Hub name of a
            dataset.
        output (`str`): Output folder; an interrupted batch resumes in it.
        model (`ModelOptions`): Options for loading the model.
        config_name (`str`, *optional*): Configuration of the dataset.
        split (`str`): Split of the dataset.
        text_column, id_column (`str`, *optional*): Columns with unusual names.
        language (`str`, *optional*): Language of rows without one; detected by default.
        speed (`float`): Speed of speech; estimated durations are divided by it.
        normalize (`bool`, *optional*): Whether numbers, dates and so on become words; the model's default if None.
        lexicon (`str`, *optional*): TSV file of words and their pronunciations.
        voices_dir (`str`, *optional*): Folder of voices that the server stored; the column `speaker` names them.
        reference_audio, reference_text (`str`, *optional*): Reference for rows without one: audio file and its
            transcript.
        asr (`str`, *optional*): Speech recognition model for references without a transcript.
        sampling (`dict`): Sampling options of `speech_requests`.
        seed (`int`): Seed from which the seeds of the rows are derived.
        contents (tuple of `str`): Output columns: "audio" (FLAC), "codes" or both.
        watermark (`str`): "metadata" tags the FLAC files as synthetic speech, "off" does not.
        rows_per_shard (`int`): Rows per shard file. An interrupted run loses at most the current shard of each worker.
        batch_size (`int`): Rows that a worker generates at once.
        engine (`str`): "local" runs in this process, "ray" on a Ray cluster.
        num_workers (`int`, *optional*), gpus_per_worker (`float`, *optional*): See [`process_shards_with_ray`].
        overwrite (`bool`): Whether to delete an earlier batch in the output folder.

    Raises:
        ValueError: for values out of range, options that do not apply to the engine, and a lexicon with errors.
        FileNotFoundError: if there is no lexicon file.
    """

    source: str
    output: str
    model: ModelOptions
    config_name: str | None = None
    split: str = "train"
    text_column: str | None = None
    id_column: str | None = None
    language: str | None = None
    speed: float = 1.0
    normalize: bool | None = None
    lexicon: str | None = None
    voices_dir: str | None = None
    reference_audio: str | None = None
    reference_text: str | None = None
    asr: str | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    contents: tuple[str, ...] = CONTENTS
    watermark: str = "metadata"
    rows_per_shard: int = 64
    batch_size: int = 16
    engine: str = "local"
    num_workers: int | None = None
    gpus_per_worker: float | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise ValueError(f"`engine` must be one of {', '.join(ENGINES)}, got {self.engine!r}.")
        if not self.contents or not set(self.contents) <= set(CONTENTS):
            raise ValueError(f"`contents` must be some of {', '.join(CONTENTS)}, got {self.contents!r}.")
        check_watermark(self.watermark)
        if self.lexicon is not None:
            Lexicon.load(self.lexicon)
        for name in ("rows_per_shard", "batch_size", "num_workers"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}.")
        if self.gpus_per_worker is not None and self.gpus_per_worker < 0:
            raise ValueError(f"`gpus_per_worker` must not be negative, got {self.gpus_per_worker}.")
        if self.engine == "local" and not (self.num_workers is None and self.gpus_per_worker is None):
            raise ValueError(
                "`num_workers` and `gpus_per_worker` are for `engine` ray; the engine local has one process."
            )
        if self.reference_text is not None and self.reference_audio is None:
            raise ValueError("`reference_text` was given without `reference_audio`.")
