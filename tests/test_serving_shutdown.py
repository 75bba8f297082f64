"""Clients that vanish, and a server that is told to go: what was accepted is answered, and nothing else lingers."""

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from serving import (
    PATIENCE_SECONDS,
    ROOT,
    SPEECH,
    Steps,
    decode_with_soundfile,
    live_server,
    server_process,
    wait_until,
)
from voices import CUTOFF_FRAMES


CLIENT = """
import sys, httpx
body = {"input": "Hello.", "duration": 100.0, "stream_format": sys.argv[2] or None}
with httpx.stream("POST", sys.argv[1], json=body, timeout=None) as answer:
    for piece in answer.iter_raw():
        print(len(piece), flush=True)
"""


@pytest.mark.parametrize("stream_format", ["", "audio", "sse"])
def test_killed_client_frees_its_slot(checkpoint, monkeypatch, stream_format):
    with live_server(checkpoint, max_batch_size=1, queue_size=1) as server:
        steps = Steps(monkeypatch)
        if not stream_format:
            steps.hold()
        command = [sys.executable, "-c", CLIENT, server.url + SPEECH, stream_format]
        client = subprocess.Popen(command, stdout=subprocess.PIPE)
        if stream_format:
            assert client.stdout.readline()  # it hears something
            steps.hold()
        else:
            assert steps.held.wait(PATIENCE_SECONDS)
        assert server.synthesis.worker.num_running == server.synthesis.num_admitted == 1
        client.kill()
        client.wait()
        client.stdout.close()
        wait_until(lambda: server.synthesis.num_admitted == 0)
        steps.open.set()
        wait_until(lambda: server.synthesis.num_admitted == server.synthesis.worker.num_running == 0)
        assert len(steps.sizes) < 5000  # of the 100 s; it stopped long before
        wait_until(lambda: server.service.num_open_requests == 0)
        assert server.speak(input="Hello.", duration=0.2).status_code == 200


def test_other_requests_are_unchanged_by_a_killed_client(checkpoint, monkeypatch):
    with live_server(checkpoint, max_batch_size=3) as server, ThreadPoolExecutor(2) as people:
        bodies = [{"input": "Hello.", "duration": 2.0, "seed": seed, "response_format": "pcm"} for seed in (1, 2)]
        alone = [server.speak(**body).content for body in bodies]
        steps = Steps(monkeypatch)
        client = subprocess.Popen([sys.executable, "-c", CLIENT, server.url + SPEECH, "audio"], stdout=subprocess.PIPE)
        assert client.stdout.readline()
        steps.hold()
        others = [people.submit(server.speak, **body) for body in bodies]
        wait_until(lambda: server.synthesis.num_admitted == 3)
        client.kill()
        client.wait()
        client.stdout.close()
        wait_until(lambda: server.synthesis.num_admitted == 2)
        steps.open.set()
        assert [future.result(PATIENCE_SECONDS).content for future in others] == alone


def test_client_disconnects_while_sending(checkpoint):
    with live_server(checkpoint) as server:
        host, port = server.url.removeprefix("http://").split(":")
        for part in (b"", b"POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\n", b"", b"\xff\x00garbage\r\n\r\n"):
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(part)
        with server.half_a_request():
            wait_until(lambda: server.service.num_pending_bytes > 0)
        wait_until(lambda: server.service.num_pending_bytes == 0)
        assert server.speak(input="Hello.", duration=0.2).status_code == 200


def test_draining_refuses_new_and_answers_accepted_requests(checkpoint, monkeypatch):
    with live_server(checkpoint, max_batch_size=1) as server, ThreadPoolExecutor(3) as people:
        steps = Steps(monkeypatch)
        steps.hold()
        body = {"input": "Hello.", "duration": 0.2, "response_format": "wav"}
        accepted = [people.submit(server.speak, **body, stream_format=kind) for kind in (None, "audio", None)]
        wait_until(lambda: server.synthesis.num_admitted == 3)
        server.drain()
        wait_until(lambda: server.service.draining)
        for method, path in (("POST", SPEECH), ("GET", "/v1/models"), ("GET", "/ready")):
            answer = server.client.request(method, path)
            assert answer.status_code == 503 and answer.json()["error"]["code"] == "shutting_down"
        assert server.client.get("/health").status_code == 200
        assert int(server.client.post(SPEECH, json=body).headers["retry-after"]) > 0
        steps.open.set()
        for future in accepted:
            answer = future.result(PATIENCE_SECONDS)
            assert answer.status_code == 200
            assert len(decode_with_soundfile(answer.content)[0]) == 320 * (10 + CUTOFF_FRAMES)


def test_drain_timeout_is_reported(checkpoint, monkeypatch):
    with live_server(checkpoint, max_batch_size=1, drain_seconds=0.05) as server, ThreadPoolExecutor(1) as people:
        steps = Steps(monkeypatch)
        steps.hold()
        accepted = people.submit(server.speak, input="Hello.", duration=0.2)
        wait_until(lambda: server.synthesis.num_admitted == 1)
        server.drain()
        answer = accepted.result(PATIENCE_SECONDS)
        assert answer.status_code == 503 and "before the request had finished" in answer.json()["error"]["message"]
        steps.open.set()


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_signal_loses_no_accepted_request(checkpoint, number):
    options = ("--max-batch-size", 2, "--model", checkpoint)
    with (
        server_process(*options) as (process, url),
        httpx.Client(base_url=url, timeout=PATIENCE_SECONDS) as client,
        ThreadPoolExecutor(8) as people,
    ):

        def speak(seed):
            stream_format = [None, "audio"][seed % 2]
            body = {"input": "Hello.", "duration": 12.0, "seed": seed, "response_format": "pcm", "sample_rate": 16000}
            return client.post(SPEECH, json=body | {"stream_format": stream_format})

        def admitted() -> float:
            lines = client.get("/metrics").text.splitlines()
            return next(float(line.split()[-1]) for line in lines if line.startswith("t5gemma_tts_admitted"))

        speaking = [people.submit(speak, seed) for seed in range(8)]
        wait_until(lambda: admitted() == 8)
        process.send_signal(number)
        answers = [future.result(PATIENCE_SECONDS) for future in speaking]
        assert [answer.status_code for answer in answers] == [200] * 8
        assert [len(answer.content) for answer in answers] == [2 * 320 * (600 + CUTOFF_FRAMES)] * 8
        assert process.wait(PATIENCE_SECONDS) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)


@pytest.mark.slow
def test_second_signal_stops_at_once(checkpoint):
    with server_process("--model", checkpoint) as (process, url), ThreadPoolExecutor(1) as people:
        speaking = people.submit(httpx.post, url + SPEECH, json={"input": "Hello.", "duration": 119.0}, timeout=None)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_SECONDS)
        assert speaking.exception(PATIENCE_SECONDS) or speaking.result().status_code == 503


def test_signal_does_not_wait_for_half_sent_requests(checkpoint):
    with server_process("--model", checkpoint, "--drain-seconds", 10_000) as (process, url):
        host, port = url.removeprefix("http://").split(":")
        connections = [socket.create_connection((host, int(port))) for _ in range(20)]
        for number, connection in enumerate(connections):
            connection.sendall(b"POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\n")
            if number % 2:
                connection.sendall(b"Content-Length: 99\r\n\r\n{")
        assert httpx.get(f"{url}/health").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
        for connection in connections:
            connection.close()


HUNG_SERVER = """
import sys, threading
from serving import load
from t5gemma_tts.serving import server
from t5gemma_tts.serving.service import Service
from t5gemma_tts.serving.synthesis import SynthesisService

server.CONNECTION_CLOSE_SECONDS = server.THREAD_CLOSE_SECONDS = 0.5
synthesis = SynthesisService(*load(sys.argv[1]))
prepare = synthesis._prepare
synthesis._prepare = lambda request: threading.Event().wait() if request.text == "Hang." else prepare(request)
listener = server.bind_socket("127.0.0.1", 0)
server.serve(Service(synthesis), listener, drain_seconds=0.5, log_level="error")
"""


def test_signal_ends_the_process_even_if_a_thread_hangs(checkpoint):
    command = [sys.executable, "-c", HUNG_SERVER, str(checkpoint)]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
    with (
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process,
        ThreadPoolExecutor(1) as people,
    ):
        url = process.stdout.readline().split()[-1]
        hanging = people.submit(httpx.post, url + SPEECH, json={"input": "Hang."}, timeout=None)
        wait_until(lambda: "t5gemma_tts_admitted 1.0" in httpx.get(f"{url}/metrics").text)
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(PATIENCE_SECONDS) == 1
        finally:
            process.kill()
        assert hanging.exception(PATIENCE_SECONDS) or hanging.result().status_code >= 500
