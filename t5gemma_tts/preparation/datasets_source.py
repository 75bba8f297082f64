"""Source rows from a `datasets` dataset: Hub dataset, local folder, or output of `save_to_disk`."""

from pathlib import Path

from datasets import Audio

from ..sharded import columns
from ..sharded.columns import optional_seconds, optional_string, pick_column
from ..sharded.fingerprint import fingerprint
from ..sharded.open_dataset import open_split, parse_audio_cell
from .rows import BadRow, SourceRow


class DatasetsSource:
    """
    Rows of a dataset with an audio column and a text column. Audio is not decoded by `datasets`, which would need
    torchcodec, but passed on as files or bytes. Rows of a Hub dataset can only refer to files in the caches of
    `datasets` and the Hub.

    Args:
        name (`str`): Hub repository, or local folder.
        config_name (`str`, *optional*): Configuration of the dataset.
        split (`str`, *optional*, defaults to `"train"`)
        audio_column, text_column, speaker_column, language_column, start_column, id_column (`str`, *optional*): Column
            names (default: detected). Without an id column, ids are made from row indices.

    Raises:
        ValueError: if the split or a column does not exist.
    """

    def __init__(
        self,
        name: str,
        config_name: str | None = None,
        split: str = "train",
        **column_names: str | None,
    ):
        if unknown := set(column_names) - set(columns.USUAL_NAMES):
            raise TypeError(f"{sorted(unknown)[0]!r} is no argument; there are {', '.join(columns.USUAL_NAMES)}.")
        self.name, self.split = name, split
        dataset = open_split(name, config_name, split)
        found = dataset.column_names

        def pick(argument: str, first: tuple[str, ...] = (), required: bool = False) -> str | None:
            return pick_column(
                found, column_names.get(argument), first + columns.USUAL_NAMES[argument], argument, repr(name), required
            )

        of_audio = tuple(key for key, feature in dataset.features.items() if isinstance(feature, Audio))
        self.audio_column = pick("audio_column", of_audio, required=True)
        self.text_column = pick("text_column", required=True)
        self.speaker_column = pick("speaker_column")
        self.language_column = pick("language_column")
        self.start_column = pick("start_column")
        self.dataset = dataset
        id_column = pick("id_column")
        if id_column is None:
            self.ids = [f"{split}-{index:08d}" for index in range(len(dataset))]
        else:
            self.ids = [str(row_id) for row_id in dataset[id_column]]

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def fingerprint(self) -> str:
        texts = self.dataset.select_columns([self.text_column])
        return fingerprint([self.ids, list(texts[self.text_column])])

    def file_of(self, index: int) -> str:
        """Returns the name to show in messages about a row: its audio file if known, else the dataset."""
        audio = self.dataset.select_columns([self.audio_column])[index][self.audio_column]
        path = audio.get("path") if isinstance(audio, dict) else audio if isinstance(audio, str) else None
        return str(path) if path else f"{self.name}[{self.split}]"

    def __getitem__(self, index: int) -> SourceRow:
        """
        Raises:
            BadRow: if the row has no audio, or its start time is not a number.
        """
        cells = self.dataset[index]
        try:
            start_seconds = optional_seconds(cells[self.start_column]) if self.start_column else None
        except ValueError as error:
            raise BadRow("metadata", str(error)) from error
        return SourceRow(
            text=optional_string(cells[self.text_column]),
            speaker=(optional_string(cells[self.speaker_column]) if self.speaker_column else None) or "",
            language=optional_string(cells[self.language_column]) if self.language_column else None,
            start_seconds=start_seconds,
            **self._audio(cells[self.audio_column]),
        )

    def _audio(self, cell) -> dict:
        local = Path(self.name)
        try:
            return parse_audio_cell(cell, local if local.is_dir() else None)
        except ValueError as error:
            raise BadRow("audio", f"column {self.audio_column!r} holds {error}") from error
