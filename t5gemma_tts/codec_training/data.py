"""Lists the clips for training and validation of a codec."""

from collections import Counter

from ..preparation.recordings import Recording, open_recordings, split_of
from ..preparation.rows import BadRow
from ..preparation.splitting import TRAIN, VALIDATION, split_by_id
from .arguments import CodecDataArguments


def list_recordings(arguments: CodecDataArguments) -> list[Recording]:
    """
    Lists all clips for training and validation. Rows of `data` with other splits are ignored.

    Raises:
        FileNotFoundError, ValueError: as `open_recordings`; if there are no training clips; if `validation_count` is
            set although the data have a validation split.
    """
    recordings = []
    for name in arguments.data:
        recordings += _rows_of(open_recordings(name), arguments.validation_split)
    for name in arguments.validation_data:
        source = open_recordings(name)
        recordings += [Recording(source, index, row_id, VALIDATION) for index, row_id in enumerate(source.ids)]
    if arguments.validation_count:
        if any(recording.split == VALIDATION for recording in recordings):
            raise ValueError("`validation_count` cannot be used with data that already have validation rows.")
        splits = split_by_id([recording.id for recording in recordings], 0.0, arguments.validation_count)
        recordings = [
            Recording(recording.source, recording.index, recording.id, split)
            for recording, split in zip(recordings, splits, strict=True)
        ]
    if arguments.max_clips_per_speaker is not None:
        recordings = _first_of_speakers(recordings, arguments.max_clips_per_speaker)
    if not any(recording.split == TRAIN for recording in recordings):
        raise ValueError("no recording of `data` is left for training.")
    return recordings


def _rows_of(source, validation_split: str) -> list[Recording]:
    recordings = []
    for index, row_id in enumerate(source.ids):
        split = split_of(source, index) or TRAIN
        if split in (TRAIN, validation_split):
            recordings.append(Recording(source, index, row_id, TRAIN if split == TRAIN else VALIDATION))
    return recordings


def _first_of_speakers(recordings: list[Recording], count: int) -> list[Recording]:
    """Keeps at most the first `count` training clips of each speaker."""
    seen, kept = Counter(), []
    for recording in recordings:
        if recording.split == TRAIN:
            try:
                speaker = recording.row().speaker
            except BadRow:  # `read_audio` reports the error
                speaker = ""
            seen[speaker] += 1
            if seen[speaker] > count:
                continue
        kept.append(recording)
    return kept


__all__ = ["list_recordings"]
