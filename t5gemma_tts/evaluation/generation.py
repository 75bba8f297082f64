"""Speech generation for test items with the batching engine."""

import time
from dataclasses import dataclass

import numpy as np

from ..model.engine import SpeechEngine, speech_requests
from .test_lists import TestItem, read_item_audio


BATCHES_PER_CHUNK = 4  # batches whose texts and references are prepared together


@dataclass(eq=False)
class GeneratedSpeech:
    """
    Generated speech of a test item.

    Args:
        waveform (`np.ndarray`): float32 `(num_samples,)`, may be empty.
        codes (`list[int]`): audio tokens without special tokens.
        planned_frames (`int`): requested or estimated number of audio tokens.
        ended (`bool`): whether the model generated an end token.
        asked_seconds (`float`): requested or estimated duration.
        generation_seconds (`float`): share of the generation time of its batch, in proportion to its duration.
    """

    waveform: np.ndarray
    codes: list[int]
    planned_frames: int
    ended: bool
    asked_seconds: float
    generation_seconds: float = 0.0

    @property
    def num_frames(self) -> int:
        return len(self.codes)


class SpeechGenerator:
    """
    Generates the speech of test items.

    Args:
        model (`T5GemmaTTSForConditionalGeneration`)
        processor (`T5GemmaTTSProcessor`)
        batch_size (`int`, *optional*, defaults to 16)
        seed (`int`, *optional*, defaults to 0): seed of every item, so that its speech does not depend on other items.
        speed (`float`, *optional*, defaults to 1.0): divides requested and estimated durations.
        sampling (`dict`, *optional*): sampling options of `speech_requests` (default: those of the model).
    """

    def __init__(self, model, processor, batch_size: int = 16, seed: int = 0, speed: float = 1.0, sampling=None):
        self.model, self.processor = model.eval(), processor
        self.batch_size, self.seed, self.speed, self.sampling = batch_size, seed, speed, sampling or {}

    @property
    def sampling_rate(self) -> int:
        return self.processor.sampling_rate

    def generate(self, items: list[TestItem]) -> list[GeneratedSpeech]:
        """
        Generates the speech of all items, in order.

        Raises:
            ValueError, FileNotFoundError: if an item cannot be processed; the message names it.
        """
        started = time.perf_counter()
        inputs = self._inputs(items).to(self.model.device)
        requests = speech_requests(self.model, **inputs, **self.sampling, seed=self.seed)
        spoken = {}
        rate = self.processor.frame_rate
        for request in SpeechEngine(self.model, self.batch_size).run(requests):
            codes = self.processor.speech_codes(request.token_ids)
            (waveform,) = self.processor.batch_decode([codes])
            ended = request.token_ids[-1] == self.model.config.eos_token_id
            spoken[request] = GeneratedSpeech(waveform, codes, request.num_frames, ended, request.num_frames / rate)
        taken = time.perf_counter() - started
        total = sum(len(one.waveform) for one in spoken.values())
        results = [spoken[request] for request in requests]
        for item, one in zip(items, results, strict=True):
            one.generation_seconds = taken * (len(one.waveform) / total if total else 1 / len(items))
            if item.duration_seconds is not None:
                one.asked_seconds = item.duration_seconds / self.speed
        return results

    def _inputs(self, items: list[TestItem]):
        voices = [self._reference(item.reference_audio) for item in items]
        durations = [item.duration_seconds and item.duration_seconds / self.speed for item in items]
        try:
            return self.processor(
                text=[item.text for item in items],
                duration=durations,
                speed=[1.0 if duration else self.speed for duration in durations],
                reference_audio=voices,
                reference_text=[item.reference_text for item in items],
                language=[item.language for item in items],
            )
        except (ValueError, FileNotFoundError) as error:
            names = ", ".join(item.id for item in items[:3])
            raise type(error)(f"among {names}{', ...' if len(items) > 3 else ''}: {error}") from error

    def _reference(self, sound):
        """Returns the reference in a format that the processor accepts."""
        if not isinstance(sound, dict) or "codes" in sound or "array" in sound:
            return sound
        waveform, sampling_rate = read_item_audio(sound)
        return {"array": waveform, "sampling_rate": sampling_rate}


__all__ = ["GeneratedSpeech", "SpeechGenerator"]
