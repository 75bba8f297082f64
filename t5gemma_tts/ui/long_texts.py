"""Long texts, spoken piece by piece in one voice, among the other speeches of a [`SynthesisService`].

As `narration` does it with an engine of its own: without a reference, the first piece is the voice of all others.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import replace

import numpy as np

from ..model.duration import estimate_duration
from ..narration import CHUNK_SECONDS, FIRST_CHUNK_SECONDS, trim_edges
from ..sentences import Piece, split_text
from ..serving.synthesis import Reference, SynthesisRequest, SynthesisResult, SynthesisService


def split_job(job: SynthesisRequest) -> list[Piece]:
    """
    The pieces of a job's text.

    Raises:
        ValueError: if it has nothing to say.
        ImportError: without sentencex.
    """
    return split_text(
        job.text,
        lambda part: estimate_duration(part, language=job.language) / job.speed,
        CHUNK_SECONDS,
        FIRST_CHUNK_SECONDS if job.reference is None else None,
        job.language,
    )


async def narrate(
    synthesis: SynthesisService, job: SynthesisRequest, max_ahead: int = 1
) -> AsyncGenerator[np.ndarray, None]:
    """
    Args:
        synthesis ([`SynthesisService`]): with room for `max_ahead` jobs.
        job ([`SynthesisRequest`]): with a seed, which is the first piece's; each next one has the next number.
        max_ahead (`int`): pieces that are spoken at a time.

    Yields:
        float32 `(num_samples,)`: the sound of a piece and the pause after it.

    Raises:
        ValueError: for a job without a seed.
        as `SynthesisService.speak`, at any piece.
    """
    if job.seed is None:
        raise ValueError("`job` must have a seed: it is the first piece's.")
    pieces = await synthesis.run_on_text_thread(split_job, job)
    reference = job.reference
    following = 0
    running: deque[asyncio.Task[SynthesisResult]] = deque()
    try:
        for piece in pieces:
            while following < len(pieces) and len(running) < (1 if reference is None else max_ahead):
                part = replace(job, text=pieces[following].text, reference=reference, seed=job.seed + following)
                running.append(asyncio.create_task(synthesis.speak(part)))
                following += 1
            spoken = await running[0]
            running.popleft()
            if reference is None and spoken.codes:
                reference = Reference(spoken.codes, piece.text, len(spoken.codes) / synthesis.frame_rate)
            pause = np.zeros(round(piece.pause_seconds / job.speed * synthesis.sampling_rate), dtype=np.float32)
            yield np.concatenate([trim_edges(spoken.waveform, synthesis.sampling_rate), pause])
    finally:  # whoever stops listening wants no more
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


__all__ = ["narrate", "split_job"]
