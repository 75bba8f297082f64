"""Plots of speech: the waveform above its spectrogram."""

import base64
import html
import io

import numpy as np


WIDTH_INCHES, HEIGHT_INCHES, DOTS_PER_INCH = 6.4, 2.6, 110
MAX_COLUMNS = 1400  # of the waveform: more than the picture has pixels
WINDOW_SECONDS, HOP_SECONDS = 0.025, 0.010
MAX_SPECTRA = 1500  # longer sounds have wider hops
RANGE_DECIBELS = 70.0
INK, PAPER = "#1f2937", "#ffffff"


def spectrogram(sound: np.ndarray, sampling_rate: float) -> np.ndarray:
    """
    Levels in decibels below the loudest, at least -`RANGE_DECIBELS`.

    Args:
        sound (`np.ndarray`): float32 `(num_samples,)`, not empty.
        sampling_rate (`float`): Hz.

    Returns:
        float32 `(num_frequencies, num_windows)`, from 0 Hz to half the sampling rate.
    """
    size = max(16, round(WINDOW_SECONDS * sampling_rate))
    padded = np.pad(sound, (size // 2, size - size // 2))
    hop = max(round(HOP_SECONDS * sampling_rate), len(sound) // MAX_SPECTRA, 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    power = np.abs(np.fft.rfft(windows * np.hanning(size).astype(np.float32), axis=1)) ** 2
    loudest = max(float(power.max()), 1e-12)
    levels = 10 * np.log10(np.maximum(power / loudest, 10 ** (-RANGE_DECIBELS / 10)))
    return levels.T.astype(np.float32)


def envelope(sound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest sample of each of at most `MAX_COLUMNS` columns, `(num_columns,)` each."""
    starts = np.linspace(0, len(sound), min(len(sound), MAX_COLUMNS), endpoint=False).astype(int)
    return np.minimum.reduceat(sound, starts), np.maximum.reduceat(sound, starts)


def draw(sound: np.ndarray, sampling_rate: float) -> bytes:
    """
    A PNG of waveform and spectrogram over the same seconds.

    Raises:
        ImportError: without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('pictures need matplotlib: `pip install "t5gemma-tts[ui]"`.') from error
    seconds = len(sound) / sampling_rate
    figure = Figure((WIDTH_INCHES, HEIGHT_INCHES), dpi=DOTS_PER_INCH, facecolor=PAPER, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    low, high = envelope(sound)
    upper.fill_between(np.linspace(0, seconds, len(low)), low, high, color="#4f46e5", linewidth=0.5)
    limit = max(0.05, 1.05 * float(np.abs(sound).max()))
    upper.set(ylim=(-limit, limit), yticks=[])
    lower.imshow(
        spectrogram(sound, sampling_rate),
        origin="lower",
        aspect="auto",
        cmap="magma",
        extent=(0, seconds, 0, sampling_rate / 2000),
    )
    lower.set(xlim=(0, seconds), xlabel="seconds", ylabel="kHz")
    for axes in (upper, lower):
        axes.tick_params(labelsize=8, colors=INK)
        axes.xaxis.label.set_color(INK)
        axes.yaxis.label.set_color(INK)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def picture_html(sound: np.ndarray, sampling_rate: float, name: str) -> str:
    """The picture as an HTML element, with a description for those who do not see it."""
    told = f"{name}: waveform and spectrogram of {len(sound) / sampling_rate:.1f} seconds of speech"
    data = base64.b64encode(draw(sound, sampling_rate)).decode()
    return f'<img class="sound-picture" alt="{html.escape(told)}" src="data:image/png;base64,{data}">'


__all__ = ["draw", "picture_html", "spectrogram"]
