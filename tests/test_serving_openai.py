"""OpenAI's own Python client speaks through the server."""

import base64
import json

import numpy as np
import openai
import pytest
from serving import decode_with_av, decode_with_soundfile
from voices import CUTOFF_FRAMES


DURATION = 0.5
SECONDS = (25 + CUTOFF_FRAMES) / 50
SLACK_SECONDS = {"mp3": 0.1, "opus": 0.02}
EXTRAS = {"duration": DURATION, "seed": 3, "language": "en"}


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def check(data: bytes, audio_format: str, streamed: bool = False) -> None:
    if audio_format == "pcm":
        assert len(data) == 2 * round(16000 * SECONDS)
        return
    endless = streamed and audio_format == "flac"  # no length in its header, which soundfile needs
    for decode in (decode_with_av, *([] if endless else [decode_with_soundfile])):
        sound, rate = decode(data)
        assert 0 <= len(sound) / rate - SECONDS <= SLACK_SECONDS.get(audio_format, 0)
        assert np.abs(sound).max() > 0.01


@pytest.mark.parametrize("audio_format", ["mp3", "opus", "flac", "wav", "pcm"])
def test_plain(client, audio_format, tmp_path):
    options = {"model": "tts-1", "voice": "default", "input": "Hello there.", "response_format": audio_format}
    speech = client.audio.speech.create(**options, extra_body=EXTRAS)
    check(speech.content, audio_format)
    with client.audio.speech.with_streaming_response.create(**options, extra_body=EXTRAS) as answer:
        answer.stream_to_file(tmp_path / "speech")
    assert len((tmp_path / "speech").read_bytes()) == len(speech.content)


@pytest.mark.parametrize("audio_format", ["mp3", "opus", "flac", "wav", "pcm"])
@pytest.mark.parametrize("stream_format", ["audio", "sse"])
def test_streaming(client, audio_format, stream_format):
    with client.audio.speech.with_streaming_response.create(
        model="tiny",
        voice="default",
        input="Hello there.",
        response_format=audio_format,
        stream_format=stream_format,
        extra_body=EXTRAS,
    ) as answer:
        if stream_format == "audio":
            data = b"".join(answer.iter_bytes())
        else:
            events = [json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line]
            assert events[-1]["type"] == "speech.audio.done"
            data = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    check(data, audio_format, streamed=True)


def test_errors(client):
    with pytest.raises(openai.BadRequestError, match="`input` must|nothing|string") as refusal:
        client.audio.speech.create(model="tiny", voice="default", input=" ")
    assert refusal.value.param == "input" and refusal.value.type == "invalid_request_error"
    with pytest.raises(openai.NotFoundError, match="no model 'gpt-4'; this server has 'tiny', 'tts-1'"):
        client.audio.speech.create(model="gpt-4", voice="default", input="Hello.")
    with pytest.raises(openai.NotFoundError, match="no voice 'alloy'"):
        client.audio.speech.create(model="tiny", voice="alloy", input="Hello.")


def test_models(client):
    assert [model.id for model in client.models.list()] == ["tiny", "tts-1"]
    assert client.models.retrieve("tiny").id == "tiny"
