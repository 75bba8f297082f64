"""Full disks, failing codecs and damaged datasets in data preparation, audio files and stored voices."""

import json
import random
import shutil
import subprocess
import time

import numpy as np
import pytest
from codec_runs import options, save_recordings, train
from faults import cut, small_disk, small_files, snapshot
from recordings import ENVIRONMENT, all_rows, command, prepare, write_pairs
from tiny_checkpoint import tiny_codec

from t5gemma_tts import XCodec2
from t5gemma_tts.cli.audio_output import open_audio_writer
from t5gemma_tts.model.audio import save_audio
from t5gemma_tts.model.audio_reading import load_audio
from t5gemma_tts.serving.voices import VoiceStore
from training.train_codec import main as train_codec


NOISE = np.random.default_rng(0).standard_normal(160_000).astype(np.float32) * 0.1
VOICE = {"codes": list(range(4000)), "reference_text": "Hello.", "duration_seconds": 80.0, "consent": True}


def test_full_disk(codec, tmp_path):
    """A real full disk: shards fill it, and with more space the same command resumes."""
    source = write_pairs(tmp_path / "source", 12)
    with small_disk(tmp_path / "disk", 28 << 10) as resize:
        output = tmp_path / "disk" / "out"
        with pytest.raises(OSError, match=r"is full. The [1-9] completed shards are kept\. .* same command again"):
            prepare(source, output, codec, rows_per_shard=1)
        kept = snapshot(output / "shards")
        assert kept and all(name.endswith(".arrow") for name in kept) and not (output / "dataset_dict.json").exists()
        assert resize(4 << 20)
        prepare(source, output, codec, rows_per_shard=1)
        assert len(all_rows(output)) == 12


def test_files_that_cannot_grow(codec, tmp_path):
    """No shard is partially written."""
    source = write_pairs(tmp_path / "source", 4)
    with small_files(1500), pytest.raises(OSError):
        prepare(source, tmp_path / "out", codec, rows_per_shard=2)
    assert not list((tmp_path / "out").rglob("*.arrow")) and not list((tmp_path / "out").rglob("*.tmp"))
    prepare(source, tmp_path / "out", codec, rows_per_shard=2)
    assert len(all_rows(tmp_path / "out")) == 4


@pytest.mark.parametrize("name", ["train/data-00000-of-00001.arrow", "dataset_dict.json", "skipped.jsonl"])
def test_finished_dataset_that_was_damaged(codec, tmp_path, name):
    """A damaged dataset is an error; `overwrite` creates it again."""
    source = write_pairs(tmp_path / "source", 3)
    (source / "clip00.txt").write_text("")
    prepare(source, tmp_path / "out", codec)
    cut(tmp_path / "out" / name)
    before = snapshot(tmp_path / "out")
    with pytest.raises(ValueError, match="out' is damaged: .* --overwrite"):
        prepare(source, tmp_path / "out", codec)
    assert snapshot(tmp_path / "out") == before
    prepare(source, tmp_path / "out", codec, overwrite=True)
    assert len(all_rows(tmp_path / "out")) == 2


def test_codec_that_is_not_there_or_damaged(codec, tmp_path):
    source = write_pairs(tmp_path / "source", 1)
    with pytest.raises(OSError, match="no codec at .*nowhere"):
        prepare(source, tmp_path / "out", tmp_path / "nowhere")
    tiny_codec().save_pretrained(tmp_path / "codec")
    cut(tmp_path / "codec" / "model.safetensors")
    with pytest.raises(ValueError, match="codec' .*damaged"):
        prepare(source, tmp_path / "out", tmp_path / "codec")
    with pytest.raises(ValueError, match="codec' .*damaged"):
        XCodec2.from_pretrained(tmp_path / "codec")
    assert not (tmp_path / "out" / "dataset_dict.json").exists()


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
@pytest.mark.parametrize("exists", [True, False])
def test_audio_files_that_cannot_be_written(tmp_path, suffix, exists):
    path = tmp_path / f"speech{suffix}"
    if exists:
        save_audio(NOISE[:1000], path, 16000)
    before = snapshot(tmp_path)
    with small_files(10_000), pytest.raises(OSError, match=f"speech{suffix}' cannot be written: "):
        save_audio(NOISE, path, 16000, overwrite=True)
    assert snapshot(tmp_path) == before
    save_audio(NOISE, path, 16000, overwrite=True)
    assert len(load_audio(path)[0]) == len(NOISE)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_streams_into_files_that_cannot_grow(tmp_path, suffix):
    """The written audio is kept, and the error says that it is incomplete."""
    path = str(tmp_path / f"speech{suffix}")
    with small_files(10_000), pytest.raises(OSError, match="is the disk full"), open_audio_writer(path, 16000) as sound:
        for start in range(0, len(NOISE), 16000):
            sound.write(NOISE[start : start + 16000])


def test_voices_on_a_full_disk(tmp_path):
    store = VoiceStore(tmp_path / "voices", codec="abc")
    kept = store.add("anna", **VOICE)
    with small_files(8_000), pytest.raises(OSError):
        store.add("berta", **VOICE)
    assert store.voices() == [kept] and [path.name for path in store.folder.iterdir()] == ["anna"]


RUN = {"max_steps": 4, "save_steps": 2, "logging_steps": 2, "eval_steps": 0}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return save_recordings(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def whole_run(clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole_run")
    train(clips, folder, **RUN)
    return folder


@pytest.fixture
def interrupted_run(whole_run, tmp_path):
    """Returns the output of a run that is killed after three steps."""
    shutil.copytree(whole_run / "checkpoint-2", tmp_path / "run" / "checkpoint-2")
    return tmp_path / "run"


def test_codec_training_on_a_full_disk(clips, whole_run, interrupted_run):
    """The failed checkpoint does not exist; the earlier one is unchanged, and the run resumes from it."""
    before = snapshot(interrupted_run / "checkpoint-2")
    largest = max(len(content) for content in before.values())
    with small_files(largest // 2), pytest.raises(OSError, match="checkpoint-4 cannot be written .* are unchanged"):
        train(clips, interrupted_run, resume=True, **RUN)
    assert [path.name for path in (interrupted_run).glob("*checkpoint*")] == ["checkpoint-2"]
    assert snapshot(interrupted_run / "checkpoint-2") == before
    train(clips, interrupted_run, resume=True, **RUN)
    assert snapshot(interrupted_run)["model.safetensors"] == snapshot(whole_run)["model.safetensors"]


@pytest.mark.parametrize(
    "name", ["model.safetensors", "average.safetensors", "optimizers.pt", "random-0.pt", "state.json"]
)
def test_damaged_checkpoints_of_codec_training(clips, interrupted_run, name):
    """A truncated or missing file is an error, not a new start or a run with other results."""
    for damage in (cut, lambda path: path.unlink()):
        damage(interrupted_run / "checkpoint-2" / name)
        before = snapshot(interrupted_run / "checkpoint-2")
        with pytest.raises(ValueError, match="checkpoint-2' is damaged"):
            train_codec(options(clips, interrupted_run, resume=True, **RUN))
        assert snapshot(interrupted_run / "checkpoint-2") == before
        assert [path.name for path in interrupted_run.glob("checkpoint-*")] == ["checkpoint-2"]


@pytest.mark.slow
def test_killed_at_random_moments(codec, tmp_path):
    """Kills runs at random times until one completes; its rows equal those of an uninterrupted run."""
    source = write_pairs(tmp_path / "source", 24)
    prepare(source, tmp_path / "whole", codec, rows_per_shard=2)
    arguments = ["--source", source, "--output", tmp_path / "out", "--codec", codec, "--rows_per_shard", "2"]
    chance, kills = random.Random(0), 0
    while True:
        process = subprocess.Popen(
            command(*arguments), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        begun = tmp_path / "out" / "preparation.json"
        while process.poll() is None and not begun.exists():
            time.sleep(0.01)
        if kills < 8:
            shards = len(list((tmp_path / "out").rglob("*.arrow")))
            while process.poll() is None and len(list((tmp_path / "out").rglob("*.arrow"))) == shards:
                time.sleep(0.001)
            time.sleep(chance.random() * 0.3)
            process.kill()
            kills += 1
        if process.wait() == 0:
            break
    assert all_rows(tmp_path / "out") == all_rows(tmp_path / "whole")
    assert json.loads(begun.read_text())["complete"] is True
