"""Audio encoding for responses: whole files, or chunk by chunk while speech is generated."""

import io
import struct
from types import ModuleType
from typing import BinaryIO

import numpy as np


CONTENT_TYPES = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "opus": "audio/ogg",
    "pcm": "audio/pcm",
}
# container, codec, and options of the container in PyAV for a stream
ENCODERS = {
    "mp3": ("mp3", "libmp3lame", {"write_xing": "0"}),  # the table in front is written last
    "flac": ("flac", "flac", {}),
    "opus": ("ogg", "libopus", {"page_duration": "200000"}),  # µs of sound that are written together
}
BIT_RATES = {"mp3": 64_000, "opus": 48_000}
OPUS_RATE = 48_000  # Hz; it knows few others
UNKNOWN_LENGTH = 0xFFFFFFFF


def content_type(audio_format: str, sampling_rate: int) -> str:
    """Of an HTTP answer; raw samples say their rate in it."""
    if audio_format == "pcm":
        return f"audio/pcm;rate={sampling_rate};encoding=signed-int;bits=16"
    return CONTENT_TYPES[audio_format]


def encode_sound(sound: np.ndarray, sampling_rate: int, audio_format: str) -> bytes:
    """
    A whole sound.

    Args:
        sound (`np.ndarray`): float32 of shape (num_samples,); clipped to [-1, 1].
        sampling_rate (`int`): Hz.
        audio_format (`str`): one of `CONTENT_TYPES`. wav, flac and pcm have 16 bits; pcm is little-endian.

    Raises:
        ImportError: mp3 and opus, if PyAV is not installed.
    """
    if audio_format in ("wav", "flac"):
        import soundfile

        file = io.BytesIO()
        soundfile.write(file, to_pcm(sound), sampling_rate, subtype="PCM_16", format=audio_format.upper())
        return file.getvalue()
    if audio_format == "pcm":
        return to_pcm(sound).tobytes()
    file = io.BytesIO()
    encoder = CompressingEncoder(sampling_rate, audio_format, file)
    encoder.push(sound)
    encoder.finish()
    return file.getvalue()


def open_encoder(sampling_rate: int, audio_format: str) -> "PCMEncoder | CompressingEncoder":
    """An encoder of a sound whose end is not known yet; a wav's header says that its length is unknown."""
    if audio_format in ("wav", "pcm"):
        return PCMEncoder(sampling_rate, with_header=audio_format == "wav")
    return CompressingEncoder(sampling_rate, audio_format)


def to_pcm(sound: np.ndarray) -> np.ndarray:
    """float `(num_samples,)` in [-1, 1] to int16; what is beyond is clipped."""
    return (sound.clip(-1, 1) * 32767).round().astype("<i2")


class PCMEncoder:
    def __init__(self, sampling_rate: int, with_header: bool):
        self._header = wav_header(sampling_rate) if with_header else b""

    def push(self, sound: np.ndarray) -> bytes:
        """Bytes of further samples, float32 `(num_samples,)`."""
        header, self._header = self._header, b""
        return header + to_pcm(sound).tobytes()

    def finish(self) -> bytes:
        """The last bytes."""
        return self.push(np.zeros(0, dtype=np.float32))


def wav_header(sampling_rate: int) -> bytes:
    """44 bytes in front of 16-bit mono samples, as many as may come."""
    width = 2  # bytes of a sample
    riff = (b"RIFF", UNKNOWN_LENGTH, b"WAVE")
    form = (b"fmt ", 16, 1, 1, sampling_rate, sampling_rate * width, width, 8 * width)
    return struct.pack("<4sI4s4sIHHIIHH4sI", *riff, *form, b"data", UNKNOWN_LENGTH)


class _Outlet:
    """A file that can only be written; what was written is taken away."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, piece: bytes) -> int:
        self.pieces.append(bytes(piece))
        return len(piece)

    def take(self) -> bytes:
        pieces, self.pieces = self.pieces, []
        return b"".join(pieces)


class CompressingEncoder:
    """
    mp3, flac or opus by PyAV, mono, as 16-bit samples go in.

    Args:
        sampling_rate (`int`): Hz.
        audio_format (`str`)
        file (binary file, *optional*): takes the bytes and lets the muxer go back in it; else `push` returns them.
    """

    def __init__(self, sampling_rate: int, audio_format: str, file: BinaryIO | None = None):
        self._av = _av()
        container, codec, options = ENCODERS[audio_format]
        self._outlet = _Outlet()
        options = {"flush_packets": "1", **options} if file is None else {}
        self._container = self._av.open(self._outlet if file is None else file, "w", format=container, options=options)
        rate = OPUS_RATE if audio_format == "opus" else sampling_rate
        self._stream = self._container.add_stream(codec, rate=rate, layout="mono")
        if audio_format in BIT_RATES:
            self._stream.bit_rate = BIT_RATES[audio_format]
        self._sampling_rate = sampling_rate

    def push(self, sound: np.ndarray) -> bytes:
        """Bytes of further samples, float32 `(num_samples,)`, as far as the encoder lets go of them."""
        if len(sound):
            frame = self._av.AudioFrame.from_ndarray(to_pcm(sound)[None], format="s16", layout="mono")
            frame.sample_rate = self._sampling_rate
            self._container.mux(self._stream.encode(frame))
        return self._outlet.take()

    def finish(self) -> bytes:
        """The last bytes; nothing can be pushed after them."""
        self._container.start_encoding()
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._outlet.take()


def _av() -> ModuleType:
    try:
        import av
    except ImportError as error:
        raise ImportError('mp3, opus and streamed flac need PyAV: `pip install "t5gemma-tts[serve]"`.') from error
    return av


__all__ = ["CONTENT_TYPES", "content_type", "encode_sound", "open_encoder", "to_pcm", "wav_header"]
