"""Helpers for tests of batches: sources, commands and outputs."""

import functools
import json
import os
import random
import subprocess
import sys
from pathlib import Path

from datasets import load_from_disk

from t5gemma_tts.batch.arguments import BatchArguments
from t5gemma_tts.batch.run import Summary, synthesize_batch
from t5gemma_tts.loading import ModelOptions


LOAD = ModelOptions.load
ROOT = Path(__file__).parents[1]
ENVIRONMENT = dict(os.environ, PYTHONPATH=str(ROOT))
WORDS = "the a red blue old small cat dog bird house river tree garden sat ran slept on in under today".split()
NUM_ROWS = 200
BAD_ROWS = {17: {"text": " "}, 101: {"duration_seconds": -1.0}, 199: {"reference_audio": "nowhere.wav"}}


@functools.cache
def load_once(options: ModelOptions) -> tuple:
    """Loads a model once per test run, because loading takes longer than generating."""
    return LOAD(options)


def batch(source, output, checkpoint, **options) -> Summary:
    """Runs a batch with the tiny checkpoint in this process."""
    return synthesize_batch(BatchArguments(str(source), str(output), ModelOptions(str(checkpoint)), **options))


def rows_of(output) -> list[dict]:
    return load_from_disk(str(output)).to_list()


def write_json_lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_many(path: Path) -> Path:
    """Writes 200 rows of one or two seconds each, three of them invalid."""
    chance = random.Random(0)
    rows = []
    for index in range(NUM_ROWS):
        text = " ".join(chance.choices(WORDS, k=chance.randint(2, 5))).capitalize() + "."
        rows.append({"id": f"row-{index}", "text": text, "language": "en"} | BAD_ROWS.get(index, {}))
    return write_json_lines(path, rows)


def command(source, output, *options) -> list[str]:
    """Returns the command of a batch with nano and ten rows per shard."""
    shards = ["--rows-per-shard", "10", "--batch-size", "10"]
    return [sys.executable, "-m", "t5gemma_tts", "batch", str(source), "-o", str(output), *shards, *options]


def finish(source, output, *options, **environment) -> str:
    """Runs the command and returns its output."""
    done = subprocess.run(
        command(source, output, *options),
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def shards_of(output) -> list[Path]:
    return sorted((Path(output) / "shards").glob("*.arrow"))


def assert_many(output, expected: list[dict] | None = None) -> list[dict]:
    """Checks that each row of `write_many` exists once, has an error if it is invalid, and equals `expected`."""
    rows = rows_of(output)
    assert [row["id"] for row in rows] == [f"row-{index}" for index in range(NUM_ROWS)]
    assert {index for index, row in enumerate(rows) if row["error"] is not None} == set(BAD_ROWS)
    assert all(row["codes"] is None and row["audio"] is None for row in rows if row["error"])
    assert all(len(row["codes"]) > 10 and row["seconds"] > 0.2 for row in rows if not row["error"])
    if expected is not None:
        assert [row["codes"] for row in rows] == [row["codes"] for row in expected]
        assert rows == expected
    return rows
