"""Batches on a Ray cluster of two nodes: after the loss of a worker and a node, each row exists exactly once."""

import os
import signal
import subprocess
import time

import pytest
from batches import ENVIRONMENT, NUM_ROWS, assert_many, batch, command, finish, rows_of, shards_of, write_many
from clusters import PATIENCE_SECONDS, actors, local_cluster, wait_for


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def spoken_here(tmp_path_factory):
    """The source, and its rows as this machine speaks them alone."""
    folder = tmp_path_factory.mktemp("here")
    source = write_many(folder / "rows.jsonl")
    finish(source, folder / "out")
    return source, assert_many(folder / "out")


def test_losses(spoken_here, tmp_path):
    source, expected = spoken_here
    output = tmp_path / "out"
    with local_cluster() as cluster:
        other_node = next(iter(cluster.worker_nodes))
        began = time.monotonic()
        job = subprocess.Popen(
            command(source, output, "--engine", "ray", "--workers", "2"),
            env=ENVIRONMENT | {"RAY_ADDRESS": cluster.address},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            wait_for(lambda: len(shards_of(output)) >= 3, "shards appear")
            workers = wait_for(lambda: len(found := actors("ShardActor")) == 2 and found, "second worker")
            assert len(set(workers.values())) == 2  # a node each
            killed = next(pid for pid, node in workers.items() if node != other_node.node_id)
            os.kill(killed, signal.SIGKILL)
            before = len(shards_of(output))
            wait_for(lambda: len(set(actors("ShardActor")) - {killed}) == 2, "worker in place of the one killed")
            assert before < NUM_ROWS // 10
            cluster.remove_node(other_node, allow_graceful=False)
            assert len(shards_of(output)) < NUM_ROWS // 10  # there was work left
            printed, _ = job.communicate(timeout=PATIENCE_SECONDS * 2)
        finally:
            job.kill()
            job.wait()
        print(f"{time.monotonic() - began:.0f} s with two losses")
    assert job.returncode == 0 and f"{NUM_ROWS - 3} of {NUM_ROWS} rows spoken" in printed
    assert_many(output, expected)


def test_the_job_itself_is_killed(spoken_here, tmp_path):
    """Begun with Ray, and gone on with by one process."""
    source, expected = spoken_here
    output = tmp_path / "out"
    with local_cluster() as cluster:
        job = subprocess.Popen(
            command(source, output, "--engine", "ray"),
            env=ENVIRONMENT | {"RAY_ADDRESS": cluster.address},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: len(shards_of(output)) >= 5, "shards appear")
        job.kill()
        job.wait()
        wait_for(lambda: not actors("ShardActor"), "end of its workers")
        assert 5 <= len(shards_of(output)) < NUM_ROWS // 10
    finish(source, output)
    assert_many(output, expected)


def test_a_shard_that_fails(checkpoint, tmp_path):
    """The others are kept, and the error says what was wrong."""
    source = tmp_path / "lines.txt"
    source.write_text("\n".join(["Hello."] * 6))
    options = {"rows_per_shard": 2, "engine": "ray", "num_workers": 1, "contents": ("codes",)}
    output = tmp_path / "out"
    with local_cluster(num_nodes=1):
        (output / "shards" / "00000001.arrow").mkdir(parents=True)  # cannot be replaced by a file
        (output / "batch.json").touch()
        with pytest.raises(ValueError, match="is damaged"):
            batch(source, output, checkpoint, **options)
        (output / "batch.json").unlink()
        (output / "shards" / "00000001.arrow").rename(tmp_path / "aside")
        (output / "shards").rmdir()
        batch(source, tmp_path / "good", checkpoint, **options)
        failing = tmp_path / "failing"
        batch_json = (tmp_path / "good" / "batch.json").read_text().replace('"complete": true', '"complete": false')
        (failing / "shards" / "00000001.arrow").mkdir(parents=True)
        (failing / "batch.json").write_text(batch_json)
        with pytest.raises(OSError, match="1 of 3 shards failed, first shard 1: "):
            batch(source, failing, checkpoint, **options)
        assert [path.name for path in shards_of(failing) if path.is_file()] == ["00000000.arrow", "00000002.arrow"]
        (failing / "shards" / "00000001.arrow").rmdir()
        assert batch(source, failing, checkpoint, **options).num_failed == 0
    assert rows_of(failing) == rows_of(tmp_path / "good")
