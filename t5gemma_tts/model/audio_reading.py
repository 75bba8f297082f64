"""Reads audio files of any format: libsndfile first, and PyAV (FFmpeg) for what libsndfile does not read.

A sample has the same value from both, so that a recording gives the same audio codes whatever lossless file it is in.
"""

import io
import os
import warnings
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from types import ModuleType
from typing import IO, Any

import numpy as np

from .audio import Waveform, import_soundfile


AudioFile = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]

BLOCK_SAMPLES = 1 << 16
# FFmpeg opens no other file or address than the one given, as a playlist (HLS, concat) would make it do
NO_PROTOCOL = {"protocol_whitelist": "none"}


@dataclass(frozen=True)
class OpenAudio:
    """
    An audio file while it is open.

    Args:
        sampling_rate (`int`): Hz.
        num_channels (`int`)
        blocks: the samples in order, float32 of shape (num_samples, num_channels) each, decoded as they are asked for.
    """

    sampling_rate: int
    num_channels: int
    blocks: Iterator[Waveform]

    def read(self, max_samples: int | None = None) -> Waveform:
        """The samples, (num_samples, num_channels), at most the first `max_samples`. Nothing beyond is decoded."""
        read, left = [np.zeros((0, self.num_channels), np.float32)], max_samples
        while left is None or left > 0:
            block = next(self.blocks, None)
            if block is None:
                break
            read.append(block[:left])
            left = None if left is None else left - len(block)
        return np.concatenate(read)


def load_audio(file: AudioFile) -> tuple[Waveform, int]:
    """
    Reads an audio file, or the first audio track of a video: wav, flac, ogg, mp3, m4a, webm, and all else that
    libsndfile or PyAV decodes.

    Args:
        file (`str`, `os.PathLike`, `bytes` or binary file object): A path, the bytes of a file, or an open file, which
            is read from its start if it can seek.

    Returns:
        `(waveform, sampling_rate)`: float32 of shape (num_samples,) or (num_samples, num_channels), and Hz.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file cannot be decoded or has no samples.
    """
    with open_audio(file) as audio:
        waveform = audio.read()
    return waveform[:, 0] if audio.num_channels == 1 else waveform, audio.sampling_rate


@contextmanager
def open_audio(file: AudioFile, name: str = "the audio data") -> Iterator[OpenAudio]:
    """
    Opens an audio file to read it block by block; `file` and errors as in `load_audio`.

    `name` stands for data that is not a path in error messages.
    The file has at least one sample. Its blocks raise `ValueError` where it is damaged.
    """
    if isinstance(file, (str, os.PathLike)):
        name = repr(str(file))
        if not os.path.isfile(file):  # `Path.is_file` raises for overlong names
            raise FileNotFoundError(f"no audio file at {name}.")
    else:
        file = _in_memory(file)
    reasons = []
    for reader in (_open_soundfile, _open_pyav):
        try:
            with reader(file) as audio:
                first = next(audio.blocks, None)
                if first is None:
                    reasons.append("it holds no audio samples")
                    continue
                blocks = _with_plain_errors(chain([first], audio.blocks), name)
                opened = OpenAudio(audio.sampling_rate, audio.num_channels, blocks)
                yield opened
                return
        except _CannotDecode as error:
            reasons.append(str(error))
    if reasons[0] == "it holds no audio samples":
        raise ValueError(f"{name} holds no audio samples.")
    raise ValueError(f"{name} cannot be decoded: {'; '.join(reasons)}.")


def read_tags(file: AudioFile) -> dict[str, str]:
    """
    The tags of an audio file, by lower-case name; argument as in `load_audio`.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if PyAV cannot open the file, or is not installed.
    """
    if not isinstance(file, (str, os.PathLike)):
        file = _in_memory(file)
    elif not os.path.isfile(file):
        raise FileNotFoundError(f"no audio file at {str(file)!r}.")
    try:
        with _open_container(_import_av(), file) as container:
            tags = dict(container.metadata)
            for stream in container.streams.audio:
                tags |= stream.metadata
    except _CannotDecode as error:
        raise ValueError(f"the tags cannot be read: {error}.") from error
    return {name.lower(): value for name, value in tags.items()}


class _CannotDecode(Exception):
    """A decoder does not read a file; another one might."""


def _in_memory(file: Any) -> io.BytesIO:
    """The content of bytes or of an open binary file. It has no name, from which a decoder would guess a format."""
    if isinstance(file, (bytes, bytearray, memoryview)):
        return io.BytesIO(file)
    if not callable(getattr(file, "read", None)):
        raise ValueError(f"an audio file must be a path, bytes or a binary file object, got {type(file).__name__}.")
    if callable(getattr(file, "seekable", None)) and file.seekable():
        file.seek(0)
    content = file.read()
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise ValueError(f"a file object with audio must be open in binary mode; it reads {type(content).__name__}.")
    return io.BytesIO(content)


def _with_plain_errors(blocks: Iterator[Waveform], name: str) -> Iterator[Waveform]:
    try:
        yield from blocks
    except _CannotDecode as error:
        raise ValueError(f"{name} is damaged: {error}.") from error


@contextmanager
def _open_soundfile(file: str | os.PathLike[str] | io.BytesIO) -> Iterator[OpenAudio]:
    soundfile = import_soundfile()
    # TypeError for names that end in .raw; the others for damaged headers
    errors = (soundfile.SoundFileError, TypeError, ValueError, MemoryError)
    try:
        opened = soundfile.SoundFile(file)
    except errors as error:
        raise _CannotDecode(f"soundfile says: {_sentence(error)}") from error

    def blocks() -> Iterator[Waveform]:
        while True:  # in blocks: a header can claim any length
            try:
                block = opened.read(BLOCK_SAMPLES, dtype="float32", always_2d=True)
            except errors as error:
                raise _CannotDecode(f"soundfile says: {_sentence(error)}") from error
            if not len(block):
                return
            yield block

    with opened:
        yield OpenAudio(opened.samplerate, opened.channels, blocks())


@contextmanager
def _open_pyav(file: str | os.PathLike[str] | io.BytesIO) -> Iterator[OpenAudio]:
    av = _import_av()
    with _open_container(av, file) as container, closing(_decode_pyav(av, container)) as frames:
        first = next(frames, None)
        if first is None:
            raise _CannotDecode("PyAV finds no audio in it")
        rate, channels = first.sample_rate, first.layout.nb_channels

        def blocks() -> Iterator[Waveform]:
            for frame in chain([first], frames):
                if (frame.sample_rate, frame.layout.nb_channels) != (rate, channels):
                    raise _CannotDecode("its sampling rate or number of channels changes on the way")
                yield _samples(frame)

        yield OpenAudio(rate, channels, blocks())


@contextmanager
def _open_container(av: ModuleType, file: str | os.PathLike[str] | io.BytesIO) -> Iterator[Any]:
    # as a file object in both cases: FFmpeg would take a name such as "concat:a|b" for more than a name
    with io.BytesIO(file.getbuffer()) if isinstance(file, io.BytesIO) else open(file, "rb") as source:
        try:
            container = av.open(source, metadata_errors="ignore", options=NO_PROTOCOL)
        except Exception as error:  # PyAV raises many kinds for damaged files
            raise _CannotDecode(f"PyAV says: {_sentence(error)}") from error
        with container:
            yield container


def _decode_pyav(av: ModuleType, container: Any) -> Generator[Any, None, None]:
    """The frames of the first audio track; packets that cannot be decoded are left out, with a warning at the end."""
    if not container.streams.audio:
        return
    stream = container.streams.audio[0]
    packets, failed = 0, 0
    try:
        for packet in container.demux(stream):
            packets += 1
            try:
                yield from (frame for frame in packet.decode() if frame.samples)
            except av.error.InvalidDataError:
                failed += 1
    except Exception as error:  # PyAV raises IndexError and others for damaged files
        raise _CannotDecode(f"PyAV says: {_sentence(error)}") from error
    if failed:
        message = f"{failed} of {packets} packets of the audio are damaged and were left out."
        warnings.warn(message, stacklevel=2)


def _samples(frame: Any) -> Waveform:
    """float32 (num_samples, num_channels) of a frame, with full scale at 1.0 as in libsndfile."""
    array = frame.to_ndarray()
    # planar: (num_channels, num_samples); packed: (1, num_samples * num_channels)
    array = array.T if frame.format.is_planar else array.reshape(-1, frame.layout.nb_channels)
    if array.dtype.kind == "u":
        return ((array.astype(np.float32) - 128) / 128).astype(np.float32)
    if array.dtype.kind == "i":
        # powers of two: exact, and the one rounding is that of the conversion
        return array.astype(np.float32) * np.float32(2.0 ** (1 - 8 * array.dtype.itemsize))
    return np.ascontiguousarray(array, dtype=np.float32)


def _sentence(error: BaseException) -> str:
    """The message of an error on one line, without a final period."""
    message = getattr(error, "error_string", None) or str(error)  # libsndfile's own, without the address of a buffer
    return (" ".join(message.split()) or type(error).__name__).rstrip(".")


def _import_av() -> ModuleType:
    try:
        import av
    except ImportError as error:
        raise _CannotDecode("PyAV is not installed (`pip install av`)") from error
    return av


__all__ = ["AudioFile", "OpenAudio", "load_audio", "open_audio", "read_tags"]
