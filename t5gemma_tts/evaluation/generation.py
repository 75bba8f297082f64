"""Speaking test items with the batching engine."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..model.engine import SpeechEngine, speech_requests
from .test_lists import TestItem, read_sound


BATCHES_AHEAD = 4  # items whose texts and references are prepared together, in batches


@dataclass(eq=False)
class Spoken:
    """
    What an item became.

    Args:
        waveform (`np.ndarray`): float32 `(num_samples,)`; empty if nothing was said.
        codes (`list[int]`): audio tokens without special ones.
        planned_frames (`int`): audio tokens that were asked for.
        ended (`bool`): by itself, not by being stopped.
        asked_seconds (`float`): the length that was asked for, or estimated.
        seconds_taken (`float`): its part of the time that its batch took, by length; loading is not in it.
    """

    waveform: np.ndarray
    codes: list[int]
    planned_frames: int
    ended: bool
    asked_seconds: float
    seconds_taken: float = 0.0

    @property
    def num_frames(self) -> int:
        return len(self.codes)


class Speaker:
    """
    Speaks test items.

    Args:
        model (`T5GemmaTTSForConditionalGeneration`), processor (`T5GemmaTTSProcessor`): of a checkpoint.
        batch_size (`int`, *optional*, defaults to 16)
        seed (`int`, *optional*, defaults to 0): of every item, so that it says the same whatever the others are.
        speed (`float`, *optional*, defaults to 1.0): divides lengths, estimated or asked for.
        sampling (`dict`, *optional*): as in `speech_requests`; the model's where not given.
    """

    def __init__(self, model, processor, batch_size: int = 16, seed: int = 0, speed: float = 1.0, sampling=None):
        self.model, self.processor = model.eval(), processor
        self.batch_size, self.seed, self.speed, self.sampling = batch_size, seed, speed, sampling or {}

    @property
    def sampling_rate(self) -> int:
        return self.processor.sampling_rate

    def speak(self, items: list[TestItem]) -> list[Spoken]:
        """All items at once, in their order."""
        return [spoken for _, spoken in self.speak_in_turn(items, len(items))]

    def speak_in_turn(self, items: list[TestItem], at_once: int | None = None) -> Iterator[tuple[TestItem, Spoken]]:
        """
        Items in their order, a few batches at a time.

        Raises:
            ValueError, FileNotFoundError: for an item that cannot be spoken; names it.
        """
        at_once = at_once or BATCHES_AHEAD * self.batch_size
        for start in range(0, len(items), at_once):
            some = items[start : start + at_once]
            yield from zip(some, self._speak(some), strict=True)

    def _speak(self, items: list[TestItem]) -> list[Spoken]:
        started = time.perf_counter()
        inputs = self._inputs(items).to(self.model.device)
        requests = speech_requests(self.model, **inputs, **self.sampling, seed=self.seed)
        spoken = {}
        rate = self.processor.frame_rate
        for request in SpeechEngine(self.model, self.batch_size).run(requests):
            codes = self.processor.speech_codes(request.token_ids)
            (waveform,) = self.processor.batch_decode([codes])
            ended = request.token_ids[-1] == self.model.config.eos_token_id
            spoken[request] = Spoken(waveform, codes, request.num_frames, ended, request.num_frames / rate)
        taken = time.perf_counter() - started
        total = sum(len(one.waveform) for one in spoken.values())
        results = [spoken[request] for request in requests]
        for item, one in zip(items, results, strict=True):
            one.seconds_taken = taken * (len(one.waveform) / total if total else 1 / len(items))
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
        """As the processor takes it."""
        if not isinstance(sound, dict) or "codes" in sound or "array" in sound:
            return sound
        waveform, sampling_rate = read_sound(sound)
        return {"array": waveform, "sampling_rate": sampling_rate}


__all__ = ["Speaker", "Spoken"]
