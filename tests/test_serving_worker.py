"""The speaking thread: the engine's tokens for many at once, and every way out of the queue."""

import asyncio
import time

import pytest
from serving import PATIENCE_SECONDS, Steps, wait_until
from test_engine import spoken
from test_generation import collate, mixed_samples
from tiny import tiny_model

from t5gemma_tts.model.engine import SpeechEngine, speech_requests
from t5gemma_tts.serving.errors import BadRequest, Cancelled, DeadlineExceeded, QueueFull, ShuttingDown, SpeechFailed
from t5gemma_tts.serving.worker import SpeechWorker


@pytest.fixture
def steps(monkeypatch):
    steps = Steps(monkeypatch)
    yield steps
    steps.open.set()


@pytest.fixture
def worker():
    worker = SpeechWorker(tiny_model(), max_batch_size=3, max_waiting=4)
    yield worker
    worker.close(finish=False, timeout=PATIENCE_SECONDS)


def requests_for(worker, count: int, **options) -> list:
    model = worker.model
    return speech_requests(model, **collate(mixed_samples(model.config, count=count), model.config), **options)


def held_batch(worker, steps) -> list:
    """Three tasks in the batch, before their next step."""
    steps.hold()
    tasks = [worker.submit(request) for request in requests_for(worker, 3, do_sample=False)]
    assert steps.held.wait(PATIENCE_SECONDS)
    return tasks


def test_tokens_equal_the_engines_in_a_batch(worker, steps):
    model = worker.model
    expected = spoken(model, collate(mixed_samples(model.config, count=5), model.config), seed=3)
    requests = requests_for(worker, 5, seed=3)
    del steps.sizes[:]
    steps.hold()
    tasks = [worker.submit(requests[0])]
    assert steps.held.wait(PATIENCE_SECONDS)
    tasks += [worker.submit(request) for request in requests[1:]]
    steps.open.set()
    for task, tokens in zip(tasks, expected, strict=True):
        assert task.future().result(PATIENCE_SECONDS) == len(tokens)
        assert task.ended and task.token_ids == tokens
        assert task.submitted_at <= task.started_at <= task.ended_at
    assert max(steps.sizes) == 3
    assert worker.num_running == worker.num_waiting == 0


def test_waiting_for_a_number_of_tokens(worker, steps):
    steps.hold()
    task = worker.submit(requests_for(worker, 1, do_sample=False)[0])
    second, tenth = task.future(2), task.future(10)
    gone = task.future(3)
    assert not second.done() and gone.cancel()
    steps.open.set()
    assert 2 <= second.result(PATIENCE_SECONDS) <= tenth.result(PATIENCE_SECONDS)
    total = task.future(10**9).result(PATIENCE_SECONDS)
    assert total == len(task.token_ids) and task.future(1).result(0) == total


def test_waiting_in_coroutines(worker):
    async def both():
        tasks = [worker.submit(request) for request in requests_for(worker, 2)]
        return await asyncio.gather(*(asyncio.wrap_future(task.future()) for task in tasks))

    assert all(count > 1 for count in asyncio.run(both()))


def test_a_full_queue_refuses(worker, steps):
    held_batch(worker, steps)
    waiting = [worker.submit(request) for request in requests_for(worker, 4)]
    extra = requests_for(worker, 1)[0]
    with pytest.raises(QueueFull, match="4 requests wait already") as refusal:
        worker.submit(extra)
    assert refusal.value.retry_after_seconds >= 1
    worker.cancel(waiting[1])
    task = worker.submit(extra)
    steps.open.set()
    assert task.future().result(PATIENCE_SECONDS) > 0
    with pytest.raises(Cancelled):
        waiting[1].future().result(PATIENCE_SECONDS)


def test_cancellation_frees_the_slot(worker, steps):
    first, second, third = held_batch(worker, steps)
    fourth = worker.submit(requests_for(worker, 1, do_sample=False)[0])
    worker.cancel(second)
    assert worker.num_waiting == 1
    steps.open.set()
    with pytest.raises(Cancelled):
        second.future().result(PATIENCE_SECONDS)
    for task in (first, third, fourth):
        assert task.future().result(PATIENCE_SECONDS) > 0 and task.request.finished
    assert fourth.token_ids == first.token_ids  # of the same text, greedy
    assert not second.request.finished
    worker.cancel(first)  # too late to matter
    assert first.future().result(0) == len(first.token_ids)


def test_deadlines(worker, steps):
    steps.hold()
    requests = requests_for(worker, 3)
    speaking, patient = worker.submit(requests[0], deadline_seconds=0.3), worker.submit(requests[1])
    assert steps.held.wait(PATIENCE_SECONDS)
    waiting = worker.submit(requests[2], deadline_seconds=1e-6)
    wait_until(lambda: patient.submitted_at + 0.3 < time.monotonic())
    steps.open.set()
    for task in (speaking, waiting):
        with pytest.raises(DeadlineExceeded, match="its deadline"):
            task.future().result(PATIENCE_SECONDS)
    assert waiting.started_at is None
    assert patient.future().result(PATIENCE_SECONDS) > 0


def test_request_that_does_not_fit_fails_alone(worker):
    requests = requests_for(worker, 2)
    requests[0].num_frames = 10**6
    bad, good = [worker.submit(request) for request in requests]
    with pytest.raises(BadRequest, match="`num_frames` requires"):
        bad.future().result(PATIENCE_SECONDS)
    assert good.future().result(PATIENCE_SECONDS) > 0


def test_request_that_cannot_be_planned_fails_alone(worker, monkeypatch, caplog):
    bad, good = requests_for(worker, 2)
    monkeypatch.setattr(bad, "plan", None)
    with pytest.raises(SpeechFailed, match="TypeError"):
        worker.submit(bad).future().result(PATIENCE_SECONDS)
    assert "could not start a request" in caplog.text
    assert worker.submit(good).future().result(PATIENCE_SECONDS) > 0


def test_worker_survives_a_model_error(worker, monkeypatch, caplog):
    def fail(engine, shortest_first):
        monkeypatch.undo()
        raise RuntimeError("out of memory")

    monkeypatch.setattr(SpeechEngine, "step", fail)
    requests = requests_for(worker, 2)
    lost = worker.submit(requests[0])
    with pytest.raises(SpeechFailed, match="RuntimeError"):
        lost.future().result(PATIENCE_SECONDS)
    assert "1 requests are lost" in caplog.text and "out of memory" in caplog.text
    assert worker.submit(requests[1]).future().result(PATIENCE_SECONDS) > 0


def test_close_finishes_accepted_requests(worker, steps):
    tasks = held_batch(worker, steps)
    tasks += [worker.submit(request) for request in requests_for(worker, 2)]
    assert not worker.close(timeout=0)
    with pytest.raises(ShuttingDown):
        worker.submit(requests_for(worker, 1)[0])
    steps.open.set()
    assert worker.close(timeout=PATIENCE_SECONDS) and not worker.alive
    assert all(task.request.finished for task in tasks)


def test_closing_at_once(worker, steps):
    tasks = held_batch(worker, steps)
    tasks.append(worker.submit(requests_for(worker, 1)[0]))
    worker.close(finish=False, timeout=0)
    for task in tasks:
        with pytest.raises(ShuttingDown, match="before the request had finished"):
            task.future().result(PATIENCE_SECONDS)
    steps.open.set()
    assert worker.close(timeout=PATIENCE_SECONDS)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`max_waiting` must be at least 1, got 0"):
        SpeechWorker(tiny_model(), max_waiting=0)
