"""Memory-mapped disk cache of the waveforms, features and codes of all clips.

Mel features take longer to compute than a training step, and the codes of a frozen encoder never change. The cache
takes 43 kB per second of audio (16-bit samples, half-precision features).
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
    """Position of a clip in the cache."""

    id: str
    split: str
    start: int  # frame
    num_frames: int
    num_samples: int  # at the input rate, without padding


class ClipCache:
    """
    Concatenated clips, each padded with zeros to `num_samples // hop_length + 1` frames, the number of codes that
    `XCodec2.encode` returns.

    Args:
        folder (`str` or `os.PathLike`): Folder that `build_cache` wrote.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        cache_info = json.loads((self.folder / "cache.json").read_text(encoding="utf-8"))
        self.hop_length, self.output_hop_length = cache_info["hop_length"], cache_info["output_hop_length"]
        self.clips = [CachedClip(*row) for row in cache_info["clips"]]
        self.audio = np.memmap(self.folder / "audio.int16", dtype=np.int16, mode="r")
        self.target = self.audio
        if (self.folder / "target.int16").is_file():
            self.target = np.memmap(self.folder / "target.int16", dtype=np.int16, mode="r")
        self.features = np.memmap(self.folder / "features.float16", dtype=np.float16, mode="r")
        self.features = self.features.reshape(-1, cache_info["num_features"])
        self.codes: np.ndarray | None = None

    def split(self, name: str) -> list[CachedClip]:
        return [clip for clip in self.clips if clip.split == name]

    def waveform(self, clip: CachedClip) -> np.ndarray:
        """Returns the waveform of a clip, float32 (num_samples,) at the input rate, without padding."""
        start = clip.start * self.hop_length
        return _to_float(self.audio[start : start + clip.num_samples])

    def segment(self, start: int, num_frames: int) -> dict[str, np.ndarray]:
        """
        Returns frames `start` to `start + num_frames` of the concatenated clips.

        Returns:
            `dict`: "target", float32 (num_frames * output_hop_length,) at the output rate; with loaded codes also
            "codes", int64 (num_frames,); otherwise "audio", float32 (num_frames * hop_length,) at the input rate, and
            "features", float32 (num_frames, num_features).
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
        Loads codes, so that `segment` returns them. Encodes all clips on the first call for this encoder.
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
    """Returns a hash of all weights that affect the codes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(codec.model.state_dict().items()):
        if not name.startswith("acoustic_decoder."):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def clip_features(codec: XCodec2, waveform: np.ndarray) -> np.ndarray:
    """
    Computes the input features of the semantic encoder, as `XCodec2.encode` does.

    Args:
        codec (`XCodec2`)
        waveform (`np.ndarray`): (num_frames * hop_length,) at the input rate, including padding.

    Returns:
        `np.ndarray`: float32 (num_frames, num_features).
    """
    return codec.feature_extractor(
        np.pad(waveform, codec.hop_length // 2), sampling_rate=codec.input_sampling_rate, return_tensors="np"
    )["input_features"][0]


def build_cache(folder, recordings: list[Recording], codec: XCodec2, min_frames: int) -> ClipCache:
    """
    Opens the cache of these recordings and builds it first if necessary. The cache is written atomically.

    Args:
        folder (`str` or `os.PathLike`): Parent folder of caches, which are named by a hash of recordings and codec.
        recordings (`list[Recording]`)
        codec (`XCodec2`): Defines sampling rates, features and frames.
        min_frames (`int`): Training clips with fewer frames are skipped with a warning.

    Raises:
        ValueError: if a clip cannot be read, or no training clip is long enough.
    """
    cache_info = {
        "version": CACHE_VERSION,
        "recordings": recordings_fingerprint(recordings),
        "sampling_rates": [codec.input_sampling_rate, codec.sampling_rate],
        "num_mel_bins": codec.feature_extractor.num_mel_bins,
        "min_frames": min_frames,
    }
    cache_folder = Path(folder) / fingerprint(cache_info)[:16]
    if not (cache_folder / "cache.json").is_file():
        temporary_folder = cache_folder.with_name(f"{cache_folder.name}.{os.getpid()}.tmp")
        if temporary_folder.exists():
            shutil.rmtree(temporary_folder)
        temporary_folder.mkdir(parents=True)
        try:
            _write_cache(temporary_folder, recordings, codec, min_frames)
            os.replace(temporary_folder, cache_folder)
        except BaseException:
            shutil.rmtree(temporary_folder, ignore_errors=True)
            raise
    return ClipCache(cache_folder)


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
            "%d clips are skipped because they have fewer frames than the shortest of `segment_frames` (%d), e.g. %s",
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
        logger.warning("%d clips exceed 1.0 and are clipped.", num_clipped)
    cache_info = {
        "hop_length": hop_length,
        "output_hop_length": output_hop_length,
        "num_features": num_features,
        "clips": clips,
    }
    (folder / "cache.json").write_text(json.dumps(cache_info), encoding="utf-8")


def _to_int16(waveform: np.ndarray) -> np.ndarray:
    return (waveform * FULL_SCALE).round().clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


__all__ = ["CachedClip", "ClipCache", "build_cache", "clip_features", "encoder_fingerprint"]
