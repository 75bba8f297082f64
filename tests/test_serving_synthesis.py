"""Text to sound without HTTP: what whoever builds another front end relies on."""

import asyncio

import numpy as np
import pytest
from serving import PATIENCE_SECONDS, Steps, load
from voices import CUTOFF_FRAMES, voice

from t5gemma_tts.model.streaming import StreamDecoder, StreamWindows
from t5gemma_tts.serving.errors import BadRequest, QueueFull, ShuttingDown
from t5gemma_tts.serving.synthesis import SynthesisRequest, SynthesisService, frames_until_window


@pytest.fixture(scope="module")
def synthesis(checkpoint):
    synthesis = SynthesisService(*load(checkpoint), max_batch_size=4, queue_size=4)
    yield synthesis
    synthesis.close(timeout=PATIENCE_SECONDS)


def job(**changes) -> SynthesisRequest:
    return SynthesisRequest(**{"text": "Hello.", "language": "en", "duration_seconds": 0.4, "seed": 1} | changes)


async def together(synthesis, jobs):
    return await asyncio.gather(*(synthesis.speak(one) for one in jobs))


def test_concurrent_requests_equal_single_requests(synthesis, monkeypatch):
    jobs = [job(seed=seed, duration_seconds=0.2 * (1 + seed % 3)) for seed in range(8)]
    alone = [asyncio.run(synthesis.speak(one)) for one in jobs]
    steps = Steps(monkeypatch)
    at_once = asyncio.run(together(synthesis, jobs))
    assert max(steps.sizes) == 4
    for one, spoken, expected in zip(jobs, at_once, alone, strict=True):
        assert spoken.num_frames == round(one.duration_seconds * 50) + CUTOFF_FRAMES
        assert spoken.seed == one.seed
        np.testing.assert_allclose(spoken.waveform, expected.waveform, atol=1e-5)


def test_stream_equals_the_processors_stream(synthesis):
    windows = StreamWindows(first_frames=4, max_frames=16, left_context=6, right_context=2)

    async def pieces():
        return [spoken async for spoken in synthesis.stream(job(duration_seconds=2.0), windows)]

    got = asyncio.run(pieces())
    inputs = synthesis.processor(text="Hello.", language="en", duration=2.0)
    expected = list(synthesis.processor.stream_decode(synthesis.model.stream(**inputs, seed=1), windows))
    assert len(got) > 4 and got[-1].num_frames == 100 + CUTOFF_FRAMES
    np.testing.assert_array_equal(np.concatenate([one.waveform for one in got]), np.concatenate(expected))


def test_long_speech_is_decoded_in_windows(synthesis, monkeypatch):
    decoded = []
    decode = synthesis.processor.codec.decode
    monkeypatch.setattr(synthesis.processor.codec, "decode", lambda codes: decoded.append(len(codes)) or decode(codes))
    spoken = asyncio.run(synthesis.speak(job(duration_seconds=31.0)))
    assert spoken.num_frames == 1550 + CUTOFF_FRAMES and len(spoken.waveform) == 320 * spoken.num_frames
    assert 1 < len(decoded) and max(decoded) < 400


def test_frames_of_the_first_window(synthesis):
    for first_frames in (1, 7):
        decoder = StreamDecoder(synthesis.processor.codec, StreamWindows(first_frames=first_frames, right_context=3))
        for _ in range(4):
            count = frames_until_window(decoder)
            assert not len(decoder.push([1] * (count - 1)))
            assert len(decoder.push([1]))


def test_cancellation_frees_the_slot(synthesis, monkeypatch):
    steps = Steps(monkeypatch)
    steps.hold()

    async def leave():
        speaking = asyncio.ensure_future(synthesis.speak(job()))
        await asyncio.to_thread(steps.held.wait, PATIENCE_SECONDS)
        stream = synthesis.stream(job(seed=2))
        listening = asyncio.ensure_future(anext(stream))
        while not synthesis.worker.num_waiting:
            await asyncio.sleep(0)
        for task in (speaking, listening):
            task.cancel()
        await asyncio.gather(speaking, listening, return_exceptions=True)
        assert synthesis.worker.num_waiting == 0
        steps.open.set()
        await synthesis.speak(job())

    asyncio.run(leave())
    assert synthesis.worker.num_running == 0


def test_references(synthesis):
    async def both():
        reference = await synthesis.encode_reference(voice(16000), 16000, "What is said.")
        return reference, await synthesis.speak(job(reference=reference)), await synthesis.speak(job())

    reference, cloned, plain = asyncio.run(both())
    assert reference.codes == tuple(synthesis.processor.codec.encode(voice(16000), 16000).tolist())
    assert (cloned.waveform != plain.waveform).any() and cloned.text_tokens > plain.text_tokens
    with pytest.raises(BadRequest, match="`reference_audio` has NaN") as refusal:
        asyncio.run(synthesis.encode_reference(np.full(100, np.nan), 16000, "What?"))
    assert refusal.value.param == "reference_audio"


def test_limit_of_admitted_requests(synthesis):
    with synthesis.admit(3), synthesis.admit(5):
        with pytest.raises(QueueFull, match="8 requests are running or waiting, of at most 8") as refusal:
            with synthesis.admit():
                pass
        assert 1 <= refusal.value.retry_after_seconds <= 60
    with pytest.raises(BadRequest, match="at most 8 texts"), synthesis.admit(9):
        pass
    assert synthesis.num_admitted == 0


@pytest.mark.parametrize("speed", [1.0, 2.0])
def test_request_longer_than_the_limit(synthesis, speed):
    text = "The rain had stopped, and nobody said a word. " * 60
    with pytest.raises(BadRequest, match=f"`text` takes {120 / speed:.0f} seconds or more to speak") as refusal:
        asyncio.run(synthesis.speak(job(text=text, duration_seconds=None, speed=speed)))
    assert refusal.value.param == "input"


def test_invalid_arguments_and_use_after_close(checkpoint):
    model, processor = load(checkpoint)
    with pytest.raises(ValueError, match="`queue_size` must not be negative, got -1"):
        SynthesisService(model, processor, queue_size=-1)
    with pytest.raises(ValueError, match="`deadline_seconds` must be above 0, got 0"):
        SynthesisService(model, processor, deadline_seconds=0)
    synthesis = SynthesisService(model, processor)
    assert synthesis.alive
    synthesis.close(timeout=PATIENCE_SECONDS)
    assert not synthesis.alive
    with pytest.raises(ShuttingDown), synthesis.admit():
        pass
