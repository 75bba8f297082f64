"""Plots of speech: the waveform above its spectrogram."""

import base64
import html
import io

import numpy as np


WIDTH_INCHES, HEIGHT_INCHES, DOTS_PER_INCH = 6.4, 2.6, 110
MAX_COLUMNS = 1400  # of the waveform: more than the plot has pixels
WINDOW_SECONDS, HOP_SECONDS = 0.025, 0.010
MAX_SPECTRA = 1500  # longer audio has wider hops
RANGE_DECIBELS = 70.0
TEXT_COLOR, BACKGROUND_COLOR = "#1f2937", "#ffffff"


def spectrogram(waveform: np.ndarray, sampling_rate: float) -> np.ndarray:
    """
    Levels in dB relative to the loudest value, clipped at -`RANGE_DECIBELS`.

    Args:
        waveform (`np.ndarray`): float32 `(num_samples,)`, not empty.
        sampling_rate (`float`): Hz.

    Returns:
        float32 `(num_frequencies, num_windows)`, from 0 Hz to half the sampling rate.
    """
    size = max(16, round(WINDOW_SECONDS * sampling_rate))
    padded = np.pad(waveform, (size // 2, size - size // 2))
    hop = max(round(HOP_SECONDS * sampling_rate), len(waveform) // MAX_SPECTRA, 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    power = np.abs(np.fft.rfft(windows * np.hanning(size).astype(np.float32), axis=1)) ** 2
    loudest = max(float(power.max()), 1e-12)
    levels = 10 * np.log10(np.maximum(power / loudest, 10 ** (-RANGE_DECIBELS / 10)))
    return levels.T.astype(np.float32)


def envelope(waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Minimum and maximum of each of at most `MAX_COLUMNS` columns, of shape `(num_columns,)` each."""
    starts = np.linspace(0, len(waveform), min(len(waveform), MAX_COLUMNS), endpoint=False).astype(int)
    return np.minimum.reduceat(waveform, starts), np.maximum.reduceat(waveform, starts)


def plot_png(waveform: np.ndarray, sampling_rate: float) -> bytes:
    """
    Draws the waveform above the spectrogram on the same time axis, and returns the PNG file.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plots need matplotlib: `pip install "t5gemma-tts[ui]"`.') from error
    seconds = len(waveform) / sampling_rate
    figure = Figure((WIDTH_INCHES, HEIGHT_INCHES), dpi=DOTS_PER_INCH, facecolor=BACKGROUND_COLOR, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    low, high = envelope(waveform)
    upper.fill_between(np.linspace(0, seconds, len(low)), low, high, color="#4f46e5", linewidth=0.5)
    limit = max(0.05, 1.05 * float(np.abs(waveform).max()))
    upper.set(ylim=(-limit, limit), yticks=[])
    lower.imshow(
        spectrogram(waveform, sampling_rate),
        origin="lower",
        aspect="auto",
        cmap="magma",
        extent=(0, seconds, 0, sampling_rate / 2000),
    )
    lower.set(xlim=(0, seconds), xlabel="seconds", ylabel="kHz")
    for axes in (upper, lower):
        axes.tick_params(labelsize=8, colors=TEXT_COLOR)
        axes.xaxis.label.set_color(TEXT_COLOR)
        axes.yaxis.label.set_color(TEXT_COLOR)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def plot_html(waveform: np.ndarray, sampling_rate: float, name: str) -> str:
    """The plot as an HTML image with a text alternative."""
    alt_text = f"{name}: waveform and spectrogram of {len(waveform) / sampling_rate:.1f} seconds of speech"
    data = base64.b64encode(plot_png(waveform, sampling_rate)).decode()
    return f'<img class="sound-picture" alt="{html.escape(alt_text)}" src="data:image/png;base64,{data}">'


__all__ = ["plot_png", "plot_html", "spectrogram"]
