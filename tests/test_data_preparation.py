"""Data preparation: sources, filters, splits, speed variants, bad data, cards, uploads."""

import csv
import dataclasses
import io
import json
import shutil
import sys

import huggingface_hub
import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset, DatasetDict, Features, Value, load_dataset, load_from_disk
from recordings import all_rows, clip, load_rows, prepare, run_script, sentence, write_pairs

from t5gemma_tts import XCodec2
from t5gemma_tts.cli.main import main
from t5gemma_tts.preparation.arguments import PrepareDatasetArguments
from t5gemma_tts.preparation.metadata import METADATA_FILE, DatasetMetadata
from t5gemma_tts.preparation.schema import prepared_features
from t5gemma_tts.sharded.folder_state import exclusive_lock


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, codec):
    """Returns six recordings, one of them in stereo at another sampling rate, and the prepared dataset."""
    folder = tmp_path_factory.mktemp("prepared")
    source = write_pairs(folder / "source", 5)
    stereo = np.stack([clip(5, 0.7, 24000), clip(5, 0.7, 24000)[::-1]], axis=1)
    soundfile.write(source / "clip05.flac", stereo, 24000)
    (source / "clip05.txt").write_text("This is clip 5.")
    options = {"rows_per_shard": 4, "validation_count": 2}
    summary = prepare(source, folder / "out", codec, **options)
    return source, folder / "out", summary, options


def test_rows_hold_what_the_codec_makes_of_the_clips(prepared, codec):
    source, output, summary, _ = prepared
    rows = all_rows(output)
    assert sorted(rows) == [f"clip{number:02d}" for number in range(6)]
    reference = XCodec2.from_pretrained(codec)
    for name, row in rows.items():
        path = next(path for path in source.glob(f"{name}.*") if path.suffix != ".txt")
        waveform, sampling_rate = soundfile.read(path, dtype="float32")
        assert row["codes"] == reference.encode(waveform, sampling_rate).tolist()
        assert row["num_frames"] == len(row["codes"])
        assert row["duration_seconds"] == pytest.approx(len(waveform) / sampling_rate)
        assert row["text"] == f"This is clip {int(name[-2:])}."
        assert (row["speaker"], row["language"], row["start_seconds"]) == ("", "en", None)
    assert summary.num_rows == {"train": 4, "validation": 2}


def test_columns_and_metadata(prepared, codec):
    _, output, _, _ = prepared
    dataset = load_from_disk(output)
    assert dataset["train"].features == prepared_features()
    assert dataset["train"].column_names == list(prepared_features())
    metadata = DatasetMetadata.load(output)
    assert metadata == DatasetMetadata(codec=str(codec), codebook_size=256, frame_rate=50.0)
    assert DatasetMetadata.from_dataset(dataset["train"]) == metadata
    metadata.check_codebook(256)
    with pytest.raises(ValueError, match=r"256 entries .* `codebook_size` is 65536"):
        metadata.check_codebook(65536)
    with pytest.raises(FileNotFoundError, match="prepare_dataset"):
        DatasetMetadata.load(output / "train")


def test_error_for_a_codebook_over_16_bits():
    DatasetMetadata("codec", 65536, 50.0)
    with pytest.raises(ValueError, match="16 bits, got 65537"):
        DatasetMetadata("codec", 65537, 50.0)


def test_finished_preparation_is_not_changed(prepared, codec, monkeypatch):
    source, output, summary, options = prepared
    monkeypatch.setattr(XCodec2, "encode", None)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}
    assert prepare(source, output, codec, **options) == summary
    after = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}
    assert after.keys() == before.keys() and not (output / "shards").exists()
    assert {path for path in before if before[path] != after[path]} <= {output / ".preparation.lock"}


def test_error_for_different_settings(prepared, codec, tmp_path):
    source, output, _, options = prepared
    with pytest.raises(ValueError, match=r"max_seconds: null before, 9\.0 now.*--overwrite"):
        prepare(source, output, codec, max_seconds=9.0, **options)
    with pytest.raises(ValueError, match="source_rows: 6 before, 3 now"):
        write_pairs(tmp_path / "other", 3)
        (tmp_path / "source").symlink_to(tmp_path / "other")
        state = json.loads((output / "preparation.json").read_text())
        state["settings"]["source"] = str(tmp_path / "source")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "preparation.json").write_text(json.dumps(state))
        prepare(tmp_path / "source", tmp_path / "out", codec, **options)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "precious.txt").write_text("keep me")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match="not empty"):
            prepare(source, tmp_path / "foreign", codec, overwrite=overwrite)
    assert (tmp_path / "foreign" / "precious.txt").exists()
    with exclusive_lock(tmp_path / "busy", "preparation"), pytest.raises(OSError, match="another preparation"):
        prepare(source, tmp_path / "busy", codec)


def test_overwrite_starts_anew(codec, tmp_path):
    source = write_pairs(tmp_path / "source", 3)
    prepare(source, tmp_path / "out", codec)
    prepare(source, tmp_path / "out", codec, limit=2, overwrite=True)
    assert sorted(all_rows(tmp_path / "out")) == ["clip00", "clip01"]


def test_ljspeech_folder(codec, tmp_path):
    (tmp_path / "wavs").mkdir()
    for number in range(3):
        soundfile.write(tmp_path / "wavs" / f"LJ-{number}.wav", clip(number), 16000)
    (tmp_path / "metadata.csv").write_text('LJ-0|"So" 20.|"So" twenty.\nLJ-1|Plain text.\nbroken line\nLJ-2|Third.|\n')
    prepare(tmp_path, tmp_path / "out", codec)
    rows = all_rows(tmp_path / "out")
    assert {name: row["text"] for name, row in rows.items()} == {
        "LJ-0": '"So" twenty.',
        "LJ-1": "Plain text.",
        "LJ-2": "Third.",
    }
    (skipped,) = map(json.loads, (tmp_path / "out" / "skipped.jsonl").read_text().splitlines())
    assert skipped["row"] == 2 and "line 3" in skipped["message"] and skipped["file"].endswith("metadata.csv")


CELLS = [
    {"file_name": "a/x.wav", "text": "Hello, you there.", "speaker": "ann", "language": "en-GB", "start_seconds": 1.5},
    {"file_name": "y.wav", "text": "今日はいい天気 です。", "speaker": "bob", "language": "ja", "start_seconds": None},
]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_folder_with_columns(kind, codec, tmp_path):
    (tmp_path / "a").mkdir()
    for number, cells in enumerate(CELLS):
        soundfile.write(tmp_path / cells["file_name"], clip(number), 16000)
    if kind == "csv":
        with open(tmp_path / "metadata.csv", "w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, list(CELLS[0]))
            writer.writeheader()
            writer.writerows(CELLS)
    else:
        lines = "\n".join(json.dumps(cells, ensure_ascii=False) for cells in CELLS)
        (tmp_path / "metadata.jsonl").write_text(lines, encoding="utf-8")
    prepare(tmp_path, tmp_path / "out", codec)
    rows = all_rows(tmp_path / "out")
    keys = ("text", "speaker", "language", "start_seconds")
    assert [rows["a/x"][key] for key in keys] == ["Hello, you there.", "ann", "en", 1.5]
    assert [rows["y"][key] for key in keys] == ["今日はいい天気です。", "bob", "ja", None]  # normalised


def test_column_options(codec, tmp_path):
    soundfile.write(tmp_path / "y.wav", clip(0), 16000)
    (tmp_path / "metadata.csv").write_text("wave,words,who\ny.wav,Hello you.,ann\n")
    columns = {"audio_column": "wave", "text_column": "words", "speaker_column": "who"}
    prepare(tmp_path, tmp_path / "out", codec, language="fr", **columns)
    row = all_rows(tmp_path / "out")["y"]
    assert (row["text"], row["speaker"], row["language"]) == ("Hello you.", "ann", "fr")
    with pytest.raises(ValueError, match="file_name.*Set `audio_column`"):
        prepare(tmp_path, tmp_path / "out2", codec)
    with pytest.raises(ValueError, match="`speaker_column` is 'sheet'.*wave, words, who"):
        prepare(tmp_path, tmp_path / "out3", codec, **columns | {"speaker_column": "sheet"})


def wav_bytes(number: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, clip(number), 16000, format="WAV")
    return buffer.getvalue()


def test_datasets_source(prepared, codec, tmp_path):
    _, output, _, _ = prepared
    expected = all_rows(output)
    # as it lies on the Hub; making it with `Audio` would need torchcodec
    audio = {"bytes": Value("binary"), "path": Value("string")}
    rows = {
        "audio": [{"bytes": wav_bytes(number), "path": None} for number in range(2)],
        "sentence": [sentence(number) for number in range(2)],
        "speaker_id": [7, 8],
    }
    features = Features({"audio": audio, "sentence": Value("string"), "speaker_id": Value("int64")})
    dataset = Dataset.from_dict(rows, features=features).cast_column("audio", Audio())
    DatasetDict({"train": dataset}).save_to_disk(tmp_path / "disk")
    (tmp_path / "hub" / "data").mkdir(parents=True)
    dataset.to_parquet(tmp_path / "hub" / "data" / "train-00000-of-00001.parquet")
    for name in ("disk", "hub"):
        prepare(tmp_path / name, tmp_path / f"{name}-out", codec)
        rows = all_rows(tmp_path / f"{name}-out")
        assert sorted(rows) == ["train-00000000", "train-00000001"]
        for number in range(2):
            row = rows[f"train-{number:08d}"]
            assert row["codes"] == expected[f"clip{number:02d}"]["codes"]
            assert (row["text"], row["speaker"]) == (sentence(number), str(number + 7))
    with pytest.raises(ValueError, match="no split 'test'; it has train"):
        prepare(tmp_path / "disk", tmp_path / "out", codec, split="test")


def test_files_and_samples_in_datasets(prepared, codec, tmp_path):
    source, output, _, _ = prepared
    expected = all_rows(output)["clip00"]["codes"]
    samples, _ = soundfile.read(source / "clip00.wav", dtype="float32")
    of_files = {"audio": [str(source / "clip00.wav")], "text": ["Hello you."], "id": ["one"]}
    of_samples = of_files | {"audio": [{"array": samples, "sampling_rate": 16000}]}
    for name, columns in (("files", of_files), ("samples", of_samples)):
        Dataset.from_dict(columns).save_to_disk(tmp_path / name)
        prepare(tmp_path / name, tmp_path / f"{name}-out", codec)
        assert all_rows(tmp_path / f"{name}-out")["one"]["codes"] == expected


def test_bad_options(tmp_path, codec):
    def refused(message, **options):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            prepare(tmp_path / "source", tmp_path / "out", **{"codec": codec, **options})

    write_pairs(tmp_path / "source", 1)
    refused("`codec` is needed", codec=None)
    refused(r"`speed_factors` must be in 0.5 to 2.0 and not 1.*got 3.0", speed_factors=[3.0])
    refused("`speed_factors` must differ", speed_factors=[0.9, 0.9])
    refused("`engine` must be one of local, ray, got 'spark'", engine="spark")
    refused("`rows_per_shard` must be 1 or more, got 0", rows_per_shard=0)
    refused("`validation_share` must be in", validation_share=1.0)
    refused("`codebook_size`, `frame_rate` cannot be used with audio", codebook_size=9, frame_rate=9.0)
    with pytest.raises(FileNotFoundError, match="`source` .*nowhere.* is not a folder"):
        prepare(tmp_path / "nowhere", tmp_path / "out", codec, source_format="folder")
    assert not (tmp_path / "out").exists()


def test_missing_packages_are_named(codec, tmp_path, monkeypatch):
    source = write_pairs(tmp_path / "source", 1)
    for module, options, message in (
        ("av", {"speed_factors": [0.9]}, "pip install av"),
        ("ray", {"engine": "ray"}, r"pip install 'ray\[data\]'"),
    ):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            with pytest.raises(ImportError, match=message):
                prepare(source, tmp_path / "out", codec, **options)


def test_every_option_is_explained():
    for field in dataclasses.fields(PrepareDatasetArguments):
        assert len(field.metadata["help"]) > 10, field.name


def test_card(prepared):
    _, output, _, _ = prepared
    card = huggingface_hub.DatasetCard.load(output / "README.md")
    assert card.data.language == ["en"]
    assert card.data.task_categories == ["text-to-speech"]
    assert card.data.size_categories == ["n<1K"]
    assert "| train | 4 |" in card.text and "| validation | 2 |" in card.text
    assert "Codebook of 256 entries, 50 codes per second" in card.text
    assert "load_from_disk(" in card.text and "`max_seconds`: 30.0" in card.text
    for column in prepared_features():
        assert f"- `{column}`: " in card.text
    assert "codes_stretched" not in card.text
    assert ".from_pretrained(" in card.text and 'dataset["train"][0]' in card.text
    assert "Not specified: the terms of the recordings apply. Codes can be decoded to the voices" in card.text


def test_push(prepared, codec, tmp_path, monkeypatch):
    source, output, _, options = prepared
    calls = []

    def create_repo(self, repo_id, **kwargs):
        calls.append(("create", repo_id, kwargs))

    def upload_folder(self, *, repo_id, folder_path, **kwargs):
        calls.append(("upload", repo_id, kwargs))
        shutil.copytree(folder_path, tmp_path / "sent")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    prepare(source, output, codec, push_to_hub="me/speech", private=True, **options)
    assert [call[:2] for call in calls] == [("create", "me/speech"), ("upload", "me/speech")]
    assert calls[0][2] == {"repo_type": "dataset", "private": True, "exist_ok": True}
    assert calls[1][2]["repo_type"] == "dataset"
    sent = load_dataset(str(tmp_path / "sent"))
    assert {split: rows.to_list() for split, rows in sent.items()} == load_rows(output)
    assert sent["train"].features == prepared_features()
    assert DatasetMetadata.load(tmp_path / "sent") == DatasetMetadata.load(output)
    assert {path.name for path in (tmp_path / "sent").iterdir()} == {"README.md", METADATA_FILE, "data"}
    card = (tmp_path / "sent" / "README.md").read_text()
    assert 'load_dataset("me/speech")' in card and str(source.parent) not in card
    assert not list(output.glob("upload-*"))


def test_script(codec, tmp_path, capsys):
    source = write_pairs(tmp_path / "source", 3)
    (source / "clip01.wav").write_bytes(b"nothing")
    done = run_script("--source", source, "--output", tmp_path / "out", "--codec", codec)
    assert done.returncode == 0, done.stderr
    assert "train: 2 rows" in done.stdout and "skipped: 1 rows (1 audio), see skipped.jsonl" in done.stdout
    assert "skipped row 1 ('clip01'" in done.stderr and "clip/s" in done.stderr
    options = ["--source", str(source), "--output", str(tmp_path / "out"), "--codec", str(codec), "--limit", "1"]
    assert main(["prepare", *options]) == 1
    assert "t5gemma-tts prepare: " in (message := capsys.readouterr().err) and "limit: null before, 1 now" in message
    with pytest.raises(SystemExit, match="2"):
        main(["prepare", "--output", "x"])
