"""Converts speech of a voice to a clip of the corpus: 16 kHz, normalized loudness, trimmed silence."""

import os
from pathlib import Path

import numpy as np
import soundfile

from t5gemma_tts.model.audio import check_waveform, resample


SAMPLING_RATE = 16000
# silence at the ends, equal in all clips, so that the model need not predict it
LEADING_SECONDS, TRAILING_SECONDS = 0.1, 0.15
# level of speech frames; a clip with high peaks is quieter, because peaks are not clipped
LOUDNESS_DB, MAX_PEAK = -23.0, 0.95
# relative to the loudest frame: below the first, ends are silence; below the second, frames do not count as speech
_SILENCE_DB, _PAUSE_DB = -45.0, -30.0
_FRAME_SECONDS, _FADE_SECONDS = 0.01, 0.005
_MIN_LEVEL_DB = -60.0


def make_clip(waveform: np.ndarray, sampling_rate: int) -> np.ndarray:
    """
    Resamples speech, trims it and normalizes its loudness.

    Args:
        waveform (`np.ndarray`): Mono, of shape (num_samples,).
        sampling_rate (`int`): Sampling rate of `waveform` in Hz.

    Returns:
        `np.ndarray`: float32 of shape (num_samples,) at `SAMPLING_RATE`.

    Raises:
        ValueError: if the waveform is empty, silent, or has NaN or infinite samples.
    """
    waveform = resample(check_waveform(waveform, sampling_rate), sampling_rate, SAMPLING_RATE)
    levels = _frame_levels(waveform)
    if not len(levels) or levels.max() < _MIN_LEVEL_DB:
        raise ValueError(f"the waveform is silent: no part is louder than {_MIN_LEVEL_DB:g} dB.")
    speech_level = np.sqrt(np.mean(10 ** (levels[levels > levels.max() + _PAUSE_DB] / 10)))
    clip = _trim(waveform, levels)
    gain = min(10 ** (LOUDNESS_DB / 20) / speech_level, MAX_PEAK / np.abs(clip).max())
    return (clip * gain).astype(np.float32)


def _frame_levels(waveform: np.ndarray) -> np.ndarray:
    """Returns the levels of 10 ms frames in dB of full scale."""
    frame = int(_FRAME_SECONDS * SAMPLING_RATE)
    frames = waveform[: len(waveform) // frame * frame].reshape(-1, frame)
    return 10 * np.log10(np.mean(frames.astype(np.float64) ** 2, axis=1) + 1e-12)


def _trim(waveform: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Cuts the silence at the ends to margins of exact length; pads with zeros if the recording is too short."""
    frame = int(_FRAME_SECONDS * SAMPLING_RATE)
    spoken = np.nonzero(levels > levels.max() + _SILENCE_DB)[0]
    before, after = int(LEADING_SECONDS * SAMPLING_RATE), int(TRAILING_SECONDS * SAMPLING_RATE)
    start, end = spoken[0] * frame - before, (spoken[-1] + 1) * frame + after
    clip = waveform[max(start, 0) : end].copy()
    fade = np.linspace(0, 1, int(_FADE_SECONDS * SAMPLING_RATE), dtype=np.float32)
    clip[: len(fade)] *= fade
    clip[-len(fade) :] *= fade[::-1]
    return np.pad(clip, (max(-start, 0), max(end - len(waveform), 0)))


def write_clip(path: Path, clip: np.ndarray) -> None:
    """Writes a 16-bit FLAC file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            soundfile.write(file, clip, SAMPLING_RATE, format="FLAC", subtype="PCM_16")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
