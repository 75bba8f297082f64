"""From what a voice says to a clip of the corpus: 16 kHz, as loud as all others, without the silence around it."""

import os
from pathlib import Path

import numpy as np
import soundfile

from t5gemma_tts.model.audio import check_waveform, resample


SAMPLING_RATE = 16000
# a natural breath; every clip has the same, so that a model need not guess it
LEADING_SECONDS, TRAILING_SECONDS = 0.1, 0.15
# of the level while somebody speaks; peaks are never clipped, so a clip with high ones stays quieter
LOUDNESS_DB, HIGHEST_PEAK = -23.0, 0.95
# frames this much quieter than the loudest one are silence at the ends, or do not count for the level
_SILENCE_DB, _PAUSE_DB = -45.0, -30.0
_FRAME_SECONDS, _FADE_SECONDS = 0.01, 0.005
_LOWEST_LEVEL_DB = -60.0


def make_clip(waveform: np.ndarray, sampling_rate: int) -> np.ndarray:
    """
    Resamples, trims and levels speech.

    Args:
        waveform (`np.ndarray`): Mono, of shape (num_samples,).
        sampling_rate (`int`): Of `waveform`, in Hz.

    Returns:
        `np.ndarray`: float32 of shape (num_samples,) at `SAMPLING_RATE`.

    Raises:
        ValueError: if it is empty, silent, or has values that are not finite.
    """
    waveform = resample(check_waveform(waveform, sampling_rate), sampling_rate, SAMPLING_RATE)
    levels = _frame_levels(waveform)
    if not len(levels) or levels.max() < _LOWEST_LEVEL_DB:
        raise ValueError(f"silent: no part of it is louder than {_LOWEST_LEVEL_DB:g} dB.")
    speech = np.sqrt(np.mean(10 ** (levels[levels > levels.max() + _PAUSE_DB] / 10)))
    clip = _trimmed(waveform, levels)
    gain = min(10 ** (LOUDNESS_DB / 20) / speech, HIGHEST_PEAK / np.abs(clip).max())
    return (clip * gain).astype(np.float32)


def _frame_levels(waveform: np.ndarray) -> np.ndarray:
    """Levels of frames of 10 ms, in dB of full scale."""
    frame = int(_FRAME_SECONDS * SAMPLING_RATE)
    frames = waveform[: len(waveform) // frame * frame].reshape(-1, frame)
    return 10 * np.log10(np.mean(frames.astype(np.float64) ** 2, axis=1) + 1e-12)


def _trimmed(waveform: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Between the ends of the speech, with margins of exact length: of zeros where the recording is shorter."""
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
    """Writes 16-bit FLAC; the file is there whole or not at all."""
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
