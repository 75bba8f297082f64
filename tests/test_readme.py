"""Every example in the README, CONTRIBUTING and docs/: it runs, or what it names is checked to exist.

A page is run from top to bottom in a folder of its own. Commands that need a GPU, a network or hours are parsed by the
program that they call. A command or a language that nothing here knows fails.
"""

import contextlib
import importlib
import importlib.util
import io
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import soundfile
import yaml
from batches import write_json_lines
from pages import close_form, live_page, open_form
from project import ROOT, setup_arguments
from serving import live_server
from tiny import tiny_backbone
from transformers import T5GemmaForConditionalGeneration

from t5gemma_tts.checkpoints import NANO
from t5gemma_tts.cli.main import build_parser, main
from t5gemma_tts.serving.names import Names


PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
FENCES = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
ADDRESS, PAGE_ADDRESS = "http://127.0.0.1:8000", "http://127.0.0.1:7860"
HUB_BACKBONE, ITS_STAND_IN = '"google/t5gemma-2b-2b-ul2"', '"backbone", {"text_separator_token_id": 127}'
RUN_COMMANDS = ("speak", "export", "encode", "decode", "info", "batch")
# what runs is small: other models, clusters and placeholders are checked only
NOT_HERE = re.compile(r"--model |\b[A-Z]{4,}\b|--engine ray|ray job|--asr\b|/shared/")
SETTING = re.compile(r"([A-Z][A-Z0-9_]+)=\S+$|([A-Z][A-Z0-9_]+)=\"[^\"]*\"$")

# files that a page leaves behind, with their seconds where they are asked for
LEFT_BEHIND = {
    "README.md": {"hello.mp3": 1.2, "clone.wav": 2, "chapter.wav": None, "speech-1.wav": None, "speech-2.wav": 2.5},
    "docs/index.md": {"morning.wav": None, "python.wav": None},
    "docs/speak.md": {
        "hello.wav": None,
        "line-1.wav": None,
        "line-2.wav": None,
        "slow.wav": None,
        "speech-1.wav": None,
        "speech-2.wav": 2.5,
        "again.wav": None,
    },
    "docs/voices.md": {
        "clone.wav": None,
        "cloned-1.wav": None,
        "cloned-2.wav": None,
        "again.wav": None,
        "anna.mp3": None,
    },
    "docs/length-and-time.md": {"long.wav": 2, "slow.wav": None, "chapter.wav": None},
    "docs/serve.md": {"hello.wav": 1.2, "hello.mp3": None},
    "docs/clients.md": {"curl.mp3": None},
}
# what must be true of a page's Python names in the end
NAMES = {
    "README.md": lambda names: names["output"]["audio"].size and names["output"]["sampling_rate"] == 16000,
    "docs/speak.md": lambda names: names["output"]["audio"].size and len(names["audio"][0]) > 3000,
    "docs/length-and-time.md": lambda names: (
        len(names["pieces"]) > 1 and len(names["sound"]) > 16000 and 0.5 < names["seconds"] < 5
    ),
    "docs/serve.md": lambda names: (
        len(names["heard"]) > 16000 * 2 * 0.3 and len(names["sounds"]) == 2 and names["answer"]
    ),
    "docs/clients.md": lambda names: len(names["samples"]) > 24000 * 2 * 0.3 and names["voice"] == "default",
    "docs/many-texts.md": lambda names: len(names["rows"]) == 2 and not names["row"]["error"],
    "docs/train.md": lambda names: names["model"].config.is_encoder_decoder,
    "docs/evaluate.md": lambda names: names["found"]["wer"] == 0.5,
}


def blocks_of(page: str) -> list[tuple[str, str]]:
    """Returns language and text of each fenced block."""
    return FENCES.findall((ROOT / page).read_text(encoding="utf-8"))


def lines_of(block: str) -> list[str]:
    """Returns the commands of a shell block without comments; a backslash continues a line."""
    lines = (re.split(r"(?:^|\s{2,})# ?", line)[0].strip() for line in block.replace("\\\n", " ").splitlines())
    return [line for line in lines if line]


def runs_here(line: str) -> bool:
    words = line.removeprefix("echo ").split("| t5gemma-tts ")[-1].removeprefix("t5gemma-tts ").split()
    line = line.replace("--codec CODEC", "")  # for which nano's stands
    return "t5gemma-tts " in line and words[0] in RUN_COMMANDS and not NOT_HERE.search(line)


COMMANDS = [
    pytest.param(line, id=f"{page}: {line}")
    for page in PAGES
    for kind, block in blocks_of(page)
    if kind == "bash"
    for line in lines_of(block)
    if not runs_here(line) and not line.startswith("curl ")
]
TO_RUN = [
    page
    for page in PAGES
    if any(
        kind == "python" or (kind == "bash" and any(runs_here(line) or "curl " in line for line in lines_of(block)))
        for kind, block in blocks_of(page)
    )
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Creates a folder with the files that the examples read."""
    shutil.copy(min(Path(NANO, "audio").glob("*.wav")), tmp_path / "demo.wav")
    (tmp_path / "chapter.txt").write_text("The rain had stopped.\nWe went home.\n")
    (tmp_path / "lines.txt").write_text("One.\nTwo.\n")
    (tmp_path / "my.tsv").write_text("nginx\tengine x\nNguyen\t/wˈɪn/\n", encoding="utf-8")
    write_json_lines(tmp_path / "rows.jsonl", [{"text": "Three."}, {"text": "Four."}])
    (tmp_path / "t5gemma_tts").symlink_to(ROOT / "t5gemma_tts")
    T5GemmaForConditionalGeneration(tiny_backbone()).save_pretrained(tmp_path / "backbone")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_command(line: str, capsys, monkeypatch) -> None:
    """Runs a command of this project in this process."""
    if line.startswith("echo "):
        text, line = line.split(" | ")
        monkeypatch.setattr("sys.stdin", io.StringIO(shlex.split(text)[1]))
    arguments = shlex.split(line.split(" | ")[0])[1:]
    if "-" in arguments:
        raw = io.BytesIO()
        out = io.TextIOWrapper(raw, write_through=True)  # closes `raw` when nothing refers to it
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdout", out)
            assert main(arguments) == 0
        assert len(raw.getvalue()) > 16000
        return
    if arguments[0] == "speak":
        arguments.append("--overwrite")  # a page may write the same name twice
    assert main(arguments) == 0, capsys.readouterr().err


@pytest.mark.parametrize("page", TO_RUN)
def test_pages(page, here, capsys, monkeypatch):
    """Runs the Python blocks and commands of a page in order, as far as they can run here."""
    blocks = blocks_of(page)
    text = "".join(block for _, block in blocks)
    names: dict = {}
    with contextlib.ExitStack() as stack:
        addresses = {}
        if f"{ADDRESS}/" in text:
            addresses[ADDRESS] = stack.enter_context(live_server(NANO, here / "voices", names=Names(["nano"]))).url
        if PAGE_ADDRESS in text:
            form = open_form(NANO)
            stack.callback(close_form, form)
            addresses[PAGE_ADDRESS] = stack.enter_context(live_page(form, monkeypatch, here / "gradio"))
        for kind, block in blocks:
            for usual, live in addresses.items():
                block = block.replace(usual, live)
            if kind == "python":
                exec(compile(block.replace(HUB_BACKBONE, ITS_STAND_IN), page, "exec"), names)
            for line in lines_of(block) if kind == "bash" else []:
                if line.startswith("curl "):
                    command = [*shlex.split(line), "--fail-with-body", "--silent", "--show-error"]
                    subprocess.run(command, check=True, capture_output=True)
                elif runs_here(line):
                    run_command(line.replace("CODEC", NANO), capsys, monkeypatch)
    for name, seconds in LEFT_BEHIND.get(page, {}).items():
        found = soundfile.info(str(here / name)).duration
        assert found > 0.1 if seconds is None else found == pytest.approx(seconds, abs=0.3), name
    if any(kind == "python" for kind, _ in blocks):
        assert page in NAMES or page in LEFT_BEHIND
        assert page not in NAMES or NAMES[page](names)


@cache
def help_of(*command: str) -> str:
    """Returns the help text of a program."""
    done = subprocess.run([sys.executable, *command, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_ours(arguments: list[str], capsys) -> None:
    """The parser accepts the command, and its recipes exist."""
    parsed, others = build_parser().parse_known_args(arguments)
    assert parsed.command == arguments[0]
    if not getattr(parsed, "passes_options", False):
        assert not others
        return
    capsys.readouterr()
    with pytest.raises(SystemExit, match="0"):
        main([arguments[0], "--help"])  # these read their options by themselves
    known = re.findall(r"--[\w-]+", capsys.readouterr().out)
    assert all(name in known for name in arguments if name.startswith("--"))
    assert all((ROOT / name).is_file() for name in arguments if name.endswith(".yaml"))


def check_script(words: list[str]) -> None:
    """`python`, `accelerate launch` or `torchrun`: the script and its recipes exist, and it has these options."""
    script = next(index for index, word in enumerate(words) if word.endswith(".py"))
    assert (ROOT / words[script]).is_file()
    files = [word for word in words if word.startswith(("training/", "benchmarks/")) or word.endswith("config.yaml")]
    assert all((ROOT / name).exists() for name in files), files
    wanted = [word for word in words[script:] if word.startswith("--")]
    known = re.findall(r"--[\w-]+", help_of(words[script])) if wanted else []
    assert set(wanted) <= set(known)


def check_install(words: list[str], monkeypatch) -> None:
    extras = setup_arguments(ROOT, monkeypatch)["extras_require"]
    for word in words[2:]:
        if ours := re.fullmatch(r"(?:\.|t5gemma-tts)\[([\w,]+)\]", word):
            assert set(ours[1].split(",")) <= set(extras), word
        else:
            assert re.fullmatch(r"[\w-]+", word), word


@pytest.mark.parametrize("line", COMMANDS)
def test_commands(line, capsys, monkeypatch):
    """Checks commands that cannot run here, by program."""
    if setting := SETTING.match(line):
        assert (setting[1] or setting[2]) in (ROOT / "compose.yaml").read_text()
        return
    words = shlex.split(line)
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    match words:
        case ["t5gemma-tts", *arguments]:
            check_ours(arguments[: arguments.index("|")] if "|" in arguments else arguments, capsys)
        case ["ray", "job", "submit", "--", "t5gemma-tts", *arguments]:
            check_ours(arguments, capsys)
        case ["pip", "install", *_]:
            check_install(words, monkeypatch)
        case ["python", "-m", "nltk.downloader", *resources]:
            code = "".join(path.read_text() for path in (ROOT / "t5gemma_tts/model").glob("*.py"))
            assert resources and all(name.removesuffix("_eng") in code for name in resources)
        case ["python", "-m", module, *arguments]:
            assert importlib.util.find_spec(module)
            wanted = {word for word in arguments if word.startswith("--")}
            assert wanted <= set(re.findall(r"--[\w-]+", help_of("-m", module)))
        case ["python" | "torchrun", *_] | ["accelerate", "launch", *_]:
            check_script(words)
        case ["make", *targets]:
            rules = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert targets and set(targets) <= set(rules)
        case ["docker", "compose", "up", *services]:
            assert set(services) <= set(yaml.safe_load((ROOT / "compose.yaml").read_text())["services"])
        case ["docker", "build", *arguments]:
            given = [word.split("=")[0] for before, word in pairwise(arguments) if before == "--build-arg"]
            assert all(f"\nARG {name}=" in (ROOT / "Dockerfile").read_text() for name in given)
        case ["pytest", *patterns]:
            assert patterns and all(list(ROOT.glob(pattern)) for pattern in patterns)
        case ["jupyter", "lab", folder]:
            assert list((ROOT / folder).glob("*.ipynb"))
        case ["serve", "run", target, *given]:
            module, name = target.split(":")
            source = Path(importlib.util.find_spec(module).origin).read_text()
            assert f"def {name}(" in source
            known = source + (ROOT / "t5gemma_tts/serving/service.py").read_text()
            assert all(word.split("=")[0] in known for word in given)
        case ["ray", "start", *_]:
            assert any(word.startswith(("--head", "--address=")) for word in words)
        case _:
            pytest.fail(f"nothing checks {line!r}")


@pytest.mark.parametrize("page", PAGES)
def test_languages(page):
    """Data blocks are parsed; a block in an unknown language is an error. All fences are closed."""
    assert (ROOT / page).read_text(encoding="utf-8").count("\n```") % 2 == 0
    for kind, block in blocks_of(page):
        if kind == "yaml":
            assert isinstance(yaml.safe_load(block), dict)
        elif kind == "mermaid":
            assert block.startswith("flowchart ")
        else:
            assert kind in ("bash", "python"), f"nothing checks {kind!r}"


def test_the_recipe_on_the_page_is_a_recipe(tmp_path):
    from t5gemma_tts.training.train import parse_arguments

    (recipe,) = [block for kind, block in blocks_of("docs/train.md") if kind == "yaml"]
    (tmp_path / "recipe.yaml").write_text(recipe)
    model, data, training = parse_arguments([str(tmp_path / "recipe.yaml")])
    assert data.datasets == ["data/prepared"] and training.max_tokens_per_batch == 12000 and model.model


@pytest.mark.parametrize("page", PAGES)
def test_links(page):
    """Files and headings that a page refers to exist."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings], target
    for path in re.findall(r"`((?:training|benchmarks|model_card|notebooks|t5gemma_tts)/[\w./-]*)`", text):
        assert (ROOT / path).exists(), path


def test_site():
    """Every page is in the site's navigation, and every name in the API reference exists."""
    config = re.sub(r"!!python/name:\S+", "", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    navigation = re.findall(r": (\S+\.md)$", config, re.MULTILINE)
    assert sorted(navigation) == sorted(page.removeprefix("docs/") for page in PAGES if page.startswith("docs/"))
    assert yaml.safe_load(config)["strict"] is True
    documented = re.findall(r"^::: (\S+)$", (ROOT / "docs/api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(documented) > 10
    for name in documented:
        module, _, attribute = name.rpartition(".")
        assert getattr(importlib.import_module(module), attribute).__doc__, name
