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
SLACK_SECONDS = {"mp3": 0.1, "opus": 0.02, "aac": 0.15}
EXTRAS = {"duration": DURATION, "seed": 3, "language": "en"}


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def check(data: bytes, audio_format: str, streamed: bool = False) -> None:
    if audio_format == "pcm":
        assert len(data) == 2 * round(24000 * SECONDS)
        return
    endless = streamed and audio_format == "flac"  # no length in its header, which soundfile needs
    unread = endless or audio_format == "aac"
    for decode in (decode_with_av, *([] if unread else [decode_with_soundfile])):
        sound, rate = decode(data)
        assert 0 <= len(sound) / rate - SECONDS <= SLACK_SECONDS.get(audio_format, 0)
        assert np.abs(sound).max() > 0.01


@pytest.mark.parametrize("audio_format", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_plain(client, audio_format, tmp_path):
    options = {"model": "tts-1", "voice": "default", "input": "Hello there.", "response_format": audio_format}
    speech = client.audio.speech.create(**options, extra_body=EXTRAS)
    check(speech.content, audio_format)
    with client.audio.speech.with_streaming_response.create(**options, extra_body=EXTRAS) as answer:
        answer.stream_to_file(tmp_path / "speech")
    assert len((tmp_path / "speech").read_bytes()) == len(speech.content)


@pytest.mark.parametrize("audio_format", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
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
    with pytest.raises(openai.NotFoundError, match="no voice 'nobody'"):
        client.audio.speech.create(model="tiny", voice="nobody", input="Hello.")


def test_what_it_sends_by_default(client):
    speech = client.audio.speech.with_raw_response.create(
        model="gpt-4o-mini-tts", voice="alloy", input="Hello there.", instructions="Whisper.", extra_body=EXTRAS
    )
    assert speech.headers["x-model"] == "tiny" and speech.headers["x-voice"] == "default"
    assert speech.headers["x-ignored-fields"] == "instructions"
    check(speech.content, "mp3")


def test_models(client):
    assert [model.id for model in client.models.list()] == ["tiny", "tts-1", "gpt-4o-mini-tts", "tts-1-hd"]
    assert client.models.retrieve("tiny").id == "tiny"
