"""Speech synthesis for concurrent requests: a request that arrives while others are being spoken joins their batch.

Three threads do the work, so that the event loop never blocks: one prepares texts, one generates audio tokens
(`SpeechWorker`), and one runs the codec, which encodes recordings and decodes speech. No processor part is shared.
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
WHOLE_SECONDS = 30.0  # longer speech is decoded in windows: the memory of a whole clip grows with its square
WARM_UP_TEXT = "Hello."
ARGUMENT_FIELDS = {"text": "input"}  # where the field of a request is not called as the processor's argument
FIRST_GUESS_SECONDS = 1.0  # that a speech takes, until the first has been heard


@dataclass(frozen=True)
class Reference:
    """
    A voice to speak with.

    Args:
        codes (`tuple[int, ...]`): of its recording, by the codec.
        text (`str`): what is said in it.
        seconds (`float`): of the recording.
    """

    codes: tuple[int, ...]
    text: str
    seconds: float


@dataclass(frozen=True)
class Job:
    """
    Something to say.

    Args:
        text (`str`)
        language (`str`, *optional*): detected if not given.
        duration_seconds (`float`, *optional*): estimated if not given.
        speed (`float`): divides the estimate.
        reference (`Reference`, *optional*): the voice; the model's own if not given.
        seed (`int`, *optional*): drawn if not given.
        sampling (`dict`): `do_sample`, `temperature`, `top_k`, `top_p`, `min_p` as [`speech_requests`] takes them.
    """

    text: str
    language: str | None = None
    duration_seconds: float | None = None
    speed: float = 1.0
    reference: Reference | None = None
    seed: int | None = None
    sampling: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Spoken:
    """
    What became of a job: `sound` is float32 `(num_samples,)`, or what came next of it in a stream; `num_frames` are the
    codes so far, `text_tokens` those of the text with its reference, `codes` all of a whole speech, none in a stream.
    """

    sound: np.ndarray
    seed: int
    num_frames: int
    text_tokens: int
    codes: tuple[int, ...] = ()


class SynthesisService:
    """
    Args:
        model (`T5GemmaTTSForConditionalGeneration`), processor (`T5GemmaTTSProcessor`): for nobody else meanwhile.
        max_batch_size (`int`): speeches at a time.
        queue_size (`int`): further ones that may wait.
        deadline_seconds (`float`, *optional*): for each, from when it was taken to its last token.
        on_spoken (callable, *optional*): told of every [`Speech`] that came to its end.
    """

    def __init__(
        self,
        model: T5GemmaTTSForConditionalGeneration,
        processor: T5GemmaTTSProcessor,
        max_batch_size: int = 16,
        queue_size: int = 64,
        deadline_seconds: float | None = None,
        on_spoken: Callable[[SpeechTask], None] | None = None,
    ):
        if queue_size < 0:
            raise ValueError(f"`queue_size` must not be negative, got {queue_size}.")
        if deadline_seconds is not None and not deadline_seconds > 0:
            raise ValueError(f"`deadline_seconds` must be above 0, got {deadline_seconds}.")
        self.model, self.processor = model, processor
        self.capacity = max_batch_size + queue_size
        self.deadline_seconds = deadline_seconds
        self.on_spoken = on_spoken
        self.sampling_rate = int(processor.codec.sampling_rate)
        self.frame_rate = processor.frame_rate
        self.num_admitted = 0
        self.closing = False
        self.speaker = SpeechWorker(model, max_batch_size, max_waiting=self.capacity)
        self._seconds_each = FIRST_GUESS_SECONDS
        self._text_worker = ThreadPoolExecutor(1, thread_name_prefix="text")
        self._codec_worker = ThreadPoolExecutor(1, thread_name_prefix="codec")

    async def warm_up(self) -> None:
        """
        Speaks a word to nobody, alone and in company: what is loaded or packed at first use shall keep no one waiting.
        """
        deadline_seconds, self.deadline_seconds = self.deadline_seconds, None  # loading takes what it takes
        try:
            job = Job(WARM_UP_TEXT, language="en", seed=0)
            await self.speak(job)
            if self.speaker.max_batch_size > 1:
                await asyncio.gather(self.speak(job), self.speak(job))
        finally:
            self.deadline_seconds = deadline_seconds

    @property
    def alive(self) -> bool:
        return self.speaker.alive

    @contextmanager
    def admit(self, count: int = 1) -> Iterator[None]:
        """
        Room for `count` jobs while the block runs; for use in the event loop's thread.

        Raises:
            QueueFull: if there is none now.
            BadRequest: if there never is.
            ShuttingDown: after `close`.
        """
        if self.closing:
            raise ShuttingDown("the server is shutting down and takes no more requests.")
        if count > self.capacity:
            raise BadRequest(f"at most {self.capacity} texts can be taken at once, got {count}.")
        if self.num_admitted + count > self.capacity:
            rounds = self.num_admitted / self.speaker.max_batch_size
            wait = min(max(1, math.ceil(rounds * self._seconds_each)), 60)
            raise QueueFull(
                f"{self.num_admitted} requests are being spoken or wait, of {self.capacity} at most; try again later.",
                retry_after_seconds=wait,
            )
        self.num_admitted += count
        try:
            yield
        finally:
            self.num_admitted -= count

    async def read_reference(self, waveform: np.ndarray, sampling_rate: int, text: str) -> Reference:
        """
        Encodes a recording.

        Args:
            waveform (`np.ndarray`): float32 of shape (num_samples,).
            sampling_rate (`int`): Hz.
            text (`str`): what is said in it.

        Raises:
            BadRequest: if it is no usable recording, or nothing is said.
        """
        codes, seconds, text = await self._work(
            self._codec_worker, self.processor.read_reference, waveform, text, sampling_rate
        )
        return Reference(tuple(codes), text, seconds)

    async def on_text_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """The result of something short that would hold up the event loop, such as reading files."""
        return await asyncio.get_running_loop().run_in_executor(self._text_worker, function, *arguments)

    async def on_codec_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """The result of work on sound."""
        return await asyncio.get_running_loop().run_in_executor(self._codec_worker, function, *arguments)

    async def speak(self, job: Job) -> Spoken:
        """
        The whole sound of a job. Whoever stops waiting frees its place.

        Raises:
            BadRequest: if it cannot be spoken.
            DeadlineExceeded, SpeechFailed, ShuttingDown: if it came to nothing.
        """
        async with self._begun(job) as (request, speech):
            await asyncio.wrap_future(speech.future())
            codes = self.processor.speech_codes(request.token_ids)
            sound = await self.on_codec_thread(self._decode, codes)
            return Spoken(sound, request.seed, len(codes), len(request.input_ids), tuple(codes))

    async def stream(self, job: Job, windows: StreamWindows | None = None) -> AsyncGenerator[Spoken, None]:
        """
        The sound of a job piece by piece while it is spoken; close the iterator to free its place.

        Raises:
            as `speak`, at any piece.
        """
        async with self._begun(job) as (request, speech):
            decoder = StreamDecoder(self.processor.codec, windows)
            taken = num_frames = 0
            while True:
                said = await asyncio.wrap_future(speech.future(taken + missing_frames(decoder)))
                ended = speech.ended
                said = len(request.token_ids) if ended else said
                codes = self.processor.speech_codes(request.token_ids[taken:said])
                taken, num_frames = said, num_frames + len(codes)
                sound = await self.on_codec_thread(_decode_next, decoder, codes, ended)
                if len(sound) or ended:
                    yield Spoken(sound, request.seed, num_frames, len(request.input_ids))
                if ended:
                    return

    def close(self, finish: bool = True, timeout: float | None = None) -> None:
        """Takes no more jobs; those that run end first if `finish`, within `timeout` seconds."""
        self.closing = True
        self.speaker.close(finish, timeout)
        for worker in (self._text_worker, self._codec_worker):
            worker.shutdown(wait=finish, cancel_futures=not finish)

    @asynccontextmanager
    async def _begun(self, job: Job) -> AsyncIterator[tuple[SpeechRequest, SpeechTask]]:
        """Prepares and submits a job, and lets go of it however the block ends."""
        began = time.monotonic()
        request = await self._work(self._text_worker, self._prepare, job)
        left = None if self.deadline_seconds is None else self.deadline_seconds - (time.monotonic() - began)
        speech = self.speaker.submit(request, left)
        try:
            yield request, speech
        finally:
            self.speaker.cancel(speech)
            self._ended(speech)

    async def _work(self, worker: ThreadPoolExecutor, function: Callable[..., Result], *arguments: Any) -> Result:
        """As the processor's refusals are `ValueError`s, whoever sent the input is told of them."""
        try:
            return await asyncio.get_running_loop().run_in_executor(worker, function, *arguments)
        except ValueError as error:
            named = re.match(r"`(\w+)", str(error))
            param = named and ARGUMENT_FIELDS.get(named[1], named[1])
            raise BadRequest(str(error), param=param) from error

    def _prepare(self, job: Job) -> SpeechRequest:
        voice: dict[str, Any] = {}
        if job.reference is not None:
            voice = {"reference_audio": {"codes": job.reference.codes}, "reference_text": job.reference.text}
        inputs = self.processor(
            text=job.text, language=job.language, duration=job.duration_seconds, speed=job.speed, **voice
        )
        if job.duration_seconds is None:
            check_estimate(int(inputs["num_frames"][0]), self.frame_rate, job.speed)
        seed = secrets.randbelow(2**31) if job.seed is None else job.seed
        (request,) = speech_requests(self.model, **inputs, seed=seed, **job.sampling)
        return request

    def _decode(self, codes: list[int]) -> np.ndarray:
        windows = StreamWindows() if len(codes) > WHOLE_SECONDS * self.frame_rate else None
        (sound,) = self.processor.batch_decode([codes], windows=windows)
        return sound

    def _ended(self, speech: SpeechTask) -> None:
        if speech.started_at is not None and speech.ended_at is not None and speech.request.finished:
            self._seconds_each += 0.1 * (speech.ended_at - speech.started_at - self._seconds_each)
            if self.on_spoken is not None:
                self.on_spoken(speech)


def check_estimate(num_frames: int, frame_rate: float, speed: float) -> None:
    """
    Raises:
        ValueError: if an estimate has come to its limit, so that the speech would be hurried.
    """
    longest = MAXIMUM_SECONDS / speed
    if num_frames >= round(longest * frame_rate):
        raise ValueError(f"`text` takes {longest:.0f} seconds or more to say, which is too long at once; split it.")


def missing_frames(decoder: StreamDecoder) -> int:
    """Number of further codes that `decoder` needs to decode its next window, at least 1."""
    needed = decoder.emitted_frames + decoder.window_frames + decoder.windows.right_context
    return max(1, needed - decoder.start - len(decoder.codes))


def _decode_next(decoder: StreamDecoder, codes: list[int], ended: bool) -> np.ndarray:
    sound = decoder.push(codes)
    return np.concatenate([sound, decoder.finish()]) if ended else sound


__all__ = ["WHOLE_SECONDS", "Job", "Reference", "Spoken", "SynthesisService", "check_estimate"]
