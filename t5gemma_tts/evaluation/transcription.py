"""Speech recognition for error rates: faster-whisper for CTranslate2 models, transformers for others."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..model.audio import resample
from ..model.language import canonical_language
from ..model.reference import load_transcriber


WHISPER_RATE = 16000
# (float32 waveform (num_samples,), Hz, language or None) -> text
Recognizer = Callable[..., str]


def load_recognizer(name: str, language: str | None = None) -> Recognizer:
    """
    Loads a speech recognition model. Decoding is greedy and deterministic.

    Args:
        name (`str`): Folder of a CTranslate2 model (with `model.bin`), which needs `pip install faster-whisper`; or Hub
            name or folder of a model for transformers' speech recognition pipeline.
        language (`str`, *optional*): Default language for calls without one, e.g. "en" (default: detected). Models in
            transformers always detect the language.

    Returns:
        callable: takes a float32 waveform (num_samples,), its sampling rate in Hz and optionally the language, and
        returns the text.

    Raises:
        ImportError: if faster-whisper is needed but missing.
        OSError: if the model cannot be loaded.
    """
    if not (Path(name) / "model.bin").is_file():
        transcribe = load_transcriber(name)
        return lambda waveform, sampling_rate, spoken=None: transcribe(waveform, sampling_rate)
    try:
        from faster_whisper import WhisperModel
    except ImportError as error:
        raise ImportError(f"{name!r} is a CTranslate2 model, which needs `pip install faster-whisper`.") from error
    model = WhisperModel(str(name), device="cpu", compute_type="float32", cpu_threads=1)

    def recognize(waveform: np.ndarray, sampling_rate: float, spoken: str | None = None) -> str:
        audio = resample(waveform, sampling_rate, WHISPER_RATE).astype(np.float32)
        tag = spoken or language
        segments, _ = model.transcribe(
            audio,
            language=tag and canonical_language(tag).split("-")[0],
            beam_size=1,
            temperature=0.0,
            condition_on_previous_text=False,
        )
        return " ".join(segment.text.strip() for segment in segments)

    return recognize


__all__ = ["Recognizer", "load_recognizer"]
