"""Ablation of PM-RoPE: without it, nano does not follow requested durations. Speech recognition is simulated."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from t5gemma_tts import T5GemmaTTSConfig
from t5gemma_tts.checkpoints import NANO
from t5gemma_tts.evaluation.generation import GeneratedSpeech
from t5gemma_tts.evaluation.test_lists import TestItem
from training.nano import ablate_pm_rope
from training.nano.ablate_pm_rope import ablate, as_markdown, held_out_sentences, main, measure


RESULTS = Path(__file__).parents[1] / "model_card" / "nano"


@pytest.mark.slow
def test_requested_durations_are_followed_only_with_pm_rope():
    results = ablate(NANO, None, lambda waveform, rate: "", "hibari", limit=3, ratios=(0.8, 1.6))
    assert results["sentences"] == 3 and results["lengths"] == "estimated"
    for ratio in ("0.8", "1.6"):
        with_it, without = (results["pm_rope"][variant][ratio] for variant in ("with", "without"))
        assert with_it["within_5_percent"] == 1 and with_it["endless"] == 0
        assert with_it["spoken_ratio_quartiles"][1] == pytest.approx(float(ratio), rel=0.05)
        assert without["mean_absolute_error"] > 0.3


def test_generated_sentences_equal_those_of_the_corpus():
    """The card of nano shows the first ones."""
    card = Path(NANO, "README.md").read_text(encoding="utf-8")
    sentences = held_out_sentences(None, "hibari", None)
    assert len(sentences) == 200 and len({item.text for item in sentences}) == 200
    assert all(f'"{item.text}"' in card for item in sentences[:3])
    assert all(0.5 <= item.duration_seconds < 20 for item in sentences)
    assert [item.text for item in held_out_sentences(None, "joe", 3)] == [item.text for item in sentences[:3]]


def test_measure():
    sentences = [TestItem("a", "the old dog sleeps", "en", 1.0), TestItem("b", "the old dog sleeps", "en", 2.0)]
    requested = []

    class FakeGenerator:
        sampling_rate = 16000

        def generate(self, items):
            requested.extend(item.duration_seconds for item in items)
            lengths = (16000 * 1.5, 16000 * 3.3)
            return [
                GeneratedSpeech(np.zeros(int(n)), [1], 1, ended, 1.0)
                for n, ended in zip(lengths, (True, False), strict=True)
            ]

    def recognize(waveform, rate):
        return "the old dog sleeps" if len(waveform) == 24000 else "the old fox sleeps"

    figures = measure(FakeGenerator(), recognize, sentences, 1.5)
    assert requested == [1.5, 3.0] and sentences[0].duration_seconds == 1.0
    assert figures["wer"] == 1 / 8 and figures["cer"] == 2 / 36  # dog, fox
    assert figures["mean_absolute_error"] == pytest.approx(0.05)
    assert figures["within_5_percent"] == 0.5 and figures["endless"] == 1
    assert figures["spoken_ratio_quartiles"] == pytest.approx([1.5375, 1.575, 1.6125])


@pytest.mark.slow
def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ablate_pm_rope, "load_recognizer", lambda name, language: lambda waveform, rate: "good")
    options = ["--asr", "ear", "--output", str(tmp_path / "out"), "--limit", "1"]
    assert main([NANO, *options, "--ratios", "1.0"]) == 0
    results = json.loads((tmp_path / "out" / "pm_rope.json").read_text())
    assert list(results["pm_rope"]["without"]) == ["1"]
    assert (tmp_path / "out" / "pm_rope.md").read_text() == as_markdown(results)
    assert (tmp_path / "out" / "pm_rope.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    T5GemmaTTSConfig(use_pm_rope=False).save_pretrained(tmp_path / "plain")
    assert main([str(tmp_path / "plain"), *options]) == 1
    assert "was trained without PM-RoPE" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([NANO, *options, "--ratios", "0"])
    assert "--ratios must be above 0, got [0.0]" in capsys.readouterr().err


def test_published_results():
    """The table matches the JSON file, and PM-RoPE improves every result."""
    results = json.loads((RESULTS / "pm_rope.json").read_text())
    assert (RESULTS / "pm_rope.md").read_text() == as_markdown(results)
    assert results["sentences"] == 200
    for ratio, with_it in results["pm_rope"]["with"].items():
        without = results["pm_rope"]["without"][ratio]
        assert all(math.isfinite(value) for value in (with_it["wer"], without["wer"]))
        assert with_it["within_5_percent"] > 0.9 > without["within_5_percent"]
        assert with_it["wer"] < without["wer"]
    assert (RESULTS / "pm_rope.png").stat().st_size < 100_000
