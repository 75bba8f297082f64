"""Speaks long texts piece by piece in one voice, with pauses between the pieces, in constant memory.

Without a reference, the first piece becomes the reference of all others, so that the voice stays the same.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from .model.audio import Waveform
from .model.engine import SpeechEngine, SpeechRequest, speech_requests
from .model.lexicon import Lexicon
from .model.modeling_t5gemma_tts import T5GemmaTTSForConditionalGeneration
from .model.processing_t5gemma_tts import T5GemmaTTSProcessor
from .model.reference import ReferenceAudio, Transcriber
from .model.text_front_end import LexiconLike
from .sentences import split_text


# longest estimated duration of a piece; with 6 instead of 10 seconds, nano has a third fewer word errors
CHUNK_SECONDS, FIRST_CHUNK_SECONDS = 6.0, 5.0
SILENCE_THRESHOLD = 0.01  # relative to the peak (-40 dB); quieter edges are trimmed
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
    normalize: bool | None = None,
    lexicon: LexiconLike | None = None,
    seed: int | None = None,
    **sampling: Any,
) -> Iterator[Waveform]:
    """
    Speaks a text of any length and yields the audio piece by piece.

    Args:
        model (`T5GemmaTTSForConditionalGeneration`): model that generates the audio tokens.
        processor (`T5GemmaTTSProcessor`): processor with a codec.
        text (`str`): text to speak, with one paragraph per line.
        reference_audio, reference_text, language, speed, asr, normalize, lexicon: as the processor takes them; one
            value for all pieces.
        chunk_seconds (`float`): longest estimated duration of a piece.
        first_chunk_seconds (`float`): the same for the first piece, if it serves as reference.
        batch_size (`int`): most pieces that are generated at a time.
        seed (`int`, *optional*): seed of the first piece; each further piece adds 1. Drawn by default.
        sampling: `temperature`, `top_k` and so on, as [`speech_requests`] takes them.

    Yields:
        `np.ndarray` of float32, shape `(num_samples,)` at `processor.sampling_rate`: the speech of a piece and
        the pause after it.

    Raises:
        ValueError: for an invalid text, reference or option.
        ImportError: if sentencex is not installed.
    """
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
    if not speed > 0:
        raise ValueError(f"`speed` must be a finite number above 0, got {speed!r}.")
    reading: dict[str, Any] = {
        "normalize": normalize,
        "lexicon": None if lexicon is None else Lexicon.from_value(lexicon),
    }
    pieces = split_text(
        text,
        lambda part: processor.estimate_duration(part, language, **reading) / speed,
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
        inputs = processor(text=pieces[number].text, language=language, speed=speed, **reading, **voice)
        return speech_requests(model, **inputs, seed=seed + number, **sampling)[0]

    engine = SpeechEngine(model, batch_size)
    pending: list[SpeechRequest] = []
    num_submitted = 0
    for piece in pieces:
        while num_submitted < len(pieces) and len(pending) < (2 * batch_size if voice else 1):
            pending.append(request(num_submitted))
            engine.submit(pending[-1])
            num_submitted += 1
        current = pending.pop(0)
        while not current.finished:
            engine.step()
        codes = processor.speech_codes(current.token_ids)
        if not voice and codes:
            voice = {"reference_audio": {"codes": codes}, "reference_text": piece.text}
        (waveform,) = processor.batch_decode([codes])
        rate = processor.codec.sampling_rate
        pause = np.zeros(round(piece.pause_seconds / speed * rate), dtype=np.float32)
        yield np.concatenate([trim_silence(waveform, rate), pause])


def trim_silence(waveform: Waveform, sampling_rate: float) -> Waveform:
    """
    Trims the silence at both ends, so that the pauses between pieces have their exact length.

    Args:
        waveform (`np.ndarray`): float32 `(num_samples,)`.
        sampling_rate (`float`): Hz.

    Returns:
        float32 `(num_samples,)`: the part above the threshold, with up to `KEPT_EDGE_SECONDS` on both sides.
    """
    if not len(waveform):
        return waveform
    audible = np.flatnonzero(np.abs(waveform) > SILENCE_THRESHOLD * np.abs(waveform).max())
    if not len(audible):
        return waveform[:0]
    kept = round(KEPT_EDGE_SECONDS * sampling_rate)
    return waveform[max(0, audible[0] - kept) : audible[-1] + 1 + kept]


__all__ = ["narrate", "trim_silence"]
