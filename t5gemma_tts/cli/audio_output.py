"""Streaming audio output: to a file, or as raw samples to standard output."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import soundfile

from ..model.audio import Waveform
from ..model.marks import write_tags
from .outputs import STANDARD_OUTPUT


class _AudioWriter:
    """Clips samples to [-1, 1], passes them on, and records their number and peak."""

    def __init__(self, write: Callable[[Waveform], None]):
        self._write = write
        self.num_samples, self.peak = 0, 0.0

    def write(self, samples: Waveform) -> None:
        """Writes samples, float32 `(num_samples,)`."""
        self.num_samples += len(samples)
        self.peak = max(self.peak, float(np.abs(samples).max(initial=0.0)))
        self._write(samples.clip(-1.0, 1.0))

    def warn_if_clipped(self) -> None:
        if self.peak > 1.0:
            warnings.warn(f"`audio` peaks at {self.peak:.3f}, beyond 1.0: clipped.", stacklevel=2)


@contextmanager
def open_audio_writer(output: str, sampling_rate: float, watermark: str = "metadata") -> Iterator[_AudioWriter]:
    """
    Opens a writer of mono audio. Samples beyond [-1, 1] are clipped, with a warning at the end.

    Args:
        output (`str`): path of an audio file, or "-" for raw 16-bit samples on standard output.
        sampling_rate (`float`): Hz.
        watermark (`str`): "metadata" tags a file as synthetic speech, "off" does not.

    Raises:
        OSError: if the file cannot be written.
    """
    if output == STANDARD_OUTPUT:
        print(f"raw samples: 16 bits, signed, little-endian, mono, {sampling_rate} Hz", file=sys.stderr)

        def write(samples: Waveform) -> None:
            sys.stdout.buffer.write((samples * 32767).round().astype("<i2").tobytes())
            sys.stdout.buffer.flush()

        writer = _AudioWriter(write)
        yield writer
        writer.warn_if_clipped()
        return
    try:
        with soundfile.SoundFile(output, "w", samplerate=int(sampling_rate), channels=1) as file:
            if watermark == "metadata":
                write_tags(file, at_end=False)
            writer = _AudioWriter(file.write)
            yield writer
            if watermark == "metadata":
                write_tags(file, at_end=True)
        num_written = soundfile.info(output).frames
    except soundfile.LibsndfileError as error:
        raise OSError(f"{output!r} cannot be written ({error}): is the disk full?") from error
    if num_written != writer.num_samples:  # some formats do not report a full disk
        raise OSError(f"{output!r} has {num_written} of {writer.num_samples} samples: is the disk full?")
    writer.warn_if_clipped()
