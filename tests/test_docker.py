"""The image and its compose file say what is true: linters, and every name in them against what it names.

Nothing is built here: that takes a Docker engine.
"""

import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from project import ROOT, setup_arguments

from t5gemma_tts.cli.main import build_parser
from t5gemma_tts.serving.auth import ApiKeys


SCRIPTS = Path(sys.executable).parent
INSTRUCTION = re.compile(r"^([A-Z]+)\s+(.*)$", re.DOTALL)
COMPOSE = (ROOT / "compose.yaml").read_text()
KEYS = "/run/secrets/api_keys"


def read_stages() -> list[list[tuple[str, str]]]:
    """Returns the instructions of each stage, with `ARG` defaults inserted; stage 0 precedes the first `FROM`."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    stages, defaults = [[]], {}
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        name, argument = INSTRUCTION.match(line).groups()
        if name == "ARG":
            key, _, value = argument.partition("=")
            defaults[key] = value
        argument = re.sub(r"\$\{(\w+)\}", lambda match: defaults.get(match[1], match[0]), argument)
        if name == "FROM":
            stages.append([])
        stages[-1].append((name, " ".join(argument.split())))
    return stages


STAGES = read_stages()
BUILD, FINAL = STAGES[1], STAGES[-1]


def all_of(stage, name: str) -> list[str]:
    return [argument for instruction, argument in stage if instruction == name]


def only(stage, name: str) -> str:
    (argument,) = all_of(stage, name)
    return argument


def environment(stage) -> dict[str, str]:
    return dict(pair.split("=", 1) for argument in all_of(stage, "ENV") for pair in shlex.split(argument))


def is_ignored(path: str) -> bool:
    """Whether .dockerignore excludes a file: the last pattern that matches it or a parent folder decides."""
    ignored, parts = False, path.split("/")
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    for pattern in (line for line in lines if line and not line.startswith("#")):
        kept, pattern = pattern.startswith("!"), pattern.removeprefix("!")
        anywhere, pattern = pattern.startswith("**/"), pattern.removeprefix("**/")
        assert "/" not in pattern  # no such pattern is in the file, and this function knows none
        if any(fnmatch(part, pattern) for part in (parts if anywhere else parts[:1])):
            ignored = not kept
    return ignored


def interpolate(text: str, variables: dict[str, str]) -> dict:
    """Returns the compose file with `${NAME:-default}` and `${NAME:+text}` replaced, as compose does."""

    def value(match) -> str:
        name, kind, other = match.groups()
        given = variables.get(name, "")
        return given or other if kind == "-" else other if given else ""

    text, _ = re.subn(r"\$\{(\w+):([-+])([^}]*)\}", value, text)
    assert "${" not in re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
    return yaml.safe_load(text)


def lint(program: str, *arguments: str) -> None:
    done = subprocess.run([SCRIPTS / program, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hadolint_has_nothing_to_say():
    lint("hadolint", "Dockerfile")


def test_compose_file_is_valid():
    lint("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml")


def test_base_images_are_pinned():
    images = [only(stage, "FROM").split(" AS ")[0] for stage in STAGES[1:]]
    assert len(set(images)) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", images[0])


def test_it_does_not_run_as_root():
    assert FINAL[-1][0] == "CMD"
    user, made = only(FINAL, "USER"), re.search(r"useradd --uid (\d+)", only(FINAL, "RUN"))[1]
    assert user == f"{made}:{made}" and int(made) > 0
    names = [name for name, _ in FINAL]
    assert "RUN" not in names[names.index("USER") :]


def test_what_is_copied_is_there_and_in_the_context():
    sources = []
    for argument in all_of(BUILD, "COPY"):
        *own, _ = argument.split()
        sources += own
    assert {"setup.py", "constraints.txt", "t5gemma_tts"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists() and not is_ignored(source), source
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert kept == set(sources)
    assert all_of(FINAL, "COPY") == ["--from=build /opt/venv /opt/venv"]


@pytest.mark.parametrize(
    "path, ignored",
    [
        ("t5gemma_tts/checkpoints/nano/model.safetensors", False),
        ("t5gemma_tts/serving/app.py", False),
        ("t5gemma_tts/serving/__pycache__/app.cpython-311.pyc", True),
        ("training/.ipynb_checkpoints/train.py", True),
        (".git/config", True),
        (".env", True),
        (".venv/bin/python", True),
        ("api_keys.txt", True),
        ("tests/conftest.py", True),
        ("notebooks/01_speak.ipynb", True),
    ],
)
def test_context(path, ignored):
    assert is_ignored(path) is ignored


def test_extras_are_those_of_the_project(monkeypatch):
    extras = setup_arguments(ROOT, monkeypatch)["extras_require"]
    (asked,) = re.findall(r'pip install [^&]*"\.\[([\w,]+)\]"', " ".join(all_of(BUILD, "RUN")))
    assert set(asked.split(",")) <= set(extras) and "serve" in asked.split(",")


def test_an_empty_package_has_the_same_needs(monkeypatch, tmp_path):
    """The dependency layer needs only these files; its commands are run here."""
    (command,) = [run for run in all_of(BUILD, "RUN") if "touch" in run]
    command = command[command.index("mkdir") : command.rindex("&&")]
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    subprocess.run(["sh", "-ec", command], cwd=tmp_path, check=True)
    empty, full = setup_arguments(tmp_path, monkeypatch), setup_arguments(ROOT, monkeypatch)
    assert empty["packages"] == ["t5gemma_tts"] and len(full["packages"]) > 5
    assert empty["version"] == "0" != full["version"]  # so that pip replaces it
    for name in ("install_requires", "extras_require", "entry_points"):
        assert empty[name] == full[name]


def test_device_has_two_values():
    (command,) = [run for run in all_of(BUILD, "RUN") if "DEVICE" in run]
    script = command[command.index("case") :].replace("pip install", "echo")
    printed = {}
    for device in ("cpu", "cuda", "tpu"):
        done = subprocess.run(["sh", "-c", script], env={"DEVICE": device}, capture_output=True, text=True)
        printed[device] = done.stdout.split()
        assert (done.returncode == 0) is (device != "tpu")
    assert printed["cuda"][-1] == printed["cpu"][-1] == "torch"
    assert any("/whl/cpu" in word for word in printed["cpu"]) and not any("/whl/" in word for word in printed["cuda"])
    built = yaml.safe_load(COMPOSE)["services"]
    assert {service["build"]["args"]["DEVICE"] for service in built.values()} == {"cpu", "cuda"}


def test_command_is_one_of_the_command_line(monkeypatch):
    scripts = setup_arguments(ROOT, monkeypatch)["entry_points"]["console_scripts"]
    (program,) = json.loads(only(FINAL, "ENTRYPOINT"))
    assert program in [script.split(" = ")[0] for script in scripts]
    arguments = build_parser().parse_args(json.loads(only(FINAL, "CMD")))
    assert (arguments.command, arguments.host) == ("serve", "0.0.0.0")
    assert str(arguments.port) == only(FINAL, "EXPOSE")
    assert {arguments.voices_dir, environment(FINAL)["HF_HOME"]} == set(json.loads(only(FINAL, "VOLUME")))
    owned = only(FINAL, "RUN").split("install --directory")[1].split()
    assert set(json.loads(only(FINAL, "VOLUME"))) <= set(owned)


def test_healthcheck_tells_a_server_from_none(server):
    options, command = only(FINAL, "HEALTHCHECK").split(" CMD ")
    python, *arguments = json.loads(command)
    port = build_parser().parse_args(json.loads(only(FINAL, "CMD"))).port
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    codes = []
    for url in (server.url, nobody):
        here = [argument.replace(f"http://127.0.0.1:{port}", url) for argument in arguments]
        assert here != arguments
        codes.append(subprocess.run([sys.executable, *here], capture_output=True).returncode)
    assert python == "python" and codes == [0, 1]
    assert "--start-period" in options


@pytest.mark.parametrize(
    "variables, model, keys, address",
    [
        ({}, "nano", None, "127.0.0.1:8000:8000"),
        (
            {
                "T5GEMMA_TTS_OPTIONS": "--model some/model --low-vram",
                "T5GEMMA_TTS_API_KEY_FILE": "./keys.txt",
                "T5GEMMA_TTS_ADDRESS": "0.0.0.0",
                "T5GEMMA_TTS_PORT": "80",
            },
            "model",
            KEYS,
            "0.0.0.0:80:8000",
        ),
    ],
)
def test_compose_settings_reach_the_server(variables, model, keys, address):
    compose = interpolate(COMPOSE, variables)
    for service in compose["services"].values():
        arguments = build_parser().parse_args(shlex.split(service["command"]))
        assert Path(arguments.model).name == model
        assert arguments.api_key_file == keys
        assert arguments.low_vram is bool(variables)
        assert (arguments.host, arguments.voices_dir) == ("0.0.0.0", "/voices")
        assert service["ports"] == [address]
        assert int(service["stop_grace_period"].removesuffix("s")) > arguments.drain_seconds
        assert [f"/run/secrets/{name}" for name in service["secrets"]] == [KEYS]
    assert compose["secrets"]["api_keys"]["file"] == variables.get("T5GEMMA_TTS_API_KEY_FILE", "/dev/null")


def test_key_file_of_the_compose_file(tmp_path):
    (tmp_path / "keys.txt").write_text("# of the web site\nfirst-key\n")
    assert ApiKeys.from_file(tmp_path / "keys.txt").allows(b"Bearer first-key")
    with pytest.raises(ValueError, match="list of API keys is empty"):
        ApiKeys.from_file("/dev/null")  # why the option is left out without a file


def test_compose_services_agree_with_the_image():
    compose = interpolate(COMPOSE, {})
    cpu, cuda = compose["services"]["cpu"], compose["services"]["cuda"]
    assert "profiles" not in cpu and cuda["profiles"] == ["cuda"]
    (device,) = cuda["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia" and "deploy" not in cpu
    volumes = dict(volume.split(":") for volume in cpu["volumes"])
    assert set(volumes) == set(compose["volumes"])
    assert set(volumes.values()) == set(json.loads(only(FINAL, "VOLUME")))
    (home,) = [mount for mount in cpu["tmpfs"] if "home" in mount]
    user, group = only(FINAL, "USER").split(":")
    assert home == f"{only(FINAL, 'WORKDIR')}:uid={user},gid={group}"
