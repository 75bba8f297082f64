"""Evaluation of codecs: metrics of decoded audio and recordings, and the command."""

import json
import sys

import numpy as np
import pytest
import torch
from codec_runs import new_codec, save_recordings

from t5gemma_tts.codec_training.evaluate import evaluate_codec, word_error_rates
from t5gemma_tts.evaluation.text_errors import comparable
from t5gemma_tts.evaluation.transcription import load_recognizer
from t5gemma_tts.model.audio_reading import load_audio
from t5gemma_tts.preparation.recordings import select_recordings
from training.evaluate_codec import main


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    return save_recordings(tmp_path_factory.mktemp("recordings"), count=4)


def test_figures(recordings, tmp_path):
    codec = new_codec()
    heard = iter(["tone 3", "tone four"])
    summary, clips = evaluate_codec(
        codec,
        select_recordings([str(recordings)], "validation"),
        recognize=lambda waveform, rate: next(heard),
        rate=lambda waveform, rate: {"overall": float(np.abs(waveform).max())},
        audio_folder=tmp_path / "audio",
    )
    (clip,) = clips
    assert (clip["id"], clip["heard_recording"], clip["heard_codec"]) == ("clip-3", "tone 3", "tone four")
    assert summary["wer_recording"] == 0 and summary["wer_codec"] == 0.5
    audio, rate = load_audio(recordings / "3.wav")
    codes = codec.encode(audio, rate)
    assert summary["codes_used"] == len(codes.unique()) and summary["codebook_size"] == 64
    assert summary["overall_recording"] == pytest.approx(np.abs(audio).max())
    written, _ = load_audio(tmp_path / "audio" / "0000-codec.wav")
    assert len(written) == len(audio)
    np.testing.assert_allclose(written, codec.decode(codes)[: len(audio)], atol=1e-4)
    assert summary["mel"] > 0.1


def test_a_perfect_codec_has_no_distance(recordings):
    codec = new_codec()
    waveforms = {}
    codec.encode = lambda waveform, rate: waveforms.update(last=waveform) or torch.arange(len(waveform) // 320 + 1) % 64
    codec.decode = lambda codes: np.pad(waveforms["last"], (0, len(codes) * 320 - len(waveforms["last"])))
    summary, clips = evaluate_codec(codec, select_recordings([str(recordings)], "train"))
    assert len(clips) == 3 and summary["mel"] == summary["stft"] == 0
    assert summary["codes_used_share"] <= 1 and "wer_codec" not in summary


def test_comparable_texts():
    assert comparable("On March the third, it's $20!", "en") == comparable(
        "on march the 3rd it is twenty dollars", "en"
    )
    assert comparable("Grüß Gott, Welt!", "de") == "grüß gott welt"
    clips = [{"text": "Twenty dogs.", "heard_recording": "20 dogs", "heard_codec": "dogs"}]
    assert word_error_rates(clips, "en") == {"wer_recording": 0.0, "wer_codec": 0.5}


def test_command(recordings, tmp_path, capsys):
    new_codec().save_pretrained(tmp_path / "codec")
    output = tmp_path / "figures" / "codec.json"
    arguments = ["--codec", str(tmp_path / "codec"), "--data", str(recordings), "--output", str(output)]
    main([*arguments, "--split", "train", "--limit", "2"])
    summary = json.loads(output.read_text())
    assert json.loads(capsys.readouterr().out) == summary and summary["clips"] == 2
    clips = [json.loads(line) for line in output.with_suffix(".jsonl").read_text().splitlines()]
    assert [clip["id"] for clip in clips] == ["clip-0", "clip-2"]
    with pytest.raises(ValueError, match="'test'"):
        main([*arguments, "--split", "test"])
    with pytest.raises(SystemExit):
        main([*arguments, "--limit", "0"])
    assert "`limit` must be at least 1, got 0" in capsys.readouterr().err


def test_recogniser_without_its_package(tmp_path, monkeypatch):
    (tmp_path / "model.bin").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(ImportError, match="pip install faster-whisper"):
        load_recognizer(str(tmp_path), "en")
    with pytest.raises(OSError, match="nowhere"):
        load_recognizer(str(tmp_path / "nowhere"), "en")
