"""The server's answers, over HTTP: speech, batches, voices, and words for whatever is wrong."""

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from serving import SPEECH, VOICES, Steps, decode_with_soundfile, live_server, load, wait_until
from test_serving_uploads import file_of
from voices import CUTOFF_FRAMES, voice

from t5gemma_tts import SpeechEngine, speech_requests
from t5gemma_tts.serving.auth import ApiKeys
from t5gemma_tts.serving.errors import SpeechFailed
from t5gemma_tts.serving.limits import Limits


DURATION = 0.3
SAMPLES = 320 * (15 + CUTOFF_FRAMES)  # of it, by the endless checkpoint
RECORDING = file_of(voice(16000))
UPLOAD = {"name": "anna", "consent": "true", "reference_text": "What is said."}


def pcm(answer) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return np.frombuffer(answer.content, "<i2")


def error_of(answer, status: int) -> dict:
    assert answer.status_code == status, answer.text
    (error,) = answer.json().values()
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    return error


def upload(server, audio=RECORDING, **changes):
    return server.client.post(VOICES, data=UPLOAD | changes, files={"audio": ("../../x.wav", audio)})


def test_speech_equals_model_and_processor(server, checkpoint):
    body = {"input": "Hello.", "duration": DURATION, "language": "en", "seed": 5, "temperature": 1.5, "top_k": 40}
    answer = server.speak(response_format="pcm", sample_rate=16000, **body)
    model, processor = load(checkpoint)
    inputs = processor(text="Hello.", language="en", duration=DURATION)
    (request,) = SpeechEngine(model).run(speech_requests(model, **inputs, seed=5, temperature=1.5, top_k=40))
    (sound,) = processor.batch_decode([request.token_ids])
    np.testing.assert_allclose(pcm(answer) / 32767, sound.clip(-1, 1), atol=1e-4)
    assert answer.headers["content-type"] == "audio/pcm;rate=16000;encoding=signed-int;bits=16"
    assert answer.headers["x-seed"] == "5" and float(answer.headers["x-duration"]) == SAMPLES / 16000
    wav, rate = decode_with_soundfile(server.speak(response_format="wav", **body).content)
    np.testing.assert_allclose(wav, pcm(answer) / 32768, atol=1e-6)


def test_random_seed_is_reported(server):
    body = {"input": "Hello.", "duration": DURATION, "response_format": "pcm", "temperature": 2.0}
    answers = [server.speak(**body) for _ in range(2)]
    assert answers[0].content != answers[1].content
    again = server.speak(**body, seed=int(answers[0].headers["x-seed"]))
    assert again.content == answers[0].content
    greedy = [server.speak(**body | {"temperature": 0}).content for _ in range(2)]
    assert greedy[0] == greedy[1]


@pytest.mark.parametrize("stream_format", ["audio", "sse"])
def test_streams(server, stream_format):
    body = {"input": "Hello there.", "duration": 2.0, "seed": 3, "response_format": "pcm", "sample_rate": 16000}
    with server.client.stream("POST", SPEECH, json=body | {"stream_format": stream_format}) as answer:
        assert answer.status_code == 200 and "content-length" not in answer.headers
        assert answer.headers["x-seed"] == "3"
        data = b"".join(answer.iter_raw())
    if stream_format == "sse":
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert data.endswith(b"\n\n")
        events = [json.loads(line.removeprefix(b"data: ")) for line in data.split(b"\n\n")[:-1]]
        *deltas, done = events
        assert len(deltas) > 1 and {event["type"] for event in deltas} == {"speech.audio.delta"}
        data = b"".join(base64.b64decode(event["audio"]) for event in deltas)
        frames = 100 + CUTOFF_FRAMES
        assert done["type"] == "speech.audio.done"
        assert done["usage"]["output_tokens"] == frames and done["usage"]["total_tokens"] > frames
    whole = pcm(server.speak(**body))
    streamed = np.frombuffer(data, "<i2")
    assert len(streamed) == len(whole) == 320 * (100 + CUTOFF_FRAMES)
    assert np.corrcoef(streamed, whole)[0, 1] > 0.5  # windows of random weights' codec are only alike


def test_batches(server):
    good = {"input": "Hello.", "duration": DURATION, "seed": 5}
    items = [good, {"input": ""}, good | {"seed": 6}, {"input": "Hi.", "voice": "nobody"}, {"text": "Hi."}, {}]
    answer = server.client.post(f"{SPEECH}/batch", json={"items": items, "response_format": "wav"})
    assert answer.status_code == 200
    results = answer.json()["data"]
    assert [result["index"] for result in results] == list(range(6))
    for number, seed in ((0, 5), (2, 6)):
        assert results[number]["error"] is None and results[number]["seed"] == seed
        assert results[number]["duration"] == SAMPLES / 16000
        alone = server.speak(**good | {"seed": seed}, response_format="wav").content
        assert base64.b64decode(results[number]["audio"]) == alone
    wrong = {1: "input: String should have", 3: "there is no voice 'nobody'", 4: "input: Field required"}
    for number, message in wrong.items():
        assert results[number]["audio"] is None and message in results[number]["error"]["message"]


def test_voices(server):
    created = upload(server)
    assert created.status_code == 201
    assert created.json() | {"created": ""} == {
        "id": "anna",
        "object": "audio.voice",
        "name": "anna",
        "reference_text": "What is said.",
        "consent": True,
        "duration": 1.0,
        "created": "",
    }
    assert [one["id"] for one in server.client.get(VOICES).json()["data"]] == ["default", "anna"]
    body = {"input": "Hello.", "duration": DURATION, "seed": 1, "response_format": "pcm"}
    with_voice = pcm(server.speak(**body, voice="anna"))
    assert (with_voice == pcm(server.speak(**body, voice={"id": "anna"}))).all()
    sent = {"reference_audio": base64.b64encode(RECORDING).decode(), "reference_text": "What is said."}
    assert (with_voice == pcm(server.speak(**body, **sent))).all()
    assert (with_voice != pcm(server.speak(**body))).any()
    error = error_of(upload(server), 409)
    assert error["code"] == "already_exists" and error["param"] == "name"
    assert server.client.delete(f"{VOICES}/anna").json()["deleted"] is True
    error_of(server.client.delete(f"{VOICES}/anna"), 404)
    assert error_of(server.speak(**body, voice="anna"), 404)["param"] == "voice"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"consent": "false"}, "`consent` must be true"),
        ({"consent": "perhaps"}, "consent: Input should be a valid boolean"),
        ({"name": "../../etc/passwd"}, "the name of a voice must be"),
        ({"name": "Anna\0"}, "the name of a voice must be"),
        ({"name": "default"}, "the model's own voice"),
        ({"reference_text": ""}, "reference_text"),
        ({"reference_text": " "}, "`reference_text`"),
        ({"reference_text": "a" * 5000}, "at most 4096 characters"),
        ({"audio": b"no audio"}, "`audio` cannot be decoded"),
        ({"audio": b""}, "`audio` cannot be decoded"),
        ({"audio": file_of(voice(800))}, "`audio` must take 0.5 to 30.0 seconds, got 0.05"),
        ({"audio": file_of(np.full(16000, np.nan), subtype="FLOAT")}, "`audio` has NaN or infinite samples"),
    ],
)
def test_voices_that_are_refused(server, changes, message):
    before = server.client.get(VOICES).json()
    assert message in error_of(upload(server, **changes), 400)["message"]
    assert server.client.get(VOICES).json() == before


@pytest.mark.parametrize("path", ["..%2f..%2fetc", "%2e%2e", "a%00b", "A", "a" * 100])
def test_delete_rejects_path_traversal(server, path):
    assert server.client.delete(f"{VOICES}/{path}").status_code in (400, 404, 405)


BASE64 = base64.b64encode(RECORDING).decode()


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"input": " \n"}, 400, "input"),
        ({"input": None}, 400, "input"),
        ({"input": 5}, 400, "input"),
        ({"input": "a" * 5000}, 400, "input"),
        ({"input": "\ud800"}, 400, "input"),
        ({"voice": "../../etc/passwd"}, 400, "name"),
        ({"voice": "nobody"}, 404, "voice"),
        ({"response_format": "m4a"}, 400, "response_format"),
        ({"sample_rate": 44}, 400, "sample_rate"),
        ({"sample_rate": 22050, "response_format": "opus"}, 400, "sample_rate"),
        ({"stream": "yes"}, 400, "stream"),
        ({"stream_format": "websocket"}, 400, "stream_format"),
        ({"speed": 0}, 400, "speed"),
        ({"speed": "fast"}, 400, "speed"),
        ({"speed": 2.0, "duration": 1.0}, 400, "speed"),
        ({"duration": float("nan")}, 400, "duration"),
        ({"duration": float("inf")}, 400, "duration"),
        ({"duration": -1}, 400, "duration"),
        ({"duration": 1e300}, 400, "duration"),
        ({"duration": 1000.0}, 400, "duration"),
        ({"duration": True}, 400, "duration"),
        ({"language": ""}, 400, None),
        ({"seed": 10**400}, 400, "seed"),
        ({"seed": -1}, 400, "seed"),
        ({"temperature": 1e-40}, 400, "temperature"),
        ({"min_p": 1e-300}, 400, "min_p"),
        ({"top_p": 0}, 400, "top_p"),
        ({"top_k": 10**30}, 400, "top_k"),
        ({"reference_text": "What?"}, 400, "reference_text"),
        ({"reference_audio": BASE64}, 400, "reference_text"),
        ({"reference_audio": BASE64, "reference_text": " "}, 400, "reference_text"),
        ({"reference_audio": BASE64, "reference_text": "Hm.", "voice": "anna"}, 400, "reference_audio"),
        ({"reference_audio": "/etc/passwd", "reference_text": "Hm."}, 400, "reference_audio"),
        ({"reference_audio": "http://127.0.0.1/x.wav", "reference_text": "Hm."}, 400, "reference_audio"),
        ({"reference_audio": "A" * 15_000_000, "reference_text": "Hm."}, 413, "reference_audio"),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.parametrize("stream_format", [None, "audio"])
def test_invalid_speech_requests(server, body, status, param, stream_format):
    content = json.dumps({"input": "Hello.", "stream_format": stream_format} | body)  # NaN as Python writes it
    answer = server.client.post(SPEECH, content=content, headers={"Content-Type": "application/json"})
    assert error_of(answer, status)["param"] == param


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[" * 100_000, b"\xff", b'{"input": "x", "seed": ' + b"9" * 5000 + b"}", b"null", b"[]", b'"Hello."'],
    ids=lambda content: str(content[:20]),
)
def test_invalid_json_bodies(server, content):
    for path in (SPEECH, f"{SPEECH}/batch"):
        error_of(server.client.post(path, content=content, headers={"Content-Type": "application/json"}), 400)


def test_other_client_errors(server):
    assert error_of(server.client.get("/v1/nothing"), 404)["code"] == "not_found"
    answer = server.client.get(SPEECH)
    assert error_of(answer, 405)["code"] == "method_not_allowed" and answer.headers["allow"] == "POST"
    error_of(server.client.post(SPEECH, content=b"input=Hello."), 400)
    error_of(server.client.post(VOICES, content=b"--x", headers={"Content-Type": "multipart/form-data"}), 400)
    items = [{"input": "Hello."}] * 33
    assert (
        "at most 32, got 33" in error_of(server.client.post(f"{SPEECH}/batch", json={"items": items}), 400)["message"]
    )
    error_of(server.client.post(f"{SPEECH}/batch", json={"items": []}), 400)


def test_models_status_and_metrics(server):
    assert [model["id"] for model in server.client.get("/v1/models").json()["data"]][:2] == ["tiny", "tts-1"]
    assert server.client.get("/v1/models/tts-1").json()["object"] == "model"
    error_of(server.client.get("/v1/models/gpt-4"), 404)
    assert server.client.get("/health").json() == {"status": "ok"}
    assert server.client.get("/ready").json() == {"status": "ready"}
    assert "/v1/audio/speech/batch" in server.client.get("/openapi.json").json()["paths"]

    def figure(name: str) -> float:
        lines = server.client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    before = figure("t5gemma_tts_audio_tokens_total")
    server.speak(input="Hello.", duration=DURATION)
    assert figure("t5gemma_tts_audio_tokens_total") == before + 15 + CUTOFF_FRAMES + 1  # with its end
    assert figure('t5gemma_tts_requests_total{method="POST",path="/v1/audio/speech",status="200"}') > 0
    assert figure("t5gemma_tts_capacity") == 80 and figure("t5gemma_tts_admitted") == 0


def test_bodies_beyond_the_limit(checkpoint):
    with live_server(checkpoint, limits=Limits(max_body_bytes=10_000)) as server:

        def pieces():
            for _ in range(30):
                yield b" " * 1000

        for content in (b" " * 10_001, pieces()):
            answer = server.client.post(SPEECH, content=content, headers={"Content-Type": "application/json"})
            assert error_of(answer, 413)["code"] == "too_large"
        assert server.speak(input="Hello.", duration=DURATION).status_code == 200
        assert "without --voices-dir" in error_of(upload(server, audio=b"x"), 400)["message"]
        error_of(server.speak(input="Hello.", voice="anna"), 404)


def test_keys(checkpoint, tmp_path):
    (tmp_path / "keys").write_text("# ours\nfirst-key\n\n  second-key \n")
    with live_server(checkpoint, keys=ApiKeys.from_file(tmp_path / "keys")) as server:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic first-key"}):
            for path in (SPEECH, "/metrics", "/v1/models"):
                answer = server.client.request("POST" if path == SPEECH else "GET", path, headers=headers)
                assert error_of(answer, 401)["code"] == "invalid_api_key"
                assert answer.headers["www-authenticate"] == "Bearer"
        for path in ("/health", "/ready", "/openapi.json"):
            assert server.client.get(path).status_code == 200
        for key in ("first-key", "second-key"):
            assert server.client.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    for text in ("", "# none\n", "two words\n", "schlüssel\n"):
        (tmp_path / "keys").write_text(text)
        with pytest.raises(ValueError, match="API key"):
            ApiKeys.from_file(tmp_path / "keys")


def test_full_queue_and_deadline(checkpoint, monkeypatch):
    with live_server(checkpoint, max_batch_size=1, queue_size=1, deadline_seconds=3.0) as server:
        steps = Steps(monkeypatch)
        steps.hold()
        with ThreadPoolExecutor(2) as people:
            waiting = [people.submit(server.speak, input="Hello.", duration=DURATION) for _ in range(2)]
            wait_until(lambda: server.synthesis.num_admitted == 2)
            answer = server.speak(input="Hello.")
            assert error_of(answer, 429)["code"] == "queue_full" and int(answer.headers["retry-after"]) >= 1
            answer = server.client.post(f"{SPEECH}/batch", json={"items": [{"input": "Hello."}] * 2})
            error_of(answer, 429)
            answer = server.client.post(f"{SPEECH}/batch", json={"items": [{"input": "Hello."}] * 3})
            assert "at most 2 texts" in error_of(answer, 400)["message"]
            assert steps.held.wait(60)
            began = time.monotonic()
            wait_until(lambda: time.monotonic() > began + 3.1)
            steps.open.set()
            for future in waiting:
                assert error_of(future.result(), 504)["code"] == "deadline_exceeded"
        assert server.synthesis.num_admitted == 0


def test_internal_errors_have_the_same_shape(checkpoint, monkeypatch):
    with live_server(checkpoint) as server:

        async def fail(job):
            raise SpeechFailed("speech generation failed: RuntimeError.")

        monkeypatch.setattr(server.synthesis, "speak", fail)
        assert error_of(server.speak(input="Hello."), 500)["code"] == "speech_failed"
        monkeypatch.setattr(server.synthesis, "speak", None)
        assert error_of(server.speak(input="Hello."), 500)["message"].startswith("internal server error")
        server.synthesis.close()
        # uvicorn closes connections on which something broke: whoever asks next needs one of their own
        error_of(httpx.get(server.client.base_url.join("/health")), 500)
        error_of(httpx.get(server.client.base_url.join("/ready")), 503)


def test_lexicon_is_off_unless_the_server_allows_it(server):
    error = error_of(server.speak(input="Hello.", lexicon={"Hello": "Goodbye"}), 400)
    assert error["param"] == "lexicon" and "--max-lexicon-entries" in error["message"]


def test_lexicon_and_normalize(checkpoint):
    options = {"duration": DURATION, "seed": 1, "response_format": "pcm"}
    with live_server(checkpoint, limits=Limits(max_lexicon_entries=2)) as server:
        goodbye = pcm(server.speak(input="Goodbye.", **options))
        np.testing.assert_array_equal(
            pcm(server.speak(input="Hello.", lexicon={"hello": "Goodbye"}, **options)), goodbye
        )
        five = pcm(server.speak(input="Five dollars.", language="en", **options))
        spoken = server.speak(input="$5.", language="en", normalize=True, **options)
        assert len(pcm(spoken)) == len(five)
        for lexicon in ({"a": "b", "c": "d", "e": "f"}, {"a": "b" * 201}, {"a": "b/c"}, {"": "b"}):
            assert error_of(server.speak(input="Hello.", lexicon=lexicon, **options), 400)["param"] == "lexicon"
        error_of(server.speak(input="Hello.", normalize="yes", **options), 400)
