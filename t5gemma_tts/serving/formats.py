"""Audio encoding for responses: whole files, or chunk by chunk while speech is generated."""

import io
import struct
from types import ModuleType
from typing import BinaryIO

import numpy as np

from ..model.marks import TAGS, write_tags
from .errors import BadRequest
from .resampling import Resampler


CONTENT_TYPES = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "pcm": "audio/pcm",
}
# container, codec, and options of the container in PyAV for a stream
ENCODERS = {
    "mp3": ("mp3", "libmp3lame", {"write_xing": "0"}),  # a Xing header needs a seekable file
    "flac": ("flac", "flac", {}),
    "opus": ("ogg", "libopus", {"page_duration": "200000"}),  # µs of audio per Ogg page
    "aac": ("adts", "aac", {}),
}
BIT_RATES = {"mp3": 64_000, "opus": 48_000, "aac": 64_000}
PCM_RATE, OPUS_RATE = 24_000, 48_000  # Hz; OpenAI documents the first one
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
UNKNOWN_LENGTH = 0xFFFFFFFF


def content_type(audio_format: str, sampling_rate: int) -> str:
    """The `Content-Type` of a format; that of pcm has the sampling rate, which raw samples do not carry."""
    if audio_format == "pcm":
        return f"audio/pcm;rate={sampling_rate};encoding=signed-int;bits=16"
    return CONTENT_TYPES[audio_format]


def response_rate(audio_format: str, requested: int | None, codec_rate: int) -> int:
    """
    The sampling rate of a response in Hz: the requested one, else 24000 for pcm, else `usual_rate`.

    Raises:
        BadRequest: if the format does not support the rate.
    """
    if requested is None:
        return PCM_RATE if audio_format == "pcm" else usual_rate(audio_format, codec_rate)
    if audio_format == "opus" and requested not in OPUS_RATES:
        raise BadRequest(
            f"`sample_rate` of opus must be one of {', '.join(map(str, OPUS_RATES))}, got {requested}.",
            param="sample_rate",
        )
    return requested


def usual_rate(audio_format: str, sampling_rate: int) -> int:
    """Hz of a file of speech that has `sampling_rate`: opus supports few rates, and is decoded at 48 kHz."""
    return OPUS_RATE if audio_format == "opus" else sampling_rate


def encode_audio(
    waveform: np.ndarray,
    sampling_rate: int,
    audio_format: str,
    output_rate: int | None = None,
    watermark: str = "metadata",
) -> bytes:
    """
    Encodes a whole waveform as an audio file.

    Args:
        waveform (`np.ndarray`): float32 of shape (num_samples,); clipped to [-1, 1].
        sampling_rate (`int`): Hz.
        audio_format (`str`): one of `CONTENT_TYPES`. wav, flac and pcm have 16 bits; pcm is little-endian.
        output_rate (`int`, *optional*): Hz of the file; by default 48000 for opus, else `sampling_rate`.
        watermark (`str`): "metadata" tags the file as synthetic (pcm and aac have no room), "off" does not.

    Raises:
        ImportError: mp3, opus and aac, if PyAV is not installed.
    """
    encoder = FileEncoder(sampling_rate, audio_format, output_rate, watermark)
    encoder.push(waveform)
    return encoder.finish()


class FileEncoder:
    """
    Encodes a whole file from speech that comes in chunks; it holds the encoded samples only.

    Args:
        sampling_rate (`int`): Hz of the samples that are pushed.
        audio_format (`str`): one of `CONTENT_TYPES`.
        output_rate (`int`, *optional*): Hz of the file; by default 48000 for opus, else `sampling_rate`.
        watermark (`str`): as in `encode_audio`.

    Raises:
        ImportError: mp3, opus and aac, if PyAV is not installed.
    """

    def __init__(
        self, sampling_rate: int, audio_format: str, output_rate: int | None = None, watermark: str = "metadata"
    ):
        rate = output_rate or usual_rate(audio_format, sampling_rate)
        self._resampler = Resampler(sampling_rate, rate)
        self._file = io.BytesIO()
        self._encoder: SoundFileEncoder | PCMEncoder | PyAVEncoder
        if audio_format in ("wav", "flac"):
            self._encoder = SoundFileEncoder(rate, audio_format, self._file, watermark)
        elif audio_format == "pcm":
            self._encoder = PCMEncoder(rate, with_header=False)
        else:
            self._encoder = PyAVEncoder(rate, audio_format, self._file, watermark)

    def push(self, waveform: np.ndarray, last: bool = False) -> None:
        """Encodes further samples, float32 `(num_samples,)`."""
        self._file.write(self._encoder.push(self._resampler.push(waveform, last)))

    def finish(self) -> bytes:
        """Returns the file."""
        self.push(np.zeros(0, dtype=np.float32), last=True)
        self._file.write(self._encoder.finish())
        return self._file.getvalue()


class StreamEncoder:
    """
    Encodes a stream chunk by chunk. The header of a wav stream marks its length as unknown.

    Args:
        sampling_rate (`int`): Hz of the samples that are pushed.
        audio_format (`str`): one of `CONTENT_TYPES`.
        output_rate (`int`, *optional*): Hz of the stream; by default 48000 for opus, else `sampling_rate`.
        watermark (`str`): as in `encode_audio`; a wav stream has no room for tags, either.

    Raises:
        ImportError: mp3, opus, aac and flac, if PyAV is not installed.
    """

    def __init__(
        self, sampling_rate: int, audio_format: str, output_rate: int | None = None, watermark: str = "metadata"
    ):
        rate = output_rate or usual_rate(audio_format, sampling_rate)
        self._resampler = Resampler(sampling_rate, rate)
        self._encoder: PCMEncoder | PyAVEncoder
        if audio_format in ("wav", "pcm"):
            self._encoder = PCMEncoder(rate, with_header=audio_format == "wav")
        else:
            self._encoder = PyAVEncoder(rate, audio_format, watermark=watermark)

    def push(self, waveform: np.ndarray) -> bytes:
        """Encodes further samples, float32 `(num_samples,)`, and returns the bytes that are ready so far."""
        return self._encoder.push(self._resampler.push(waveform))

    def finish(self) -> bytes:
        """Returns the last bytes."""
        rest = self._resampler.push(np.zeros(0, dtype=np.float32), last=True)
        return self._encoder.push(rest) + self._encoder.finish()


def to_pcm(waveform: np.ndarray) -> np.ndarray:
    """Converts float samples `(num_samples,)` to little-endian int16, clipped to [-1, 1]."""
    return (waveform.clip(-1, 1) * 32767).round().astype("<i2")


class SoundFileEncoder:
    """
    Encodes mono wav or flac of 16 bits with soundfile.

    Args:
        sampling_rate (`int`): Hz.
        audio_format (`str`): "wav" or "flac".
        file (binary file): seekable file for the output; `push` and `finish` return nothing.
        watermark (`str`): as in `encode_audio`.
    """

    def __init__(self, sampling_rate: int, audio_format: str, file: BinaryIO, watermark: str):
        import soundfile

        self._file = soundfile.SoundFile(
            file, "w", sampling_rate, channels=1, subtype="PCM_16", format=audio_format.upper()
        )
        self._is_marked = watermark == "metadata"
        if self._is_marked:
            write_tags(self._file, at_end=False)

    def push(self, waveform: np.ndarray) -> bytes:
        """Encodes further samples, float32 `(num_samples,)`."""
        self._file.write(to_pcm(waveform))
        return b""

    def finish(self) -> bytes:
        """Writes the rest and the header."""
        if self._is_marked:
            write_tags(self._file, at_end=True)
        self._file.close()
        return b""


class PCMEncoder:
    """Encodes 16-bit little-endian mono samples, with a wav header or without."""

    def __init__(self, sampling_rate: int, with_header: bool):
        self._header = wav_header(sampling_rate) if with_header else b""

    def push(self, waveform: np.ndarray) -> bytes:
        """Encodes further samples, float32 `(num_samples,)`, and returns their bytes."""
        header, self._header = self._header, b""
        return header + to_pcm(waveform).tobytes()

    def finish(self) -> bytes:
        """Returns the last bytes."""
        return self.push(np.zeros(0, dtype=np.float32))


def wav_header(sampling_rate: int) -> bytes:
    """The 44-byte header of a 16-bit mono wav of unknown length."""
    width = 2  # bytes of a sample
    riff = (b"RIFF", UNKNOWN_LENGTH, b"WAVE")
    form = (b"fmt ", 16, 1, 1, sampling_rate, sampling_rate * width, width, 8 * width)
    return struct.pack("<4sI4s4sIHHIIHH4sI", *riff, *form, b"data", UNKNOWN_LENGTH)


class _OutputBuffer:
    """A write-only file for PyAV. `take` returns and clears what was written."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, piece: bytes) -> int:
        self.pieces.append(bytes(piece))
        return len(piece)

    def take(self) -> bytes:
        pieces, self.pieces = self.pieces, []
        return b"".join(pieces)


class PyAVEncoder:
    """
    Encodes mono mp3, flac, opus or aac with PyAV.

    Args:
        sampling_rate (`int`): Hz.
        audio_format (`str`): "mp3", "flac", "opus" or "aac".
        file (binary file, *optional*): seekable file for the output. By default `push` returns the bytes.
        watermark (`str`): as in `encode_audio`.

    Raises:
        ImportError: if PyAV is not installed.
    """

    def __init__(
        self, sampling_rate: int, audio_format: str, file: BinaryIO | None = None, watermark: str = "metadata"
    ):
        self._av = _import_av()
        container, codec, options = ENCODERS[audio_format]
        self._output = _OutputBuffer()
        options = {"flush_packets": "1", **options} if file is None else {}
        self._container = self._av.open(self._output if file is None else file, "w", format=container, options=options)
        self._stream = self._container.add_stream(codec, rate=sampling_rate, layout="mono")
        if watermark == "metadata":
            # Ogg has the tags of a stream, the other containers those of the file
            (self._stream if container == "ogg" else self._container).metadata.update(TAGS)
        if audio_format in BIT_RATES:
            self._stream.bit_rate = BIT_RATES[audio_format]
        self._sampling_rate = sampling_rate

    def push(self, waveform: np.ndarray) -> bytes:
        """Encodes further samples, float32 `(num_samples,)`, and returns the bytes that are ready so far."""
        if len(waveform):
            frame = self._av.AudioFrame.from_ndarray(to_pcm(waveform)[None], format="s16", layout="mono")
            frame.sample_rate = self._sampling_rate
            self._container.mux(self._stream.encode(frame))
        return self._output.take()

    def finish(self) -> bytes:
        """Closes the encoder and returns the last bytes."""
        self._container.start_encoding()
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._output.take()


def _import_av() -> ModuleType:
    try:
        import av
    except ImportError as error:
        raise ImportError("mp3, opus, aac and streamed flac need PyAV: `pip install av`.") from error
    return av


__all__ = [
    "CONTENT_TYPES",
    "FileEncoder",
    "StreamEncoder",
    "content_type",
    "encode_audio",
    "response_rate",
    "to_pcm",
    "usual_rate",
    "wav_header",
]
