"""Prepared datasets as PyTorch datasets, and the collator."""

import bisect
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, DatasetDict, load_dataset, load_from_disk
from pyarrow import ArrowException
from torch.utils.data import Dataset as TorchDataset

from .. import T5GemmaTTSConfig
from ..model.loss import IGNORE_INDEX
from ..model.text_front_end import TextFrontEnd
from .batching import NO_PROMPT


COLUMNS = ("id", "text", "codes", "num_frames")
STRETCHED = "codes_stretched"
TEXT_POSITIONS = "text_positions"


class SpeechDataset(TorchDataset):
    """
    Rows of one or more prepared datasets, with tokenized texts.

    The index is `(row, prompt_row)`; a plain row index means no prompt. An item is a dict of the arrays `input_ids`
    `(num_text_tokens,)` and `codes` `(num_frames,)`, plus `prompt_input_ids` and `prompt_codes` if it has a prompt.

    Args:
        datasets (`list[datasets.Dataset]`): prepared datasets; their codes have no special tokens.
        tokenizer (`PreTrainedTokenizerBase`): tokenizer of the text backbone.
        config (`T5GemmaTTSConfig`): sets the codebook size.
        stretched (`bool`, *optional*, defaults to `False`): append speed variants (`codes_stretched`) as rows after all
            others. `utterances` `(num_rows,)` maps each row to its original row.
        aligned (`bool`, *optional*, defaults to `False`): items also have `text_positions` `(num_frames,)`, and
            `prompt_text_positions` if they have a prompt: the text token that each code is aligned to, as
            `align_dataset.py` computes it.
        front_end (`TextFrontEnd`, *optional*): turns texts into phonemes, for tokenizers that read phonemes.

    Raises:
        ValueError: if columns are missing, a dataset is empty, or a row has no text, no codes or codes out of range
            (the message names dataset and row); if both `aligned` and `stretched` are set and a dataset has speed
            variants, which have no alignment.
    """

    def __init__(
        self,
        datasets: list[Dataset],
        tokenizer,
        config: T5GemmaTTSConfig,
        stretched: bool = False,
        aligned: bool = False,
        front_end: TextFrontEnd | None = None,
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
        texts = front_end.to_phonemes(self.texts) if front_end is not None else self.texts
        self.input_ids = [np.array(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
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
        # a few rows reveal a wrong codebook; other rows are checked when they are read
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
        """Returns speaker indices per row, -1 for unknown, separate for each dataset; sets `speaker_names`."""
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
        """Returns the row indices of the neighbors of each row; None if no dataset has the column `neighbors`."""
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
    Codes of concatenated datasets as NumPy views into their Arrow files, without copies or decoding.

    Args:
        datasets (`list[datasets.Dataset]`)
        column (`str`, *optional*, defaults to `"codes"`): a column with one value per code; or `"codes_stretched"`,
            whose nested lists are flattened, with `counts` `(num_dataset_rows,)` lists per row.
    """

    def __init__(self, datasets: list[Dataset], column: str = "codes"):
        self.chunks: list[tuple[np.ndarray, np.ndarray]] = []  # (values, row offsets) per Arrow chunk
        lengths, counts = [], []
        for number, dataset in enumerate(datasets):
            if dataset._indices is not None:  # selected or shuffled rows are not in table order
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
        """Returns the codes of a row, `(num_frames,)`, in the dtype of the file."""
        number = bisect.bisect_right(self.ends, row)
        values, offsets = self.chunks[number]
        row -= self.ends[number - 1] if number else 0
        return values[offsets[row] : offsets[row + 1]]


class SpeechCollator:
    """
    Pads samples of [`SpeechDataset`] into model inputs.

    Encoder: BOS, reference text, separator, target text, EOS. Decoder: start token, reference codes, separator, target
    codes. Labels are the decoder inputs shifted by one and end in the end token; the reference and the separator are
    ignored, so that the Trainer counts target tokens only. Padding is on the right. Aligned samples also give
    `text_positions`, float32 of the shape of `labels`: the token of `input_ids` that each label is aligned to, the last
    token for the end token, and 0 elsewhere.
    """

    def __init__(self, config: T5GemmaTTSConfig):
        # cached: config attribute access is slow
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
            # the target text is the last part of the encoder input
            start = text_length - len(self.text_after) - len(sample["input_ids"])
            positions[row, prefix : prefix + len(own)] = start + own
            positions[row, prefix + len(own)] = text_length - 1
        return positions


def load_prepared(name: str, split: str) -> Dataset:
    """
    Loads one split of a prepared dataset, a folder written by `prepare_dataset.py` or a Hub dataset.

    Raises:
        ValueError: if there is no such split, or its files are damaged.
    """
    if Path(name).is_dir() and (Path(name, "dataset_dict.json").is_file() or Path(name, "state.json").is_file()):
        try:
            loaded = load_from_disk(name)
        except (ArrowException, LookupError, OSError, TypeError, ValueError) as error:
            raise ValueError(f"dataset {str(name)!r} is damaged: {error}. Prepare or copy it again.") from error
        if isinstance(loaded, Dataset):
            loaded = DatasetDict({"train": loaded})
    else:
        loaded = load_dataset(name)
    if split not in loaded:
        raise ValueError(f"{name!r} has no split {split!r}; it has {', '.join(loaded)}.")
    try:  # a damaged list or string offset would read beyond the memory-mapped file
        loaded[split].select_columns([c for c in COLUMNS if c in loaded[split].column_names]).data.validate(full=True)
    except ArrowException as error:
        raise ValueError(f"dataset {str(name)!r} is damaged: {error}. Prepare or copy it again.") from error
    return loaded[split]


__all__ = ["SpeechCollator", "SpeechDataset", "load_prepared"]
