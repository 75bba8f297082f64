"""The server as replicas of Ray Serve, on a cluster of two nodes."""

import concurrent.futures
import contextlib
import os
import re
import signal
import threading
import time

import httpx
import numpy as np
import pytest
from clusters import actors, local_cluster, wait_for
from openai import OpenAI
from serving import PATIENCE_SECONDS, SPEECH, VOICES, decode_with_soundfile
from test_serving_uploads import file_of
from voices import voice


pytestmark = pytest.mark.slow
serve = pytest.importorskip("ray.serve")

PORT = 18431
URL = f"http://127.0.0.1:{PORT}"
LONG = {"input": "A long one.", "duration": 8.0, "response_format": "pcm", "sample_rate": 16000}


@pytest.fixture(scope="module")
def cluster():
    with local_cluster(cpus=1) as nodes:
        serve.start(http_options={"port": PORT, "location": "HeadOnly"})
        yield nodes
        serve.shutdown()


@pytest.fixture
def replicas(cluster, tmp_path):
    """Two replicas of nano, one on each node, that share a folder of voices."""
    with running(min_replicas=2, max_replicas=2, voices_dir=str(tmp_path / "voices"), served_model_name="nano"):
        assert len(set(actors("ServeReplica:speech").values())) == 2
        yield


@contextlib.contextmanager
def running(**arguments):
    from t5gemma_tts.serving.ray_app import SpeechArguments, app

    serve.run(app(SpeechArguments(**arguments)), name="speech")
    try:
        yield
    finally:
        serve.delete("speech")


def replica_that_answers() -> str:
    """When the process started that answers, which tells replicas apart."""
    return metric("process_start_time_seconds")


def metric(name: str) -> str:
    text = httpx.get(f"{URL}/metrics", timeout=PATIENCE_SECONDS).text
    return re.search(rf"^{name} (\S+)", text, re.MULTILINE)[1]


def speak(**body) -> httpx.Response:
    return httpx.post(URL + SPEECH, json=body, timeout=PATIENCE_SECONDS)


def test_requests_streams_and_voices(replicas):
    assert httpx.get(f"{URL}/health").json() == {"status": "ok"} and httpx.get(f"{URL}/ready").status_code == 200
    assert wait_for(lambda: len({replica_that_answers() for _ in range(20)}) == 2, "second replica that answers")
    client = OpenAI(base_url=f"{URL}/v1", api_key="none")
    options = {"model": "nano", "voice": "default", "extra_body": {"seed": 7}}
    sounds = set()
    for _ in range(8):  # by either of them
        answer = client.audio.speech.create(input="Hello there.", response_format="wav", **options)
        sounds.add(answer.content)
    assert len(sounds) == 1
    sound, rate = decode_with_soundfile(sounds.pop())
    assert rate == 16000 and 0.3 < len(sound) / rate < 2
    long = "The first sound comes long before the last one, and there are many between."
    began, came = time.monotonic(), []
    with client.audio.speech.with_streaming_response.create(
        input=long, response_format="pcm", stream_format="audio", **options
    ) as stream:
        for piece in stream.iter_bytes():
            came.append((time.monotonic() - began, len(piece)))
    whole = client.audio.speech.create(input=long, response_format="pcm", **options).content
    assert len(came) > 2 and sum(size for _, size in came) == len(whole)
    print("stream: first piece after", round(came[0][0], 2), "s, last after", round(came[-1][0], 2), "s")
    assert came[0][0] < 0.7 * came[-1][0]
    events = httpx.post(
        URL + SPEECH, json={"input": long, "stream_format": "sse", "response_format": "pcm"}, timeout=PATIENCE_SECONDS
    ).text
    assert events.count("speech.audio.delta") > 2 and events.count("speech.audio.done") == 1
    form = {"name": "anna", "consent": "true", "reference_text": "What is said."}
    assert httpx.post(URL + VOICES, data=form, files={"audio": file_of(voice(16000))}).status_code == 201
    cloned = {speak(input="Hello.", voice="anna", seed=1, response_format="wav").content for _ in range(8)}
    assert len(cloned) == 1
    assert speak(input="").status_code == 400 and httpx.get(f"{URL}/nothing").status_code == 404


def test_a_replica_that_is_killed_comes_back(replicas):
    before = set(actors("ServeReplica:speech"))
    stop, statuses = threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            try:
                statuses.append(speak(input="Hello there.", response_format="pcm").status_code)
            except httpx.HTTPError as error:
                statuses.append(type(error).__name__)

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    try:
        wait_for(lambda: len(statuses) >= 6, "answers")
        began = time.monotonic()
        os.kill(min(before), signal.SIGKILL)
        wait_for(lambda: len(set(actors("ServeReplica:speech")) - {min(before)}) == 2, "new replica")
        wait_for(lambda: serve.status().applications["speech"].status == "RUNNING", "application that runs")
        print(f"a new replica after {time.monotonic() - began:.0f} s")
        wait_for(lambda: len({replica_that_answers() for _ in range(10)}) == 2, "second replica that answers")
    finally:
        stop.set()
        for asker in askers:
            asker.join()
    failed = [status for status in statuses if status != 200]
    print(f"{len(statuses)} requests meanwhile, failed: {failed}")
    assert len(failed) <= 3 and statuses[-3:] == [200] * 3  # no more than were with the one that was killed


def test_whoever_leaves_frees_their_place(cluster):
    with running(max_batch_size=1, queue_size=0, served_model_name="nano"):
        speaking = "t5gemma_tts_speaking"
        body = LONG | {"duration": 60.0, "stream_format": "audio"}
        with httpx.stream("POST", URL + SPEECH, json=body, timeout=PATIENCE_SECONDS) as stream:
            pieces = stream.iter_raw()  # which closes the stream when it goes
            next(pieces)
            assert float(metric(speaking)) == 1
            busy = speak(input="Hello.")
            assert busy.status_code == 429 and int(busy.headers["Retry-After"]) >= 1
        began = time.monotonic()
        wait_for(lambda: float(metric(speaking)) == 0, "place")
        assert speak(input="Hello.").status_code == 200
        assert float(metric("t5gemma_tts_audio_tokens_total")) < 60 * 50 / 2  # it was not spoken to its end
        print(f"free after {time.monotonic() - began:.1f} s")


def test_what_was_taken_is_answered(cluster):
    """The application is taken away while it speaks."""
    with running(served_model_name="nano"):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            answers = [pool.submit(speak, **LONG, seed=seed) for seed in range(4)]
            time.sleep(1)
            serve.delete("speech")
            sizes = [len(answer.result().content) for answer in answers]
        assert {answer.result().status_code for answer in answers} == {200}
        assert np.allclose(sizes, 8 * 16000 * 2, rtol=0.1)


@pytest.mark.parametrize("wrong", [{"max_replicas": 0}, {"min_replicas": 3, "max_replicas": 2}, {"unknown": 1}])
def test_arguments_that_make_no_sense(wrong):
    from t5gemma_tts.serving.ray_app import SpeechArguments, app

    with pytest.raises(ValueError, match="max_replicas|unknown"):
        app(SpeechArguments(**wrong))
