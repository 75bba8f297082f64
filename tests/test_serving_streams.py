"""Streams that come to a bad end, and more requests than can be held open."""

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from serving import SPEECH, Steps, live_server, wait_until

from t5gemma_tts.serving.limits import Limits


LONG = {"input": "Hello.", "duration": 100.0, "response_format": "pcm"}


@pytest.fixture
def failing(checkpoint, monkeypatch):
    """A server, and what makes its engine fail."""
    with live_server(checkpoint) as server:
        yield server, Steps(monkeypatch)


def test_audio_stream_is_cut_off_at_shutdown(failing):
    server, steps = failing
    with server.client.stream("POST", SPEECH, json=LONG | {"stream_format": "audio"}) as answer:
        pieces = answer.iter_raw()
        assert next(pieces)
        steps.fail()
        with pytest.raises(httpx.RemoteProtocolError):
            list(pieces)
    assert server.speak(input="Hello.", duration=0.2).status_code == 200


def test_event_stream_reports_shutdown(failing):
    server, steps = failing
    with server.client.stream("POST", SPEECH, json=LONG | {"stream_format": "sse"}) as answer:
        events = (json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line)
        assert next(events)["type"] == "speech.audio.delta"
        steps.fail()
        last = list(events)[-1]
    assert last["type"] == "error" and last["error"]["code"] == "speech_failed"


def test_stream_that_fails_before_its_first_audio_has_a_status(failing):
    server, steps = failing
    steps.fail()
    answer = server.speak(**LONG, stream_format="audio")
    assert answer.status_code == 500 and answer.json()["error"]["code"] == "speech_failed"


def test_number_of_open_requests_is_limited(checkpoint, monkeypatch):
    with live_server(checkpoint) as server, ThreadPoolExecutor(1) as people:
        server.service.max_open_requests = 1
        steps = Steps(monkeypatch)
        steps.hold()
        first = people.submit(server.speak, input="Hello.", duration=0.2)
        wait_until(lambda: server.service.num_open_requests == 1)
        for method, path in (("POST", SPEECH), ("GET", "/v1/models")):
            answer = server.client.request(method, path, json={"input": "Hello."} if method == "POST" else None)
            assert answer.status_code == 429 and answer.headers["retry-after"] == "1"
        assert server.client.get("/health").status_code == 200
        steps.open.set()
        assert first.result(60).status_code == 200
        assert server.speak(input="Hello.", duration=0.2).status_code == 200
        wait_until(lambda: server.service.num_open_requests == 0)


def test_body_timeout(checkpoint):
    with live_server(checkpoint, limits=Limits(max_body_seconds=0.2)) as server, server.half_a_request() as connection:
        answer = b"".join(iter(lambda: connection.recv(4096), b""))  # until the server hangs up
    assert answer.startswith(b"HTTP/1.1 408 ") and b"within 0.2 seconds" in answer
