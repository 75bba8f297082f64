"""One thread per process (small models lose to OpenMP's barriers) and no hub, whatever the machine's settings."""

import os
import sys
from pathlib import Path

import pytest


os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# for `training`, which is not installed; behind an installed package
sys.path.append(str(Path(__file__).parents[1]))


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory) -> Path:
    """A checkpoint with random weights, its tokenizer, processor and codec. For reading: copy it to change it."""
    from training.make_tiny_checkpoint import make_tiny_checkpoint

    folder = tmp_path_factory.mktemp("tiny") / "checkpoint"
    make_tiny_checkpoint(folder)
    return folder
