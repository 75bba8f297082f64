"""Long texts, spoken piece by piece in one voice and joined with pauses, in memory that does not grow.

The voice is the reference's, or else that of the first piece, which becomes the reference of all others.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from .model.audio import Waveform
from .model.duration import estimate_duration
from .model.engine import SpeechEngine, SpeechRequest, speech_requests
from .model.modeling_t5gemma_tts import T5GemmaTTSForConditionalGeneration
from .model.processing_t5gemma_tts import T5GemmaTTSProcessor
from .model.reference import ReferenceAudio, Transcriber
from .sentences import split_text


# longest pieces, by the estimate; nano loses a third of its wrong words by 6 seconds instead of 10
CHUNK_SECONDS, FIRST_CHUNK_SECONDS = 6.0, 5.0
AUDIBLE_SHARE = 0.01  # of the loudest sample, 40 dB below it: softer edges are cut
KEPT_EDGE_SECONDS = 0.05


def narrate(
    model: T5GemmaTTSForConditionalGeneration,
    processor: T5GemmaTTSProcessor,
    text: str,
    reference_audio: ReferenceAudio | None = None,
    reference_text: str | None = None,
    language: str | None = None,
    speed: float = 1.0,
    chunk_seconds: float = CHUNK_SECONDS,
    first_chunk_seconds: float = FIRST_CHUNK_SECONDS,
    batch_size: int = 4,
    asr: str | Transcriber | None = None,
    seed: int | None = None,
    **sampling: Any,
) -> Iterator[Waveform]:
    """
    Speaks a text of any length.

    Args:
        model (`T5GemmaTTSForConditionalGeneration`), processor (`T5GemmaTTSProcessor`)
        text (`str`): paragraphs are lines.
        reference_audio, reference_text, language, speed, asr: as the processor takes them, one for all.
        chunk_seconds (`float`): longest piece, by the estimate of its duration.
        first_chunk_seconds (`float`): likewise the first piece, which is the reference of the others if none is given.
        batch_size (`int`): pieces that are spoken at a time.
        seed (`int`, *optional*): of the first piece; each next one has the next number.
        sampling: `temperature`, `top_k` and so on, as [`speech_requests`] takes them.

    Yields:
        `np.ndarray` of float32, shape `(num_samples,)` at `processor.sampling_rate`: the sound of a piece and the pause
        after it.

    Raises:
        ValueError: for a text or reference that the processor refuses.
    """
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
    if not speed > 0:
        raise ValueError(f"`speed` must be a finite number above 0, got {speed!r}.")
    pieces = split_text(
        text,
        lambda part: estimate_duration(part, language=language) / speed,
        chunk_seconds,
        first_chunk_seconds if reference_audio is None else None,
        language,
    )
    if seed is None:
        seed = int(torch.randint(2**31, ()))
    voice: dict[str, Any] = {}
    if reference_audio is not None:
        codes, _, reference_text = processor.read_reference(reference_audio, reference_text, asr=asr)
        voice = {"reference_audio": {"codes": codes}, "reference_text": reference_text}

    def request(number: int) -> SpeechRequest:
        inputs = processor(text=pieces[number].text, language=language, speed=speed, **voice)
        return speech_requests(model, **inputs, seed=seed + number, **sampling)[0]

    engine = SpeechEngine(model, batch_size)
    pending: list[SpeechRequest] = []
    following = 0
    for piece in pieces:
        while following < len(pieces) and len(pending) < (2 * batch_size if voice else 1):
            pending.append(request(following))
            engine.submit(pending[-1])
            following += 1
        current = pending.pop(0)
        while not current.finished:
            engine.step()
        codes = processor.speech_codes(current.token_ids)
        if not voice and codes:
            voice = {"reference_audio": {"codes": codes}, "reference_text": piece.text}
        (sound,) = processor.batch_decode([codes])
        rate = processor.codec.sampling_rate
        pause = np.zeros(round(piece.pause_seconds / speed * rate), dtype=np.float32)
        yield np.concatenate([trim_edges(sound, rate), pause])


def trim_edges(sound: Waveform, sampling_rate: float) -> Waveform:
    """Without the silence at both ends, but for `KEPT_EDGE_SECONDS`, so that pauses are what they should be."""
    if not len(sound):
        return sound
    heard = np.flatnonzero(np.abs(sound) > AUDIBLE_SHARE * np.abs(sound).max())
    if not len(heard):
        return sound[:0]
    kept = round(KEPT_EDGE_SECONDS * sampling_rate)
    return sound[max(0, heard[0] - kept) : heard[-1] + 1 + kept]


__all__ = ["narrate", "trim_edges"]
