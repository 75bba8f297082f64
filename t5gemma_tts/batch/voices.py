"""Reference voices of the rows of a batch."""

import hashlib
import io
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from ..model.audio import load_audio
from ..model.processing_t5gemma_tts import T5GemmaTTSProcessor
from ..serving.voices import DEFAULT_VOICE, VoiceStore, codec_fingerprint
from ..sharded.open_dataset import parse_audio_cell
from .source import BatchRow


MOST_REMEMBERED = 256


class Voices:
    """
    The reference of a row: its own recording, else the stored voice that its speaker is called, else the one for all.
    A recording that comes again, as one voice for many rows, is encoded once.

    Args:
        processor (`T5GemmaTTSProcessor`)
        folder (`Path`, *optional*): that paths in rows are relative to.
        voices_dir (`str`, *optional*): of a `VoiceStore`. Without it, speakers are but names.
        reference_audio (`str`, *optional*): file of the voice for all.
        reference_text (`str`, *optional*): what it says.
        asr (`str`, *optional*): speech recognition for recordings without a transcript.
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
        self.common = None if reference_audio is None else ({"file": reference_audio}, reference_text)
        self._remembered: OrderedDict[tuple[object, ...], tuple[list[int], str]] = OrderedDict()

    def of(self, row: BatchRow) -> dict[str, Any]:
        """
        `reference_audio`, as codes, and `reference_text` for the processor; empty for the model's own voice.

        Raises:
            FileNotFoundError: for a recording that is not there.
            NotFound: for a speaker whose voice is not stored.
            ValueError: for a recording or voice that cannot be used.
        """
        if row.reference_audio is not None:
            try:
                audio = parse_audio_cell(row.reference_audio, self.folder)
            except ValueError as error:
                raise ValueError(f"`reference_audio` holds {error}") from error
            return self._recorded(audio, row.reference_text)
        if row.reference_text is not None:
            raise ValueError("`reference_text` was given without `reference_audio`.")
        if self.store is not None and row.speaker is not None:
            if row.speaker == DEFAULT_VOICE:
                return {}
            voice = self.store.get(row.speaker)
            return {"reference_audio": {"codes": voice.codes}, "reference_text": voice.reference_text}
        return {} if self.common is None else self._recorded(*self.common)

    def _recorded(self, audio: dict[str, Any], text: str | None) -> dict[str, Any]:
        key = (*_key(audio), text)
        if key not in self._remembered:
            waveform, sampling_rate = _samples(audio)
            codes, _, said = self.processor.read_reference(waveform, text, sampling_rate, self.asr)
            self._remembered[key] = codes, said
            if len(self._remembered) > MOST_REMEMBERED:
                self._remembered.popitem(last=False)
        self._remembered.move_to_end(key)
        codes, said = self._remembered[key]
        return {"reference_audio": {"codes": codes}, "reference_text": said}


def _samples(audio: dict[str, Any]) -> tuple[np.ndarray, int]:
    if "waveform" in audio:
        return audio["waveform"], audio["sampling_rate"]
    return load_audio(io.BytesIO(audio["audio_bytes"]) if "audio_bytes" in audio else audio["file"])


def _key(audio: dict[str, Any]) -> tuple[object, ...]:
    if "waveform" in audio:
        return hashlib.sha256(audio["waveform"].tobytes()).digest(), audio["sampling_rate"]
    if "audio_bytes" in audio:
        return (hashlib.sha256(audio["audio_bytes"]).digest(),)
    return (str(Path(audio["file"])),)
