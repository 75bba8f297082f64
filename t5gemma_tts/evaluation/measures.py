"""Measures of one spoken item, and of the recording of the same text where there is one."""

from collections import defaultdict
from collections.abc import Callable

import numpy as np

from .failures import find_failures
from .generation import Spoken
from .similarity import SpeakerEncoder, cosine
from .test_lists import TestItem, read_sound
from .text_errors import count_errors
from .transcription import Recogniser


RECORDINGS_OF_A_SPEAKER = 20  # from which the voice is known


class Measures:
    """
    Measures speech.

    Args:
        processor (`T5GemmaTTSProcessor`): whose codec decodes recordings that are codes.
        recognise (callable, *optional*): as `load_recogniser` makes; without it nothing is said about words.
        embed (callable, *optional*): as `load_speaker_encoder` makes; without it nothing is said about voices.
        rate_quality (callable, *optional*): as `load_dnsmos` makes.
        skip_recordings (`bool`, *optional*): say nothing about recordings of the same words.
    """

    def __init__(
        self,
        processor,
        recognise: Recogniser | None = None,
        embed: SpeakerEncoder | None = None,
        rate_quality: Callable[[np.ndarray, float], dict[str, float]] | None = None,
        skip_recordings: bool = False,
    ):
        self.processor, self.recognise, self.embed, self.rate_quality = processor, recognise, embed, rate_quality
        self.skip_recordings = skip_recordings
        self.voices: dict[str, np.ndarray] = {}

    def learn_voices(self, items: list[TestItem]) -> None:
        """Takes the mean of each speaker's vectors, if there are two speakers or more, all with recordings."""
        recordings = defaultdict(list)
        for item in items:
            if item.recording is not None:
                recordings[item.speaker].append(item.recording)
        if self.embed is None or len(recordings) < 2 or {item.speaker for item in items} != set(recordings):
            return
        for speaker, own in recordings.items():
            chosen = np.linspace(0, len(own) - 1, min(len(own), RECORDINGS_OF_A_SPEAKER)).round().astype(int)
            self.voices[speaker] = np.mean([self.embed(*self._read(own[index])) for index in chosen], axis=0)

    def measure(self, item: TestItem, spoken: Spoken) -> dict:
        """
        A row of the evaluation: what `json` can write.

        Raises:
            ValueError, OSError: if a recording or a reference cannot be read.
        """
        rate = self.processor.sampling_rate
        seconds = len(spoken.waveform) / rate
        row = {
            "id": item.id,
            "text": item.text,
            "language": item.language,
            "speaker": item.speaker,
            "asked_seconds": spoken.asked_seconds,
            "seconds": seconds,
            "taken_seconds": spoken.seconds_taken,
        }
        target = item.recording if item.reference_audio is None else item.reference_audio
        wanted = None if self.embed is None or target is None else self.embed(*self._read(target))
        row |= self._listen(item, spoken.waveform, rate)
        if len(spoken.waveform) and (wanted is not None or self.voices):
            voice = self.embed(spoken.waveform, rate)
            if wanted is not None:
                row["similarity"] = cosine(voice, wanted)
            if self.voices:
                row["nearest_speaker"] = max(self.voices, key=lambda speaker: cosine(voice, self.voices[speaker]))
        row["failures"] = find_failures(
            spoken.codes, spoken.ended, self.processor.frame_rate, item.text, row.get("heard"), item.language
        )
        if item.recording is not None and not self.skip_recordings:
            recording = self._read(item.recording)
            row["recording"] = {"seconds": len(recording[0]) / recording[1], **self._listen(item, *recording)}
            if wanted is not None and item.reference_audio is not None:
                row["recording"]["similarity"] = cosine(self.embed(*recording), wanted)
        return row

    def _listen(self, item: TestItem, waveform: np.ndarray, rate: float) -> dict:
        found = {}
        if self.recognise is not None:
            found["heard"] = self.recognise(waveform, rate, item.language) if len(waveform) else ""
            found["errors"] = {
                unit: list(counts) for unit, counts in count_errors(item.text, found["heard"], item.language).items()
            }
        if self.rate_quality is not None and len(waveform):
            found["dnsmos"] = self.rate_quality(waveform, rate)
        return found

    def _read(self, sound) -> tuple[np.ndarray, float]:
        needs_codec = isinstance(sound, dict) and "codes" in sound
        return read_sound(sound, self.processor.codec if needs_codec else None)


__all__ = ["Measures"]
