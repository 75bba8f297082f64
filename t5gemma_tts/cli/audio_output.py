"""Streaming audio output: to a file, or as raw samples to standard output."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import soundfile

from ..model.audio import Waveform


STANDARD_OUTPUT = "-"


class _Sound:
    """Counts and clips what goes through it."""

    def __init__(self, write: Callable[[Waveform], None]):
        self._write = write
        self.num_samples, self.peak = 0, 0.0

    def write(self, samples: Waveform) -> None:
        """float32 `(num_samples,)`, clipped to [-1, 1]."""
        self.num_samples += len(samples)
        self.peak = max(self.peak, float(np.abs(samples).max(initial=0.0)))
        self._write(samples.clip(-1.0, 1.0))

    def warn(self) -> None:
        if self.peak > 1.0:
            warnings.warn(f"`audio` peaks at {self.peak:.3f}, beyond 1.0: clipped.", stacklevel=2)


@contextmanager
def open_sound(output: str, sampling_rate: float) -> Iterator[_Sound]:
    """
    A sink for one mono sound.

    Args:
        output (`str`): path of an audio file, or "-": raw samples of 16 bits to standard output.
        sampling_rate (`int`): Hz.

    Sound beyond 1.0 is clipped, which is warned of at the end.

    Raises:
        OSError: if the file cannot be written.
    """
    if output == STANDARD_OUTPUT:
        print(f"raw samples: 16 bits, signed, little-endian, mono, {sampling_rate} Hz", file=sys.stderr)

        def write(samples: Waveform) -> None:
            sys.stdout.buffer.write((samples * 32767).round().astype("<i2").tobytes())
            sys.stdout.buffer.flush()

        sound = _Sound(write)
        yield sound
        sound.warn()
        return
    try:
        with soundfile.SoundFile(output, "w", samplerate=int(sampling_rate), channels=1) as file:
            sound = _Sound(file.write)
            yield sound
        num_written = soundfile.info(output).frames
    except soundfile.LibsndfileError as error:
        raise OSError(f"{output!r} cannot be written ({error}): is the disk full?") from error
    if num_written != sound.num_samples:  # not every format says so before
        raise OSError(f"{output!r} has {num_written} of {sound.num_samples} samples: is the disk full?")
    sound.warn()
