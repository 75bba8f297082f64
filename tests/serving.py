"""Servers for tests: in a thread, or in a process of their own; and engines that stop when told."""

import contextlib
import io
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import av
import httpx
import numpy as np
import soundfile

from t5gemma_tts import SpeechEngine, T5GemmaTTSForConditionalGeneration, T5GemmaTTSProcessor
from t5gemma_tts.serving.names import Names
from t5gemma_tts.serving.server import Server, bind_socket
from t5gemma_tts.serving.service import Service
from t5gemma_tts.serving.synthesis import SynthesisService


ROOT = Path(__file__).parents[1]
SPEECH = "/v1/audio/speech"
VOICES = "/v1/audio/voices"
PATIENCE_SECONDS = 120
TWO_NAMES = Names(("tiny", "tts-1"))


def load(checkpoint) -> tuple:
    """Model and processor, nobody else's."""
    model = T5GemmaTTSForConditionalGeneration.from_pretrained(checkpoint)
    return model, T5GemmaTTSProcessor.from_pretrained(checkpoint)


class Live:
    """A running server."""

    def __init__(self, server: Server, listener):
        self.server, self.service, self.synthesis = server, server.service, server.service.synthesis
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.client = httpx.Client(base_url=self.url, timeout=PATIENCE_SECONDS)

    def half_a_request(self) -> socket.socket:
        """A connection on which the rest of a body is still to come."""
        connection = socket.create_connection(("127.0.0.1", int(self.url.rsplit(":", 1)[1])))
        head = b"POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        connection.sendall(head + b'Content-Length: 99\r\n\r\n{"input": "Hel')
        return connection

    def drain(self) -> None:
        """What a signal does."""
        self.server.loop.call_soon_threadsafe(self.server.drain)

    def speak(self, **body) -> httpx.Response:
        return self.client.post(SPEECH, json=body)


@contextlib.contextmanager
def live_server(
    checkpoint,
    voices_dir=None,
    keys=None,
    limits=None,
    drain_seconds=PATIENCE_SECONDS,
    strict=False,
    names=TWO_NAMES,
    **options,
):
    """Yields a [`Live`] server of a checkpoint in a thread; `options` are the synthesis's."""
    started = threading.Event()

    class Telling(Server):
        async def startup(self, sockets=None):
            await super().startup(sockets)
            started.set()

    synthesis = SynthesisService(*load(checkpoint), **options)
    service = Service(synthesis, voices_dir, names, keys, limits, strict)
    with bind_socket("127.0.0.1", 0) as listener:
        server = Telling(service, drain_seconds, log_level="warning")
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        live = Live(server, listener)
        try:
            assert started.wait(PATIENCE_SECONDS)
            yield live
        finally:
            live.client.close()
            server.should_exit = True
            thread.join(PATIENCE_SECONDS)
            synthesis.close(finish=False, timeout=PATIENCE_SECONDS)
    assert not thread.is_alive()


@contextlib.contextmanager
def server_process(*arguments, **environment):
    """Yields the process of `t5gemma-tts serve` and its address."""
    command = [sys.executable, "-m", "t5gemma_tts", "serve", "--port", "0", *map(str, arguments)]
    process = subprocess.Popen(
        command, env=dict(os.environ, PYTHONPATH=str(ROOT), **environment), stdout=subprocess.PIPE, text=True
    )
    try:
        line = process.stdout.readline()
        yield process, re.fullmatch(r"listening at (http://\S+)\n", line)[1]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class Steps:
    """
    Holds all engines before their next step until `open` is set; `held` tells that one is there. After `fail()` the
    next step of one fails.
    """

    def __init__(self, monkeypatch):
        self.open, self.held = threading.Event(), threading.Event()
        self.open.set()
        self._failing = False
        self.sizes: list[int] = []  # of the batch at every step
        step = SpeechEngine.step

        def gated(engine, shortest_first=False):
            if not self.open.is_set():
                self.held.set()
                assert self.open.wait(PATIENCE_SECONDS)
            if self._failing:
                self._failing = False
                raise RuntimeError("told to")
            served = step(engine, shortest_first)
            self.sizes.append(len(served))
            return served

        monkeypatch.setattr(SpeechEngine, "step", gated)

    def fail(self) -> None:
        self._failing = True

    def hold(self) -> None:
        self.held.clear()
        self.open.clear()


def wait_until(condition, seconds: float = PATIENCE_SECONDS) -> None:
    """Until `condition()`, looked at every few milliseconds."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.005)):
        if condition():
            return
        pause.wait(0.005)
    raise AssertionError("what was waited for did not come")


def decode_with_av(data: bytes) -> tuple[np.ndarray, int]:
    """float32 samples of a mono file, and Hz."""
    with av.open(io.BytesIO(data)) as container:
        resampler = av.AudioResampler("flt", "mono")
        frames = [piece for frame in container.decode(audio=0) for piece in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]), frames[0].sample_rate


def decode_with_soundfile(data: bytes) -> tuple[np.ndarray, int]:
    """As `decode_with_av`, in blocks: the length that a stream's header has means nothing."""
    blocks = []
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        while len(block := file.read(4096, dtype="float32")):
            blocks.append(block)
        return np.concatenate(blocks), file.samplerate
