"""Data preparation with bad clips, full disks and damaged shards."""

import errno
import json

import numpy as np
import pytest
import soundfile
import torch
from datasets import DatasetDict, Features, Value
from recordings import all_rows, clip, prepare, write_pairs

from t5gemma_tts import XCodec2
from t5gemma_tts.preparation import encoding
from t5gemma_tts.preparation.assemble import read_shards
from t5gemma_tts.preparation.metadata import DatasetMetadata
from t5gemma_tts.sharded.shard_store import ShardStore


def test_corrupt_clips_are_skipped(codec, tmp_path):
    source = write_pairs(tmp_path / "source", 7)
    (source / "clip00.wav").write_bytes(b"not audio")
    samples = clip(1)
    samples[100] = np.nan
    soundfile.write(source / "clip01.wav", samples, 16000, subtype="FLOAT")
    (source / "clip02.txt").write_text(" \n")
    soundfile.write(source / "clip03.wav", clip(3)[:10], 16000)
    (source / "clip04.txt").unlink()
    (source / "clip05.txt").write_bytes(b"\xff\xfe\xff")
    (source / "metadata.jsonl").unlink(missing_ok=True)
    summary = prepare(source, tmp_path / "out", codec, rows_per_shard=2)
    assert list(all_rows(tmp_path / "out")) == ["clip06"]
    skipped = [json.loads(line) for line in (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()]
    assert [(row["row"], row["id"], row["reason"]) for row in skipped] == [
        (0, "clip00", "audio"),
        (1, "clip01", "audio"),
        (2, "clip02", "empty_text"),
        (3, "clip03", "seconds"),
        (4, "clip04", "transcript"),
        (5, "clip05", "transcript"),
    ]
    assert all(row["file"] == str(source / f"{row['id']}.wav") for row in skipped)
    assert "NaN" in skipped[1]["message"] and "clip04.txt" in skipped[4]["message"]
    assert summary.skipped == {"audio": 2, "transcript": 2, "empty_text": 1, "seconds": 1}
    with pytest.raises(ValueError, match=r"row 0 \('clip00', .*clip00.wav\): cannot read the audio"):
        prepare(source, tmp_path / "strict", codec, strict=True)


def test_missing_audio_and_double_ids(codec, tmp_path):
    soundfile.write(tmp_path / "x.wav", clip(0), 16000)
    lines = [{"id": "a", "file_name": "x.wav"}, {"id": "a", "file_name": "x.wav"}, {"id": "b", "file_name": "no.wav"}]
    lines += [{"file_name": "."}, {"file_name": "/"}]  # have no name to make an id of
    text = "\n".join(json.dumps(line | {"text": "Hello you."}) for line in lines) + '\n{"id": "c"}\nno json\n'
    (tmp_path / "metadata.jsonl").write_text(text)
    summary = prepare(tmp_path, tmp_path / "out", codec)
    assert summary.num_rows == {"train": 1}
    assert summary.skipped == {"metadata": 3, "duplicate_id": 1, "audio": 2}
    messages = (tmp_path / "out" / "skipped.jsonl").read_text()
    assert (
        "no audio file at" in messages and "is already used by row 0" in messages and "line 7 is not JSON" in messages
    )


def test_nothing_left_is_an_error(codec, tmp_path):
    source = write_pairs(tmp_path / "source", 3)
    with pytest.raises(
        ValueError, match=r"none of the 3 rows can be used.*3 for seconds, e.g. row 0 \('clip00', .*min_"
    ):
        prepare(source, tmp_path / "out", codec, min_seconds=5.0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no recordings in .*expected metadata.csv"):
        prepare(tmp_path / "empty", tmp_path / "out2", codec)


def test_full_disk(codec, tmp_path, monkeypatch):
    source = write_pairs(tmp_path / "source", 4)
    write_table = ShardStore._write_table

    def full_after_one(table, path):
        if len(list(path.parent.glob("*.arrow"))) == 1:
            path.write_bytes(b"half a shard")
            raise OSError(errno.ENOSPC, "No space left on device")
        write_table(table, path)

    with monkeypatch.context() as patch:
        patch.setattr(ShardStore, "_write_table", staticmethod(full_after_one))
        with pytest.raises(OSError, match=r"is full. The 1 completed shards are kept.*same command") as caught:
            prepare(source, tmp_path / "out", codec, rows_per_shard=2)
    assert caught.value.errno == errno.ENOSPC
    assert [path.name for path in (tmp_path / "out" / "shards").iterdir()] == ["00000000.arrow"]
    encoded, encode = [], encoding.ClipEncoder.encode

    def note(self, loaded):
        encoded.append(loaded[1]["id"])
        return encode(self, loaded)

    monkeypatch.setattr(encoding.ClipEncoder, "encode", note)
    prepare(source, tmp_path / "out", codec, rows_per_shard=2)
    assert encoded == ["clip02", "clip03"]
    assert len(all_rows(tmp_path / "out")) == 4


def test_full_disk_when_merging(codec, tmp_path, monkeypatch):
    source = write_pairs(tmp_path / "source", 2)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(DatasetDict, "save_to_disk", full)
        with pytest.raises(OSError, match="The 1 completed shards are kept"):
            prepare(source, tmp_path / "out", codec)
    assert not (tmp_path / "out" / "dataset_dict.json").exists()
    prepare(source, tmp_path / "out", codec)
    assert len(all_rows(tmp_path / "out")) == 2 and not (tmp_path / "out" / "merging").exists()


def test_damaged_shards_are_rewritten(tmp_path):
    features = Features({"id": Value("string"), "split": Value("string")})
    store = ShardStore(tmp_path, 5, 2, features)
    for shard in range(3):
        store.write(shard, [{"id": str(row)} for row in store.rows(shard)], [])
    assert store.pending() == []
    store.path(1).write_bytes(store.path(1).read_bytes()[:-60])
    store.path(2).write_bytes(b"")
    assert store.pending() == [1, 2]
    for shard in (1, 2):
        store.write(shard, [{"id": str(row)} for row in store.rows(shard)], [])
    splits, _ = read_shards(store, DatasetMetadata("codec", 4, 50.0))
    assert splits["train"]["id"][:] == ["0", "1", "2", "3", "4"]


def test_out_of_memory_skips_the_clip(codec, tmp_path, monkeypatch):
    source = write_pairs(tmp_path / "source", 2)
    encode = XCodec2.encode

    def small_memory(self, waveform, sampling_rate):
        if np.allclose(waveform, soundfile.read(source / "clip00.wav")[0], atol=1e-6):
            raise torch.OutOfMemoryError("tried to allocate 80 GiB")
        return encode(self, waveform, sampling_rate)

    monkeypatch.setattr(XCodec2, "encode", small_memory)
    summary = prepare(source, tmp_path / "out", codec)
    assert summary.skipped == {"memory": 1} and list(all_rows(tmp_path / "out")) == ["clip01"]
