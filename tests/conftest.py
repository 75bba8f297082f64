"""Test settings: one thread per process, because OpenMP slows down small models, and no access to the Hub."""

import io
import json
import os
import shutil
import sys
from pathlib import Path

import pytest


os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# for a clone that is not installed; behind an installed package
sys.path.append(str(Path(__file__).parents[1]))


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory) -> Path:
    """A checkpoint with random weights, its tokenizer, processor and codec. For reading: copy it to change it."""
    from tiny_checkpoint import make_tiny_checkpoint

    folder = tmp_path_factory.mktemp("tiny") / "checkpoint"
    make_tiny_checkpoint(folder)
    return folder


@pytest.fixture(scope="session")
def codec(tmp_path_factory) -> Path:
    """Folder of a tiny codec; tests of codecs have fixtures of their own."""
    from tiny_checkpoint import tiny_codec

    folder = tmp_path_factory.mktemp("codec") / "tiny"
    tiny_codec().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def processor(tiny_checkpoint):
    from t5gemma_tts import T5GemmaTTSProcessor

    return T5GemmaTTSProcessor.from_pretrained(tiny_checkpoint)


@pytest.fixture(scope="session")
def checkpoint(tiny_checkpoint, tmp_path_factory) -> Path:
    """The tiny checkpoint, but it never ends by itself: speech takes its frames and CUTOFF_FRAMES more, exactly."""
    from safetensors.torch import load_file, save_file
    from voices import CUTOFF_FRAMES

    folder = tmp_path_factory.mktemp("endless") / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    config = json.loads((folder / "config.json").read_text())
    config["extra_cutoff_seconds"] = CUTOFF_FRAMES / config["frame_rate"]
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(folder / "model.safetensors")
    weights["audio_head.out_proj.bias"][config["codebook_size"] :] = -1e4  # nor does it say any other special token
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def server(checkpoint, tmp_path_factory):
    """A running server of the endless checkpoint, which keeps voices."""
    from serving import live_server

    with live_server(checkpoint, tmp_path_factory.mktemp("voices")) as live:
        yield live


@pytest.fixture
def plain():
    """The 16 kHz codec of the repository's recordings of the original."""
    from codec_sets import first_set, load_codec

    return load_codec(first_set(upsampled=False))


@pytest.fixture
def upsampled():
    """The codec with an upsampler, likewise."""
    from codec_sets import first_set, load_codec

    return load_codec(first_set(upsampled=True))


@pytest.fixture
def backbone(tmp_path):
    """A folder with a backbone's configuration to convert with."""
    from originals import write_backbone_config

    return write_backbone_config(tmp_path / "backbone")


@pytest.fixture
def output(tmp_path):
    """A folder to convert to, in a folder of its own, where nothing else may appear."""
    (tmp_path / "models").mkdir()
    return tmp_path / "models" / "converted"


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Runs a command in `tmp_path`; returns its exit code, standard output and standard error."""
    from t5gemma_tts.cli.main import main

    monkeypatch.chdir(tmp_path)

    def run_command(*arguments, stdin: str | None = None) -> tuple[int, str, str]:
        if stdin is not None:
            monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        output = capsys.readouterr()
        assert "Traceback" not in output.err
        return code, output.out, output.err

    return run_command
