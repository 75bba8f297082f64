"""Checks reference recordings: refuses silent ones, warns of poor ones, trims silence and normalizes loudness."""

import math
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .audio import Waveform, to_mono


MIN_SECONDS, MAX_SECONDS = 0.5, 30.0
SILENT_DBFS = -60.0  # a recording whose loudest frame is below this holds no speech
CLIPPED_LEVEL, MAX_CLIPPED_SHARE = 0.999, 0.05
FRAME_SECONDS = 0.02
SPEECH_BELOW_PEAK_DB = 40.0  # frames this far below the loudest one are silence
KEPT_EDGE_SECONDS = 0.1  # silence that trimming leaves on both sides
TARGET_LUFS = -23.0  # of EBU R 128

# K-weighting of ITU-R BS.1770: (b, a) of its two filters at 48 kHz
K_WEIGHTING = (
    ((1.53512485958697, -2.69169618940638, 1.19839281085285), (1.0, -1.69065929318241, 0.73248077421585)),
    ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621)),
)
BLOCK_SECONDS, BLOCK_STEP_SECONDS = 0.4, 0.1
ABSOLUTE_GATE_LUFS, RELATIVE_GATE_LU = -70.0, -10.0


@dataclass(frozen=True)
class ReferenceReport:
    """
    What was measured in a recording, and done to it.

    Args:
        seconds (`float`): duration, after trimming.
        leading_silence_seconds, trailing_silence_seconds (`float`): silence at both ends of the recording as given.
        trimmed_seconds (`float`): silence taken away.
        loudness_lufs (`float`): integrated loudness before normalization.
        gain_db (`float`): gain of the normalization; 0 without it.
        clipped_share (`float`): share of the samples at full scale, as given.
    """

    seconds: float
    leading_silence_seconds: float
    trailing_silence_seconds: float
    trimmed_seconds: float
    loudness_lufs: float
    gain_db: float
    clipped_share: float

    def __str__(self) -> str:
        return (
            f"reference of {self.seconds:.2f} s: {self.trimmed_seconds:.2f} s of silence trimmed, "
            f"{self.loudness_lufs:.1f} LUFS, gain {self.gain_db:+.1f} dB"
        )


def prepare_reference(
    waveform: Waveform, sampling_rate: float, trim_silence: bool = False, normalize_loudness: bool = False
) -> tuple[Waveform, ReferenceReport]:
    """
    Checks a reference recording, and improves it where asked for.

    Args:
        waveform (`np.ndarray`): float32 of shape (num_samples,) or (num_samples, num_channels).
        sampling_rate (`float`): Hz.
        trim_silence (`bool`): Take away the silence at both ends, up to 0.1 s.
        normalize_loudness (`bool`): Bring the loudness to -23 LUFS, or as near as full scale allows.

    Returns:
        `(waveform, report)`: the waveform as given unless something was asked for.

    Raises:
        ValueError: if the recording is silent.

    Warns:
        UserWarning: if it takes less than 0.5 s or more than 30 s, or if more than 5 % of its samples are at full
            scale.
    """
    given = len(waveform) / sampling_rate
    levels = _frame_levels(to_mono(waveform), sampling_rate)
    loudest = float(levels.max())
    if loudest < SILENT_DBFS:
        raise ValueError(
            f"`reference_audio` is silent: its loudest {FRAME_SECONDS * 1000:.0f} ms have {loudest:.1f} dBFS, and "
            f"speech has more than {SILENT_DBFS:.0f}."
        )
    clipped = float((np.abs(waveform) >= CLIPPED_LEVEL).mean())
    speech = np.flatnonzero(levels > loudest - SPEECH_BELOW_PEAK_DB)
    leading = float(speech[0] * FRAME_SECONDS)
    trailing = max(0.0, given - float((speech[-1] + 1) * FRAME_SECONDS))
    if trim_silence:
        start = max(0, round((leading - KEPT_EDGE_SECONDS) * sampling_rate))
        stop = len(waveform) - max(0, round((trailing - KEPT_EDGE_SECONDS) * sampling_rate))
        waveform = waveform[start:stop]
    seconds = len(waveform) / sampling_rate
    loudness, gain_db = integrated_loudness(waveform, sampling_rate), 0.0
    if normalize_loudness and math.isfinite(loudness):
        gain_db = min(TARGET_LUFS - loudness, -20 * math.log10(float(np.abs(waveform).max())))
        waveform = (waveform * np.float32(10 ** (gain_db / 20))).clip(-1, 1).astype(np.float32)
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        warnings.warn(
            f"`reference_audio` takes {seconds:.2f} s: 3 to 10 s work best, and less than {MIN_SECONDS} s or more than "
            f"{MAX_SECONDS:.0f} s often give a poor copy of the voice.",
            stacklevel=2,
        )
    if clipped > MAX_CLIPPED_SHARE:
        warnings.warn(
            f"`reference_audio` is clipped: {clipped:.1%} of its samples are at full scale. Speech of this voice will "
            "sound distorted.",
            stacklevel=2,
        )
    return waveform, ReferenceReport(seconds, leading, trailing, given - seconds, loudness, gain_db, clipped)


def integrated_loudness(waveform: Waveform, sampling_rate: float) -> float:
    """
    Integrated loudness by ITU-R BS.1770, all channels weighted 1.

    Args:
        waveform (`np.ndarray`): float32 of shape (num_samples,) or (num_samples, num_channels).
        sampling_rate (`float`): Hz.

    Returns:
        `float`: LUFS; -inf if all of it is below the gate of -70 LUFS.
    """
    channels = waveform.reshape(len(waveform), -1).astype(np.float64)
    weighted = _k_weighted(channels, sampling_rate)
    block, step = round(BLOCK_SECONDS * sampling_rate), round(BLOCK_STEP_SECONDS * sampling_rate)
    sums = np.concatenate([[0.0], np.cumsum((weighted**2).sum(axis=1))])
    starts = np.arange(0, max(1, len(weighted) - block + 1), max(1, step))
    stops = np.minimum(starts + block, len(weighted))
    powers = (sums[stops] - sums[starts]) / (stops - starts)
    powers = powers[_lufs(powers) > ABSOLUTE_GATE_LUFS]
    if not len(powers):
        return -math.inf
    powers = powers[_lufs(powers) > _lufs(powers.mean()) + RELATIVE_GATE_LU]
    return float(_lufs(powers.mean()))


def _lufs(power: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return -0.691 + 10 * np.log10(np.maximum(power, 1e-20))


def _k_weighted(channels: npt.NDArray[np.float64], sampling_rate: float) -> npt.NDArray[np.float64]:
    """Filters (num_samples, num_channels) by the frequency response of the filters, at any sampling rate."""
    size = 1 << (len(channels) + round(0.2 * sampling_rate)).bit_length()  # the filters ring for less than 0.2 s
    frequencies = np.minimum(np.fft.rfftfreq(size, 1 / sampling_rate), 24_000)
    delay = np.exp(-2j * np.pi * frequencies / 48_000)
    response = np.ones(len(delay), dtype=np.complex128)
    for numerator, denominator in K_WEIGHTING:
        response *= np.polynomial.polynomial.polyval(delay, numerator)
        response /= np.polynomial.polynomial.polyval(delay, denominator)
    spectrum = np.fft.rfft(channels, size, axis=0) * response[:, None]
    return np.fft.irfft(spectrum, size, axis=0)[: len(channels)]


def _frame_levels(mono: Waveform, sampling_rate: float) -> npt.NDArray[np.float64]:
    """dBFS (RMS) of each 20 ms; a remainder at the end counts as a frame."""
    starts = np.round(np.arange(0, len(mono) / sampling_rate, FRAME_SECONDS) * sampling_rate).astype(int)
    starts = starts[starts < len(mono)]
    powers = np.add.reduceat(mono.astype(np.float64) ** 2, starts) / np.diff(starts, append=len(mono))
    return 10 * np.log10(np.maximum(powers, 1e-20))


__all__ = ["ReferenceReport", "integrated_loudness", "prepare_reference"]
