"""Speaks long texts piece by piece in one voice with a [`SynthesisService`], whose batch other requests share.

`narration` does the same with its own engine. Without a reference, the first piece is the reference of all others.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import replace

import numpy as np

from ..model.processing_t5gemma_tts import T5GemmaTTSProcessor
from ..narration import CHUNK_SECONDS, FIRST_CHUNK_SECONDS, trim_silence
from ..sentences import Piece, split_text
from ..serving.synthesis import Reference, SynthesisRequest, SynthesisResult, SynthesisService


def split_request(request: SynthesisRequest, processor: T5GemmaTTSProcessor) -> list[Piece]:
    """
    Splits the text of a request into pieces of a few seconds.

    Raises:
        ValueError: if the text is empty.
        ImportError: if sentencex is not installed.
    """
    return split_text(
        request.text,
        lambda part: processor.estimate_duration(part, request.language) / request.speed,
        CHUNK_SECONDS,
        FIRST_CHUNK_SECONDS if request.reference is None else None,
        request.language,
    )


async def narrate(
    synthesis: SynthesisService, request: SynthesisRequest, max_ahead: int = 1
) -> AsyncGenerator[np.ndarray, None]:
    """
    Args:
        synthesis ([`SynthesisService`]): service with reserved capacity for `max_ahead` requests.
        request ([`SynthesisRequest`]): request with a seed for the first piece; each further piece adds 1.
        max_ahead (`int`): most pieces that are generated at once.

    Yields:
        float32 `(num_samples,)`: the speech of a piece and the pause after it.

    Raises:
        ValueError: if the request has no seed.
        The errors of `SynthesisService.speak`, at any piece.
    """
    if request.seed is None:
        raise ValueError("`request` must have a seed.")
    pieces = await synthesis.run_on_text_thread(split_request, request, synthesis.processor)
    reference = request.reference
    num_started = 0
    running: deque[asyncio.Task[SynthesisResult]] = deque()
    try:
        for piece in pieces:
            while num_started < len(pieces) and len(running) < (1 if reference is None else max_ahead):
                part = replace(
                    request, text=pieces[num_started].text, reference=reference, seed=request.seed + num_started
                )
                running.append(asyncio.create_task(synthesis.speak(part)))
                num_started += 1
            result = await running[0]
            running.popleft()
            if reference is None and result.codes:
                reference = Reference(result.codes, piece.text, len(result.codes) / synthesis.frame_rate)
            pause = np.zeros(round(piece.pause_seconds / request.speed * synthesis.sampling_rate), dtype=np.float32)
            yield np.concatenate([trim_silence(result.waveform, synthesis.sampling_rate), pause])
    finally:  # closing the iterator cancels the pieces ahead
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


__all__ = ["narrate", "split_request"]
