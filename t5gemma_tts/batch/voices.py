"""Selects the reference voice of each row of a batch."""

import hashlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from ..model.audio_reading import load_audio
from ..model.processing_t5gemma_tts import T5GemmaTTSProcessor
from ..serving.voices import DEFAULT_VOICE, VoiceStore, codec_fingerprint
from ..sharded.open_dataset import parse_audio_cell
from .source import BatchRow


MAX_CACHED = 256


class VoiceResolver:
    """
    Selects the reference of a row: its own recording, else the stored voice of its speaker, else the default reference.

    Encoded recordings are cached, because many rows may use the same one.

    Args:
        processor (`T5GemmaTTSProcessor`): Processor with a codec.
        folder (`Path`, *optional*): Folder of relative paths in rows.
        voices_dir (`str`, *optional*): Folder of a `VoiceStore`. Without it, speakers do not select a voice.
        reference_audio (`str`, *optional*): File of the default reference.
        reference_text (`str`, *optional*): Its transcript.
        asr (`str`, *optional*): Speech recognition model for recordings without a transcript.
    """

    def __init__(
        self,
        processor: T5GemmaTTSProcessor,
        folder: Path | None = None,
        voices_dir: str | None = None,
        reference_audio: str | None = None,
        reference_text: str | None = None,
        asr: str | None = None,
    ):
        self.processor, self.folder, self.asr = processor, folder, asr
        self.store = None if voices_dir is None else VoiceStore(voices_dir, codec_fingerprint(processor.codec))
        self.default_reference = None if reference_audio is None else ({"file": reference_audio}, reference_text)
        self._cache: OrderedDict[tuple[object, ...], tuple[list[int], str]] = OrderedDict()

    def resolve(self, row: BatchRow) -> dict[str, Any]:
        """
        Returns the processor's arguments `reference_audio` (codes) and `reference_text`; empty for the default voice.

        Raises:
            FileNotFoundError: if the recording does not exist.
            NotFound: if the voice of the speaker is not stored.
            ValueError: if the recording or voice cannot be used.
        """
        if row.reference_audio is not None:
            try:
                audio = parse_audio_cell(row.reference_audio, self.folder)
            except ValueError as error:
                raise ValueError(f"`reference_audio` holds {error}") from error
            return self._encode(audio, row.reference_text)
        if row.reference_text is not None:
            raise ValueError("`reference_text` was given without `reference_audio`.")
        if self.store is not None and row.speaker is not None:
            if row.speaker == DEFAULT_VOICE:
                return {}
            voice = self.store.get(row.speaker)
            return {"reference_audio": {"codes": voice.codes}, "reference_text": voice.reference_text}
        return {} if self.default_reference is None else self._encode(*self.default_reference)

    def _encode(self, audio: dict[str, Any], text: str | None) -> dict[str, Any]:
        key = (*_cache_key(audio), text)
        if key not in self._cache:
            waveform, sampling_rate = _load_waveform(audio)
            codes, _, transcript = self.processor.read_reference(waveform, text, sampling_rate, self.asr)
            self._cache[key] = codes, transcript
            if len(self._cache) > MAX_CACHED:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        codes, transcript = self._cache[key]
        return {"reference_audio": {"codes": codes}, "reference_text": transcript}


def _load_waveform(audio: dict[str, Any]) -> tuple[np.ndarray, int]:
    if "waveform" in audio:
        return audio["waveform"], audio["sampling_rate"]
    return load_audio(audio["audio_bytes"] if "audio_bytes" in audio else audio["file"])


def _cache_key(audio: dict[str, Any]) -> tuple[object, ...]:
    if "waveform" in audio:
        return hashlib.sha256(audio["waveform"].tobytes()).digest(), audio["sampling_rate"]
    if "audio_bytes" in audio:
        return (hashlib.sha256(audio["audio_bytes"]).digest(),)
    return (str(Path(audio["file"])),)
