"""Long texts on the server: spoken in pieces with one voice, streamed from the first piece, and none of it is lost."""

import base64
import json
import re

import numpy as np
import pytest
from serving import SPEECH, Steps, decode_with_av, decode_with_soundfile, live_server, wait_until
from test_serving_api import error_of
from test_serving_uploads import file_of
from voices import CUTOFF_FRAMES, voice

from t5gemma_tts.narration import KEPT_EDGE_SECONDS
from t5gemma_tts.serving.errors import SpeechFailed
from t5gemma_tts.serving.limits import Limits
from t5gemma_tts.serving.long_texts import SilenceTrimmer, split_if_long
from t5gemma_tts.serving.synthesis import SynthesisRequest


SENTENCE = "Number {} of these sentences says again that the gardener carries apples to the market. "
TEXT = "".join(SENTENCE.format(number) for number in range(8)) + "\n* * *\nThe end."
BODY = {"input": TEXT, "language": "en", "seed": 3, "response_format": "pcm", "sample_rate": 16000}


@pytest.fixture(scope="module")
def spoken(server):
    """The whole speech of `BODY`."""
    answer = server.speak(**BODY)
    assert answer.status_code == 200 and float(answer.headers["x-duration"]) == len(answer.content) / 32000
    return np.frombuffer(answer.content, "<i2")


@pytest.fixture
def requests(server, monkeypatch):
    """The requests that are given to the synthesis."""
    seen: list[SynthesisRequest] = []
    stream = server.synthesis.stream

    def watched(request, *arguments):
        seen.append(request)
        return stream(request, *arguments)

    monkeypatch.setattr(server.synthesis, "stream", watched)
    return seen


def test_all_pieces_are_spoken_in_the_voice_of_the_first(server, requests, spoken):
    answer = server.speak(**BODY, stream=True)
    assert len(requests) > 5
    assert re.sub(r"\s+", "", "".join(request.text for request in requests)) == re.sub(r"\s+", "", TEXT)
    first, *others = requests
    assert first.reference is None and [request.seed for request in requests] == [*range(3, 3 + len(requests))]
    references = {request.reference for request in others}
    assert len(references) == 1
    (reference,) = references
    assert reference.text == first.text and len(reference.codes) > CUTOFF_FRAMES
    np.testing.assert_array_equal(np.frombuffer(answer.content, "<i2"), spoken)


def test_a_given_voice_speaks_all_pieces(server, requests):
    recording = base64.b64encode(file_of(voice(16000))).decode()
    body = BODY | {"reference_audio": recording, "reference_text": "What is said."}
    assert server.speak(**body).status_code == 200
    assert {request.reference.text for request in requests} == {"What is said."}


@pytest.mark.parametrize(
    ("audio_format", "streaming"),
    [
        *((audio_format, {}) for audio_format in ("wav", "flac", "mp3", "opus", "aac")),
        *((audio_format, {"stream": True}) for audio_format in ("wav", "mp3", "aac")),
        *((audio_format, {"stream_format": "sse"}) for audio_format in ("flac", "opus")),
    ],
    ids=str,
)
def test_every_format_has_the_same_length(server, spoken, audio_format, streaming):
    data = server.speak(**BODY | {"response_format": audio_format} | streaming).content
    if "stream_format" in streaming:
        *deltas, done = [json.loads(line.removeprefix(b"data: ")) for line in data.split(b"\n\n")[:-1]]
        assert done["type"] == "speech.audio.done" and done["usage"]["output_tokens"] > len(spoken) / 320 / 2
        data = b"".join(base64.b64decode(event["audio"]) for event in deltas)
    sound, rate = decode_with_av(data)
    assert 0 <= len(sound) / rate - len(spoken) / 16000 <= {"wav": 0, "flac": 0}.get(audio_format, 0.2)
    if audio_format == "wav" and not streaming:
        np.testing.assert_array_equal(decode_with_soundfile(data)[0], spoken / np.float32(32768))


def test_batches_and_resampling(server, spoken):
    item = {name: BODY[name] for name in ("input", "language", "seed")}
    body = {"items": [item, item | {"input": "Hi.", "duration": 0.2}], "response_format": "pcm", "sample_rate": 24000}
    results = server.client.post(f"{SPEECH}/batch", json=body).json()["data"]
    assert results[0]["error"] is None and results[0]["duration"] == len(spoken) / 16000
    assert len(base64.b64decode(results[0]["audio"])) == 2 * round(len(spoken) * 1.5)
    streamed = server.speak(**BODY | {"sample_rate": 24000, "stream": True}).content
    assert len(streamed) == 2 * round(len(spoken) * 1.5)


def test_only_long_texts_are_split(processor):
    short = SynthesisRequest("One short text. " * 10, "en")
    assert processor.estimate_duration(short.text, "en") < 30 and split_if_long(short, processor) is None
    long = SynthesisRequest(TEXT, "en")
    assert len(split_if_long(long, processor)) > 5
    assert split_if_long(SynthesisRequest(TEXT, "en", duration_seconds=100.0), processor) is None
    assert split_if_long(SynthesisRequest(TEXT, "en", speed=4.0), processor) is None
    assert split_if_long(SynthesisRequest(TEXT, "en", speed=0.5), processor)


def test_deadlines_count_for_each_piece(checkpoint, monkeypatch):
    with live_server(checkpoint, max_batch_size=2, deadline_seconds=60.0) as server:
        given: list[float] = []
        submit = server.synthesis.worker.submit
        monkeypatch.setattr(
            server.synthesis.worker, "submit", lambda request, left: given.append(left) or submit(request, left)
        )
        assert server.speak(**BODY).status_code == 200
    assert len(given) > 5 and min(given) > 50


def test_errors_in_later_pieces(server, monkeypatch):
    stream = server.synthesis.stream

    async def failing(request, *arguments):
        if "Number 5" in request.text:
            raise SpeechFailed("told to")
        async for result in stream(request, *arguments):
            yield result

    monkeypatch.setattr(server.synthesis, "stream", failing)
    assert error_of(server.speak(**BODY), 500)["message"] == "told to"
    lines = server.speak(**BODY, stream_format="sse").text.split("\n\n")
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line]
    assert len(events) > 2 and events[-1]["error"]["message"] == "told to"
    wait_until(lambda: server.synthesis.num_admitted == server.synthesis.worker.num_running == 0)


def test_a_client_that_leaves_cancels_the_pieces_ahead(checkpoint, monkeypatch):
    with live_server(checkpoint, max_batch_size=2) as server:
        steps = Steps(monkeypatch)
        with server.client.stream("POST", SPEECH, json=BODY | {"stream": True}) as answer:
            assert next(answer.iter_raw())
            wait_until(lambda: server.synthesis.num_admitted == 2)
            steps.hold()
        steps.open.set()
        wait_until(lambda: server.synthesis.num_admitted == server.synthesis.worker.num_running == 0)
        wait_until(lambda: server.synthesis.worker.num_waiting == 0)


def test_a_full_server_speaks_a_long_text_piece_by_piece(checkpoint, spoken):
    with live_server(checkpoint, max_batch_size=1, queue_size=0) as server:
        assert np.frombuffer(server.speak(**BODY).content, "<i2").shape == spoken.shape


def test_limit_of_characters(checkpoint):
    with live_server(checkpoint, limits=Limits(max_characters=len(TEXT) - 1)) as server:
        assert error_of(server.speak(**BODY), 400)["param"] == "input"
    with pytest.raises(ValueError, match="`max_characters` must be at most 100000, got 100001"):
        Limits(max_characters=100_001)


@pytest.mark.parametrize("cuts", [[], [1], [100, 101, 9000], range(0, 40000, 313)], ids=lambda cuts: str(len(cuts)))
def test_silence_is_trimmed_however_the_speech_is_cut(cuts):
    rate, kept = 16000, round(KEPT_EDGE_SECONDS * 16000)
    sound = np.zeros(40000, dtype=np.float32)
    sound[5000:12000], sound[20000:30000] = 0.1, 0.5
    sound += 1e-4  # noise
    trimmer = SilenceTrimmer(rate)
    pieces = [trimmer.push(piece) for piece in np.split(sound, list(cuts))]
    trimmed = np.concatenate([*pieces, trimmer.finish()])
    np.testing.assert_array_equal(trimmed, sound[5000 - kept : 30000 + kept])
    silent = SilenceTrimmer(rate)
    assert not any(len(silent.push(piece)) for piece in np.split(np.zeros(9000, dtype=np.float32), 3))
    assert not len(silent.finish())
