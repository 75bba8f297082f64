"""`t5gemma-tts` in separate processes and on a terminal."""

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest
import soundfile
import torch
from voices import CUTOFF_FRAMES

from t5gemma_tts import XCodec2
from t5gemma_tts.cli import main as cli


ROOT = Path(__file__).parents[1]


@contextlib.contextmanager
def terminal():
    """Yields the descriptor of a pseudo-terminal, and a list that has its output after the block."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))  # lines, columns, and pixels
    shown, pieces = [], []

    def read():
        with contextlib.suppress(OSError):  # at the end of a terminal
            while piece := os.read(master, 4096):
                pieces.append(piece)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield slave, shown
    finally:
        os.close(slave)
        reader.join(timeout=60)
        os.close(master)
        shown.append(b"".join(pieces).decode())


def start(*arguments, **kwargs) -> subprocess.CompletedProcess:
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    return subprocess.run(
        [sys.executable, "-m", "t5gemma_tts", *map(str, arguments)],
        env=environment | kwargs.pop("env", {}),
        text=True,
        timeout=300,
        **kwargs,
    )


@pytest.mark.parametrize("arguments", [["--help"], ["speak", "--help"], ["speak"]], ids=" ".join)
def test_help_does_not_load_torch(arguments):
    run = start(*arguments, capture_output=True, env={"PYTHONPROFILEIMPORTTIME": "1"})
    imported = {line.rsplit("|")[-1].strip() for line in run.stderr.splitlines() if line.startswith("import time:")}
    assert "t5gemma_tts.cli.main" in imported and "argparse" in imported
    assert not imported & {"torch", "transformers", "numpy", "soundfile", "tqdm"}
    assert run.returncode == (2 if arguments == ["speak"] else 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "file/out.wav"], "the folder of 'file/out.wav' cannot be made"),
        (["-o", "{x}.wav"], "may have the fields {n} and {seed}, got {x}"),
        (["-o", "out.wav", "--reference", "none.wav"], "no audio file at 'none.wav'"),
        (["-o", "out.wav", "--tokens", "file"], "'file' exists"),
    ],
)
def test_refusals_do_not_load_torch(tmp_path, options, message):
    (tmp_path / "file").touch()
    run = start("speak", "One.", *options, capture_output=True, cwd=tmp_path, env={"PYTHONPROFILEIMPORTTIME": "1"})
    lines = run.stderr.splitlines()
    imported = {line.rsplit("|")[-1].strip() for line in lines if line.startswith("import time:")}
    assert run.returncode == 1 and any(message in line for line in lines)
    assert "argparse" in imported and not imported & {"torch", "transformers", "soundfile"}


def test_process_on_a_terminal(checkpoint, tmp_path):
    """Tests standard input, exit code, progress and warnings with one process on a terminal."""
    codec = XCodec2.from_pretrained(checkpoint, subfolder="codec")
    with torch.no_grad():
        codec.model.acoustic_decoder.head.linear.bias.chunk(2)[0].fill_(5.0)  # far too loud
    codec.save_pretrained(tmp_path / "codec")
    options = ("--model", checkpoint, "--codec", "codec", "-o", "out.wav", "--duration", 0.62)
    with terminal() as (slave, shown):
        run = start("speak", *options, stdout=subprocess.PIPE, stderr=slave, input="Hello.\n", cwd=tmp_path)
    assert (run.returncode, run.stdout) == (0, "out.wav  0.82 s\n")
    assert soundfile.info(tmp_path / "out.wav").frames == 320 * (31 + CUTOFF_FRAMES)
    # 41 frames and the end token are 0.84 s; one more, the prompt perhaps, would be rounded to 0.9
    assert "\r0.0 s of speech in 00:" in shown[0] and "\r0.8 s of speech in 00:" in shown[0]
    assert "0.9 s of speech" not in shown[0]
    assert "t5gemma-tts: warning: `audio` peaks at" in shown[0] and "processing_t5gemma_tts.py" not in shown[0]


def test_progress_over_several_lines_on_a_terminal(run, checkpoint, monkeypatch):
    options = ("--model", checkpoint, "-o", "out.wav", "--duration", 0.3, "--batch-size", 1)
    with terminal() as (slave, shown), open(slave, "w", closefd=False) as stream:
        monkeypatch.setattr("sys.stderr", stream)
        code = cli.main([str(argument) for argument in ("speak", "One.\nTwo.", *options)])
        monkeypatch.undo()
    assert code == 0
    assert "0/2" in shown[0] and "2/2" in shown[0] and "s of speech" not in shown[0]


@pytest.mark.parametrize("text", ["One.", "One.\nTwo."])
def test_no_progress_without_a_terminal(run, checkpoint, text):
    code, out, err = run("speak", text, "--model", checkpoint, "-o", "out.wav", "--duration", 0.3)
    assert (code, err) == (0, "") and out.count("0.50 s") == text.count(".")
