"""Folders of short clips for tests of data preparation."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile
from datasets import Dataset, load_from_disk

from t5gemma_tts.preparation.arguments import PrepareDatasetArguments
from t5gemma_tts.preparation.run import prepare_dataset


SCRIPT = Path(__file__).parents[1] / "training" / "prepare_dataset.py"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def clip(number: int, seconds: float = 0.6, sampling_rate: int = 16000) -> np.ndarray:
    """Returns a tone with noise, float32, different for each number."""
    noise = np.random.default_rng(number).standard_normal(int(seconds * sampling_rate))
    phase = 2 * np.pi * (150 + 40 * number) * np.arange(len(noise)) / sampling_rate
    return (0.3 * np.sin(phase) + 0.03 * noise).astype(np.float32)


def sentence(number: int) -> str:
    return f"This is clip {number}."


def write_pairs(folder: Path, count: int, seconds: float = 0.6) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        soundfile.write(folder / f"clip{number:02d}.wav", clip(number, seconds), 16000)
        (folder / f"clip{number:02d}.txt").write_text(sentence(number) + "\n")
    return folder


def prepare(source, output, codec=None, **options):
    codec = str(codec) if codec is not None else None
    return prepare_dataset(PrepareDatasetArguments(str(source), str(output), codec=codec, **options))


def load_rows(output) -> dict[str, list[dict]]:
    return {split: rows.to_list() for split, rows in load_from_disk(output).items()}


def all_rows(output) -> dict[str, dict]:
    return {row["id"]: row for rows in load_rows(output).values() for row in rows}


def command(*arguments) -> list[str]:
    return [sys.executable, str(SCRIPT), *map(str, arguments)]


def run_script(*arguments, **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run(command(*arguments), capture_output=True, text=True, env=ENVIRONMENT, **kwargs)


def code_bytes(rows: Dataset) -> bytes:
    return b"".join(np.asarray(codes, np.uint16).tobytes() for codes in rows["codes"])
