"""Formats: what goes in comes out of soundfile and PyAV, whole and in pieces."""

import builtins

import numpy as np
import pytest
import soxr
from serving import decode_with_av, decode_with_soundfile
from voices import voice

from t5gemma_tts.serving.errors import BadRequest
from t5gemma_tts.serving.formats import (
    CONTENT_TYPES,
    OPUS_RATES,
    StreamEncoder,
    encode_audio,
    response_rate,
    to_pcm,
    usual_rate,
)
from t5gemma_tts.serving.schemas import SampleRate


PADDING_SECONDS = {"mp3": 0.1, "aac": 0.13}  # before and after a stream, whose header cannot tell of it


def in_pieces(sound, sampling_rate: int, audio_format: str, output_rate: int | None = None) -> bytes:
    encoder = StreamEncoder(sampling_rate, audio_format, output_rate)
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
@pytest.mark.parametrize("audio_format", ["wav", "flac", "mp3", "opus", "aac"])
def test_both_decoders_read_the_file(audio_format, sampling_rate, encode):
    sound = voice(sampling_rate, sampling_rate)
    data = encode(sound, sampling_rate, audio_format)
    # soundfile seeks to the end of what it reads, and a stream's flac says that it has none
    endless = audio_format == "aac" or audio_format == "flac" and encode is in_pieces
    for decode in (decode_with_av, *([] if endless else [decode_with_soundfile])):
        decoded, rate = decode(data)
        exact = audio_format in ("wav", "flac")
        padding = PADDING_SECONDS.get(audio_format, 0.015) if not exact else 0
        assert rate == usual_rate(audio_format, sampling_rate)
        assert 0 <= len(decoded) / rate - 1 <= padding
        if exact:
            np.testing.assert_allclose(decoded, sound, atol=1e-4)
        elif rate == sampling_rate:
            assert similarity(sound, decoded, 1 + int(padding * rate)) > 0.95


def test_raw_samples():
    sound = np.array([0.0, 0.5, -0.5, 2.0, -2.0], dtype=np.float32)
    expected = [0, 16384, -16384, 32767, -32767]
    assert to_pcm(sound).tolist() == expected
    for data in (encode_audio(sound, 16000, "pcm"), StreamEncoder(16000, "pcm").push(sound)):
        assert np.frombuffer(data, "<i2").tolist() == expected


@pytest.mark.parametrize("rates", [(16000, 24000), (44100, 24000), (24000, 8000), (16000, 44100)])
@pytest.mark.parametrize("cuts", [[1], [0, 1000, 9000], range(7, 15000, 641)], ids=str)
def test_a_resampled_stream_is_the_resampled_whole(rates, cuts):
    source, target = rates
    sound = voice(source, source)
    encoder = StreamEncoder(source, "pcm", target)
    pieces = [encoder.push(piece) for piece in np.split(sound, list(cuts))]
    streamed = np.frombuffer(b"".join([*pieces, encoder.finish()]), "<i2")
    whole = np.frombuffer(encode_audio(sound, source, "pcm", target), "<i2")
    assert len(streamed) == len(whole) == target
    assert np.abs(streamed.astype(int) - whole).max() <= 1  # no seam
    back = soxr.resample(whole / 32767, target, source)
    low = soxr.resample(soxr.resample(sound, source, 8000), 8000, source)  # what every rate here can carry
    size = min(len(back), len(low))
    assert np.corrcoef(soxr.resample(soxr.resample(back, source, 8000), 8000, source)[:size], low[:size])[0, 1] > 0.99


@pytest.mark.parametrize("output_rate", SampleRate.__args__)
@pytest.mark.parametrize("audio_format", CONTENT_TYPES)
def test_every_format_has_every_rate(audio_format, output_rate):
    if audio_format == "opus" and output_rate not in OPUS_RATES:
        with pytest.raises(BadRequest, match="`sample_rate` of opus must be one of 8000, .*, 48000, got "):
            response_rate(audio_format, output_rate, 16000)
        return
    assert response_rate(audio_format, output_rate, 16000) == output_rate
    sound = voice(16000, 16000)
    for data in (
        encode_audio(sound, 16000, audio_format, output_rate),
        in_pieces(sound, 16000, audio_format, output_rate),
    ):
        if audio_format == "pcm":
            assert len(data) == 2 * output_rate
            continue
        decoded, rate = decode_with_av(data)
        assert rate == (48000 if audio_format == "opus" else output_rate)
        assert 0 <= len(decoded) / rate - 1 <= {"mp3": 0.3, "aac": 0.4, "opus": 0.03}.get(audio_format, 0)


def test_rates_that_nobody_asked_for():
    assert [response_rate(name, None, 44100) for name in ("pcm", "opus", "wav", "aac")] == [24000, 48000, 44100, 44100]


@pytest.mark.parametrize("audio_format", CONTENT_TYPES)
def test_loud_samples_are_clipped(audio_format):
    sound = 3 * voice(8000)
    data = encode_audio(sound, 16000, audio_format)
    assert data == encode_audio(sound.clip(-1, 1), 16000, audio_format) or audio_format == "opus"  # has a random serial


@pytest.mark.parametrize("audio_format", CONTENT_TYPES)
def test_empty_audio(audio_format):
    nothing = np.zeros(0, dtype=np.float32)
    for data in (encode_audio(nothing, 16000, audio_format), StreamEncoder(16000, audio_format).finish()):
        assert len(data) < 10_000


def test_without_pyav(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments):
        if name == "av":
            raise ImportError("no av")
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="needs? PyAV: `pip install av`"):
        encode_audio(voice(8000), 16000, "mp3")
    assert len(encode_audio(voice(8000), 16000, "flac")) > 1000
