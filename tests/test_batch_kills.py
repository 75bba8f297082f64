"""A batch that is killed and resumed gives the same rows as an uninterrupted one."""

import random
import signal
import subprocess
import time

import pytest
from batches import ENVIRONMENT, NUM_ROWS, assert_many, command, finish, shards_of, write_many


pytestmark = pytest.mark.slow


def test_killed_and_started_again(tmp_path):
    source = write_many(tmp_path / "rows.jsonl")
    assert f"{NUM_ROWS - 3} of {NUM_ROWS} rows spoken" in finish(source, tmp_path / "expected")
    expected = assert_many(tmp_path / "expected")
    chance, kills = random.Random(0), 0
    for num_shards in (3, 9, 15):
        process = subprocess.Popen(
            command(source, tmp_path / "out"), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and len(shards_of(tmp_path / "out")) < num_shards:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 1))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        assert num_shards <= len(shards_of(tmp_path / "out")) < NUM_ROWS // 10
        assert not (tmp_path / "out" / "state.json").exists()
    assert kills == 3
    kept = {path: path.stat().st_mtime_ns for path in shards_of(tmp_path / "out")}
    process = subprocess.Popen(command(source, tmp_path / "out"), env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    while process.poll() is None and len(shards_of(tmp_path / "out")) <= len(kept):
        time.sleep(0.01)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # what was spoken is not spoken again
    assert process.wait() == 0
    assert_many(tmp_path / "out", expected)
