"""Metrics of one test item, and of the recording of the same text if there is one."""

from collections import defaultdict
from collections.abc import Callable

import numpy as np

from .failures import find_failures
from .generation import GeneratedSpeech
from .similarity import SpeakerEncoder, cosine
from .test_lists import TestItem, read_item_audio
from .text_errors import count_errors
from .transcription import Recognizer


RECORDINGS_PER_SPEAKER = 20  # recordings to average a speaker embedding over


class ItemMetrics:
    """
    Computes the metrics of test items.

    Args:
        processor (`T5GemmaTTSProcessor`): its codec decodes recordings that are given as codes.
        recognize (callable, *optional*): return value of `load_recognizer`; needed for error rates.
        embed (callable, *optional*): return value of `load_speaker_encoder`; needed for speaker similarity.
        rate_quality (callable, *optional*): return value of `load_dnsmos`; needed for DNSMOS ratings.
        skip_recordings (`bool`, *optional*, defaults to `False`): compute no metrics of recordings.
    """

    def __init__(
        self,
        processor,
        recognize: Recognizer | None = None,
        embed: SpeakerEncoder | None = None,
        rate_quality: Callable[[np.ndarray, float], dict[str, float]] | None = None,
        skip_recordings: bool = False,
    ):
        self.processor, self.recognize, self.embed, self.rate_quality = processor, recognize, embed, rate_quality
        self.skip_recordings = skip_recordings
        self.speaker_centroids: dict[str, np.ndarray] = {}

    def compute_speaker_centroids(self, items: list[TestItem]) -> None:
        """Averages the embeddings of each speaker's recordings, if there are at least two speakers, all with some."""
        recordings = defaultdict(list)
        for item in items:
            if item.recording is not None:
                recordings[item.speaker].append(item.recording)
        if self.embed is None or len(recordings) < 2 or {item.speaker for item in items} != set(recordings):
            return
        for speaker, own in recordings.items():
            chosen = np.linspace(0, len(own) - 1, min(len(own), RECORDINGS_PER_SPEAKER)).round().astype(int)
            self.speaker_centroids[speaker] = np.mean([self.embed(*self._read(own[index])) for index in chosen], axis=0)

    def compute(self, item: TestItem, spoken: GeneratedSpeech) -> dict:
        """
        Computes the metrics of an item.

        Returns:
            `dict`: a JSON-serializable row of the evaluation.

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
            "taken_seconds": spoken.generation_seconds,
        }
        target = item.recording if item.reference_audio is None else item.reference_audio
        reference_embedding = None if self.embed is None or target is None else self.embed(*self._read(target))
        row |= self._transcribe_and_rate(item, spoken.waveform, rate)
        if len(spoken.waveform) and (reference_embedding is not None or self.speaker_centroids):
            embedding = self.embed(spoken.waveform, rate)
            if reference_embedding is not None:
                row["similarity"] = cosine(embedding, reference_embedding)
            if self.speaker_centroids:
                row["nearest_speaker"] = max(
                    self.speaker_centroids, key=lambda speaker: cosine(embedding, self.speaker_centroids[speaker])
                )
        row["failures"] = find_failures(
            spoken.codes, spoken.ended, self.processor.frame_rate, item.text, row.get("heard"), item.language
        )
        if item.recording is not None and not self.skip_recordings:
            recording = self._read(item.recording)
            row["recording"] = {
                "seconds": len(recording[0]) / recording[1],
                **self._transcribe_and_rate(item, *recording),
            }
            if reference_embedding is not None and item.reference_audio is not None:
                row["recording"]["similarity"] = cosine(self.embed(*recording), reference_embedding)
        return row

    def _transcribe_and_rate(self, item: TestItem, waveform: np.ndarray, rate: float) -> dict:
        found = {}
        if self.recognize is not None:
            found["heard"] = self.recognize(waveform, rate, item.language) if len(waveform) else ""
            found["errors"] = {
                unit: list(counts) for unit, counts in count_errors(item.text, found["heard"], item.language).items()
            }
        if self.rate_quality is not None and len(waveform):
            found["dnsmos"] = self.rate_quality(waveform, rate)
        return found

    def _read(self, sound) -> tuple[np.ndarray, float]:
        needs_codec = isinstance(sound, dict) and "codes" in sound
        return read_item_audio(sound, self.processor.codec if needs_codec else None)


__all__ = ["ItemMetrics"]
