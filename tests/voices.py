"""Texts and audio for tests of processor and command line, in tokens of the tiny checkpoint."""

from pathlib import Path

import numpy as np
import soundfile
from tiny_checkpoint import tiny_tokenizer


START, PAD, END, SEPARATOR = 256, 258, 259, 260  # for the codebook size 256 of the tiny checkpoint
TEXT_PAD, TEXT_EOS, TEXT_BOS, TEXT_SEPARATOR = 0, 1, 2, 3
CUTOFF_FRAMES = 10  # in the fixture `checkpoint`


def voice(num_samples: int = 8000, sampling_rate: int = 16000, seed: int = 0) -> np.ndarray:
    """Returns a tone with varying pitch and overtones below 4 kHz, and some noise."""
    time = np.arange(num_samples) / sampling_rate
    phase = 2 * np.pi * (150 + 60 * seed) * time + 20 * np.sin(2 * np.pi * 3 * time)
    noise = 0.02 * np.random.default_rng(seed).normal(size=num_samples)
    return (0.2 * sum(np.sin(k * phase) / k for k in (1, 2, 3, 5)) + noise).astype(np.float32)


def write_voice(path: Path, num_samples: int = 8000, sampling_rate: int = 16000) -> Path:
    soundfile.write(path, voice(num_samples, sampling_rate), sampling_rate, subtype="FLOAT")
    return path


def text_ids(text: str) -> list[int]:
    """Returns the ids of the tiny tokenizer, in which every byte is a token."""
    ids = tiny_tokenizer()(text, add_special_tokens=False)["input_ids"]
    assert len(ids) == len(text.encode())
    return ids


def codes_of(inputs, row: int = 0) -> list[int]:
    """Returns the reference codes in a decoder prompt."""
    prompt = inputs["decoder_input_ids"][row][inputs["decoder_attention_mask"][row] == 1].tolist()
    assert prompt[0] == START and prompt[-1] == SEPARATOR
    return prompt[1:-1]
