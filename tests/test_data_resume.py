"""Data preparation in several processes, after interruptions, and with Ray."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from datasets import DatasetDict, load_dataset, load_from_disk
from kills import Killed, killed_after
from recordings import ENVIRONMENT, SCRIPT, code_bytes, command, load_rows, prepare, write_pairs
from tiny_checkpoint import tiny_codec

from t5gemma_tts.preparation import run
from t5gemma_tts.preparation.shard_encoder import ShardEncoder


OPTIONS = {"rows_per_shard": 2, "validation_share": 0.3}
FLAGS = ["--rows_per_shard", "2", "--validation_share", "0.3"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Returns sixteen clips, two of them invalid, the codec, and the dataset of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    source = write_pairs(folder / "source", 16)
    (source / "clip03.wav").write_bytes(b"nothing")
    (source / "clip12.txt").write_text("")
    tiny_codec().save_pretrained(folder / "codec")
    prepare(source, folder / "out", folder / "codec", **OPTIONS)
    return source, folder / "codec", folder / "out"


def assert_same(output: Path, expected: Path):
    assert load_rows(output) == load_rows(expected)
    for split, rows in load_from_disk(output).items():
        assert code_bytes(rows) == code_bytes(load_from_disk(expected)[split])
    assert (output / "skipped.jsonl").read_text() == (expected / "skipped.jsonl").read_text()
    assert not (output / "shards").exists()


def kill_after(process: subprocess.Popen, folder: Path, num_shards: int, delay_seconds: float) -> None:
    """Kills the process shortly after `folder` has this many shards."""
    deadline = time.monotonic() + 120
    while process.poll() is None and len(list(folder.glob("*.arrow"))) < num_shards:
        assert time.monotonic() < deadline, "no shards appear"
        time.sleep(0.002)
    time.sleep(delay_seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_runs_end_with_the_same_rows(uninterrupted, tmp_path, seed):
    source, codec, expected = uninterrupted
    output = tmp_path / "out"
    arguments = ["--source", source, "--output", output, "--codec", codec, *FLAGS]
    chance = random.Random(seed)
    process = subprocess.Popen(command(*arguments), env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    kill_after(process, output / "shards", chance.randint(1, 3), chance.uniform(0, 0.01))
    assert process.returncode == -signal.SIGKILL and not (output / "dataset_dict.json").exists()
    shards = {path: path.stat().st_mtime_ns for path in (output / "shards").glob("*.arrow")}
    assert 1 <= len(shards) < 8
    encoded = []
    with pytest.MonkeyPatch.context() as patch:
        encode_shard = ShardEncoder.encode_shard
        patch.setattr(ShardEncoder, "encode_shard", lambda *args: encoded.append(args[1]) or encode_shard(*args))
        prepare(source, output, codec, **OPTIONS)
    assert encoded == [number for number in range(8) if output / "shards" / f"{number:08d}.arrow" not in shards]
    assert_same(output, expected)


def test_killed_while_merging(uninterrupted, tmp_path, monkeypatch):
    """Kills the run at each file operation of the merge in turn and resumes it."""
    source, codec, expected = uninterrupted
    output = tmp_path / "out"
    kills = 0
    with monkeypatch.context() as patch:
        patch.setattr(run, "_finish", lambda *_: None)
        prepare(source, output, codec, **OPTIONS)
    assert len(list((output / "shards").glob("*.arrow"))) == 8
    while True:
        try:
            with killed_after(kills, DatasetDict):
                prepare(source, output, codec, **OPTIONS)
            break
        except Killed:
            kills += 1
        if (output / "dataset_dict.json").exists():
            assert load_rows(output) == load_rows(expected)
    assert kills > 5
    assert_same(output, expected)


def test_two_processes(uninterrupted, tmp_path):
    source, codec, expected = uninterrupted
    output = tmp_path / "out"
    options = ["--source", source, "--output", output, "--codec", codec, *FLAGS]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    done = subprocess.run(
        [*launch, str(SCRIPT), *map(str, options)], env=ENVIRONMENT, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("train: ") == 1
    # the progress bar counts only rows of the main process
    assert "8/8" in done.stderr and "16/16" not in done.stderr
    assert_same(output, expected)


@pytest.mark.slow
def test_accelerate_launch(uninterrupted, tmp_path):
    source, codec, expected = uninterrupted
    output = tmp_path / "out"
    options = ["--source", source, "--output", output, "--codec", codec, *FLAGS]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    done = subprocess.run(
        [*launch, "--main_process_port", "0", str(SCRIPT), *map(str, options)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert "8/8" in done.stderr
    assert_same(output, expected)


@pytest.mark.slow
def test_ray(uninterrupted, tmp_path):
    pytest.importorskip("ray.data")
    source, codec, expected = uninterrupted
    output = tmp_path / "out"
    summary = prepare(source, output, codec, engine="ray", ray_workers=1, **OPTIONS)
    dataset = load_dataset(str(output))
    assert {split: rows.to_list() for split, rows in dataset.items()} == load_rows(expected)
    assert summary.skipped == {"audio": 1, "empty_text": 1}
    assert prepare(source, output, codec, engine="ray", ray_workers=1, **OPTIONS) == summary
    with pytest.raises(OSError, match=r"2 of 8 shards failed, first shard 1: row 3 \('clip03'"):
        prepare(source, tmp_path / "strict", codec, engine="ray", ray_workers=1, strict=True, **OPTIONS)
