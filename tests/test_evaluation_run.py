"""Evaluations from test list to report: resuming, errors, comparisons. Speech recognition is simulated."""

import json
import shutil

import numpy as np
import pytest
import soundfile
from huggingface_hub import ModelCardData
from organ import Organ

from t5gemma_tts.cli.main import main
from t5gemma_tts.evaluation import transcription
from t5gemma_tts.evaluation.compare import compare
from t5gemma_tts.evaluation.generation import SpeechGenerator
from t5gemma_tts.evaluation.item_metrics import ItemMetrics
from t5gemma_tts.evaluation.run import evaluate_speech, read_rows
from t5gemma_tts.evaluation.test_lists import TestItem, read_test_list
from t5gemma_tts.loading import load_model, load_processor
from training.nano.corpus import make_corpus


class Flute(Organ):
    name = "flute"
    sampling_rate = 16000


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "out"
    make_corpus(folder, [Organ, Flute], num_sentences=1, num_validation=5, num_unseen_pairs=1)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint):
    return load_model(str(tiny_checkpoint), device="cpu"), load_processor(str(tiny_checkpoint), codec_device="cpu")


ABOUT = {"model": "tiny", "list": "words", "title": "some words", "asr": "an ear", "speaker_encoder": None}
ABOUT |= {"with_references": False, "recorded_lengths": False}


def hear(waveform, rate, language=None):
    return "the old dog" if len(waveform) % 3200 else "the old fox"


def embed(waveform, rate):
    """A simulated speaker embedding: the level of low and high frequencies."""
    spectrum = np.abs(np.fft.rfft(waveform, 4096))
    return np.array([spectrum[:500].sum(), spectrum[500:].sum()])


def texts(count):
    return [TestItem(f"item/{n}", f"the old dog number {n}", "en", 0.2 + 0.02 * n) for n in range(count)]


def without_times(folder):
    return [{**row, "taken_seconds": 0} for row in read_rows(folder)]


def run(checkpoint, items, output, ear=hear, batch_size=1, **options):
    model, processor = checkpoint
    about = ABOUT | options.pop("about", {})
    generator = SpeechGenerator(model, processor, batch_size)
    return evaluate_speech(generator, items, ItemMetrics(processor, ear), output, about, **options)


def test_report(checkpoint, tmp_path):
    results = run(checkpoint, texts(6), tmp_path / "out")
    assert results == json.loads((tmp_path / "out" / "evaluation.json").read_text())
    figures = results["figures"]
    assert {"wer", "cer", "duration_error", "within_5_percent", "real_time_factor", "empty"} <= set(figures)
    assert figures["wer"]["value"] > 0.3 and figures["real_time_factor"]["value"] > 0
    rows = read_rows(tmp_path / "out")
    assert [row["asked_seconds"] for row in rows] == [0.2 + 0.02 * n for n in range(6)]
    wrong, total = np.sum([row["errors"]["words"] for row in rows], axis=0)
    assert figures["wer"]["value"] == wrong / total
    text = (tmp_path / "out" / "evaluation.md").read_text()
    assert "6 texts of some words" in text and "| word error rate | " in text and "![" in text
    assert (tmp_path / "out" / "duration.png").read_bytes().startswith(b"\x89PNG")
    worst = [entry["file"] for entry in results["worst"]]
    assert 0 < len(worst) <= 10 and all(soundfile.info(tmp_path / "out" / name).frames for name in worst)
    assert len(list((tmp_path / "out" / "samples").glob("*.wav"))) == 3
    assert not (tmp_path / "out" / "audio").exists()
    # metadata that the Hub understands
    data = ModelCardData(**{"model-index": results["model-index"]})
    assert data.model_name == "tiny" and {one.metric_type for one in data.eval_results} >= {"wer", "cer"}
    # the same command again measures nothing, and writes the same report
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    run(checkpoint, texts(6), tmp_path / "out", ear=None)
    assert before == {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}


class Killed(Exception):
    pass


def test_killed_evaluation_resumes_with_the_same_result(checkpoint, tmp_path):
    heard = []

    def dying(waveform, rate, language=None):
        if len(heard) == 5:
            raise Killed
        heard.append(0)
        return hear(waveform, rate)

    items = texts(7)  # four at once
    run(checkpoint, items, tmp_path / "whole")
    with pytest.raises(Killed):
        run(checkpoint, items, tmp_path / "out", ear=dying)
    with pytest.raises((ValueError, FileNotFoundError)):
        read_rows(tmp_path / "out")
    with open(tmp_path / "out" / "items.jsonl", "a") as file:
        file.write('{"id": "ite')  # half a line
    run(checkpoint, items, tmp_path / "out")
    assert without_times(tmp_path / "out") == without_times(tmp_path / "whole")
    one, other = (json.loads((tmp_path / name / "evaluation.json").read_text()) for name in ("out", "whole"))
    assert one["figures"].pop("real_time_factor") and other["figures"].pop("real_time_factor")
    assert one["figures"] == other["figures"] and one["worst"] == other["worst"]


def test_error_for_different_settings(checkpoint, tmp_path):
    run(checkpoint, texts(2), tmp_path / "out")
    with pytest.raises(ValueError, match="started with different settings .*title"):
        run(checkpoint, texts(2), tmp_path / "out", about={"title": "other words"})
    with pytest.raises(ValueError, match="items"):
        run(checkpoint, texts(3), tmp_path / "out")
    run(checkpoint, texts(3), tmp_path / "out", overwrite=True, keep_audio=True)
    assert len(read_rows(tmp_path / "out")) == 3 and len(list((tmp_path / "out" / "audio").iterdir())) == 3
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").write_text("")
    with pytest.raises(FileExistsError, match="not empty"):
        run(checkpoint, texts(2), tmp_path / "full", overwrite=True)


def test_recordings_voices_and_references(checkpoint, corpus, tmp_path):
    model, processor = checkpoint
    items = read_test_list(corpus, same_speaker_references=True, reference_seconds=(0.1, 60), recorded_lengths=True)
    for item in items:
        item.duration_seconds = 0.3
    measures = ItemMetrics(
        processor, lambda waveform, rate, language: "", embed, lambda waveform, rate: {"overall": 2.0}
    )
    output = tmp_path / "out"
    results = evaluate_speech(SpeechGenerator(model, processor, 4), items, measures, output, ABOUT)
    rows = read_rows(output)
    assert len(rows) == 10 and set(measures.speaker_centroids) == {"organ", "flute"}
    for row, item in zip(rows, items, strict=True):
        assert row["recording"]["seconds"] == pytest.approx(item.recording_seconds)
        assert row["nearest_speaker"] in measures.speaker_centroids
        assert -1 <= row["similarity"] <= 1 and 0.5 < row["recording"]["similarity"] <= 1
    assert results["recordings"]["wer"]["value"] == 1 and results["figures"]["dnsmos_overall"]["value"] == 2
    assert 0 <= results["figures"]["own_voice"]["value"] <= 1
    silent = ItemMetrics(processor, None, None, None, skip_recordings=True)
    assert "recording" not in silent.compute(items[0], SpeechGenerator(model, processor).generate(items[:1])[0])


def test_order_and_seed(checkpoint):
    """Items are sorted into batches and back, and keep their requested durations."""
    seconds = [0.5, 1.5, 1.0, 0.24]
    items = [TestItem(f"{n}", "word " * n, "en", s) for n, s in zip((5, 1, 3, 2), seconds, strict=True)]
    generator = SpeechGenerator(*checkpoint, batch_size=3)
    spoken = generator.generate(items)
    assert [speech.planned_frames for speech in spoken] == [25, 75, 50, 12]
    assert [speech.asked_seconds for speech in spoken] == seconds
    again = generator.generate(items[::-1])[::-1]
    assert all(np.array_equal(a.waveform, b.waveform) for a, b in zip(spoken, again, strict=True))
    slow = SpeechGenerator(*checkpoint, speed=0.5).generate(items[:1])
    assert slow[0].planned_frames == 50 and slow[0].asked_seconds == 1.0
    with pytest.raises(ValueError, match="among 7: "):
        generator.generate([TestItem("7", "word", "en", 1e9)])


def test_comparison(checkpoint, tmp_path):
    items = texts(8)
    run(checkpoint, items, tmp_path / "a")
    run(checkpoint, items, tmp_path / "b", ear=lambda waveform, rate, language: items[0].text, about={"model": "big"})
    found = compare(tmp_path / "a", tmp_path / "b")
    assert (found["first"], found["second"], found["items"]) == ("tiny", "big", 8)
    words = found["figures"]["wer"]
    assert words["difference"] == pytest.approx(words["second"] - words["first"]) and words["difference"] < 0
    assert words["low"] <= words["difference"] <= words["high"] < 0 and words["better"] == 1
    lengths = found["figures"]["duration_error"]
    assert (lengths["difference"], lengths["low"], lengths["high"], lengths["better"]) == (0, 0, 0, 0.5)
    assert main(["evaluate", "--compare", str(tmp_path / "a"), str(tmp_path / "b"), "-o", str(tmp_path / "c")]) == 0
    assert json.loads((tmp_path / "c" / "comparison.json").read_text()) == found
    assert "| word error rate | " in (tmp_path / "c" / "comparison.md").read_text()
    assert (tmp_path / "c" / "comparison.png").stat().st_size > 1000
    run(checkpoint, texts(7), tmp_path / "d")
    with pytest.raises(ValueError, match="1 items are missing or have another text, .*'item/7'"):
        compare(tmp_path / "a", tmp_path / "d")
    with pytest.raises(FileNotFoundError, match="is not an evaluation"):
        compare(tmp_path / "a", tmp_path)


def test_command(tiny_checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(transcription, "load_recognizer", lambda name, language: hear)
    (tmp_path / "lines.txt").write_text("Hello.\nGood day.\n")
    options = ["evaluate", str(tmp_path / "lines.txt"), "--model", str(tiny_checkpoint), "--asr", "someone/ear"]
    options += ["-o", str(tmp_path / "out")]
    assert main([*options, "--temperature", "1.2", "--limit", "2", "--speed", "2"]) == 0
    out = capsys.readouterr().out
    assert "2 texts of lines.txt" in out and "divided by 2" in out and "Transcripts by someone/ear" in out
    settings = json.loads((tmp_path / "out" / "evaluation.json").read_text())["settings"]
    assert settings["sampling"] == {"temperature": 1.2} and settings["model"] == tiny_checkpoint.name
    assert len(settings["weights"]) == 12 and str(tmp_path) not in (tmp_path / "out" / "run.json").read_text()
    for wrong, message in (
        (["evaluate", "-o", "x"], "name a test list"),
        (["evaluate", "nothing", "-o", "x"], "no test list 'nothing'"),
        (["evaluate", "l", "-o", "x", "--samples", "-1"], "--samples must not be negative, got -1"),
        (["evaluate", "l", "-o", "x", "--compare", "a", "b"], "takes two evaluations and no test list"),
        ([*options, "--seed", "1"], "started with different settings"),
    ):
        assert main(wrong) == 1
        assert message in capsys.readouterr().err


def test_files_named_alike(checkpoint, tmp_path):
    items = [TestItem(name, "the old dog", "en", 0.3) for name in ("a/b", "a:b", "../../x", "語")]
    run(checkpoint, items, tmp_path / "out", keep_audio=True)
    names = sorted(path.name for path in (tmp_path / "out" / "audio").iterdir())
    assert len(names) == 4 and "a_b.flac" in names and all("/" not in name for name in names)
    shutil.rmtree(tmp_path / "out")
