"""Recordings from strangers: whatever comes, it is refused in words, and nothing grows beyond the limits."""

import base64
import io
import struct

import numpy as np
import pytest
import soundfile
from voices import voice

from t5gemma_tts.model.audio_reading import BLOCK_SAMPLES
from t5gemma_tts.serving.errors import BadRequest, PayloadTooLarge
from t5gemma_tts.serving.limits import Limits
from t5gemma_tts.serving.uploads import decode_base64, decode_recording


LIMITS = Limits(max_reference_bytes=200_000, max_reference_seconds=3)


def file_of(sound, sampling_rate: int = 16000, audio_format: str = "WAV", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound, sampling_rate, format=audio_format, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize("audio_format", ["WAV", "FLAC", "OGG", "MP3"])
def test_formats(audio_format):
    sound = voice(24000)
    waveform, rate = decode_recording(file_of(sound, audio_format=audio_format), LIMITS)
    assert rate == 16000 and waveform.dtype == np.float32 and abs(len(waveform) / rate - 1.5) < 0.15


def test_channels_are_averaged():
    sound = np.stack([voice(16000), np.zeros(16000, dtype=np.float32)], axis=1)
    waveform, _ = decode_recording(file_of(sound, subtype="FLOAT"), LIMITS)
    np.testing.assert_allclose(waveform, voice(16000) / 2, atol=1e-6)


def test_small_file_with_hours_of_audio_is_refused(monkeypatch):
    small = file_of(np.zeros(3600 * 8000, dtype=np.int16), 8000, "FLAC")
    assert len(small) < LIMITS.max_reference_bytes
    read, total = soundfile.SoundFile.read, 0

    def counted(file, *arguments, **options):
        nonlocal total
        block = read(file, *arguments, **options)
        total += len(block)
        return block

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    with pytest.raises(BadRequest, match="must take 0.5 to 3 seconds, got more"):
        decode_recording(small, LIMITS)
    assert total == BLOCK_SAMPLES < 10 * 8000


GOOD = file_of(voice(16000))
HEADER_OF_A_LIAR = GOOD[:40] + struct.pack("<I", 0xFFFFFFF0) + GOOD[44:46]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot be decoded"),
        (b"RIFF", "cannot be decoded"),
        (b"not audio at all" * 100, "cannot be decoded"),
        (GOOD[:30], "cannot be decoded"),
        (GOOD[:44], "holds no audio samples"),
        (HEADER_OF_A_LIAR, "must take 0.5 to 3 seconds, got 0.00 s"),
        (file_of(voice(4000)), "must take 0.5 to 3 seconds, got 0.25 s"),
        (file_of(voice(16000), 1000), "must have 4000 to 192000 Hz"),
        (file_of(np.zeros((8000, 9))), "at most 8 channels, got 16000 Hz and 9"),
        (file_of(np.full(16000, np.nan), subtype="FLOAT"), "`reference_audio` has NaN or infinite samples"),
        (file_of(np.full(16000, -np.inf), subtype="DOUBLE"), "`reference_audio` has NaN or infinite samples"),
        (file_of(np.full(16000, 1e300), subtype="DOUBLE"), "`reference_audio` has NaN or infinite samples"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_unusable_recordings(data, message):
    with pytest.raises(BadRequest, match=message):
        decode_recording(data, LIMITS)


def test_damaged_files():
    random = np.random.default_rng(0)
    for audio_format in ("WAV", "FLAC", "OGG", "MP3"):
        whole = np.frombuffer(file_of(voice(16000), audio_format=audio_format), np.uint8)
        for _ in range(25):
            damaged = whole.copy()
            damaged[random.integers(0, min(len(whole), 400), 6)] = random.integers(0, 256, 6)
            try:
                waveform, rate = decode_recording(damaged.tobytes(), LIMITS)
            except BadRequest:
                continue
            assert np.isfinite(waveform).all() and 0.5 <= len(waveform) / rate <= 3


def test_sizes():
    with pytest.raises(PayloadTooLarge, match="at most 200000 bytes, got 200001"):
        decode_recording(bytes(200_001), LIMITS)
    with pytest.raises(PayloadTooLarge, match="at most 200000 bytes"):
        decode_base64("A" * 10**6, LIMITS)
    assert decode_base64(base64.b64encode(bytes(200_000)).decode(), LIMITS) == bytes(200_000)
    with pytest.raises(ValueError, match="`max_characters` must be above 0, got 0"):
        Limits(max_characters=0)


@pytest.mark.parametrize("text", ["A", "====", "QUJD*", "QUJD\n", "QUJDé", "data:audio/wav;base64,QUJD"])
def test_invalid_base64(text):
    with pytest.raises(BadRequest, match="`reference_audio` must be an audio file in base64"):
        decode_base64(text, LIMITS)
