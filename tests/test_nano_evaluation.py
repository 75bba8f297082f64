"""The evaluation of the small voice, on a model that speaks noise, with ears that are easy to reason about."""

import json

import numpy as np
import pytest
import torch
from organ import Organ

from t5gemma_tts.loading import load_model, load_processor
from training.nano import evaluate
from training.nano.corpus import make_corpus


class Flute(Organ):
    name = "flute"
    sampling_rate = 16000


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "out"
    make_corpus(folder, [Organ, Flute], num_sentences=2, num_validation=20, num_unseen_pairs=2)
    return folder


@pytest.fixture
def evaluation(tiny_checkpoint, corpus):
    model = load_model(str(tiny_checkpoint), device="cpu")
    processor = load_processor(str(tiny_checkpoint), codec_device="cpu")
    return evaluate.Evaluation(model, processor, corpus, lambda waveform, rate: "the old dog", batch_size=3)


def test_word_error_rates_stand_beside_those_of_the_recordings(evaluation, tmp_path):
    texts = [row["text"] for row in evaluation.rows_of("organ", "validation")][:4]
    heard = []

    def recognise(waveform, rate):
        heard.append(len(waveform))
        return texts[(len(heard) - 1) % 4] if len(heard) > 4 else "nothing at all"

    evaluation.recognise = recognise
    results = evaluation.sentences("organ", "validation", 4, tmp_path / "audio")
    assert results["sentences"] == 4 and len(heard) == 8
    assert results["wer_recordings"] == 0 and results["wer"] > 0.5
    assert [item["text"] for item in results["heard"]] == texts
    assert len(list((tmp_path / "audio").glob("organ-validation-*.wav"))) == 4 - results["empty"]


def test_order_and_seed(evaluation):
    """Sorted into batches and back: the planned lengths are those that were asked for, case by case."""
    seconds = [0.5, 1.5, 1.0, 0.24]
    cases = [evaluate.Case("word " * n, s) for n, s in zip((5, 1, 3, 2), seconds, strict=True)]
    spoken = evaluation.speak(cases)
    assert [speech.planned_frames for speech in spoken] == [25, 75, 50, 12]
    again = evaluation.speak(cases)
    assert all(np.array_equal(a.waveform, b.waveform) for a, b in zip(spoken, again, strict=True))


def test_lengths_are_compared_with_what_was_asked(evaluation, monkeypatch):
    rate = evaluation.processor.sampling_rate

    def speak(cases):
        return [evaluate.Spoken(np.zeros(int(1.1 * case.duration_seconds * rate)), 1, 1, True) for case in cases]

    monkeypatch.setattr(evaluation, "speak", speak)
    results = evaluation.lengths("organ", 5)
    assert set(results) == {"0.8", "1", "1.25"}
    for figures in results.values():
        assert figures["mean_absolute_error"] == pytest.approx(0.1, abs=1e-3)
        assert figures["within_5_percent"] == 0 and figures["wer"] > 0


def test_a_voice_is_right_where_it_is_nearest(evaluation, monkeypatch):
    """References are played back by one speaker alone, so half of the cases are in the right voice."""
    row = evaluation.rows_of("organ", "validation")[0]
    monkeypatch.setattr(evaluate, "SHORTEST_REFERENCE", 1.0)
    played = evaluation.recording(row)

    def speak(cases):
        assert all(case.reference["text"] != case.text for case in cases)
        evaluation.processor.sampling_rate = played[1]
        return [evaluate.Spoken(played[0], 1, 1, True) for _ in cases]

    directions = {"organ": np.array([1.0, 0.1]), "flute": np.array([0.1, 1.0])}
    recordings = {
        evaluation.recording(row)[0].tobytes(): name
        for name in directions
        for row in evaluation.rows_of(name, "validation")
    }
    assert len(recordings) == 40

    def embed(waveform, rate):
        return directions[recordings[waveform.tobytes()]]

    monkeypatch.setattr(evaluation, "speak", speak)
    results = evaluation.voices(embed, 10)
    assert results["cases"] == 10 and results["right_voice"] == 0.5
    assert set(results["wer"]) == {"organ", "flute"}


def test_by_length():
    rates = evaluate.by_length(["red cats", "the old dog sleeps"], ["red cats", "the old fox sleeps"])
    assert rates == {"1-3": 0.0, "4-7": 0.25}


def test_command(tiny_checkpoint, corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "load_recogniser", lambda name, language: lambda waveform, rate: "the old dog")
    torch.manual_seed(5)
    options = ["--asr", "ear", "--speaker", "organ", "--limit", "2", "--voice-cases", "0", "--skip-lengths"]
    output = tmp_path / "figures.json"
    assert evaluate.main([str(tiny_checkpoint), str(corpus), *options, "--output", str(output)]) == 0
    figures = json.loads(output.read_text())
    assert set(figures) == {"validation", "unseen_pairs"} and figures["validation"]["sentences"] == 2
    assert "heard" not in json.loads(capsys.readouterr().out)["validation"]
    assert evaluate.main([str(tmp_path / "nothing"), str(corpus), *options]) == 1
    assert "nothing" in capsys.readouterr().err
    assert evaluate.main([str(tiny_checkpoint), str(corpus), *options, "--speaker", "drum"]) == 1
    assert "`speaker` 'drum' has no rows of 'validation'; the corpus has ['flute', 'organ']" in capsys.readouterr().err


def test_voices_need_references(evaluation, monkeypatch):
    monkeypatch.setattr(evaluate, "SHORTEST_REFERENCE", 4.99)
    with pytest.raises(ValueError, match="held-out clips of 4.99 to 5 seconds"):
        evaluation.voices(lambda waveform, rate: np.ones(2), 4)
