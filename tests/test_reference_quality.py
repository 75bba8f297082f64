"""Poor reference recordings, trimmed silence and normalized loudness."""

import logging
import math
import re

import av
import numpy as np
import pytest
import torch
from voices import codes_of, voice

from t5gemma_tts.model.reference_quality import integrated_loudness, prepare_reference


RATE = 16000


def silence(seconds: float) -> np.ndarray:
    """Noise at -80 dBFS, as in a quiet room."""
    return 1e-4 * np.random.default_rng(1).standard_normal(round(seconds * RATE)).astype(np.float32)


@pytest.mark.parametrize(
    ("waveform", "level"),
    [(np.zeros(4 * RATE, np.float32), "-200.0"), (silence(4.0), r"-7\d\.\d")],
    ids=["zeros", "noise"],
)
def test_silence_is_refused(processor, waveform, level):
    with pytest.raises(ValueError, match=f"`reference_audio` is silent: its loudest 20 ms have {level} dBFS"):
        processor("Text", reference_audio=waveform, sampling_rate=RATE, reference_text="Ref", duration=1.0)


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (voice(RATE // 10), "takes 0.10 s: 3 to 10 s work best, and less than 0.5 s"),
        (voice(31 * RATE), "takes 31.00 s: 3 to 10 s work best"),
        ((30 * voice(RATE)).clip(-1, 1), r"is clipped: \d\d.\d% of its samples"),
        (np.stack([voice(31 * RATE)] * 2, axis=1), "takes 31.00 s"),
    ],
    ids=["short", "long", "clipped", "long stereo"],
)
def test_poor_recordings_are_warned_of(waveform, message):
    with pytest.warns(UserWarning, match=message) as caught:
        prepared, _ = prepare_reference(waveform, RATE)
    assert len(caught) == 1
    np.testing.assert_array_equal(prepared, waveform)


@pytest.mark.filterwarnings("error")
def test_nothing_is_changed_unless_asked_for(processor):
    recording = np.concatenate([silence(1.0), voice(RATE), silence(1.5)])
    prepared, report = prepare_reference(recording, RATE)
    np.testing.assert_array_equal(prepared, recording)
    assert (report.trimmed_seconds, report.gain_db) == (0, 0)
    assert report.leading_silence_seconds == pytest.approx(1.0, abs=0.03)
    assert report.trailing_silence_seconds == pytest.approx(1.5, abs=0.03)
    options = {"reference_text": "Ref", "duration": 1.0}
    codes = codes_of(processor("Text", reference_audio=recording, sampling_rate=RATE, **options))
    assert codes == processor.codec.encode(recording, RATE).tolist()


@pytest.mark.parametrize("channels", [1, 2])
def test_silence_is_trimmed(channels):
    recording = np.concatenate([silence(1.0), voice(RATE), silence(0.2), voice(RATE), silence(1.5)])
    recording = recording if channels == 1 else np.stack([recording, recording], axis=1)
    prepared, report = prepare_reference(recording, RATE, trim_silence=True)
    start = RATE - RATE // 10
    np.testing.assert_array_equal(prepared, recording[start : start + len(prepared)])
    assert report.seconds == pytest.approx(2.2 + 0.2, abs=0.03)
    assert report.trimmed_seconds == pytest.approx(2.3, abs=0.03)
    again, report = prepare_reference(prepared, RATE, trim_silence=True)
    assert len(again) == len(prepared) and report.trimmed_seconds == 0


@pytest.mark.parametrize("gain", [0.01, 0.3, 3.0])
def test_loudness_is_normalized(gain):
    recording = np.concatenate([voice(2 * RATE) * np.float32(gain), silence(1.0)])
    prepared, report = prepare_reference(recording.clip(-1, 1), RATE, normalize_loudness=True)
    assert integrated_loudness(prepared, RATE) == pytest.approx(-23.0, abs=0.05)
    assert report.gain_db == pytest.approx(-23.0 - report.loudness_lufs, abs=0.01)
    np.testing.assert_allclose(prepared, recording.clip(-1, 1) * 10 ** (report.gain_db / 20), atol=1e-5)


def test_normalization_does_not_clip():
    recording = 0.001 * voice(2 * RATE)
    recording[RATE] = 0.5
    prepared, report = prepare_reference(recording, RATE, normalize_loudness=True)
    assert np.abs(prepared).max() == pytest.approx(1.0, abs=1e-4)
    assert report.gain_db == pytest.approx(20 * math.log10(2), abs=0.01)


@pytest.mark.parametrize("rate", [16000, 44100, 48000, 96000])
def test_loudness_is_that_of_ffmpeg(rate):
    waveform = np.concatenate([voice(4 * rate, rate), np.zeros(rate, np.float32), 0.2 * voice(4 * rate, rate, seed=1)])
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=rate, format="flt", layout="mono")
    meter, sink = graph.add("ebur128", "metadata=1"), graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(waveform[None], format="flt", layout="mono")
    frame.sample_rate = rate
    graph.push(frame)
    graph.push(None)
    measured = None
    while True:
        try:
            measured = graph.pull().metadata.get("lavfi.r128.I", measured)
        except (av.error.EOFError, BlockingIOError):
            break
    assert integrated_loudness(waveform, rate) == pytest.approx(float(measured), abs=0.1)


def test_a_full_scale_sine_has_minus_three():
    sine = np.sin(2 * np.pi * 997 * np.arange(5 * 48000) / 48000).astype(np.float32)
    assert integrated_loudness(sine, 48000) == pytest.approx(-3.01, abs=0.01)
    assert integrated_loudness(np.zeros(48000, np.float32), 48000) == -math.inf


def test_settings_of_calls_and_of_the_processor(processor, monkeypatch, caplog):
    recording = np.concatenate([silence(1.0), 0.1 * voice(2 * RATE), silence(1.0)])
    options = {"reference_audio": recording, "sampling_rate": RATE, "reference_text": "Ref", "duration": 1.0}
    plain = codes_of(processor("Text", **options))
    with caplog.at_level(logging.INFO, logger="t5gemma_tts"):
        improved = codes_of(processor("Text", trim_silence=True, normalize_loudness=True, **options))
    expected, report = prepare_reference(recording, RATE, True, True)
    assert improved == processor.codec.encode(expected, RATE).tolist() != plain
    assert len(improved) < len(plain)
    assert re.fullmatch(
        r"reference of 2\.\d\d s: 1\.\d\d s of silence trimmed, -\d\d\.\d LUFS, gain \+\d+\.\d dB", str(report)
    )
    assert str(report) in caplog.messages
    monkeypatch.setattr(processor, "trim_silence", True)
    monkeypatch.setattr(processor, "normalize_loudness", True)
    assert codes_of(processor("Text", **options)) == improved
    assert codes_of(processor("Text", trim_silence=False, normalize_loudness=False, **options)) == plain


def test_settings_are_saved_with_the_processor(processor, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(processor, "trim_silence", True)
    processor.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    loaded = type(processor).from_pretrained(tmp_path)
    assert loaded.trim_silence and not loaded.normalize_loudness


def test_channel_first_arrays(processor):
    left, right = voice(RATE), voice(RATE, seed=1)
    options = {"sampling_rate": RATE, "reference_text": "Ref", "duration": 1.0}
    expected = codes_of(processor("Text", reference_audio=np.stack([left, right], axis=1), **options))
    for audio in (np.stack([left, right]), torch.from_numpy(np.stack([left, right]))):
        assert codes_of(processor("Text", reference_audio=audio, **options)) == expected
    mono = codes_of(processor("Text", reference_audio=left, **options))
    assert codes_of(processor("Text", reference_audio=torch.from_numpy(left)[None], **options)) == mono != expected
