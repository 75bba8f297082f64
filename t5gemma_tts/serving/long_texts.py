"""Speaks long texts piece by piece in one voice with a [`SynthesisService`], whose batch other requests share.

`narration` does the same with its own engine. Without a reference, the first piece is the reference of all others. The
memory does not depend on the length of the text, because each piece is handed over while it is generated.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

import numpy as np

from ..model.lexicon import Lexicon
from ..model.processing_t5gemma_tts import T5GemmaTTSProcessor
from ..narration import CHUNK_SECONDS, FIRST_CHUNK_SECONDS, KEPT_EDGE_SECONDS, SILENCE_THRESHOLD
from ..sentences import Piece, split_text
from .errors import ServingError
from .synthesis import Reference, SynthesisRequest, SynthesisResult, SynthesisService


WHOLE_SECONDS = 30.0  # texts with a longer estimated duration are spoken in pieces
SHORT_CHARACTERS = 100  # shorter texts need no estimate
PIECES_AHEAD = 2  # a piece, and the next one while the first is sent
PEAK_FLOOR = 0.2  # of speech; noise before the first word is not louder than its threshold


def split_request(request: SynthesisRequest, processor: T5GemmaTTSProcessor) -> list[Piece]:
    """
    Splits the text of a request into pieces of a few seconds.

    Raises:
        ValueError: if the text is empty.
        ImportError: if sentencex is not installed.
    """
    lexicon = None if request.lexicon is None else Lexicon.from_value(request.lexicon)

    def seconds_of(text: str) -> float:
        seconds = processor.estimate_duration(text, request.language, normalize=request.normalize, lexicon=lexicon)
        return seconds / request.speed

    return split_text(
        request.text,
        seconds_of,
        CHUNK_SECONDS,
        FIRST_CHUNK_SECONDS if request.reference is None else None,
        request.language,
    )


def split_if_long(request: SynthesisRequest, processor: T5GemmaTTSProcessor) -> list[Piece] | None:
    """
    The pieces of a request's text, or None if it is spoken as a whole: it is short, or its duration is given.

    Raises:
        ValueError: for a text that cannot be spoken.
        ImportError: if the text is long and sentencex is not installed.
    """
    if request.duration_seconds is not None or len(request.text) <= SHORT_CHARACTERS:
        return None
    seconds = processor.estimate_duration(
        request.text, request.language, normalize=request.normalize, lexicon=request.lexicon
    )
    return split_request(request, processor) if seconds / request.speed > WHOLE_SECONDS else None


async def narrate(
    synthesis: SynthesisService, request: SynthesisRequest, pieces: Sequence[Piece], max_ahead: int = 1
) -> AsyncGenerator[SynthesisResult, None]:
    """
    Speaks the pieces of a long text. The service's deadline applies to each piece.

    Args:
        synthesis ([`SynthesisService`]): service with reserved capacity for `max_ahead` requests.
        request ([`SynthesisRequest`]): request with a seed for the first piece; each further piece adds 1.
        pieces (sequence of [`Piece`]): its text from `split_request`.
        max_ahead (`int`): most pieces that are generated at once.

    Yields:
        [`SynthesisResult`]: the next chunk of speech, which may be empty. It counts frames and text tokens of all
        pieces so far.

    Raises:
        ValueError: if the request has no seed.
        The errors of `SynthesisService.stream`, at any chunk.
    """
    if request.seed is None:
        raise ValueError("`request` must have a seed.")
    reference = request.reference
    num_started = num_frames = text_tokens = 0
    running: deque[_PieceStream] = deque()
    try:
        for piece in pieces:
            while num_started < len(pieces) and len(running) < (1 if reference is None else max_ahead):
                part = replace(
                    request, text=pieces[num_started].text, reference=reference, seed=request.seed + num_started
                )
                running.append(_PieceStream(synthesis, part))
                num_started += 1
            trimmer = SilenceTrimmer(synthesis.sampling_rate)
            result = None
            while (chunk := await running[0].next()) is not None:
                result = replace(
                    chunk,
                    waveform=trimmer.push(chunk.waveform),
                    seed=request.seed,
                    num_frames=num_frames + chunk.num_frames,
                    text_tokens=text_tokens + chunk.text_tokens,
                    codes=(),
                )
                codes = chunk.codes
                yield result
            running.popleft()
            assert result is not None  # a stream has a last chunk
            num_frames, text_tokens = result.num_frames, result.text_tokens
            if reference is None and codes:
                reference = Reference(codes, piece.text, len(codes) / synthesis.frame_rate)
            pause = np.zeros(round(piece.pause_seconds / request.speed * synthesis.sampling_rate), dtype=np.float32)
            yield replace(result, waveform=np.concatenate([trimmer.finish(), pause]))
    finally:  # closing the iterator cancels the pieces ahead
        for stream in running:
            stream.task.cancel()
        await asyncio.gather(*(stream.task for stream in running), return_exceptions=True)


class _PieceStream:
    """A piece that is generated in a task of its own, while another one is handed over."""

    def __init__(self, synthesis: SynthesisService, request: SynthesisRequest):
        self._chunks: asyncio.Queue[SynthesisResult | ServingError | None] = asyncio.Queue()
        self.task = asyncio.create_task(self._run(synthesis, request))

    async def next(self) -> SynthesisResult | None:
        """The next chunk; None after the last one."""
        chunk = await self._chunks.get()
        if isinstance(chunk, ServingError):
            raise chunk
        return chunk

    async def _run(self, synthesis: SynthesisService, request: SynthesisRequest) -> None:
        try:
            async with aclosing(synthesis.stream(request)) as stream:
                async for chunk in stream:
                    self._chunks.put_nowait(chunk)
            self._chunks.put_nowait(None)
        except ServingError as error:
            self._chunks.put_nowait(error)
        except Exception as error:  # the reader must not wait forever
            self._chunks.put_nowait(ServingError(f"speech generation failed: {type(error).__name__}."))
            raise


class SilenceTrimmer:
    """
    Trims the silence at both ends of speech that comes in chunks, so that pauses between pieces have their exact
    length. How the speech is cut into chunks does not change the result.

    Args:
        sampling_rate (`float`): Hz.
    """

    def __init__(self, sampling_rate: float):
        self._kept = round(KEPT_EDGE_SECONDS * sampling_rate)
        self._held = np.zeros(0, dtype=np.float32)
        self._peak = PEAK_FLOOR
        self._started = False

    def push(self, waveform: np.ndarray) -> np.ndarray:
        """Takes further samples, float32 `(num_samples,)`, and returns those that are not at an end."""
        if not len(waveform):
            return waveform
        level = np.abs(waveform)
        peaks = np.maximum.accumulate(np.maximum(level, self._peak))
        self._peak = float(peaks[-1])
        audible = len(self._held) + np.flatnonzero(level > SILENCE_THRESHOLD * peaks)
        sound = np.concatenate([self._held, waveform])
        if not len(audible):
            self._held = sound if self._started else sound[-self._kept :]
            return sound[:0]
        start = 0 if self._started else max(0, audible[0] - self._kept)
        self._started = True
        self._held = sound[audible[-1] + 1 :]
        return sound[start : audible[-1] + 1]

    def finish(self) -> np.ndarray:
        """Returns what is kept of the silence at the end; nothing if there was no sound."""
        return self._held[: self._kept] if self._started else self._held[:0]


__all__ = ["PIECES_AHEAD", "SilenceTrimmer", "narrate", "split_if_long", "split_request"]
