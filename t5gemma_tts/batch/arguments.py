"""The options of a batch."""

from dataclasses import dataclass, field
from typing import Any

from ..loading import ModelOptions


ENGINES = ("local", "ray")
CONTENTS = ("audio", "codes")


@dataclass(frozen=True)
class BatchArguments:
    """
    Args:
        source (`str`): a file of lines (.txt) or JSON Lines (.jsonl), a folder of a dataset, or its Hub name.
        output (`str`): folder of the spoken dataset; one that was killed goes on in it.
        model (`ModelOptions`)
        config_name (`str`, *optional*): configuration of a dataset.
        split (`str`): of a dataset.
        text_column, id_column (`str`, *optional*): where they are not called as usual.
        language (`str`, *optional*): of rows without one; detected if not given.
        speed (`float`): divides the lengths that are estimated.
        voices_dir (`str`, *optional*): where the server keeps voices; `speaker` names them.
        reference_audio, reference_text (`str`, *optional*): the voice of rows that have none, as a file, and what it
            says.
        asr (`str`, *optional*): speech recognition for references without a transcript.
        sampling (`dict`): as `speech_requests` takes it.
        seed (`int`): of the whole; each row has its own of it.
        contents (tuple of `str`): "audio", as FLAC, "codes", or both.
        rows_per_shard (`int`): rows spoken between two files on disk, which a killed run loses at most.
        batch_size (`int`): rows spoken at a time by a worker.
        engine (`str`): "local" is this process, "ray" the machines of a Ray cluster.
        num_workers (`int`, *optional*), gpus_per_worker (`float`, *optional*): of Ray, as in `process_shards_with_ray`.
        overwrite (`bool`): discard an earlier batch in the folder.

    Raises:
        ValueError: for values out of range, and options that the engine has no use for.
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
    voices_dir: str | None = None
    reference_audio: str | None = None
    reference_text: str | None = None
    asr: str | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    contents: tuple[str, ...] = CONTENTS
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
        for name in ("rows_per_shard", "batch_size", "num_workers"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}.")
        if self.gpus_per_worker is not None and self.gpus_per_worker < 0:
            raise ValueError(f"`gpus_per_worker` must not be negative, got {self.gpus_per_worker}.")
        if self.engine == "local" and not (self.num_workers is None and self.gpus_per_worker is None):
            raise ValueError("`num_workers` and `gpus_per_worker` are for `engine` ray; local is one process.")
        if self.reference_text is not None and self.reference_audio is None:
            raise ValueError("`reference_text` was given without `reference_audio`.")
