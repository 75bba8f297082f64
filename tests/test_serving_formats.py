"""Formats: what goes in comes out of soundfile and PyAV, whole and in pieces."""

import builtins

import numpy as np
import pytest
from serving import decode_with_av, decode_with_soundfile
from voices import voice

from t5gemma_tts.serving.formats import CONTENT_TYPES, encode_audio, open_encoder, to_pcm


PADDING_SECONDS = {"mp3": 0.1}  # before and after a stream, whose header cannot tell of it


def in_pieces(sound, sampling_rate: int, audio_format: str) -> bytes:
    encoder = open_encoder(sampling_rate, audio_format)
    pieces = [encoder.push(piece) for piece in np.split(sound, [0, 1000, 9000])]
    assert any(pieces)  # something can be heard before the end
    return b"".join([*pieces, encoder.finish()])


def similarity(one: np.ndarray, other: np.ndarray, slack: int) -> float:
    """Correlation at the best of the shifts up to `slack` samples."""
    size = min(len(one), len(other)) - slack
    shifts = (np.corrcoef(one[:size], other[shift : shift + size])[0, 1] for shift in range(slack))
    return max(shifts)


@pytest.mark.parametrize("encode", [encode_audio, in_pieces], ids=["whole", "pieces"])
@pytest.mark.parametrize("sampling_rate", [16000, 44100])
@pytest.mark.parametrize("audio_format", ["wav", "flac", "mp3", "opus"])
def test_both_decoders_read_the_file(audio_format, sampling_rate, encode):
    sound = voice(sampling_rate, sampling_rate)
    data = encode(sound, sampling_rate, audio_format)
    # soundfile seeks to the end of what it reads, and a stream's flac says that it has none
    endless = audio_format == "flac" and encode is in_pieces
    for decode in (decode_with_av, *([] if endless else [decode_with_soundfile])):
        decoded, rate = decode(data)
        exact = audio_format in ("wav", "flac")
        padding = PADDING_SECONDS.get(audio_format, 0.015) if not exact else 0
        assert rate == (48000 if audio_format == "opus" else sampling_rate)
        assert 0 <= len(decoded) / rate - 1 <= padding
        if exact:
            np.testing.assert_allclose(decoded, sound, atol=1e-4)
        elif rate == sampling_rate:
            assert similarity(sound, decoded, 1 + int(padding * rate)) > 0.95


def test_raw_samples():
    sound = np.array([0.0, 0.5, -0.5, 2.0, -2.0], dtype=np.float32)
    expected = [0, 16384, -16384, 32767, -32767]
    assert to_pcm(sound).tolist() == expected
    for data in (encode_audio(sound, 16000, "pcm"), open_encoder(16000, "pcm").push(sound)):
        assert np.frombuffer(data, "<i2").tolist() == expected


@pytest.mark.parametrize("audio_format", CONTENT_TYPES)
def test_loud_samples_are_clipped(audio_format):
    sound = 3 * voice(8000)
    data = encode_audio(sound, 16000, audio_format)
    assert data == encode_audio(sound.clip(-1, 1), 16000, audio_format) or audio_format == "opus"  # has a random serial


@pytest.mark.parametrize("audio_format", CONTENT_TYPES)
def test_empty_audio(audio_format):
    nothing = np.zeros(0, dtype=np.float32)
    for data in (encode_audio(nothing, 16000, audio_format), open_encoder(16000, audio_format).finish()):
        assert len(data) < 10_000


def test_without_pyav(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments):
        if name == "av":
            raise ImportError("no av")
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'needs? PyAV: `pip install "t5gemma-tts\[serve\]"`'):
        encode_audio(voice(8000), 16000, "mp3")
    assert len(encode_audio(voice(8000), 16000, "flac")) > 1000
