"""Actions of the page's form: estimate the length, transcribe a recording, speak."""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..model.duration import estimate_duration
from ..model.reference import Transcriber, load_transcriber
from ..model.text_normalization import normalize_text
from ..serving.errors import BadRequest, ServingError
from ..serving.limits import Limits
from ..serving.synthesis import Reference, SynthesisRequest, SynthesisService
from ..serving.uploads import decode_recording
from .long_texts import narrate, split_job
from .options import SpeechOptions
from .plots import picture_html


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Take:
    """One finished sample of a text: `waveform` is float32 `(num_samples,)` at `sampling_rate` Hz."""

    waveform: np.ndarray
    sampling_rate: int
    seed: int

    @property
    def seconds(self) -> float:
        return len(self.waveform) / self.sampling_rate


@dataclass(frozen=True)
class Progress:
    """`piece` is the next sound of the first take while it is spoken, if that is listened to; `takes` are finished."""

    piece: np.ndarray | None
    takes: tuple[Take, ...]


class SpeechForm:
    """
    Serves the people at the page. Its coroutines belong to one event loop.

    Args:
        synthesis ([`SynthesisService`])
        limits ([`Limits`], *optional*): of texts and recordings.
        asr (`str` or callable): what transcribes recordings, as [`load_transcriber`] takes it; loaded at first use.
        max_samples (`int`): takes of a text at once, and pieces of a long one.
        in_windows (`bool`): decode all sound in short windows, as streams are, so that long speech needs no more memory
            than short.
    """

    def __init__(
        self,
        synthesis: SynthesisService,
        asr: str | Transcriber,
        limits: Limits | None = None,
        max_samples: int = 4,
        in_windows: bool = False,
    ):
        if max_samples < 1:
            raise ValueError(f"`max_samples` must be at least 1, got {max_samples}.")
        self.synthesis, self.asr, self.max_samples, self.in_windows = synthesis, asr, max_samples, in_windows
        self.limits = limits or Limits()
        self.max_seconds = synthesis.processor.max_duration_seconds
        self._transcribe: Transcriber | None = None
        self._listener = ThreadPoolExecutor(1, thread_name_prefix="asr")
        self._painter = ThreadPoolExecutor(1, thread_name_prefix="pictures")

    async def estimate(self, options: SpeechOptions) -> float | None:
        """
        Seconds that a text will take to say, by the processor's estimate; None if there is no text.

        Raises:
            BadRequest: for a text that is too long, or a recording that cannot be used.
        """
        if not options.text.strip() or not options.speed > 0:
            return None
        options.check_length_of_text(self.limits)
        return await self.synthesis.run_on_text_thread(self._estimate, options)

    def _estimate(self, options: SpeechOptions) -> float:
        if options.in_pieces:
            reference = None if options.reference is None else Reference((), "", 0.0)
            pieces = split_job(
                SynthesisRequest(options.text, options.language, speed=options.speed, reference=reference)
            )
            seconds = sum(
                estimate_duration(piece.text, language=options.language) + piece.pause_seconds for piece in pieces
            )
            return seconds / options.speed
        known: dict[str, Any] = {}
        if options.reference is not None and options.reference_text.strip():
            waveform, rate = self._read(options.reference)
            known = {
                "reference_text": options.reference_text,
                "reference_duration_seconds": len(waveform) / rate,
            }
        spoken = normalize_text(options.text, options.language)
        return estimate_duration(spoken, language=options.language, **known) / options.speed

    async def transcribe(self, recording: Path | None) -> str:
        """
        What is said in a recording.

        Raises:
            BadRequest: if there is none, it is no usable recording, or nothing is said in it.
            ServingError: if the speech recognition model cannot be loaded.
        """
        if recording is None:
            raise BadRequest("There is no recording to transcribe: add one first.", "reference_audio")
        try:
            text = await asyncio.get_running_loop().run_in_executor(self._listener, self._hear, recording)
        except OSError as error:  # with paths and names that are not for everybody
            logger.exception("no speech recognition")
            raise ServingError("Speech recognition is not available here: please write the transcript.") from error
        if not text.strip():
            raise BadRequest("No words were recognised in the recording: please write them.", "reference_audio")
        return text.strip()

    def _hear(self, recording: Path) -> str:
        waveform, rate = self._read(recording)
        if self._transcribe is None:
            self._transcribe = load_transcriber(self.asr, self.synthesis.processor.codec_device)
        return self._transcribe(waveform, rate)

    def _read(self, recording: Path) -> tuple[np.ndarray, int]:
        with open(recording, "rb") as file:
            data = file.read(self.limits.max_reference_bytes + 1)
        try:
            return decode_recording(data, self.limits, "recording")
        except ServingError as error:
            raise type(error)(f"The recording cannot be used: {error.message}", "reference_audio") from error

    async def speak(self, options: SpeechOptions, live: bool = False) -> AsyncGenerator[Progress, None]:
        """
        Speaks; close the iterator to stop.

        Args:
            options ([`SpeechOptions`])
            live (`bool`): hand over the sound of the first take while it is spoken.

        Raises:
            BadRequest: for what cannot be spoken, in words for the one who asked.
            QueueFull, DeadlineExceeded, SpeechFailed, ShuttingDown: if it came to nothing.
        """
        options.check(self.limits, self.max_seconds, self.max_samples)
        seed = secrets.randbelow(2**31) if options.seed is None else options.seed
        first = await self._job(options, seed)
        seeds = range(seed, seed + options.num_samples)
        ahead = min(self.max_samples, self.synthesis.worker.max_batch_size)
        pieces: list[np.ndarray] = []
        takes: list[Take] = []
        in_turns = live or options.in_pieces
        with self.synthesis.admit(max(len(seeds), ahead) if options.in_pieces else len(seeds)):
            others = [asyncio.create_task(self._whole(replace(first, seed=one), one)) for one in seeds[in_turns:]]
            try:
                if in_turns:
                    sounds = narrate(self.synthesis, first, ahead) if options.in_pieces else self._stream(first)
                    async with aclosing(sounds):
                        async for piece in sounds:
                            pieces.append(piece)
                            if live:
                                yield Progress(piece, ())
                    takes.append(self._take(np.concatenate(pieces), seed))
                    yield Progress(None, tuple(takes))
                for task in others:
                    takes.append(await task)
                    yield Progress(None, tuple(takes))
            finally:  # whoever stops listening wants no more
                for task in others:
                    task.cancel()
                await asyncio.gather(*others, return_exceptions=True)

    async def _job(self, options: SpeechOptions, seed: int) -> SynthesisRequest:
        reference = None
        if options.reference is not None:
            waveform, rate = await self.synthesis.run_on_codec_thread(self._read, options.reference)
            reference = await self.synthesis.encode_reference(waveform, rate, options.reference_text.strip())
        return SynthesisRequest(
            text=options.text,
            language=options.language,
            duration_seconds=options.duration_seconds,
            speed=1.0 if options.duration_seconds is not None else options.speed,
            reference=reference,
            seed=seed,
            sampling=options.sampling(),
        )

    async def picture(self, take: Take, name: str) -> str:
        """Waveform and spectrogram as an HTML element."""
        return await asyncio.get_running_loop().run_in_executor(
            self._painter, picture_html, take.waveform, take.sampling_rate, name
        )

    async def _whole(self, job: SynthesisRequest, seed: int) -> Take:
        if self.in_windows:
            return self._take(np.concatenate([sound async for sound in self._stream(job)]), seed)
        return self._take((await self.synthesis.speak(job)).waveform, seed)

    async def _stream(self, job: SynthesisRequest) -> AsyncGenerator[np.ndarray, None]:
        stream = self.synthesis.stream(job)
        async with aclosing(stream):
            async for spoken in stream:
                yield spoken.waveform

    def _take(self, sound: np.ndarray, seed: int) -> Take:
        if not len(sound):
            raise BadRequest("The model ended before it said anything: try another seed or text.", "seed")
        return Take(sound, self.synthesis.sampling_rate, seed)

    def close(self) -> None:
        for worker in (self._listener, self._painter):
            worker.shutdown(wait=False, cancel_futures=True)


__all__ = ["SpeechForm", "Progress", "Take"]
