"""Recorded results of original codecs (`GOLDEN_DIR/codec`), and a clip to run them on."""

import functools
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from golden import GOLDEN_DIR
from safetensors.torch import load_file, save_file

from t5gemma_tts.model.xcodec2 import XCodec2


def codec_sets(directory: Path) -> list[Path]:
    return sorted(path.parent for path in (directory / "codec").glob("*/model.safetensors"))


GOLDEN_CODEC_SETS = codec_sets(GOLDEN_DIR)


def read_config(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())


def write_original(folder: Path, config: dict, weights: dict) -> Path:
    """Writes a checkpoint in the original layout, and returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "model.safetensors")
    return folder


def first_set(upsampled: bool) -> Path:
    """A set of this repository, whatever GOLDEN_DIR is: the 16 kHz codec, or the one with an upsampler."""
    sets = codec_sets(Path(__file__).parent / "fixtures")
    return next(folder for folder in sets if bool(read_config(folder).get("upsample_factors")) == upsampled)


@functools.cache
def load_codec(folder: Path, prefix: str = "") -> XCodec2:
    """Loads a set, or its variant: `prefix` (as `variants/k8.`) names the files that differ."""
    if not prefix:
        return XCodec2.from_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    for key, value in load_file(folder / f"{prefix}weights.safetensors").items():
        # variants name the vectors of Snake as modules do, whichever way their set does
        weights.pop(key.replace(".act.bias", ".act.beta"), None)
        weights[key] = value
    config = json.loads((folder / f"{prefix}config.json").read_text())
    with tempfile.TemporaryDirectory() as temporary:
        return XCodec2.from_pretrained(write_original(Path(temporary), config, weights))


def clip(num_samples: int, seed: int = 0) -> np.ndarray:
    """A harmonic tone with some noise, at 16 kHz."""
    time = np.arange(num_samples) / 16000
    noise = np.random.default_rng(seed).normal(size=num_samples)
    tone = sum(np.sin(2 * np.pi * (150 + 40 * seed) * k * time) / k for k in (1, 2, 3, 5))
    return (0.2 * tone + 0.02 * noise).astype(np.float32)


def assert_same(one: XCodec2, other: XCodec2):
    """Both codecs give exactly the same codes and audio."""
    codes = one.encode(clip(5000), 16000)
    assert torch.equal(codes, other.encode(clip(5000), 16000))
    np.testing.assert_array_equal(one.decode(codes), other.decode(codes))
