"""Clients that hang: they lose their connection, and others do not notice them."""

import asyncio
import contextlib
import json
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from serving import PATIENCE_SECONDS, SPEECH, Steps, live_server, wait_until

from t5gemma_tts.serving.limits import Limits


HEAD = b"POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
BODY = json.dumps({"input": "Hello.", "duration": 0.2, "response_format": "pcm"}).encode()
DEADLINE = Limits(max_head_seconds=0.3, max_body_seconds=0.3)


@contextlib.contextmanager
def connection(server, *parts: bytes):
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as client:
        for part in parts:
            client.sendall(part)
        yield client


def read_all(client: socket.socket) -> bytes:
    """Everything until the server closes the connection."""
    with contextlib.suppress(ConnectionResetError):
        return b"".join(iter(lambda: client.recv(65536), b""))
    return b""


@pytest.mark.parametrize("sent", [b"", b"x" * 100_000, b"x" * 3_000_000], ids=len)
def test_content_length_above_the_limit_is_refused_at_once(checkpoint, sent):
    with live_server(checkpoint, limits=Limits(max_body_bytes=1_000_000)) as server:
        head = HEAD + b"Content-Length: 10000000000\r\nExpect: 100-continue\r\n\r\n"
        with connection(server, head) as client:
            answer = b""
            while b"at most 1000000 bytes" not in answer:  # before a byte of the body was sent
                answer += (part := client.recv(4096))
                assert part and answer.startswith(b"HTTP/1.1 413 "[: len(answer)])
            with contextlib.suppress(ConnectionError):
                client.sendall(sent)
        assert server.speak(input="Hello.", duration=0.2).status_code == 200


@pytest.mark.parametrize("start", [b"", b"P", b"POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\n"])
@pytest.mark.parametrize("before", [b"", b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["new", "used"])
def test_late_headers(checkpoint, start, before):
    with live_server(checkpoint, limits=DEADLINE) as server, connection(server, before) as client:
        if before:
            assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
        client.sendall(start)
        answer = read_all(client)
        assert answer.startswith(b"HTTP/1.1 408 ") if not before else b"408" not in answer
        wait_until(lambda: server.server.guard.num_open == 0)


def test_headers_that_trickle_do_not_extend_the_deadline(checkpoint):
    with live_server(checkpoint, limits=DEADLINE) as server, connection(server) as client:
        with contextlib.suppress(ConnectionError):
            while True:
                client.sendall(b"P")
                client.settimeout(0.05)
                with contextlib.suppress(TimeoutError):
                    if b"408" in client.recv(4096):
                        break
        wait_until(lambda: server.server.guard.num_open == 0)


def test_late_body(checkpoint):
    with live_server(checkpoint, limits=DEADLINE) as server:
        with connection(server, HEAD + b"Content-Length: 99\r\n\r\n{") as client:
            answer = read_all(client)
        assert answer.startswith(b"HTTP/1.1 408 ") and b"within 0.3 seconds, or at 16384 bytes per second" in answer
        assert server.service.num_pending_bytes == 0


def test_each_part_of_a_body_extends_its_deadline(checkpoint):
    limits = Limits(max_body_seconds=0.3, min_body_rate=1.0)
    with live_server(checkpoint, limits=limits) as server:
        with connection(server, HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY), BODY[:50]) as client:
            client.settimeout(0.6)
            with pytest.raises(TimeoutError):
                client.recv(4096)
            client.settimeout(PATIENCE_SECONDS)
            client.sendall(BODY[50:])
            assert client.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_incomplete_large_bodies_do_not_fill_the_memory(checkpoint):
    with live_server(checkpoint, limits=Limits(max_pending_bytes=100_000)) as server:
        with connection(server, HEAD + b"Content-Length: 200000\r\n\r\n" + b" " * 90_000):
            wait_until(lambda: server.service.num_pending_bytes == 90_000)
            answer = server.client.post(SPEECH, content=BODY + b" " * 70_000)
            assert answer.status_code == 429 and "large requests" in answer.text
            assert server.speak(input="Hello.", duration=0.2).status_code == 200
        wait_until(lambda: server.service.num_pending_bytes == 0)
        answer = server.client.post(SPEECH, content=BODY + b" " * 70_000, headers={"Content-Type": "application/json"})
        assert answer.status_code == 200


def test_the_longest_wait_makes_room(checkpoint, monkeypatch):
    with live_server(checkpoint, limits=Limits(max_connections_per_address=2)) as server:
        steps = Steps(monkeypatch)
        steps.hold()
        request = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
        with connection(server, request) as busy, connection(server, HEAD) as waiting:
            wait_until(lambda: server.service.num_open_requests == 1 and server.server.guard.num_open == 2)
            with connection(server, request) as second:
                assert read_all(waiting) == b""  # closed, and not the one that speaks
                wait_until(lambda: server.service.num_open_requests == 2)
                with connection(server) as third:
                    answer = read_all(third)
                assert answer.startswith(b"HTTP/1.1 429 ") and b"Retry-After: 1" in answer
                steps.open.set()
                for client in (busy, second):
                    assert client.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_does_not_read_loses_its_stream(checkpoint):
    body = {"input": "Hello.", "duration": 100.0, "response_format": "wav", "sample_rate": 48000, "stream": True}
    body = json.dumps(body).encode()
    with live_server(checkpoint, limits=Limits(max_write_seconds=0.3)) as server:
        with connection(server) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            wait_until(lambda: server.synthesis.num_admitted == 1)
            wait_until(lambda: server.server.guard.num_open == 0)
        wait_until(lambda: server.synthesis.num_admitted == server.service.num_open_requests == 0)


def test_half_sent_requests_harm_nobody(checkpoint):
    """400 hung connections of one address; 64 clients of the same address are served completely."""
    bodies = [{"input": "Hello.", "duration": 0.2, "response_format": "pcm", "seed": seed} for seed in range(64)]
    with live_server(checkpoint) as server, contextlib.ExitStack() as stack:
        expected = [server.speak(**body).content for body in bodies]
        for number in range(400):
            part = [b"", HEAD, HEAD + b"Content-Length: 99\r\n\r\n{"][number % 3]
            stack.enter_context(connection(server, part))

        async def speak(body: dict) -> list[bytes]:
            async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE_SECONDS) as client:
                answers = [await client.post(SPEECH, json=body) for _ in range(2)]
                return [answer.content for answer in answers if answer.status_code == 200]

        async def speak_all() -> list[list[bytes]]:
            return await asyncio.gather(*map(speak, bodies))

        with ThreadPoolExecutor(1) as people:
            answers = people.submit(asyncio.run, speak_all()).result()
        assert answers == [[content, content] for content in expected]
        assert server.server.guard.num_open <= Limits().max_connections_per_address
