"""Batches: rows do not depend on other rows, and interrupted batches resume."""

import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from batches import batch, load_once, rows_of, write_json_lines
from datasets import Dataset, load_from_disk
from kills import Killed, killed_after
from voices import CUTOFF_FRAMES, write_voice

from t5gemma_tts import SpeechEngine, T5GemmaTTSForConditionalGeneration, speech_requests
from t5gemma_tts.batch.arguments import BatchArguments
from t5gemma_tts.batch.worker import BatchWorker, row_seed
from t5gemma_tts.loading import ModelOptions
from t5gemma_tts.serving.voices import VoiceStore, codec_fingerprint
from t5gemma_tts.sharded.folder_state import exclusive_lock


ROWS = [{"id": f"row {number}", "text": "Hello." * (number % 3 + 1), "duration_seconds": 0.2} for number in range(9)]


@pytest.fixture(autouse=True)
def loading_once(monkeypatch):
    monkeypatch.setattr(ModelOptions, "load", load_once)


@pytest.fixture
def source(tmp_path) -> Path:
    return write_json_lines(tmp_path / "rows.jsonl", ROWS)


def test_rows_do_not_depend_on_other_rows(checkpoint, processor, source, tmp_path):
    summary = batch(source, tmp_path / "out", checkpoint, rows_per_shard=4, batch_size=3, seed=5)
    assert (summary.num_rows, summary.num_failed, summary.first_error) == (9, 0, None)
    assert summary.hours == pytest.approx(9 * 0.4 / 3600)
    model = T5GemmaTTSForConditionalGeneration.from_pretrained(checkpoint)
    rows = rows_of(tmp_path / "out")
    for given, row in zip(ROWS, rows, strict=True):
        assert (row["id"], row["text"], row["error"]) == (given["id"], given["text"], None)
        assert row["seed"] == row_seed(5, row["id"])
        inputs = processor(text=given["text"], duration=0.2)
        (alone,) = SpeechEngine(model).run(speech_requests(model, **inputs, seed=row["seed"]))
        assert row["codes"] == processor.speech_codes(alone.token_ids)
        sound, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]))
        assert rate == 16000 and len(sound) / rate == pytest.approx(row["seconds"])
        np.testing.assert_allclose(sound, processor.codec.decode(row["codes"]).clip(-1, 1), rtol=0, atol=2**-14)
    assert len({row["seed"] for row in rows}) == len({tuple(row["codes"]) for row in rows}) == 9
    batch(source, tmp_path / "other", checkpoint, rows_per_shard=9, batch_size=1, seed=5)
    assert [row["codes"] for row in rows_of(tmp_path / "other")] == [row["codes"] for row in rows]
    batch(source, tmp_path / "third", checkpoint, rows_per_shard=9, seed=6)
    assert [row["codes"] for row in rows_of(tmp_path / "third")] != [row["codes"] for row in rows]


def test_rows_do_not_depend_on_their_order(checkpoint, tmp_path):
    write_json_lines(tmp_path / "turned.jsonl", ROWS[::-1])
    write_json_lines(tmp_path / "rows.jsonl", ROWS)
    batch(tmp_path / "rows.jsonl", tmp_path / "a", checkpoint, contents=("codes",))
    batch(tmp_path / "turned.jsonl", tmp_path / "b", checkpoint, contents=("codes",))
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")[::-1]


@pytest.mark.parametrize("contents", [("audio",), ("codes",)])
def test_contents(checkpoint, source, tmp_path, contents):
    batch(source, tmp_path / "out", checkpoint, contents=contents)
    columns = load_from_disk(tmp_path / "out").column_names
    assert columns == ["id", "text", "language", "speaker", *contents, "seconds", "seed", "error"]
    assert all(row["seconds"] == pytest.approx(0.4) for row in rows_of(tmp_path / "out"))


def test_rows_that_cannot_be_spoken(checkpoint, processor, tmp_path):
    write_voice(tmp_path / "voice.wav")
    (tmp_path / "broken.wav").write_bytes(b"nothing")
    store = VoiceStore(tmp_path / "voices", codec_fingerprint(processor.codec))
    store.add("anna", [1, 2, 3, 4], "What is said.", 0.08, consent=True)
    good = {"text": "Hello.", "duration_seconds": 0.2}
    said = {"reference_text": "What is said."}
    rows = [
        good,
        {"text": "", "duration_seconds": 0.2},
        {"text": None},
        {"text": ["a"]},
        {"text": "Hello.", "duration_seconds": -1},
        {"text": "Hello.", "duration_seconds": "long"},
        {"text": "Hello.", "duration_seconds": 1e6},
        good | {"language": "klingon"},
        good | {"speaker": "bob"},
        good | {"speaker": "../anna"},
        good | {"speaker": "anna"},
        good | {"speaker": "default"},
        good | said | {"reference_audio": "nowhere.wav"},
        good | said | {"reference_audio": "broken.wav"},
        good | said | {"reference_audio": 5},
        good | said,
        good | {"reference_audio": "voice.wav"},
        good | said | {"reference_audio": "voice.wav"},
        {"text": "strengths and lengths " * 150, "language": "en"},
    ]
    write_json_lines(tmp_path / "rows.jsonl", rows)
    options = {"rows_per_shard": 7, "voices_dir": str(tmp_path / "voices")}
    summary = batch(tmp_path / "rows.jsonl", tmp_path / "out", checkpoint, **options)
    spoken = rows_of(tmp_path / "out")
    assert [row["id"] for row in spoken] == [f"{index:08d}" for index in range(len(rows))]
    errors = {index: row["error"] for index, row in enumerate(spoken) if row["error"]}
    for index, message in {
        1: "`text` must be a string with something to say",
        2: "`text` must be a string",
        3: "`text` must be a string",
        4: "`duration` must be a finite number above 0, got -1",
        5: "`duration` must be a finite number above 0, got 'long'",
        6: "`duration` must be at most",
        8: "there is no voice 'bob'",
        9: "the name of a voice must be",
        12: "no audio file at",
        13: "cannot be decoded",
        14: "`reference_audio` holds no audio, but 5",
        15: "`reference_text` was given without `reference_audio`",
        16: "`reference_text` is needed",
        18: "seconds or more to speak, which is too long; split it",
    }.items():
        assert message in errors.pop(index)
        assert spoken[index]["codes"] is None and spoken[index]["audio"] is None and spoken[index]["seconds"] is None
    assert all("klingon" in error for error in errors.values()) and set(errors) <= {7}
    for index in set(range(len(rows))) - set(errors) - {1, 2, 3, 4, 5, 6, 8, 9, 12, 13, 14, 15, 16, 18}:
        assert len(spoken[index]["codes"]) == 10 + CUTOFF_FRAMES
    assert summary.num_failed == 14 + len(errors)
    assert str(summary).startswith(f"{19 - summary.num_failed} of 19 rows spoken, 0.00 h; {summary.num_failed} could")
    assert "First '00000001': `text` must be" in str(summary)


def test_killed_at_any_file_operation(checkpoint, source, tmp_path, monkeypatch):
    """Kills the batch at each file operation in turn and resumes it; no row is generated twice."""
    batch(source, tmp_path / "expected", checkpoint, rows_per_shard=2)
    spoken, kills = [], 0
    process_shard = BatchWorker.process_shard
    monkeypatch.setattr(BatchWorker, "process_shard", lambda *args: (process_shard(*args), spoken.append(args[1]))[0])
    while True:
        try:
            with killed_after(kills, Dataset):
                batch(source, tmp_path / "out", checkpoint, rows_per_shard=2)
            break
        except Killed:
            kills += 1
        if (tmp_path / "out" / "state.json").exists():
            assert rows_of(tmp_path / "out") == rows_of(tmp_path / "expected")
    assert kills > 5 and spoken == [0, 1, 2, 3, 4]
    assert rows_of(tmp_path / "out") == rows_of(tmp_path / "expected")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        path.name for path in (tmp_path / "expected").iterdir()
    }


def test_finished_batch_is_not_changed(checkpoint, source, tmp_path, monkeypatch):
    summary = batch(source, tmp_path / "out", checkpoint)
    monkeypatch.setattr(BatchWorker, "process_shard", None)
    assert batch(source, tmp_path / "out", checkpoint) == summary


def test_error_for_different_settings(checkpoint, tiny_checkpoint, source, tmp_path):
    batch(source, tmp_path / "out", checkpoint)
    refused = r"was started with different settings \(.*{}.* before, .* now\)"
    for options, name in (({"seed": 1}, "seed"), ({"sampling": {"top_k": 3}}, "sampling"), ({"speed": 2.0}, "speed")):
        with pytest.raises(ValueError, match=refused.format(name)):
            batch(source, tmp_path / "out", checkpoint, **options)
    with pytest.raises(ValueError, match=refused.format("model_fingerprint")):
        batch(source, tmp_path / "out", tiny_checkpoint)
    write_json_lines(source, ROWS[1:])
    with pytest.raises(ValueError, match=refused.format("source_fingerprint")):
        batch(source, tmp_path / "out", checkpoint)
    assert batch(source, tmp_path / "out", checkpoint, overwrite=True).num_rows == 8
    shutil.copytree(checkpoint, tmp_path / "moved")  # the path of the model does not matter
    assert batch(source, tmp_path / "out", tmp_path / "moved").num_rows == 8
    with exclusive_lock(tmp_path / "out", "batch"), pytest.raises(OSError, match="another batch is writing"):
        batch(source, tmp_path / "out", checkpoint)
    with pytest.raises(FileExistsError, match="is not empty and holds no batch"):
        batch(source, tmp_path, checkpoint)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "spark"}, "`engine` must be one of local, ray, got 'spark'"),
        ({"contents": ()}, "`contents` must be some of audio, codes"),
        ({"batch_size": 0}, "`batch_size` must be at least 1, got 0"),
        ({"num_workers": 2}, "are for `engine` ray"),
        ({"engine": "ray", "gpus_per_worker": -1}, "`gpus_per_worker` must not be negative, got -1"),
        ({"reference_text": "x"}, "without `reference_audio`"),
    ],
)
def test_invalid_options(options, message):
    with pytest.raises(ValueError, match=message):
        BatchArguments("lines.txt", "out", ModelOptions("nano"), **options)


def test_command(run, checkpoint, source):
    (Path(source).parent / "voices").mkdir()
    options = ["--model", checkpoint, "--seed", 3, "--keep", "codes", "--rows-per-shard", 4, "--temperature", 0]
    code, out, err = run("batch", "rows.jsonl", "-o", "out", "--voices-dir", "voices", *options)
    assert (code, out, err) == (0, "out  9 of 9 rows spoken, 0.00 h\n", "")
    settings = json.loads(Path("out/batch.json").read_text())["settings"]
    assert settings["sampling"] == {"do_sample": False, "temperature": 1.0} and settings["seed"] == 3
    codes = [row["codes"] for row in rows_of("out")]
    assert codes[0] == codes[3] != codes[1]  # greedy tokens depend only on the text
    code, out, err = run("batch", "rows.jsonl", "-o", "out", "--model", checkpoint)
    assert code == 1 and "started with different settings" in err
    code, out, err = run("batch", "rows.jsonl", "-o", "other", "--model", "nothing-here")
    assert code == 1 and "nothing-here" in err and not Path("other").exists()
    code, out, err = run("batch", "rows.jsonl", "-o", "other", "--model", checkpoint, "--voices-dir", "nowhere")
    assert code == 1 and "`voices_dir` 'nowhere' is not a folder" in err


def test_without_packages(run, source, checkpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = run("batch", "rows.jsonl", "-o", "out", "--model", checkpoint, "--engine", "ray")
    assert code == 1 and "`engine` ray needs `pip install" in err
    monkeypatch.setitem(sys.modules, "t5gemma_tts.batch.run", None)
    code, _, err = run("batch", "rows.jsonl", "-o", "out", "--model", checkpoint)
    assert code == 1 and 'batches need `pip install "t5gemma-tts[batch]"`' in err
