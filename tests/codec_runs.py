"""Small runs of train_codec.py with recordings of tones and a tiny codec."""

import csv
import json
from pathlib import Path

import numpy as np
import soundfile
import torch

from t5gemma_tts.codec_training.arguments import CodecModelArguments
from t5gemma_tts.codec_training.model import load_codec_to_train
from t5gemma_tts.model.xcodec2 import XCodec2
from training.train_codec import main


ARCHITECTURE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "quantization_levels": [4, 4, 4],
    "encoder_hidden_size": 1,
    "downsampling_ratios": [16, 20],
    "semantic_hidden_size": 32,
    "semantic_intermediate_size": 32,
    "semantic_num_hidden_layers": 1,
    "semantic_num_attention_heads": 2,
    "semantic_conv_kernel_size": 5,
}
FAST = {
    "use_cpu": True,
    "segment_frames": [16],
    "frames_per_batch": 32,
    "resolutions": [256, 512],
    "learning_rate": 3e-3,
    "warmup_steps": 2,
    "max_steps": 6,
    "logging_steps": 2,
    "eval_steps": 0,
    "save_steps": 3,
}
DISCRIMINATORS = {
    "discriminator_start_step": 1,
    "discriminator_warmup_steps": 1,
    "discriminator_periods": [2, 3],
    "discriminator_windows": [256],
    "discriminator_channels": 4,
}


def new_codec(seed: int = 0, **changes) -> XCodec2:
    """Creates an untrained codec."""
    torch.manual_seed(seed)
    return load_codec_to_train(CodecModelArguments(**{**ARCHITECTURE, **changes}))


def tone(num_samples: int, seed: int, sampling_rate: int = 16000) -> np.ndarray:
    """Returns a harmonic tone with varying pitch and volume, float32 of shape (num_samples,)."""
    time = np.arange(num_samples) / sampling_rate
    generator = np.random.default_rng(seed)
    phase = 2 * np.pi * (generator.uniform(90, 250) * time + generator.uniform(-20, 40) * time**2)
    sound = sum(np.sin(k * phase) / k for k in range(1, 12)) * (0.2 + np.sin(7 * time) ** 2)
    return (0.1 * sound).astype(np.float32)


def save_recordings(folder: Path, count: int = 6, sampling_rate: int = 16000, seconds: float = 0.8) -> Path:
    """Writes a folder of tones with metadata; the last row is in the validation split."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "id", "text", "split"])
        for number in range(count):
            length = int((seconds + 0.07 * number) * sampling_rate)
            soundfile.write(folder / f"{number}.wav", tone(length, number, sampling_rate), sampling_rate)
            split = "validation" if number == count - 1 else "train"
            writer.writerow([f"{number}.wav", f"clip-{number}", f"Tone {number}.", split])
    return folder


def options(data: Path, output: Path, **changes) -> list[str]:
    """Returns the options of a run; `model` in `changes` replaces the architecture."""
    chosen = {**({} if "model" in changes else ARCHITECTURE), **FAST, **changes}
    chosen |= {"data": [data], "output_dir": output}
    arguments = []
    for name, value in chosen.items():
        values = value if isinstance(value, list) else [value]
        arguments += [f"--{name}", *(str(item) for item in values)]
    return arguments


def train(data: Path, output: Path, **changes) -> list[dict]:
    """Runs the training and returns the lines of its log."""
    main(options(data, output, **changes))
    return read_log(output)


def read_log(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "losses.jsonl").read_text().splitlines()]
