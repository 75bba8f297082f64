"""The worker thread that generates audio tokens: requests that arrive together share one batch of the engine."""

import logging
import threading
import time
from collections import deque
from concurrent.futures import Future

from ..model.engine import SpeechEngine, SpeechRequest
from ..model.modeling_t5gemma_tts import T5GemmaTTSForConditionalGeneration
from .errors import BadRequest, Cancelled, Closed, DeadlineExceeded, QueueFull, ServingError, SpeechFailed


logger = logging.getLogger(__name__)


class Speech:
    """
    What becomes of one request. Any thread may wait for it, as may coroutines with `asyncio.wrap_future`.

    `submitted_at`, `started_at` and `ended_at` are seconds of `time.monotonic()`, None before they are known.
    """

    def __init__(self, request: SpeechRequest, deadline_seconds: float | None = None):
        self.request = request
        self.submitted_at = time.monotonic()
        self.deadline = None if deadline_seconds is None else self.submitted_at + deadline_seconds
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.unwanted = False
        self._error: ServingError | None = None
        self._watchers: list[tuple[float, Future[int]]] = []
        self._lock = threading.Lock()

    @property
    def token_ids(self) -> list[int]:
        """What has been said so far."""
        return self.request.token_ids

    @property
    def ended(self) -> bool:
        return self.ended_at is not None

    def reached(self, num_tokens: float = float("inf")) -> Future[int]:
        """
        A future that is done when there are `num_tokens` tokens, or no more of them come.

        Its result is how many there are; its exception is a `ServingError` if the speech came to nothing.
        """
        future: Future[int] = Future()
        with self._lock:
            self._watchers.append((num_tokens, future))
            self._tell()
        return future

    def _tell(self) -> None:
        said = len(self.token_ids)
        due = [watcher for watcher in self._watchers if self.ended or said >= watcher[0]]
        if not due:
            return
        self._watchers = [watcher for watcher in self._watchers if watcher not in due]
        for _, future in due:
            if not future.set_running_or_notify_cancel():  # whoever waited has gone
                continue
            if self._error is None:
                future.set_result(said)
            else:
                future.set_exception(self._error)

    def _advance(self) -> None:
        with self._lock:
            self._tell()

    def _end(self, error: ServingError | None = None) -> None:
        with self._lock:
            if not self.ended:
                self._error, self.ended_at = error, time.monotonic()
                self._tell()


class SpeechWorker:
    """
    Owns a [`SpeechEngine`] and the thread that it runs in. All methods may be called from any thread.

    Args:
        model (`T5GemmaTTSForConditionalGeneration`): in evaluation mode; nobody else may use it meanwhile.
        max_batch_size (`int`): speeches at a time.
        max_waiting (`int`): speeches that may wait for a place.
    """

    def __init__(self, model: T5GemmaTTSForConditionalGeneration, max_batch_size: int = 16, max_waiting: int = 64):
        if max_waiting < 1:
            raise ValueError(f"`max_waiting` must be at least 1, got {max_waiting}.")
        self.model, self.max_batch_size, self.max_waiting = model, max_batch_size, max_waiting
        self._engine = SpeechEngine(model, max_batch_size)
        self._changed = threading.Condition()
        self._waiting: deque[Speech] = deque()
        self._speaking: dict[SpeechRequest, Speech] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="speaker", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_speaking(self) -> int:
        return len(self._speaking)

    @property
    def alive(self) -> bool:
        """Whether somebody speaks at all; False after `close`."""
        return self._thread.is_alive()

    def submit(self, request: SpeechRequest, deadline_seconds: float | None = None) -> Speech:
        """
        Puts a request at the end of the queue. One that is too long for the model fails when its turn comes.

        Args:
            request (`SpeechRequest`)
            deadline_seconds (`float`, *optional*): from now until its end; it fails with `DeadlineExceeded` then.

        Raises:
            QueueFull: if as many as may wait do so.
            Closed: if nothing more is taken.
        """
        speech = Speech(request, deadline_seconds)
        with self._changed:
            if self._closing:
                raise Closed("the server is shutting down and takes no more requests.")
            if len(self._waiting) >= self.max_waiting:
                raise QueueFull(f"{self.max_waiting} requests wait already; try again later.", retry_after_seconds=1)
            self._waiting.append(speech)
            self._changed.notify()
        return speech

    def cancel(self, speech: Speech) -> None:
        """Frees the place of a speech that nobody wants any more; nothing happens if it has ended."""
        with self._changed:
            speech.unwanted = True  # one that is being spoken is dropped before the next step
            if speech not in self._waiting:
                return
            self._waiting.remove(speech)
        speech._end(Cancelled("the speech was cancelled."))

    def close(self, finish: bool = True, timeout: float | None = None) -> bool:
        """
        Takes no more requests, and stops.

        Args:
            finish (`bool`): speak what was submitted before; otherwise it fails with `Closed`.
            timeout (`float`, *optional*): seconds to wait for the end.

        Returns:
            `bool`: whether the thread has ended.
        """
        with self._changed:
            self._closing = True
            dropped = [] if finish else [*self._waiting, *self._speaking.values()]
            for speech in dropped:
                speech.unwanted = True
            self._changed.notify()
        for speech in dropped:
            speech._end(Closed("the server shut down before the speech had ended."))
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting or self._speaking or self._closing):
                    self._changed.wait()
                self._drop()
                while self._waiting and len(self._speaking) < self.max_batch_size:
                    self._join(self._waiting.popleft())
                if self._closing and not (self._waiting or self._speaking):
                    return
            if self._speaking:
                self._step()

    def _drop(self) -> None:
        """Ends what nobody wants, or what came too late."""
        now = time.monotonic()
        for speech in [*self._speaking.values(), *self._waiting]:
            late = speech.deadline is not None and now > speech.deadline
            if not (late or speech.unwanted):
                continue
            if self._speaking.pop(speech.request, None):
                self._engine.cancel(speech.request)
            else:
                self._waiting.remove(speech)
            seconds = now - speech.submitted_at
            speech._end(
                Cancelled("the speech was cancelled.")
                if speech.unwanted
                else DeadlineExceeded(f"the speech had not ended after {seconds:.1f} s, its deadline.")
            )

    def _join(self, speech: Speech) -> None:
        try:
            self._engine.submit(speech.request)
        except ValueError as error:
            speech._end(BadRequest(str(error), param="input"))
            return
        except Exception as error:  # whatever it is, the thread has to go on for the others
            logger.exception("a request could not be planned")
            speech._end(SpeechFailed(f"the model failed to speak: {type(error).__name__}."))
            return
        speech.started_at = time.monotonic()
        self._speaking[speech.request] = speech

    def _step(self) -> None:
        try:
            served = self._engine.step(shortest_first=self._engine.device.type == "cpu")
        except Exception as error:  # of the model or the device; those who wait may fare better
            logger.exception("the engine failed; %d speeches are lost", len(self._speaking))
            lost, self._speaking = list(self._speaking.values()), {}
            self._engine = SpeechEngine(self.model, self.max_batch_size)
            for speech in lost:
                speech._end(SpeechFailed(f"the model failed to speak: {type(error).__name__}."))
            return
        for request in served:
            if request.finished:
                self._speaking.pop(request)._end()
            else:
                self._speaking[request]._advance()


__all__ = ["SpeechWorker", "Speech"]
