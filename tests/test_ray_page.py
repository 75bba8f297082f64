"""The commands and configurations of docs/cluster.md are valid."""

import concurrent.futures
import json
import re
import shlex
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
import yaml
from batches import ENVIRONMENT, rows_of, write_json_lines
from datasets import load_from_disk

from t5gemma_tts.batch.worker import batch_features
from t5gemma_tts.checkpoints import NANO


ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
COMMANDS = [line for kind, block in BLOCKS if kind == "bash" for line in block.splitlines()]
CONFIGS = [yaml.safe_load(block) for kind, block in BLOCKS if kind == "yaml"]
PORT = 18432
SPEECH = f"http://127.0.0.1:{PORT}/v1/audio/speech"


def only(found: list):
    (one,) = found
    return one


def serve_config(shared: Path) -> dict:
    """Adapts the configuration of the page: nano, no GPUs, and batch size 1, so that few requests cause scaling."""
    config = only([config for config in CONFIGS if "applications" in config])
    text = json.dumps(config).replace("/shared", str(shared)).replace(": 16", ": 1")
    config = json.loads(text)
    config["http_options"]["port"] = PORT
    args = only(config["applications"])["args"]
    args |= {"model": NANO, "gpus_per_replica": 0}
    return config


@pytest.fixture
def sources(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lines.txt").write_text("Hello there.\nGood morning.\n")
    return write_json_lines(tmp_path / "rows.jsonl", [{"text": f"Row {word}."} for word in ("one", "two", "three")])


def test_local_batches(run, sources):
    commands = [command for command in COMMANDS if command.startswith("t5gemma-tts batch")]
    for command in commands:
        code, out, _ = run(*shlex.split(command)[1:])
        assert code == 0 and re.search(r"(2 of 2|3 of 3) rows spoken", out)
    assert len(commands) == 2
    table = re.search(r"\| column \| \|\n\|---\|---\|\n(.*?)\n\n", PAGE, re.DOTALL)[1]
    named = re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in table.splitlines()))
    assert named == list(batch_features(("audio", "codes"))) == load_from_disk("spoken").column_names
    assert load_from_disk("spoken-rows").column_names == [name for name in named if name != "audio"]
    assert rows_of("spoken-rows")[0]["codes"]


def test_a_row_is_said_again_with_its_seed(run, sources):
    run("batch", "lines.txt", "-o", "spoken")
    row = rows_of("spoken")[1]
    assert run("speak", row["text"], "-o", "again.wav", "--tokens", "again.txt", "--seed", row["seed"])[0] == 0
    assert [int(token) for token in Path("again.txt").read_text().split()] == row["codes"]


def test_configurations(tmp_path):
    pytest.importorskip("ray.serve")
    from ray.serve.schema import ServeDeploySchema

    from t5gemma_tts.serving.ray_app import SpeechArguments, app

    service = only([config for config in CONFIGS if config.get("kind") == "RayService"])
    configs = [serve_config(tmp_path), yaml.safe_load(service["spec"]["serveConfigV2"])]
    for config in configs:
        application = only(ServeDeploySchema.model_validate(config).applications)
        assert application.import_path == "t5gemma_tts.serving.ray_app:app"
        built = app(SpeechArguments(**application.args))
        assert built._bound_deployment.name == "Speech"
    assert {config["max_workers"] for config in CONFIGS if "provider" in config} == {8}


@pytest.mark.slow
def test_a_job(sources, tmp_path):
    from clusters import local_cluster, ray

    command = only([command for command in COMMANDS if command.startswith("ray job submit")])
    command = command.replace("/shared", str(tmp_path)).replace("t5gemma-tts", f"{sys.executable} -m t5gemma_tts")
    with local_cluster():
        address = f"http://{ray._private.worker.get_dashboard_url()}"
        done = subprocess.run(
            [sys.executable, "-m", "ray.scripts.scripts", *shlex.split(command)[1:]],
            env=ENVIRONMENT | {"RAY_API_SERVER_ADDRESS": address},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "3 of 3 rows spoken" in done.stdout
    assert [row["text"] for row in rows_of("spoken")] == ["Row one.", "Row two.", "Row three."]


@pytest.mark.slow
def test_serving(tmp_path):
    """Deploys the file of the page; a second replica starts under load."""
    from clusters import actors, local_cluster, ray, wait_for

    from t5gemma_tts.serving.auth import ApiKeys

    (tmp_path / "keys").write_text("sesame\n")
    assert ApiKeys.from_file(tmp_path / "keys")
    (tmp_path / "serve.yaml").write_text(yaml.safe_dump(serve_config(tmp_path)))
    assert "`serve deploy serve.yaml`" in PAGE and "`serve status`" in PAGE
    headers = {"Authorization": "Bearer sesame"}
    body = {"model": "tts-1", "input": "A long one.", "duration": 8.0, "response_format": "pcm"}

    def speak_until(enough: threading.Event) -> list[int]:
        statuses = []
        while not enough.is_set():
            statuses.append(httpx.post(SPEECH, json=body, headers=headers, timeout=600).status_code)
        return statuses

    with local_cluster():
        environment = ENVIRONMENT | {"RAY_DASHBOARD_ADDRESS": f"http://{ray._private.worker.get_dashboard_url()}"}

        def run_serve(*arguments) -> str:
            command = [sys.executable, "-m", "ray.serve.scripts", *arguments]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        run_serve("deploy", str(tmp_path / "serve.yaml"))
        wait_for(lambda: "status: RUNNING" in run_serve("status"), "application that runs")
        assert httpx.post(SPEECH, json=body, timeout=60).status_code == 401
        assert len(actors("ServeReplica:speech")) == 1
        enough = threading.Event()
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            asking = [pool.submit(speak_until, enough) for _ in range(6)]
            try:
                wait_for(lambda: len(actors("ServeReplica:speech")) == 2, "second replica")
            finally:
                enough.set()
            assert {status for asked in asking for status in asked.result()} == {200}
        run_serve("shutdown", "-y")


@pytest.mark.slow
def test_serve_run(tmp_path):
    from clusters import PATIENCE_SECONDS, local_cluster
    from ray import serve

    command = only([command for command in COMMANDS if command.startswith("serve run")])
    arguments = shlex.split(command.replace("/shared", str(tmp_path)))[1:]
    with local_cluster() as cluster:
        serve.start(http_options={"port": PORT})  # not the page's, which may be taken
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.serve.scripts", *arguments],
            env=ENVIRONMENT | {"RAY_ADDRESS": cluster.address},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            address = None
            while address is None and (line := process.stdout.readline()):
                address = re.search(r"ready at (http://\S+?)/\.", line)
            body = {"input": "Hello there.", "response_format": "wav", "seed": 1}
            answer = httpx.post(f"{address[1]}/v1/audio/speech", json=body, timeout=PATIENCE_SECONDS)
            assert answer.status_code == 200 and answer.content[:4] == b"RIFF"
            assert (tmp_path / "voices").is_dir()
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
