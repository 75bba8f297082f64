"""Speech synthesis for concurrent requests: a request that arrives while others are running joins their batch.

Three threads do the work, so that the event loop never blocks: one prepares texts, one generates audio tokens
(`SpeechWorker`), and one runs the codec, which encodes recordings and decodes speech. The threads share no component of
the processor.
"""

import asyncio
import math
import re
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from ..model.duration import MAXIMUM_SECONDS
from ..model.engine import SpeechRequest, speech_requests
from ..model.modeling_t5gemma_tts import T5GemmaTTSForConditionalGeneration
from ..model.processing_t5gemma_tts import T5GemmaTTSProcessor
from ..model.streaming import StreamDecoder, StreamWindows
from .errors import BadRequest, QueueFull, ShuttingDown
from .worker import SpeechTask, SpeechWorker


Result = TypeVar("Result")
MAX_WHOLE_DECODE_SECONDS = 30.0  # longer speech is decoded in windows: memory grows with the square of the duration
WARM_UP_TEXT = "Hello."
PARAM_NAMES = {"text": "input"}  # processor argument -> field of the HTTP request, where the two differ
INITIAL_SECONDS_PER_REQUEST = 1.0  # estimate for `Retry-After` before the first request has finished


@dataclass(frozen=True)
class Reference:
    """
    An encoded recording of the voice to clone.

    Args:
        codes (`tuple[int, ...]`): audio codes of the recording.
        text (`str`): transcript of the recording.
        seconds (`float`): duration of the recording.
    """

    codes: tuple[int, ...]
    text: str
    seconds: float


@dataclass(frozen=True)
class SynthesisRequest:
    """
    A text to speak, with its options.

    Args:
        text (`str`): text to speak.
        language (`str`, *optional*): en, ja or zh; detected by default.
        duration_seconds (`float`, *optional*): duration of the speech; estimated by default.
        speed (`float`): divides the estimated duration.
        reference (`Reference`, *optional*): voice to clone; by default the model uses its own.
        seed (`int`, *optional*): random seed; drawn by default.
        sampling (`dict`): `do_sample`, `temperature`, `top_k`, `top_p`, `min_p` as [`speech_requests`] takes them.
        normalize (`bool`, *optional*): whether numbers, dates and so on become words; the model's default if None.
        lexicon (`dict[str, str]`, *optional*): pronunciations of words.
    """

    text: str
    language: str | None = None
    duration_seconds: float | None = None
    speed: float = 1.0
    reference: Reference | None = None
    seed: int | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    normalize: bool | None = None
    lexicon: dict[str, str] | None = None


@dataclass(frozen=True)
class SynthesisResult:
    """
    The speech of one request, or the next chunk of it in a stream.

    Args:
        waveform (`np.ndarray`): float32 of shape (num_samples,).
        seed (`int`): seed that was used.
        num_frames (`int`): audio codes generated so far.
        text_tokens (`int`): text tokens of the prompt, with those of the reference's transcript.
        codes (`tuple[int, ...]`): all audio codes; in a stream, only the last chunk has them.
    """

    waveform: np.ndarray
    seed: int
    num_frames: int
    text_tokens: int
    codes: tuple[int, ...] = ()


class SynthesisService:
    """
    Turns [`SynthesisRequest`]s into waveforms.

    Args:
        model (`T5GemmaTTSForConditionalGeneration`): model in evaluation mode; nothing else may use it meanwhile.
        processor (`T5GemmaTTSProcessor`): processor with a codec; nothing else may use it meanwhile.
        max_batch_size (`int`): most requests in a batch.
        queue_size (`int`): most further requests that wait.
        deadline_seconds (`float`, *optional*): time that a request may take until its last token.
        on_finished (callable, *optional*): called with the [`SpeechTask`] of each request that completes.

    Raises:
        ValueError: if `queue_size` is negative, or `deadline_seconds` is not above 0.
    """

    def __init__(
        self,
        model: T5GemmaTTSForConditionalGeneration,
        processor: T5GemmaTTSProcessor,
        max_batch_size: int = 16,
        queue_size: int = 64,
        deadline_seconds: float | None = None,
        on_finished: Callable[[SpeechTask], None] | None = None,
    ):
        if queue_size < 0:
            raise ValueError(f"`queue_size` must not be negative, got {queue_size}.")
        if deadline_seconds is not None and not deadline_seconds > 0:
            raise ValueError(f"`deadline_seconds` must be above 0, got {deadline_seconds}.")
        self.model, self.processor = model, processor
        self.capacity = max_batch_size + queue_size
        self.deadline_seconds = deadline_seconds
        self.on_finished = on_finished
        self.sampling_rate = int(processor.codec.sampling_rate)
        self.frame_rate = processor.frame_rate
        self.num_admitted = 0
        self.closing = False
        self.worker = SpeechWorker(model, max_batch_size, max_waiting=self.capacity)
        self._seconds_per_request = INITIAL_SECONDS_PER_REQUEST
        self._text_executor = ThreadPoolExecutor(1, thread_name_prefix="text")
        self._codec_executor = ThreadPoolExecutor(1, thread_name_prefix="codec")

    async def warm_up(self) -> None:
        """
        Warms up with batch sizes 1 and 2, so that the first real request does not pay for lazy loading and weight
        packing.
        """
        deadline_seconds, self.deadline_seconds = self.deadline_seconds, None  # lazy loading may exceed the deadline
        try:
            request = SynthesisRequest(WARM_UP_TEXT, language="en", seed=0)
            await self.speak(request)
            if self.worker.max_batch_size > 1:
                await asyncio.gather(self.speak(request), self.speak(request))
        finally:
            self.deadline_seconds = deadline_seconds

    @property
    def alive(self) -> bool:
        """Whether the worker thread runs."""
        return self.worker.alive

    @contextmanager
    def admit(self, count: int = 1) -> Iterator[None]:
        """
        Reserves capacity for `count` requests while the block runs. Call it in the event loop's thread only.

        Raises:
            QueueFull: if less than `count` is free now.
            BadRequest: if `count` is more than the total capacity.
            ShuttingDown: after `close`.
        """
        if self.closing:
            raise ShuttingDown("the server is shutting down and accepts no more requests.")
        if count > self.capacity:
            raise BadRequest(f"the server accepts at most {self.capacity} texts at once, got {count}.")
        if self.num_admitted + count > self.capacity:
            rounds = self.num_admitted / self.worker.max_batch_size
            wait = min(max(1, math.ceil(rounds * self._seconds_per_request)), 60)
            raise QueueFull(
                f"{self.num_admitted} requests are running or waiting, of at most {self.capacity}; try again later.",
                retry_after_seconds=wait,
            )
        self.num_admitted += count
        try:
            yield
        finally:
            self.num_admitted -= count

    async def encode_reference(self, waveform: np.ndarray, sampling_rate: int, text: str) -> Reference:
        """
        Encodes a recording.

        Args:
            waveform (`np.ndarray`): float32 of shape (num_samples,).
            sampling_rate (`int`): Hz.
            text (`str`): transcript.

        Raises:
            BadRequest: if the recording is not usable, or the transcript is empty.
        """
        codes, seconds, text = await self._run_checked(
            self._codec_executor, self.processor.read_reference, waveform, text, sampling_rate
        )
        return Reference(tuple(codes), text, seconds)

    async def run_on_text_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Runs a short blocking function, such as reading a file, on the text thread and returns its result."""
        return await asyncio.get_running_loop().run_in_executor(self._text_executor, function, *arguments)

    async def prepare_on_text_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """
        Runs a function of the processor that prepares texts, and returns its result.

        Raises:
            BadRequest: if it raises a `ValueError`, which describes bad input.
        """
        return await self._run_checked(self._text_executor, function, *arguments)

    async def run_on_codec_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Runs a function that works on audio on the codec thread and returns its result."""
        return await asyncio.get_running_loop().run_in_executor(self._codec_executor, function, *arguments)

    async def speak(self, request: SynthesisRequest) -> SynthesisResult:
        """
        Speaks a text. If the caller is cancelled, the request is, too, and its place in the batch becomes free.

        Returns:
            [`SynthesisResult`]: the whole waveform and its codes.

        Raises:
            BadRequest: if the model or processor does not accept the request.
            DeadlineExceeded: if the last token comes too late.
            SpeechFailed: if the model fails.
            ShuttingDown: if the service is closed first.
        """
        async with self._submitted(request) as (engine_request, task):
            await asyncio.wrap_future(task.future())
            codes = self.processor.speech_codes(engine_request.token_ids)
            waveform = await self.run_on_codec_thread(self._decode, codes)
            return SynthesisResult(
                waveform, engine_request.seed, len(codes), len(engine_request.input_ids), tuple(codes)
            )

    async def stream(
        self, request: SynthesisRequest, windows: StreamWindows | None = None
    ) -> AsyncGenerator[SynthesisResult, None]:
        """
        Speaks a text and yields the waveform in chunks while it is generated. Close the iterator to cancel the request.

        Raises:
            The errors of `speak`, at any chunk.
        """
        async with self._submitted(request) as (engine_request, task):
            decoder = StreamDecoder(self.processor.codec, windows)
            num_decoded, all_codes = 0, list[int]()
            while True:
                num_tokens = await asyncio.wrap_future(task.future(num_decoded + frames_until_window(decoder)))
                ended = task.ended
                num_tokens = len(engine_request.token_ids) if ended else num_tokens
                codes = self.processor.speech_codes(engine_request.token_ids[num_decoded:num_tokens])
                num_decoded = num_tokens
                all_codes += codes
                waveform = await self.run_on_codec_thread(_decode_chunk, decoder, codes, ended)
                if len(waveform) or ended:
                    yield SynthesisResult(
                        waveform,
                        engine_request.seed,
                        len(all_codes),
                        len(engine_request.input_ids),
                        tuple(all_codes) if ended else (),
                    )
                if ended:
                    return

    def close(self, finish: bool = True, timeout: float | None = None) -> None:
        """Accepts no more requests; with `finish`, waits up to `timeout` seconds for those that run."""
        self.closing = True
        self.worker.close(finish, timeout)
        for executor in (self._text_executor, self._codec_executor):
            executor.shutdown(wait=finish, cancel_futures=not finish)

    @asynccontextmanager
    async def _submitted(self, request: SynthesisRequest) -> AsyncIterator[tuple[SpeechRequest, SpeechTask]]:
        """Prepares and submits a request, and cancels it when the block ends early."""
        began = time.monotonic()
        engine_request = await self._run_checked(self._text_executor, self._prepare, request)
        remaining = None if self.deadline_seconds is None else self.deadline_seconds - (time.monotonic() - began)
        task = self.worker.submit(engine_request, remaining)
        try:
            yield engine_request, task
        finally:
            self.worker.cancel(task)
            self._record(task)

    async def _run_checked(
        self, executor: ThreadPoolExecutor, function: Callable[..., Result], *arguments: Any
    ) -> Result:
        """Runs a function of the processor. Its `ValueError`s become `BadRequest`s, because they describe bad input."""
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, function, *arguments)
        except ValueError as error:
            name = re.match(r"`(\w+)", str(error))
            param = name and PARAM_NAMES.get(name[1], name[1])
            raise BadRequest(str(error), param=param) from error

    def _prepare(self, request: SynthesisRequest) -> SpeechRequest:
        voice: dict[str, Any] = {}
        if request.reference is not None:
            voice = {"reference_audio": {"codes": request.reference.codes}, "reference_text": request.reference.text}
        inputs = self.processor(
            text=request.text,
            language=request.language,
            duration=request.duration_seconds,
            speed=request.speed,
            normalize=request.normalize,
            lexicon=request.lexicon,
            **voice,
        )
        if request.duration_seconds is None:
            check_estimated_duration(int(inputs["num_frames"][0]), self.frame_rate, request.speed)
        seed = secrets.randbelow(2**31) if request.seed is None else request.seed
        (engine_request,) = speech_requests(self.model, **inputs, seed=seed, **request.sampling)
        return engine_request

    def _decode(self, codes: list[int]) -> np.ndarray:
        windows = StreamWindows() if len(codes) > MAX_WHOLE_DECODE_SECONDS * self.frame_rate else None
        (waveform,) = self.processor.batch_decode([codes], windows=windows)
        return waveform

    def _record(self, task: SpeechTask) -> None:
        """Updates the mean time per request and calls `on_finished`, if the request has completed."""
        if task.started_at is not None and task.ended_at is not None and task.request.finished:
            self._seconds_per_request += 0.1 * (task.ended_at - task.started_at - self._seconds_per_request)
            if self.on_finished is not None:
                self.on_finished(task)


def check_estimated_duration(num_frames: int, frame_rate: float, speed: float) -> None:
    """
    Checks that the duration estimate was not cut off at its upper limit: speech squeezed into it would be too fast.

    Raises:
        ValueError: if the text takes longer than the limit.
    """
    limit_seconds = MAXIMUM_SECONDS / speed
    if num_frames >= round(limit_seconds * frame_rate):
        raise ValueError(f"`text` takes {limit_seconds:.0f} seconds or more to speak, which is too long; split it.")


def frames_until_window(decoder: StreamDecoder) -> int:
    """Number of codes, at least 1, that `decoder` still needs to decode its next window."""
    needed = decoder.emitted_frames + decoder.window_frames + decoder.windows.right_context
    return max(1, needed - decoder.start - len(decoder.codes))


def _decode_chunk(decoder: StreamDecoder, codes: list[int], ended: bool) -> np.ndarray:
    waveform = decoder.push(codes)
    return np.concatenate([waveform, decoder.finish()]) if ended else waveform


__all__ = [
    "MAX_WHOLE_DECODE_SECONDS",
    "Reference",
    "SynthesisRequest",
    "SynthesisResult",
    "SynthesisService",
    "check_estimated_duration",
]
