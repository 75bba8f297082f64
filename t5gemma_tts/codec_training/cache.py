"""Waveforms, features and codes of all clips on disk, made once and memory-mapped.

Mel features take longer to compute than a training step, and a frozen encoder gives the same codes every time. The
cache costs 43 kB per second of audio (16-bit samples, half-precision features).
"""

import hashlib
import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..model.audio import resample
from ..model.xcodec2 import XCodec2
from ..preparation.recordings import Recording, read_audio, recordings_fingerprint
from ..sharded.fingerprint import fingerprint


logger = logging.getLogger(__name__)

CACHE_VERSION = 1
FULL_SCALE = 32768
PROGRESS_EVERY = 500


@dataclass(frozen=True)
class CachedClip:
    """Where a clip stands in the cache."""

    id: str
    split: str
    start: int  # frame
    num_frames: int
    num_samples: int  # at the input rate, without the zeros at the end


class ClipCache:
    """
    All clips, one behind the other, on a grid of frames: a clip has `num_samples // hop_length + 1` of them, as many as
    `XCodec2.encode` gives codes, and zeros at its end.

    Args:
        folder (`str` or `os.PathLike`): As `build_cache` wrote it.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        about = json.loads((self.folder / "cache.json").read_text(encoding="utf-8"))
        self.hop_length, self.output_hop_length = about["hop_length"], about["output_hop_length"]
        self.clips = [CachedClip(*row) for row in about["clips"]]
        self.audio = np.memmap(self.folder / "audio.int16", dtype=np.int16, mode="r")
        self.target = self.audio
        if (self.folder / "target.int16").is_file():
            self.target = np.memmap(self.folder / "target.int16", dtype=np.int16, mode="r")
        self.features = np.memmap(self.folder / "features.float16", dtype=np.float16, mode="r")
        self.features = self.features.reshape(-1, about["num_features"])
        self.codes: np.ndarray | None = None

    def split(self, name: str) -> list[CachedClip]:
        return [clip for clip in self.clips if clip.split == name]

    def waveform(self, clip: CachedClip) -> np.ndarray:
        """float32 (num_samples,) at the input rate, without the zeros at the end."""
        start = clip.start * self.hop_length
        return _to_float(self.audio[start : start + clip.num_samples])

    def segment(self, start: int, num_frames: int) -> dict[str, np.ndarray]:
        """
        Frames `start` to `start + num_frames` of the whole.

        Returns:
            `dict`: "target", float32 at the output rate; with codes loaded "codes", int64, else "audio", float32 at the
            input rate, and "features", float32 (num_frames, num_features).
        """
        end = start + num_frames
        target = self.target[start * self.output_hop_length : end * self.output_hop_length]
        segment = {"target": _to_float(target)}
        if self.codes is not None:
            segment["codes"] = self.codes[start:end].astype(np.int64)
            return segment
        segment["audio"] = segment["target"]
        if self.target is not self.audio:
            segment["audio"] = _to_float(self.audio[start * self.hop_length : end * self.hop_length])
        segment["features"] = self.features[start:end].astype(np.float32)
        return segment

    def load_codes(self, codec: XCodec2) -> None:
        """
        Makes `segment` give codes: those of `codec.encode` for every whole clip, computed once for its encoder.
        """
        path = self.folder / f"codes-{encoder_fingerprint(codec)[:16]}.npy"
        if not path.is_file():
            logger.info("encoding %d clips", len(self.clips))
            codes = np.zeros(len(self.features), dtype=np.int32)
            for number, clip in enumerate(self.clips, start=1):
                codes[clip.start : clip.start + clip.num_frames] = codec.encode(
                    self.waveform(clip), codec.input_sampling_rate
                )
                if number % PROGRESS_EVERY == 0:
                    logger.info("  %d", number)
            temporary = path.with_suffix(f".{os.getpid()}.tmp")
            with open(temporary, "wb") as file:
                np.save(file, codes)
            os.replace(temporary, path)
        self.codes = np.load(path, mmap_mode="r")


def _to_float(samples: np.ndarray) -> np.ndarray:
    return samples.astype(np.float32) / FULL_SCALE


def encoder_fingerprint(codec: XCodec2) -> str:
    """Changes when any weight that decides about codes does."""
    digest = hashlib.sha256()
    for name, tensor in sorted(codec.model.state_dict().items()):
        if not name.startswith("acoustic_decoder."):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def clip_features(codec: XCodec2, waveform: np.ndarray) -> np.ndarray:
    """
    What the semantic encoder gets in `XCodec2.encode`.

    Args:
        waveform (`np.ndarray`): (num_frames * hop_length,) at the input rate, zeros at the end included.

    Returns:
        `np.ndarray`: float32 (num_frames, num_features).
    """
    return codec.feature_extractor(
        np.pad(waveform, codec.hop_length // 2), sampling_rate=codec.input_sampling_rate, return_tensors="np"
    )["input_features"][0]


def build_cache(folder, recordings: list[Recording], codec: XCodec2, min_frames: int) -> ClipCache:
    """
    Opens the cache of these recordings, after making it if it is not there. A killed run leaves no half of one.

    Args:
        folder (`str` or `os.PathLike`): Parent of caches; each has a name that depends on recordings and codec.
        recordings (`list[Recording]`)
        codec (`XCodec2`): Says rates, features and frames.
        min_frames (`int`): Clips for training with fewer are left out, with a warning.

    Raises:
        ValueError: for a clip that cannot be read, or if none for training is long enough.
    """
    about = {
        "version": CACHE_VERSION,
        "recordings": recordings_fingerprint(recordings),
        "sampling_rates": [codec.input_sampling_rate, codec.sampling_rate],
        "num_mel_bins": codec.feature_extractor.num_mel_bins,
        "min_frames": min_frames,
    }
    place = Path(folder) / fingerprint(about)[:16]
    if not (place / "cache.json").is_file():
        aside = place.with_name(f"{place.name}.{os.getpid()}.tmp")
        if aside.exists():
            shutil.rmtree(aside)
        aside.mkdir(parents=True)
        try:
            _write_cache(aside, recordings, codec, min_frames)
            os.replace(aside, place)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    return ClipCache(place)


def _write_cache(folder: Path, recordings: list[Recording], codec: XCodec2, min_frames: int) -> None:
    hop_length, rate = codec.hop_length, codec.input_sampling_rate
    output_hop_length = round(codec.sampling_rate / codec.frame_rate)
    has_target = codec.sampling_rate != rate
    clips, too_short, num_clipped, start, num_features = [], [], 0, 0, 0
    logger.info("reading %d clips", len(recordings))
    with (
        open(folder / "audio.int16", "wb") as audio_file,
        open(folder / "features.float16", "wb") as features_file,
        open(folder / ("target.int16" if has_target else os.devnull), "wb") as target_file,
    ):
        for number, recording in enumerate(recordings, start=1):
            original, original_rate = read_audio(recording)
            waveform = resample(original, original_rate, rate)
            num_frames = len(waveform) // hop_length + 1
            if num_frames < min_frames and recording.split == "train":
                too_short.append(recording.file)
                continue
            num_samples = len(waveform)
            waveform = np.pad(waveform, (0, num_frames * hop_length - num_samples))
            features = clip_features(codec, waveform)
            num_features = features.shape[1]
            num_clipped += int(np.abs(waveform).max() > 1)
            audio_file.write(_to_int16(waveform).tobytes())
            features_file.write(features[:num_frames].astype(np.float16).tobytes())
            if has_target:
                target = resample(original, original_rate, codec.sampling_rate)[: num_frames * output_hop_length]
                target_file.write(
                    _to_int16(np.pad(target, (0, num_frames * output_hop_length - len(target)))).tobytes()
                )
            clips.append([recording.id, recording.split, start, num_frames, num_samples])
            start += num_frames
            if number % PROGRESS_EVERY == 0:
                logger.info("  %d", number)
    if too_short:
        logger.warning(
            "%d clips have fewer frames than the shortest of `segment_frames` (%d) and are left out, e.g. %s",
            len(too_short),
            min_frames,
            too_short[0],
        )
    if not any(clip[1] == "train" for clip in clips):
        raise ValueError(
            f"none of the {len(recordings)} clips is long enough: the shortest of `segment_frames` is {min_frames}, "
            f"{min_frames / codec.frame_rate:g} s."
        )
    if num_clipped:
        logger.warning("%d clips peak beyond 1.0 and are clipped there.", num_clipped)
    about = {
        "hop_length": hop_length,
        "output_hop_length": output_hop_length,
        "num_features": num_features,
        "clips": clips,
    }
    (folder / "cache.json").write_text(json.dumps(about), encoding="utf-8")


def _to_int16(waveform: np.ndarray) -> np.ndarray:
    return (waveform * FULL_SCALE).round().clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


__all__ = ["CachedClip", "ClipCache", "build_cache", "clip_features", "encoder_fingerprint"]
