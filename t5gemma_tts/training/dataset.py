"""Prepared datasets as training sees them, and how samples become a batch."""

import bisect
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, DatasetDict, load_dataset, load_from_disk
from pyarrow import ArrowException
from torch.utils.data import Dataset as TorchDataset

from .. import T5GemmaTTSConfig
from ..model.loss import IGNORE_INDEX
from .batching import NO_PROMPT


COLUMNS = ("id", "text", "codes", "num_frames")
STRETCHED = "codes_stretched"
TEXT_POSITIONS = "text_positions"


class SpeechDataset(TorchDataset):
    """
    Rows of one or more prepared datasets with their texts as token ids.

    Items are looked up by `(row, prompt_row)`; a plain row number means no prompt. An item is a dict of the
    arrays `input_ids` and `codes` `(num_frames,)`, and with a prompt `prompt_input_ids` and `prompt_codes` of it.

    Args:
        datasets (`list[datasets.Dataset]`): with the columns of the README, codes without specials.
        tokenizer (`PreTrainedTokenizerBase`): the text backbone's.
        config (`T5GemmaTTSConfig`): what the codes must fit.
        stretched (`bool`, *optional*, defaults to `False`): Speed variants (`codes_stretched`) are rows of their own,
            behind all others. `utterances` `(num_rows,)` has the row that each was made of, and itself for others.
        aligned (`bool`, *optional*, defaults to `False`): Items also have `text_positions` `(num_frames,)`, and with a
            prompt `prompt_text_positions`: which token of their text each code speaks, as `align_dataset.py` finds it.

    Raises:
        ValueError: if speed variants shall be aligned, which have no positions; if columns are missing, a dataset is
            empty, or a row has no text, no codes or codes out of range;
            the message names dataset and row.
    """

    def __init__(
        self,
        datasets: list[Dataset],
        tokenizer,
        config: T5GemmaTTSConfig,
        stretched: bool = False,
        aligned: bool = False,
    ):
        if not datasets:
            raise ValueError("`datasets` must have at least one dataset.")
        for number, dataset in enumerate(datasets):
            if missing := [name for name in COLUMNS if name not in dataset.column_names]:
                raise ValueError(f"dataset {number} lacks the columns {missing}; prepare it with prepare_dataset.py.")
            if aligned and TEXT_POSITIONS not in dataset.column_names:
                raise ValueError(f"dataset {number} lacks {TEXT_POSITIONS!r}; add it with align_dataset.py.")
            if aligned and stretched and STRETCHED in dataset.column_names:
                raise ValueError(
                    f"dataset {number} has speed variants without {TEXT_POSITIONS!r}; leave `stretched` out."
                )
            if not len(dataset):
                raise ValueError(f"dataset {number} has no rows.")
        self.config = config
        self.codebook_size = config.codebook_size
        self.ids = [name for dataset in datasets for name in dataset["id"]]
        self.texts = [text for dataset in datasets for text in dataset["text"]]
        self.num_frames = np.array([n for dataset in datasets for n in dataset["num_frames"]], dtype=np.int64)
        self.codes = CodeColumn(datasets)
        self.text_positions = CodeColumn(datasets, TEXT_POSITIONS) if aligned else None
        self.num_recorded = len(self.ids)
        self.utterances = np.arange(self.num_recorded)
        self._check_rows()
        self.input_ids = [np.array(ids) for ids in tokenizer(self.texts, add_special_tokens=False)["input_ids"]]
        self.num_text_tokens = np.array([len(ids) for ids in self.input_ids], dtype=np.int64)
        self.dataset_of_row = np.repeat(np.arange(len(datasets)), [len(dataset) for dataset in datasets])
        self.speakers = self._speakers(datasets)
        self.start_seconds = self._start_seconds(datasets)
        self.neighbors = self._neighbors(datasets)
        self.languages = sorted(
            {tag for dataset in datasets if "language" in dataset.column_names for tag in dataset.unique("language")}
            - {None, ""}
        )
        if stretched:
            self._add_stretched(datasets)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, item) -> dict:
        row, prompt = item if isinstance(item, tuple) else (int(item), NO_PROMPT)
        sample = {"input_ids": self.input_ids[row], "codes": self._codes(row)}
        if prompt != NO_PROMPT:
            sample |= {"prompt_input_ids": self.input_ids[prompt], "prompt_codes": self._codes(prompt)}
        if self.text_positions is not None:
            sample["text_positions"] = self.text_positions[row]
            if prompt != NO_PROMPT:
                sample["prompt_text_positions"] = self.text_positions[prompt]
        return sample

    def name(self, row: int) -> str:
        return f"{row} ({self.ids[row]!r})"

    def _codes(self, row: int) -> np.ndarray:
        codes = self.codes[row] if row < self.num_recorded else self.stretched_codes[row - self.num_recorded]
        if len(codes) != self.num_frames[row] or codes.max() >= self.codebook_size:
            raise ValueError(
                f"row {self.name(row)}: its codes must be {self.num_frames[row]} numbers below the model's codebook "
                f"size, {self.codebook_size}, got {len(codes)} up to {codes.max(initial=0)}."
            )
        return codes

    def _check_rows(self) -> None:
        for row, text in enumerate(self.texts):
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"row {self.name(row)} has no text.")
        if (self.num_frames < 1).any():
            raise ValueError(f"row {self.name(int(self.num_frames.argmin()))} has no codes.")
        # a wrong codebook shows in the first rows; the rest is checked as it is read
        for row in range(min(64, len(self))):
            self._codes(row)

    def _add_stretched(self, datasets: list[Dataset]) -> None:
        held = [dataset for dataset in datasets if STRETCHED in dataset.column_names]
        if not held:
            return
        self.stretched_codes = CodeColumn(held, STRETCHED)
        own_rows = np.concatenate(
            [self.utterances[self.dataset_of_row == number] for number, d in enumerate(datasets) if d in held]
        )
        source = np.repeat(own_rows, self.stretched_codes.counts)
        frames = [len(self.stretched_codes[number]) for number in range(len(source))]
        self.ids += [f"{self.ids[row]}, stretched" for row in source]
        self.texts += [self.texts[row] for row in source]
        self.input_ids += [self.input_ids[row] for row in source]
        if self.neighbors is not None:
            self.neighbors += [self.neighbors[row] for row in source]
        for name in ("num_text_tokens", "dataset_of_row", "speakers", "start_seconds", "utterances"):
            values = getattr(self, name)
            setattr(self, name, np.concatenate([values, values[source]]))
        self.num_frames = np.concatenate([self.num_frames, np.array(frames, dtype=np.int64)])

    def _speakers(self, datasets: list[Dataset]) -> np.ndarray:
        """Speaker numbers, apart for each dataset, and `speaker_names` by number; -1 where there is no speaker."""
        numbers: dict[tuple[int, str], int] = {}
        speakers = []
        for number, dataset in enumerate(datasets):
            names = dataset["speaker"] if "speaker" in dataset.column_names else [None] * len(dataset)
            speakers += [-1 if not name else numbers.setdefault((number, name), len(numbers)) for name in names]
        self.speaker_names = [name for _, name in numbers]
        return np.array(speakers, dtype=np.int64)

    def _start_seconds(self, datasets: list[Dataset]) -> np.ndarray:
        starts = []
        for dataset in datasets:
            known = dataset["start_seconds"] if "start_seconds" in dataset.column_names else [None] * len(dataset)
            starts += [np.nan if start is None else start for start in known]
        return np.array(starts, dtype=np.float64)

    def _neighbors(self, datasets: list[Dataset]) -> list | None:
        """Row numbers of the neighbours that imported datasets name, by row; None if none do."""
        if not any("neighbors" in dataset.column_names for dataset in datasets):
            return None
        neighbors, offset = [], 0
        for dataset in datasets:
            names = dataset["neighbors"] if "neighbors" in dataset.column_names else [None] * len(dataset)
            row_of = {name: offset + row for row, name in enumerate(dataset["id"])}
            neighbors += [None if own is None else [row_of[name] for name in own if name in row_of] for own in names]
            offset += len(dataset)
        return neighbors


class CodeColumn:
    """
    Codes of datasets as numpy views into their Arrow files: looking a row up copies and decodes nothing.

    Args:
        datasets (`list[datasets.Dataset]`): their rows follow each other.
        column (`str`, *optional*, defaults to `"codes"`): Or another with a value per code; or `"codes_stretched"`,
            whose lists stand one after the other, `counts` `(num_dataset_rows,)` of them for each row.
    """

    def __init__(self, datasets: list[Dataset], column: str = "codes"):
        self.chunks: list[tuple[np.ndarray, np.ndarray]] = []  # (all codes of a chunk, offsets of its rows)
        lengths, counts = [], []
        for number, dataset in enumerate(datasets):
            if dataset._indices is not None:  # a selection: its rows are not where the table has them
                dataset = dataset.flatten_indices()
            for chunk in dataset.data.column(column).chunks:
                if chunk.null_count or chunk.values.null_count:
                    raise ValueError(f"dataset {number} has a row without {column}.")
                counts.append(np.diff(chunk.offsets.to_numpy()))
                if column == STRETCHED:
                    chunk = chunk.flatten()
                self.chunks.append((chunk.values.to_numpy(zero_copy_only=True), chunk.offsets.to_numpy()))
                lengths.append(len(chunk))
        self.counts = np.concatenate(counts)
        self.ends = np.cumsum(lengths).tolist()

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, row: int) -> np.ndarray:
        """The codes of a row, `(num_frames,)`, in the dtype of the file."""
        number = bisect.bisect_right(self.ends, row)
        values, offsets = self.chunks[number]
        row -= self.ends[number - 1] if number else 0
        return values[offsets[row] : offsets[row + 1]]


class SpeechCollator:
    """
    Pads samples of [`SpeechDataset`] into what the model takes.

    Texts: reference ids, separator, target ids, between the configured BOS and EOS. Decoder: start token, reference
    codes, separator, target codes; labels the same shifted, ending in the end token, with the reference part and the
    separator ignored (so that the Trainer counts target tokens only). All padded on the right. Samples with positions
    give `text_positions`, float32 of the labels' shape: which token of `input_ids` each label speaks, the last for the
    end token, 0 where there is none.
    """

    def __init__(self, config: T5GemmaTTSConfig):
        # read once: attributes of a configuration are slow to look up
        self.text_before = np.array([] if config.text_bos_token_id is None else [config.text_bos_token_id], dtype=int)
        self.text_after = np.array([] if config.text_eos_token_id is None else [config.text_eos_token_id], dtype=int)
        self.text_separator = np.array([config.text_separator_token_id])
        self.text_pad = config.backbone.encoder.pad_token_id or 0
        self.start, self.end, self.pad = config.decoder_start_token_id, config.eos_token_id, config.pad_token_id
        self.separator = config.audio_separator_token_id
        self.no_loss_on_prefix = config.no_loss_on_prefix

    def __call__(self, samples: list[dict]) -> dict[str, torch.Tensor]:
        texts = []
        for sample in samples:
            reference = (sample["prompt_input_ids"], self.text_separator) if "prompt_codes" in sample else ()
            texts.append(np.concatenate([self.text_before, *reference, sample["input_ids"], self.text_after]))
        prefixes = np.array([len(sample["prompt_codes"]) + 1 if "prompt_codes" in sample else 0 for sample in samples])
        lengths = prefixes + [len(sample["codes"]) + 1 for sample in samples]
        text_lengths = np.array([len(text) for text in texts])
        shape = (len(samples), lengths.max())
        input_ids = np.full((len(samples), text_lengths.max()), self.text_pad)
        decoder_input_ids = np.full(shape, self.pad)
        labels = np.full(shape, IGNORE_INDEX)
        decoder_input_ids[:, 0] = self.start
        labels[np.arange(len(samples)), lengths - 1] = self.end
        for row, (sample, text, prefix, length) in enumerate(zip(samples, texts, prefixes, lengths, strict=True)):
            input_ids[row, : len(text)] = text
            if prefix:
                decoder_input_ids[row, 1:prefix] = sample["prompt_codes"]
                decoder_input_ids[row, prefix] = self.separator
                if not self.no_loss_on_prefix:
                    labels[row, : prefix - 1] = sample["prompt_codes"]
            decoder_input_ids[row, prefix + 1 : length] = labels[row, prefix : length - 1] = sample["codes"]
        batch = {
            "input_ids": input_ids,
            "attention_mask": (np.arange(input_ids.shape[1]) < text_lengths[:, None]).astype(np.int64),
            "decoder_input_ids": decoder_input_ids,
            "decoder_attention_mask": (np.arange(shape[1]) < lengths[:, None]).astype(np.int64),
            "labels": labels,
        }
        if "text_positions" in samples[0]:
            batch["text_positions"] = self._text_positions(samples, prefixes, text_lengths, shape)
        return {name: torch.from_numpy(array) for name, array in batch.items()}

    def _text_positions(self, samples: list[dict], prefixes, text_lengths, shape: tuple[int, int]) -> np.ndarray:
        positions = np.zeros(shape, dtype=np.float32)
        before = len(self.text_before)
        for row, (sample, prefix, text_length) in enumerate(zip(samples, prefixes, text_lengths, strict=True)):
            own = sample["text_positions"]
            if prefix:
                positions[row, : prefix - 1] = before + sample["prompt_text_positions"]
            # the target's text ends where all text ends
            start = text_length - len(self.text_after) - len(sample["input_ids"])
            positions[row, prefix : prefix + len(own)] = start + own
            positions[row, prefix + len(own)] = text_length - 1
        return positions


def load_prepared(name: str, split: str) -> Dataset:
    """
    One split of a prepared dataset: a folder written by `prepare_dataset.py`, or a Hub dataset.

    Raises:
        ValueError: if there is no such split, or its files are damaged.
    """
    if Path(name).is_dir() and (Path(name, "dataset_dict.json").is_file() or Path(name, "state.json").is_file()):
        try:
            loaded = load_from_disk(name)
        except (ArrowException, LookupError, OSError, TypeError, ValueError) as error:
            raise ValueError(
                f"dataset {str(name)!r} is damaged: {error}. Prepare it anew, or copy it again."
            ) from error
        if isinstance(loaded, Dataset):
            loaded = DatasetDict({"train": loaded})
    else:
        loaded = load_dataset(name)
    if split not in loaded:
        raise ValueError(f"{name!r} has no split {split!r}; it has {', '.join(loaded)}.")
    try:  # offsets of lists and texts: a wrong one would read beyond the file
        loaded[split].select_columns([c for c in COLUMNS if c in loaded[split].column_names]).data.validate(full=True)
    except ArrowException as error:
        raise ValueError(f"dataset {str(name)!r} is damaged: {error}. Prepare it anew, or copy it again.") from error
    return loaded[split]


__all__ = ["SpeechCollator", "SpeechDataset", "load_prepared"]
