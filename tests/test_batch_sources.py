"""Sources of batches: text files, JSON Lines, datasets, and error messages."""

import numpy as np
import pytest
import soundfile
from batches import batch, load_once, rows_of, write_json_lines
from datasets import Audio, Dataset, DatasetDict
from voices import CUTOFF_FRAMES, write_voice

from t5gemma_tts.batch.source import BatchSource
from t5gemma_tts.loading import ModelOptions
from t5gemma_tts.sharded.fingerprint import file_fingerprint


@pytest.fixture(autouse=True)
def loading_once(monkeypatch):
    monkeypatch.setattr(ModelOptions, "load", load_once)


def test_lines(tmp_path):
    (tmp_path / "lines.txt").write_text("\ufeffHello.\r\n\n  こんにちは。 \nBye.\n", encoding="utf-8")
    source = BatchSource(str(tmp_path / "lines.txt"))
    assert [source[index].text for index in range(len(source))] == ["Hello.", "こんにちは。", "Bye."]
    assert source.ids == ["00000000", "00000001", "00000002"]


def test_json_lines(tmp_path):
    rows = [{"sentence": "One.", "id": 7, "language": "en", "other": [1]}, {"sentence": "Two.", "duration_seconds": 2}]
    source = BatchSource(str(write_json_lines(tmp_path / "rows.jsonl", rows)))
    assert source.ids == ["7", "00000001"]
    assert (source[0].text, source[0].language, source[0].duration_seconds) == ("One.", "en", None)
    assert (source[1].text, source[1].language, source[1].duration_seconds) == ("Two.", None, 2)


@pytest.mark.parametrize("kind", ["dataset", "splits", "parquet", "jsonl"])
def test_all_formats_give_the_same_rows(checkpoint, tmp_path, kind):
    """The row has a reference recording, as bytes or as a file."""
    write_voice(tmp_path / "voice.wav")
    sound = {"bytes": (tmp_path / "voice.wav").read_bytes(), "path": None}
    rows = [{"id": "a", "text": "One.", "duration_seconds": 0.2}, {"id": "b", "text": "Two.", "duration_seconds": 0.3}]
    rows[1] |= {"reference_text": "What is said.", "speaker": "anna"}
    write_json_lines(tmp_path / "rows.jsonl", [rows[0], rows[1] | {"reference_audio": "voice.wav"}])
    batch(tmp_path / "rows.jsonl", tmp_path / "expected", checkpoint)
    expected = rows_of(tmp_path / "expected")
    assert [len(row["codes"]) for row in expected] == [10 + CUTOFF_FRAMES, 15 + CUTOFF_FRAMES]
    assert [row["speaker"] for row in expected] == [None, "anna"] and expected[0]["error"] is None
    options, source = {}, tmp_path / "rows.jsonl"
    if kind != "jsonl":
        columns = {name: [row.get(name) for row in rows] for name in rows[1]}
        columns |= {"reference_audio": [None, sound], "unrelated": [[1, 2], [3]]}
        dataset, source = Dataset.from_dict(columns), tmp_path / "source"
        if kind == "parquet":
            source.mkdir()
            dataset.to_parquet(source / "train.parquet")
        elif kind == "splits":
            options = {"split": "test"}
            dataset = dataset.cast_column("reference_audio", Audio(decode=False))
            DatasetDict({"train": dataset.select([0]), "test": dataset}).save_to_disk(source)
        else:
            dataset.save_to_disk(source)
    batch(source, tmp_path / "out", checkpoint, **options)
    assert rows_of(tmp_path / "out") == expected


def test_fingerprint_depends_on_content(tmp_path):
    rows = [{"text": "One.", "reference_audio": "voice.wav", "reference_text": "This."}, {"text": "Two."}]

    def fingerprint() -> str:
        return BatchSource(str(write_json_lines(tmp_path / "rows.jsonl", rows))).fingerprint

    write_voice(tmp_path / "voice.wav")
    found = [fingerprint()]
    rows[0]["note"] = "nothing that is spoken"
    assert fingerprint() == found[0]
    rows[1]["text"] = "Three."
    found.append(fingerprint())
    rows[1]["duration_seconds"] = 1.5
    found.append(fingerprint())
    write_voice(tmp_path / "voice.wav", num_samples=9000)
    found.append(fingerprint())
    assert len(set(found)) == 4


def test_fingerprint_of_large_files(tmp_path):
    content = np.random.default_rng(0).bytes(20 << 20)
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "b").write_bytes(content)
    (tmp_path / "c").write_bytes(content[:-1])
    (tmp_path / "d").write_bytes(content[::-1])
    found = [file_fingerprint(tmp_path / name) for name in "abcd"]
    assert found[0] == found[1] and len(set(found)) == 3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.jsonl", '{"text": "a"}\n{"text": \n', "line 2 cannot be read"),
        ("rows.jsonl", '{"text": "\\ud800"}\n', "line 1 cannot be read"),
        ("rows.jsonl", "[1]\n", r"line 1 must be a JSON object, got '\[1\]'"),
        ("rows.jsonl", '{"said": "a"}\n', "none of the columns text, .*it has said"),
        ("rows.jsonl", '{"text": "a", "id": 1}\n{"text": "b", "id": "1"}\n', "rows 0 and 1 both have '1'"),
        ("rows.jsonl", "", "has no rows"),
        ("lines.txt", "\n \n", "has no rows"),
        ("lines.csv", "text\na\n", "must be a .txt or .jsonl file, a folder or a Hub name, got"),
    ],
)
def test_sources_that_cannot_be_read(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        BatchSource(str(tmp_path / name))


def test_missing_sources(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`source` .*none.jsonl' does not exist"):
        BatchSource(str(tmp_path / "none.jsonl"))
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match="is not UTF-8"):
        BatchSource(str(tmp_path / "latin.txt"))
    Dataset.from_dict({"text": ["a"]}).save_to_disk(tmp_path / "dataset")
    with pytest.raises(ValueError, match="`text_column` is 'said', but .* has the columns text"):
        BatchSource(str(tmp_path / "dataset"), text_column="said")


def test_common_voice_and_asr_texts(checkpoint, tmp_path):
    """The reference of a row takes precedence over the default reference."""
    write_voice(tmp_path / "all.wav")
    soundfile.write(tmp_path / "own.wav", np.random.default_rng(1).normal(size=8000) * 0.1, 16000)
    own = {"reference_audio": "own.wav", "reference_text": "Mine."}
    rows = [{"text": "One.", "duration_seconds": 0.2, "id": "a"}, {"text": "One.", "duration_seconds": 0.2, "id": "b"}]
    plain = write_json_lines(tmp_path / "plain.jsonl", rows)
    cloned = write_json_lines(tmp_path / "cloned.jsonl", [rows[0], rows[1] | own])
    both = {"reference_audio": str(tmp_path / "all.wav"), "reference_text": "All."}
    batch(plain, tmp_path / "plain", checkpoint)
    batch(plain, tmp_path / "all", checkpoint, **both)
    batch(cloned, tmp_path / "own", checkpoint)
    batch(cloned, tmp_path / "both", checkpoint, **both)
    codes = {name: [row["codes"] for row in rows_of(tmp_path / name)] for name in ("plain", "all", "own", "both")}
    assert codes["all"][0] != codes["plain"][0] and codes["all"][1] != codes["plain"][1]
    assert codes["own"][0] == codes["plain"][0] and codes["own"][1] != codes["all"][1]
    assert codes["both"] == [codes["all"][0], codes["own"][1]]
