"""Resampling of speech chunk by chunk."""

import numpy as np
import soxr


class Resampler:
    """
    Resamples mono speech that comes in chunks. How it is cut into chunks does not change the result.

    Args:
        source_rate (`int`): Hz of the input.
        target_rate (`int`): Hz of the output.
    """

    def __init__(self, source_rate: int, target_rate: int):
        self._stream = None
        if source_rate != target_rate:
            self._stream = soxr.ResampleStream(source_rate, target_rate, 1, dtype="float32")

    def push(self, waveform: np.ndarray, last: bool = False) -> np.ndarray:
        """
        Resamples further samples.

        Args:
            waveform (`np.ndarray`): float32 of shape (num_samples,).
            last (`bool`): no samples follow; the result has all that is left.

        Returns:
            float32 `(num_samples,)`: the samples that are ready.
        """
        if self._stream is None:
            return waveform
        return self._stream.resample_chunk(np.asarray(waveform, dtype=np.float32), last=last)


__all__ = ["Resampler"]
