"""What the README says can be typed: every Python example runs, and every command that needs nothing else."""

import io
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import soundfile
from pages import close_form, live_page, open_form
from serving import live_server
from tiny import tiny_backbone
from transformers import T5GemmaForConditionalGeneration

from t5gemma_tts.checkpoints import NANO
from t5gemma_tts.cli.main import build_parser, main


ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
ADDRESS, PAGE_ADDRESS = "http://127.0.0.1:8000", "http://127.0.0.1:7860"
CLIENTS = ("from openai", "from gradio_client")  # examples that talk to something that runs
STANDS_FOR_THE_HUB = '"backbone", {"text_separator_token_id": 127}'
COMMANDS = [
    line.split("  #")[0].strip()
    for kind, block in BLOCKS
    if kind == "bash"
    for line in block.splitlines()
    if "t5gemma-tts speak" in line and not re.search(r"--model |MODEL", line)
]
PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
TYPED = sorted(
    {
        line
        for page in PAGES
        for line in re.findall(r"^(?:echo .* \| )?t5gemma-tts .*", page.read_text("utf-8"), re.MULTILINE)
    }
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the files that the examples read."""
    shutil.copy(min(Path(NANO, "audio").glob("*.wav")), tmp_path / "demo.wav")
    (tmp_path / "chapter.txt").write_text("The rain had stopped.\nWe went home.\n")
    (tmp_path / "lines.txt").write_text("One.\nTwo.\n")
    (tmp_path / "t5gemma_tts").symlink_to(ROOT / "t5gemma_tts")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python_examples(here):
    names: dict = {}
    examples = [block for kind, block in BLOCKS if kind == "python" and not block.startswith(CLIENTS)]
    assert main(["export", "nano", "exported"]) == 0
    T5GemmaForConditionalGeneration(tiny_backbone()).save_pretrained(here / "backbone")
    for block in examples:
        block = block.replace('"google/t5gemma-2b-2b-ul2"', STANDS_FOR_THE_HUB)
        exec(compile(block, "README.md", "exec"), names)
    assert len(examples) >= 4
    assert sorted(path.name for path in here.glob("speech*")) == ["speech-1.wav", "speech-2.wav"]
    assert abs(soundfile.info("speech-2.wav").duration - 2.5) < 0.3
    assert len(names["pieces"]) > 1 and len(names["sound"]) > 16000
    assert names["output"]["audio"].size and names["output"]["sampling_rate"] == 16000


def test_server_examples(here):
    """A server of nano stands where the README's commands and OpenAI's client look for one."""
    (client,) = [block for kind, block in BLOCKS if kind == "python" and "from openai" in block]
    commands = [line for kind, block in BLOCKS if kind == "bash" for line in block.splitlines() if "curl " in line]
    names: dict = {}
    with live_server(NANO, here / "voices", model_names=["nano"]) as server:
        for command in commands:
            command = command.replace(ADDRESS, server.url)
            subprocess.run([*shlex.split(command), "--fail-with-body", "--silent"], check=True)
        exec(compile(client.replace(ADDRESS, server.url), "README.md", "exec"), names)
    assert len(commands) == 2 and (here / "voices").is_dir()
    assert soundfile.info("hello.wav").duration == pytest.approx(1.2, abs=0.2)
    assert soundfile.info("hello.mp3").duration > 0.3
    assert len(names["heard"]) > 16000 * 2 * 0.3


def test_page_example(here, monkeypatch):
    (client,) = [block for kind, block in BLOCKS if kind == "python" and "from gradio_client" in block]
    form = open_form(NANO)
    names: dict = {}
    try:
        with live_page(form, monkeypatch, here / "gradio") as url:
            lines = client.replace(PAGE_ADDRESS, url).replace("page.predict", "answer = page.predict")
            exec(compile(lines, "README.md", "exec"), names)
            assert names["answer"]
    finally:
        close_form(form)


@pytest.mark.parametrize("line", TYPED)
def test_options_exist(line, capsys):
    """Those of commands that other tests run, or that need what is not here."""
    command = line.split("  #")[0].split(" && ")[0]
    arguments = shlex.split(command.split("| t5gemma-tts")[-1].split(" | ")[0].removeprefix("t5gemma-tts"))
    parsed, others = build_parser().parse_known_args(arguments)
    if getattr(parsed, "takes_options", False):
        with pytest.raises(SystemExit, match="0"):
            main([arguments[0], "--help"])  # these read their options by themselves
        known = re.findall(r"--\w+", capsys.readouterr().out)
        assert all(name in known for name in others if name.startswith("--"))
    else:
        assert not others
    assert parsed.verb == arguments[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(run, here, monkeypatch, command):
    text = None
    if command.startswith("echo"):
        text, command = (part.strip() for part in command.split("|"))
        text = shlex.split(text)[1]
    arguments = shlex.split(command.split("|")[0])[1:]
    if "-" in arguments:
        raw = io.BytesIO()
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, write_through=True))
        assert main(arguments) == 0
        assert len(raw.getvalue()) > 16000
        return
    code, out, _ = run(*arguments, stdin=text)
    written = re.findall(r"^(\S+)  \d+\.\d\d s$", out, re.MULTILINE)
    assert code == 0 and written and all(soundfile.info(path).frames for path in written)
