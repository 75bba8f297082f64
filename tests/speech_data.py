"""Small prepared datasets for tests of training, with random codes and a few speakers."""

from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict, Features, Sequence, Value


FEATURES = Features(
    {
        "id": Value("string"),
        "text": Value("string"),
        "codes": Sequence(Value("uint16")),
        "speaker": Value("string"),
        "language": Value("string"),
        "num_frames": Value("int32"),
        "duration_seconds": Value("float32"),
    }
)
WORDS = ("hello", "world", "nice", "day", "speech", "again")


def speech_rows(count: int, codebook_size: int = 256, seed: int = 0) -> Dataset:
    """Returns rows whose codes depend on their words, so that a model can learn them."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        words = generator.choice(WORDS, 3)
        codes = []
        for word in words:
            start = WORDS.index(word) * 7
            codes += [(start + step) % codebook_size for step in range(int(generator.integers(8, 25)))]
        rows.append(
            {
                "id": f"row-{number}",
                "text": " ".join(words),
                "codes": np.array(codes, dtype=np.uint16),
                "speaker": f"speaker-{number % 3}",
                "language": "en",
                "num_frames": len(codes),
                "duration_seconds": len(codes) / 50,
            }
        )
    return Dataset.from_list(rows, features=FEATURES)


def save_prepared(folder: Path, count: int = 80, codebook_size: int = 256) -> Path:
    """Writes a prepared dataset with train and validation splits."""
    splits = {"train": speech_rows(count, codebook_size), "validation": speech_rows(12, codebook_size, seed=1)}
    DatasetDict(splits).save_to_disk(folder)
    return folder
