"""The speaking thread: the engine's tokens for many at once, and every way out of the queue."""

import asyncio
import time

import pytest
from serving import PATIENCE_SECONDS, Steps, wait_until
from test_engine import spoken
from test_generation import collate, mixed_samples
from tiny import tiny_model

from t5gemma_tts.model.engine import SpeechEngine, speech_requests
from t5gemma_tts.serving.errors import BadRequest, Cancelled, Closed, DeadlineExceeded, QueueFull, SpeechFailed
from t5gemma_tts.serving.worker import SpeechWorker


@pytest.fixture
def steps(monkeypatch):
    steps = Steps(monkeypatch)
    yield steps
    steps.open.set()


@pytest.fixture
def speaker():
    speaker = SpeechWorker(tiny_model(), max_batch_size=3, max_waiting=4)
    yield speaker
    speaker.close(finish=False, timeout=PATIENCE_SECONDS)


def requests_for(speaker, count: int, **options) -> list:
    model = speaker.model
    return speech_requests(model, **collate(mixed_samples(model.config, count=count), model.config), **options)


def held_batch(speaker, steps) -> list:
    """Three speeches in the batch, before their next step."""
    steps.hold()
    speeches = [speaker.submit(request) for request in requests_for(speaker, 3, do_sample=False)]
    assert steps.held.wait(PATIENCE_SECONDS)
    return speeches


def test_tokens_are_the_engines_and_spoken_together(speaker, steps):
    model = speaker.model
    expected = spoken(model, collate(mixed_samples(model.config, count=5), model.config), seed=3)
    requests = requests_for(speaker, 5, seed=3)
    del steps.sizes[:]
    steps.hold()
    speeches = [speaker.submit(requests[0])]
    assert steps.held.wait(PATIENCE_SECONDS)
    speeches += [speaker.submit(request) for request in requests[1:]]
    steps.open.set()
    for speech, tokens in zip(speeches, expected, strict=True):
        assert speech.reached().result(PATIENCE_SECONDS) == len(tokens)
        assert speech.ended and speech.token_ids == tokens
        assert speech.submitted_at <= speech.started_at <= speech.ended_at
    assert max(steps.sizes) == 3
    assert speaker.num_speaking == speaker.num_waiting == 0


def test_waiting_for_some_of_the_tokens(speaker, steps):
    steps.hold()
    speech = speaker.submit(requests_for(speaker, 1, do_sample=False)[0])
    second, tenth = speech.reached(2), speech.reached(10)
    gone = speech.reached(3)
    assert not second.done() and gone.cancel()
    steps.open.set()
    assert 2 <= second.result(PATIENCE_SECONDS) <= tenth.result(PATIENCE_SECONDS)
    total = speech.reached(10**9).result(PATIENCE_SECONDS)
    assert total == len(speech.token_ids) and speech.reached(1).result(0) == total


def test_coroutines_can_wait(speaker):
    async def both():
        speeches = [speaker.submit(request) for request in requests_for(speaker, 2)]
        return await asyncio.gather(*(asyncio.wrap_future(speech.reached()) for speech in speeches))

    assert all(count > 1 for count in asyncio.run(both()))


def test_a_full_queue_refuses(speaker, steps):
    held_batch(speaker, steps)
    waiting = [speaker.submit(request) for request in requests_for(speaker, 4)]
    extra = requests_for(speaker, 1)[0]
    with pytest.raises(QueueFull, match="4 requests wait already") as refusal:
        speaker.submit(extra)
    assert refusal.value.retry_after_seconds >= 1
    speaker.cancel(waiting[1])
    speech = speaker.submit(extra)
    steps.open.set()
    assert speech.reached().result(PATIENCE_SECONDS) > 0
    with pytest.raises(Cancelled):
        waiting[1].reached().result(PATIENCE_SECONDS)


def test_who_cancels_frees_the_place(speaker, steps):
    first, second, third = held_batch(speaker, steps)
    fourth = speaker.submit(requests_for(speaker, 1, do_sample=False)[0])
    speaker.cancel(second)
    assert speaker.num_waiting == 1
    steps.open.set()
    with pytest.raises(Cancelled):
        second.reached().result(PATIENCE_SECONDS)
    for speech in (first, third, fourth):
        assert speech.reached().result(PATIENCE_SECONDS) > 0 and speech.request.finished
    assert fourth.token_ids == first.token_ids  # of the same text, greedy
    assert not second.request.finished
    speaker.cancel(first)  # too late to matter
    assert first.reached().result(0) == len(first.token_ids)


def test_deadlines(speaker, steps):
    steps.hold()
    requests = requests_for(speaker, 3)
    speaking, patient = speaker.submit(requests[0], deadline_seconds=0.3), speaker.submit(requests[1])
    assert steps.held.wait(PATIENCE_SECONDS)
    waiting = speaker.submit(requests[2], deadline_seconds=1e-6)
    wait_until(lambda: patient.submitted_at + 0.3 < time.monotonic())
    steps.open.set()
    for speech in (speaking, waiting):
        with pytest.raises(DeadlineExceeded, match="its deadline"):
            speech.reached().result(PATIENCE_SECONDS)
    assert waiting.started_at is None
    assert patient.reached().result(PATIENCE_SECONDS) > 0


def test_what_does_not_fit_fails_alone(speaker):
    requests = requests_for(speaker, 2)
    requests[0].num_frames = 10**6
    bad, good = [speaker.submit(request) for request in requests]
    with pytest.raises(BadRequest, match="`num_frames` requires"):
        bad.reached().result(PATIENCE_SECONDS)
    assert good.reached().result(PATIENCE_SECONDS) > 0


def test_what_cannot_even_be_planned_fails_alone(speaker, monkeypatch, caplog):
    bad, good = requests_for(speaker, 2)
    monkeypatch.setattr(bad, "plan", None)
    with pytest.raises(SpeechFailed, match="TypeError"):
        speaker.submit(bad).reached().result(PATIENCE_SECONDS)
    assert "could not be planned" in caplog.text
    assert speaker.submit(good).reached().result(PATIENCE_SECONDS) > 0


def test_a_failure_of_the_model_is_survived(speaker, monkeypatch, caplog):
    def fail(engine, shortest_first):
        monkeypatch.undo()
        raise RuntimeError("out of memory")

    monkeypatch.setattr(SpeechEngine, "step", fail)
    requests = requests_for(speaker, 2)
    lost = speaker.submit(requests[0])
    with pytest.raises(SpeechFailed, match="RuntimeError"):
        lost.reached().result(PATIENCE_SECONDS)
    assert "1 speeches are lost" in caplog.text and "out of memory" in caplog.text
    assert speaker.submit(requests[1]).reached().result(PATIENCE_SECONDS) > 0


def test_closing_finishes_what_was_taken(speaker, steps):
    speeches = held_batch(speaker, steps)
    speeches += [speaker.submit(request) for request in requests_for(speaker, 2)]
    assert not speaker.close(timeout=0)
    with pytest.raises(Closed):
        speaker.submit(requests_for(speaker, 1)[0])
    steps.open.set()
    assert speaker.close(timeout=PATIENCE_SECONDS) and not speaker.alive
    assert all(speech.request.finished for speech in speeches)


def test_closing_at_once(speaker, steps):
    speeches = held_batch(speaker, steps)
    speeches.append(speaker.submit(requests_for(speaker, 1)[0]))
    speaker.close(finish=False, timeout=0)
    for speech in speeches:
        with pytest.raises(Closed, match="before the speech had ended"):
            speech.reached().result(PATIENCE_SECONDS)
    steps.open.set()
    assert speaker.close(timeout=PATIENCE_SECONDS)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`max_waiting` must be at least 1, got 0"):
        SpeechWorker(tiny_model(), max_waiting=0)
