"""`t5gemma-tts serve`: what it refuses before anything is loaded, and a server with keys and voices that comes back."""

import socket
import sys

import httpx
import pytest
from serving import SPEECH, VOICES, server_process
from test_serving_uploads import file_of
from voices import CUTOFF_FRAMES, voice

from t5gemma_tts.cli import serve


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--port", "99999"], "cannot listen at 127.0.0.1, port 99999"),
        (["--host", "no.such.host.invalid"], "cannot listen at no.such.host.invalid, port 8000"),
        (["--port", "{taken}"], "cannot listen at 127.0.0.1, port {taken}"),
        (["--queue-size", "-1"], "--queue-size must not be negative, got -1"),
        (["--voice-alias", "alloy"], "a voice alias must look like alloy=anna, got 'alloy'"),
        (["--voice-alias", "alloy=anna"], "the alias 'alloy' names the voice 'anna', but there is no --voices-dir"),
        (["--voice-alias-file", "none"], "No such file or directory: 'none'"),
        (["--api-key-file", "none"], "No such file or directory: 'none'"),
        (["--api-key-file", "empty"], "list of API keys is empty"),
        (["--model", "."], "'.' is not a checkpoint"),
    ],
)
def test_refusals(run, tmp_path, options, message, monkeypatch):
    if "--model" not in options:
        monkeypatch.setattr(serve, "load", None)  # not even tried
    (tmp_path / "empty").write_text("# nobody\n")
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = str(other.getsockname()[1])
        options = [option.format(taken=taken) for option in options]
        port = [] if "--port" in options or "--host" in options else ["--port", "0"]
        code, out, err = run("serve", *options, *port)
    assert code == 1 and out == "" and message.format(taken=taken) in err


@pytest.mark.parametrize("option", ["--max-batch-size", "--deadline", "--drain-seconds", "--max-characters"])
def test_invalid_numbers(run, option):
    assert run("serve", option, "0")[0] == 2


def test_without_its_extra(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "t5gemma_tts.serving.server", None)
    code, _, err = run("serve")
    assert code == 1 and 'the server needs `pip install "t5gemma-tts[serve]"`' in err


@pytest.mark.slow
def test_keys_and_voices_survive_a_restart(checkpoint, tmp_path):
    (tmp_path / "keys").write_text("sesame\n")
    options = ["--model", checkpoint, "--voices-dir", tmp_path / "voices", "--api-key-file", tmp_path / "keys"]
    options += ["--served-model-name", "ours", "--max-characters", 50]
    headers = {"Authorization": "Bearer sesame"}
    with server_process(*options) as (_, url):
        assert httpx.get(f"{url}/v1/models").status_code == 401
        form = {"name": "anna", "consent": "true", "reference_text": "What is said."}
        files = {"audio": file_of(voice(16000))}
        assert httpx.post(url + VOICES, data=form, files=files, headers=headers).status_code == 201
    with server_process(*options) as (_, url), httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        assert client.get("/v1/models").json()["data"][0]["id"] == "ours"
        assert [one["id"] for one in client.get(VOICES).json()["data"]] == ["default", "anna"]
        body = {
            "model": "ours",
            "voice": "anna",
            "input": "Hello.",
            "duration": 0.2,
            "response_format": "pcm",
            "sample_rate": 16000,
        }
        assert len(client.post(SPEECH, json=body).content) == 2 * 320 * (10 + CUTOFF_FRAMES)
        assert client.post(SPEECH, json=body | {"input": "a" * 51}).status_code == 400
