"""The Space of the web page: what the Hub reads of it, and that it runs."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from gradio_client import Client
from huggingface_hub import metadata_load
from packaging.requirements import Requirement
from serving import PATIENCE_SECONDS, ROOT


SPACE = ROOT / "model_card" / "space"
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


def lines_of(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def test_front_matter():
    front = metadata_load(SPACE / "README.md")
    assert front["sdk"] == "gradio" and (SPACE / front["app_file"]).is_file()
    assert f"gradio=={front['sdk_version']}" in lines_of(ROOT / "constraints.txt")
    assert {front["colorFrom"], front["colorTo"]} <= COLOURS
    assert len(front["short_description"]) <= 60 and len(front["emoji"].rstrip("\ufe0f")) == 1
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+", name) for name in front["models"])


def test_requirements():
    wanted = {one.name: one for one in map(Requirement, lines_of(SPACE / "requirements.txt"))}
    assert wanted["t5gemma-tts"].extras == {"text", "ui"}
    for line in lines_of(ROOT / "constraints.txt"):
        pinned = Requirement(line)
        if pinned.name in wanted:
            assert wanted[pinned.name].specifier.contains(next(iter(pinned.specifier)).version), line


@pytest.mark.slow
def test_it_speaks(tmp_path):
    environment = dict(os.environ, GRADIO_SERVER_PORT="0", PYTHONPATH=str(ROOT), TMPDIR=str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "app.py"], cwd=SPACE, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        port = re.fullmatch(r"open http://0\.0\.0\.0:(\d+) in a browser\n", process.stdout.readline())[1]
        client = Client(f"http://127.0.0.1:{port}", verbose=False, analytics_enabled=False)
        status, _, seed, sample, *_ = client.predict(api_name="/speak", text="Good morning!", live=True)
        assert status == f"Done · seed {seed}" and Path(sample["value"]).stat().st_size > 10_000
        client.close()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
        process.stdout.close()
