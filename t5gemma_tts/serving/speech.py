"""The speech of a request, as a whole file or in chunks. Long texts are spoken in pieces."""

import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from ..sentences import Piece
from .formats import FileEncoder, encode_audio
from .long_texts import PIECES_AHEAD, narrate, split_if_long
from .synthesis import SynthesisRequest, SynthesisResult, SynthesisService


@dataclass(frozen=True)
class SpokenFile:
    """An audio file `data`, the seed that was used, and the duration of the speech."""

    data: bytes
    seed: int
    seconds: float


async def speak_file(
    synthesis: SynthesisService, request: SynthesisRequest, audio_format: str, rate: int, watermark: str
) -> SpokenFile:
    """
    Speaks a request whose capacity is reserved, and encodes the speech as a file of `rate` Hz; `watermark` as in
    `encode_audio`.

    Raises:
        The errors of `SynthesisService.speak`.
    """
    pieces = await _pieces(synthesis, request)
    if pieces is None:
        result = await synthesis.speak(request)
        data = await synthesis.run_on_codec_thread(
            encode_audio, result.waveform, synthesis.sampling_rate, audio_format, rate, watermark
        )
        return SpokenFile(data, result.seed, len(result.waveform) / synthesis.sampling_rate)
    encoder = await synthesis.run_on_codec_thread(FileEncoder, synthesis.sampling_rate, audio_format, rate, watermark)
    num_samples = 0
    async with aclosing(_narrate(synthesis, request, pieces)) as results:
        async for result in results:
            num_samples += len(result.waveform)
            await synthesis.run_on_codec_thread(encoder.push, result.waveform)
    data = await synthesis.run_on_codec_thread(encoder.finish)
    return SpokenFile(data, result.seed, num_samples / synthesis.sampling_rate)


async def speak_chunks(synthesis: SynthesisService, request: SynthesisRequest) -> AsyncGenerator[SynthesisResult, None]:
    """
    Speaks a request whose capacity is reserved, and yields the speech while it is generated.

    Raises:
        The errors of `SynthesisService.stream`, at any chunk.
    """
    pieces = await _pieces(synthesis, request)
    stream = synthesis.stream(request) if pieces is None else _narrate(synthesis, request, pieces)
    async with aclosing(stream):
        async for result in stream:
            yield result


async def _pieces(synthesis: SynthesisService, request: SynthesisRequest) -> list[Piece] | None:
    return await synthesis.prepare_on_text_thread(split_if_long, request, synthesis.processor)


async def _narrate(
    synthesis: SynthesisService, request: SynthesisRequest, pieces: Sequence[Piece]
) -> AsyncGenerator[SynthesisResult, None]:
    """Speaks pieces; some are generated ahead if there is capacity beside the one that is reserved."""
    num_more = min(PIECES_AHEAD, synthesis.worker.max_batch_size) - 1
    if synthesis.num_admitted + num_more > synthesis.capacity:
        num_more = 0
    if request.seed is None:
        request = replace(request, seed=secrets.randbelow(2**31))
    with synthesis.admit(num_more):
        async with aclosing(narrate(synthesis, request, pieces, 1 + num_more)) as results:
            async for result in results:
                yield result


__all__ = ["SpokenFile", "speak_chunks", "speak_file"]
