"""Changes the speed of speech without changing the pitch."""

from fractions import Fraction

import numpy as np


MIN_SPEED, MAX_SPEED = 0.5, 2.0


def check_speed_factors(factors: list[float]) -> list[float]:
    """
    Validates speed factors and returns them as a list.

    Raises:
        ValueError: if a factor is outside [0.5, 2], is 1, or occurs twice.
    """
    for factor in factors:
        if not MIN_SPEED <= factor <= MAX_SPEED or factor == 1:
            raise ValueError(
                f"`speed_factors` must be in {MIN_SPEED} to {MAX_SPEED} and not 1, the recorded speed; got {factor}."
            )
    if len(set(factors)) != len(factors):
        raise ValueError(f"`speed_factors` must differ from each other, got {factors}.")
    return list(factors)


def import_av():
    """
    Imports PyAV.

    Raises:
        ImportError: if PyAV is missing.
    """
    try:
        import av
    except ImportError as error:
        raise ImportError("speed variants need `pip install av` (PyAV, which includes FFmpeg).") from error
    return av


def change_speed(waveform: np.ndarray, sampling_rate: int, factor: float) -> np.ndarray:
    """
    Changes the speed with FFmpeg's `atempo` filter (WSOLA), which the original project also uses.

    Args:
        waveform (`np.ndarray`): float32 of shape (num_samples,).
        sampling_rate (`int`): Hz.
        factor (`float`): 0.5 to 2; 1.1 is 10 % faster.

    Returns:
        `np.ndarray` of float32, shape (about num_samples / factor,).
    """
    av = import_av()
    graph = av.filter.Graph()
    source = graph.add_abuffer(
        sample_rate=sampling_rate, format="flt", layout="mono", time_base=Fraction(1, sampling_rate)
    )
    stretch, sink = graph.add("atempo", str(factor)), graph.add("abuffersink")
    source.link_to(stretch)
    stretch.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform[None], np.float32), format="flt", layout="mono")
    frame.sample_rate, frame.pts = sampling_rate, 0
    graph.push(frame)
    graph.push(None)
    pieces = []
    while True:
        try:
            pieces.append(graph.pull().to_ndarray().reshape(-1))
        except (av.BlockingIOError, av.EOFError):
            break
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
