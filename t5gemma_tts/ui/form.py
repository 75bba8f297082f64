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

from ..model.reference import Transcriber, load_transcriber
from ..serving.errors import BadRequest, ServingError
from ..serving.limits import Limits
from ..serving.long_texts import narrate, split_request
from ..serving.synthesis import Reference, SynthesisRequest, SynthesisService
from ..serving.uploads import decode_recording
from .options import SpeechOptions
from .plots import plot_html


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """One finished sample of a text: `waveform` is float32 `(num_samples,)` at `sampling_rate` Hz."""

    waveform: np.ndarray
    sampling_rate: int
    seed: int

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return len(self.waveform) / self.sampling_rate


@dataclass(frozen=True)
class SpeechProgress:
    """
    One update of [`SpeechForm.speak`].

    Args:
        chunk (`np.ndarray`, *optional*): next chunk of the first sample, float32 `(num_samples,)`.
        samples (`tuple[Sample, ...]`): the finished samples.
    """

    chunk: np.ndarray | None
    samples: tuple[Sample, ...]


class SpeechForm:
    """
    Actions of the page. Call its coroutines in one event loop only.

    Args:
        synthesis ([`SynthesisService`]): the service that generates speech.
        asr (`str` or callable): speech recognition as [`load_transcriber`] takes it; loaded at first use.
        limits ([`Limits`], *optional*): limits on texts and recordings.
        max_samples (`int`): most samples of a text, and most pieces of a long text, that are generated at once.
        in_windows (`bool`): decode all audio in short windows, so that the memory does not grow with the duration.

    Raises:
        ValueError: if `max_samples` is below 1.
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
        self._transcriber: Transcriber | None = None
        self._asr_executor = ThreadPoolExecutor(1, thread_name_prefix="asr")
        self._plot_executor = ThreadPoolExecutor(1, thread_name_prefix="plots")

    async def estimate(self, options: SpeechOptions) -> float | None:
        """
        Estimated duration of a text in seconds; None if the text is empty.

        Raises:
            BadRequest: if the text is too long, or the recording cannot be used.
        """
        if not options.text.strip() or not options.speed > 0:
            return None
        options.check_text_length(self.limits)
        return await self.synthesis.run_on_text_thread(self._estimate, options)

    def _estimate(self, options: SpeechOptions) -> float:
        if options.in_pieces:
            reference = None if options.reference is None else Reference((), "", 0.0)
            pieces = split_request(
                SynthesisRequest(options.text, options.language, speed=options.speed, reference=reference),
                self.synthesis.processor,
            )
            seconds = sum(
                self.synthesis.processor.estimate_duration(piece.text, options.language) + piece.pause_seconds
                for piece in pieces
            )
            return seconds / options.speed
        voice: dict[str, Any] = {}
        if options.reference is not None and options.reference_text.strip():
            waveform, rate = self._read_recording(options.reference)
            voice = {
                "reference_text": options.reference_text,
                "reference_duration_seconds": len(waveform) / rate,
            }
        return self.synthesis.processor.estimate_duration(options.text, options.language, **voice) / options.speed

    async def transcribe(self, recording: Path | None) -> str:
        """
        Transcribes a recording.

        Raises:
            BadRequest: if there is no recording, it cannot be used, or it has no words.
            ServingError: if the speech recognition model cannot be loaded.
        """
        if recording is None:
            raise BadRequest("There is no recording to transcribe. Add one first.", "reference_audio")
        try:
            text = await asyncio.get_running_loop().run_in_executor(
                self._asr_executor, self._transcribe_file, recording
            )
        except OSError as error:  # its message has paths, which visitors must not see
            logger.exception("speech recognition failed to load")
            raise ServingError("Speech recognition is not available. Please write the transcript.") from error
        if not text.strip():
            raise BadRequest(
                "No words were recognized in the recording. Please write the transcript.", "reference_audio"
            )
        return text.strip()

    def _transcribe_file(self, recording: Path) -> str:
        waveform, rate = self._read_recording(recording)
        if self._transcriber is None:
            self._transcriber = load_transcriber(self.asr, self.synthesis.processor.codec_device)
        return self._transcriber(waveform, rate)

    def _read_recording(self, recording: Path) -> tuple[np.ndarray, int]:
        with open(recording, "rb") as file:
            data = file.read(self.limits.max_reference_bytes + 1)
        try:
            return decode_recording(data, self.limits, "recording")
        except ServingError as error:
            raise type(error)(f"The recording cannot be used: {error.message}", "reference_audio") from error

    async def speak(self, options: SpeechOptions, live: bool = False) -> AsyncGenerator[SpeechProgress, None]:
        """
        Speaks a text and yields progress. Close the iterator to cancel.

        Args:
            options ([`SpeechOptions`]): text, voice and sampling options.
            live (`bool`): yield the first sample in chunks while it is generated.

        Raises:
            BadRequest: for invalid options, with a message for the page.
            QueueFull, DeadlineExceeded, SpeechFailed, ShuttingDown: as [`SynthesisService.speak`].
        """
        options.check(self.limits, self.max_seconds, self.max_samples)
        seed = secrets.randbelow(2**31) if options.seed is None else options.seed
        request = await self._request(options, seed)
        seeds = range(seed, seed + options.num_samples)
        max_ahead = min(self.max_samples, self.synthesis.worker.max_batch_size)
        chunks: list[np.ndarray] = []
        samples: list[Sample] = []
        in_chunks = live or options.in_pieces
        with self.synthesis.admit(max(len(seeds), max_ahead) if options.in_pieces else len(seeds)):
            others = [asyncio.create_task(self._speak(replace(request, seed=one), one)) for one in seeds[in_chunks:]]
            try:
                if in_chunks:
                    waveforms = self._stream(request, max_ahead if options.in_pieces else None)
                    async with aclosing(waveforms):
                        async for chunk in waveforms:
                            chunks.append(chunk)
                            if live:
                                yield SpeechProgress(chunk, ())
                    samples.append(self._sample(np.concatenate(chunks), seed))
                    yield SpeechProgress(None, tuple(samples))
                for task in others:
                    samples.append(await task)
                    yield SpeechProgress(None, tuple(samples))
            finally:  # closing the iterator cancels the other samples
                for task in others:
                    task.cancel()
                await asyncio.gather(*others, return_exceptions=True)

    async def _request(self, options: SpeechOptions, seed: int) -> SynthesisRequest:
        reference = None
        if options.reference is not None:
            waveform, rate = await self.synthesis.run_on_codec_thread(self._read_recording, options.reference)
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

    async def plot(self, sample: Sample, name: str) -> str:
        """A plot of waveform and spectrogram, as an HTML element."""
        return await asyncio.get_running_loop().run_in_executor(
            self._plot_executor, plot_html, sample.waveform, sample.sampling_rate, name
        )

    async def _speak(self, request: SynthesisRequest, seed: int) -> Sample:
        if self.in_windows:
            return self._sample(np.concatenate([chunk async for chunk in self._stream(request)]), seed)
        return self._sample((await self.synthesis.speak(request)).waveform, seed)

    async def _stream(
        self, request: SynthesisRequest, max_ahead: int | None = None
    ) -> AsyncGenerator[np.ndarray, None]:
        """Yields speech in chunks; with `max_ahead`, a long text in pieces, of which so many are generated at once."""
        if max_ahead is None:
            stream = self.synthesis.stream(request)
        else:
            pieces = await self.synthesis.prepare_on_text_thread(split_request, request, self.synthesis.processor)
            stream = narrate(self.synthesis, request, pieces, max_ahead)
        async with aclosing(stream):
            async for result in stream:
                yield result.waveform

    def _sample(self, waveform: np.ndarray, seed: int) -> Sample:
        if not len(waveform):
            raise BadRequest("The model generated no speech. Try another seed or text.", "seed")
        return Sample(waveform, self.synthesis.sampling_rate, seed)

    def close(self) -> None:
        """Stops the threads of the form; the caller closes the synthesis."""
        for executor in (self._asr_executor, self._plot_executor):
            executor.shutdown(wait=False, cancel_futures=True)


__all__ = ["SpeechForm", "SpeechProgress", "Sample"]
