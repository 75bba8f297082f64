"""The worker thread that generates audio tokens: requests that arrive together share one batch of the engine."""

import logging
import threading
import time
from collections import deque
from concurrent.futures import Future

from ..model.engine import SpeechEngine, SpeechRequest
from ..model.modeling_t5gemma_tts import T5GemmaTTSForConditionalGeneration
from .errors import BadRequest, Cancelled, DeadlineExceeded, QueueFull, ServingError, ShuttingDown, SpeechFailed


logger = logging.getLogger(__name__)


class SpeechTask:
    """
    The state of one submitted request. All methods may be called from any thread.

    `submitted_at`, `started_at` and `ended_at` are seconds of `time.monotonic()`, or None before that happens.

    Args:
        request (`SpeechRequest`): request of the engine; its `token_ids` grow while it runs.
        deadline_seconds (`float`, *optional*): time from now until the request must have ended.
    """

    def __init__(self, request: SpeechRequest, deadline_seconds: float | None = None):
        self.request = request
        self.submitted_at = time.monotonic()
        self.deadline = None if deadline_seconds is None else self.submitted_at + deadline_seconds
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.cancelled = False
        self._error: ServingError | None = None
        self._waiters: list[tuple[float, Future[int]]] = []
        self._lock = threading.Lock()

    @property
    def token_ids(self) -> list[int]:
        """The audio tokens generated so far."""
        return self.request.token_ids

    @property
    def ended(self) -> bool:
        """Whether the request has finished, failed or been cancelled."""
        return self.ended_at is not None

    def future(self, num_tokens: float = float("inf")) -> Future[int]:
        """
        Returns a future that resolves when `num_tokens` tokens exist, or when the task ends.

        Threads wait with `result()`, coroutines with `asyncio.wrap_future`. The result is the number of tokens. If the
        task failed, the future raises its `ServingError`.
        """
        future: Future[int] = Future()
        with self._lock:
            self._waiters.append((num_tokens, future))
            self._resolve_futures()
        return future

    def _resolve_futures(self) -> None:
        num_tokens = len(self.token_ids)
        due = [waiter for waiter in self._waiters if self.ended or num_tokens >= waiter[0]]
        if not due:
            return
        self._waiters = [waiter for waiter in self._waiters if waiter not in due]
        for _, future in due:
            if not future.set_running_or_notify_cancel():  # the caller cancelled its future
                continue
            if self._error is None:
                future.set_result(num_tokens)
            else:
                future.set_exception(self._error)

    def _on_tokens(self) -> None:
        with self._lock:
            self._resolve_futures()

    def _end(self, error: ServingError | None = None) -> None:
        with self._lock:
            if not self.ended:
                self._error, self.ended_at = error, time.monotonic()
                self._resolve_futures()


class SpeechWorker:
    """
    Owns a [`SpeechEngine`] and the thread that runs it. All methods may be called from any thread.

    Args:
        model (`T5GemmaTTSForConditionalGeneration`): model in evaluation mode; nothing else may use it meanwhile.
        max_batch_size (`int`): most requests in a batch.
        max_waiting (`int`): most requests in the queue.

    Raises:
        ValueError: if `max_waiting` is below 1.
    """

    def __init__(self, model: T5GemmaTTSForConditionalGeneration, max_batch_size: int = 16, max_waiting: int = 64):
        if max_waiting < 1:
            raise ValueError(f"`max_waiting` must be at least 1, got {max_waiting}.")
        self.model, self.max_batch_size, self.max_waiting = model, max_batch_size, max_waiting
        self._engine = SpeechEngine(model, max_batch_size)
        self._condition = threading.Condition()
        self._waiting: deque[SpeechTask] = deque()
        self._running: dict[SpeechRequest, SpeechTask] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="speech-worker", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """Number of requests in the queue."""
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        """Number of requests in the batch."""
        return len(self._running)

    @property
    def alive(self) -> bool:
        """Whether the thread runs; False after `close`."""
        return self._thread.is_alive()

    def submit(self, request: SpeechRequest, deadline_seconds: float | None = None) -> SpeechTask:
        """
        Appends a request to the queue. A request that is too long for the model fails when it is started.

        Args:
            request (`SpeechRequest`): request of the engine.
            deadline_seconds (`float`, *optional*): seconds from now, after which it fails with `DeadlineExceeded`.

        Raises:
            QueueFull: if `max_waiting` requests wait already.
            ShuttingDown: after `close`.
        """
        task = SpeechTask(request, deadline_seconds)
        with self._condition:
            if self._closing:
                raise ShuttingDown("the server is shutting down and accepts no more requests.")
            if len(self._waiting) >= self.max_waiting:
                raise QueueFull(f"{self.max_waiting} requests wait already; try again later.", retry_after_seconds=1)
            self._waiting.append(task)
            self._condition.notify()
        return task

    def cancel(self, task: SpeechTask) -> None:
        """Cancels a task and frees its place in the queue or batch. Does nothing if it has ended."""
        with self._condition:
            task.cancelled = True  # the worker removes a running task before its next step
            if task not in self._waiting:
                return
            self._waiting.remove(task)
        task._end(Cancelled("the request was cancelled."))

    def close(self, finish: bool = True, timeout: float | None = None) -> bool:
        """
        Accepts no more requests and stops the thread.

        Args:
            finish (`bool`): complete the submitted requests first; otherwise they fail with `ShuttingDown`.
            timeout (`float`, *optional*): most seconds to wait for the thread.

        Returns:
            `bool`: whether the thread has ended.
        """
        with self._condition:
            self._closing = True
            aborted = [] if finish else [*self._waiting, *self._running.values()]
            for task in aborted:
                task.cancelled = True
            self._condition.notify()
        for task in aborted:
            task._end(ShuttingDown("the server shut down before the request had finished."))
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._condition:
                while not (self._waiting or self._running or self._closing):
                    self._condition.wait()
                self._remove_cancelled_and_expired()
                while self._waiting and len(self._running) < self.max_batch_size:
                    self._start(self._waiting.popleft())
                if self._closing and not (self._waiting or self._running):
                    return
            if self._running:
                self._step()

    def _remove_cancelled_and_expired(self) -> None:
        now = time.monotonic()
        for task in [*self._running.values(), *self._waiting]:
            expired = task.deadline is not None and now > task.deadline
            if not (expired or task.cancelled):
                continue
            if self._running.pop(task.request, None):
                self._engine.cancel(task.request)
            else:
                self._waiting.remove(task)
            seconds = now - task.submitted_at
            task._end(
                Cancelled("the request was cancelled.")
                if task.cancelled
                else DeadlineExceeded(f"the request had not finished after {seconds:.1f} s, its deadline.")
            )

    def _start(self, task: SpeechTask) -> None:
        try:
            self._engine.submit(task.request)
        except ValueError as error:
            task._end(BadRequest(str(error), param="input"))
            return
        except Exception as error:  # any error: the thread must survive for the other requests
            logger.exception("the engine could not start a request")
            task._end(SpeechFailed(f"speech generation failed: {type(error).__name__}."))
            return
        task.started_at = time.monotonic()
        self._running[task.request] = task

    def _step(self) -> None:
        try:
            stepped = self._engine.step(shortest_first=self._engine.device.type == "cpu")
        except Exception as error:  # any error of the model or device: a new engine serves the waiting requests
            logger.exception("the engine failed; %d requests are lost", len(self._running))
            lost, self._running = list(self._running.values()), {}
            self._engine = SpeechEngine(self.model, self.max_batch_size)
            for task in lost:
                task._end(SpeechFailed(f"speech generation failed: {type(error).__name__}."))
            return
        for request in stepped:
            if request.finished:
                self._running.pop(request)._end()
            else:
                self._running[request]._on_tokens()


__all__ = ["SpeechTask", "SpeechWorker"]
