"""Reading speech back, for word error rates: faster-whisper for CTranslate2 models, transformers for others."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

from t5gemma_tts.audio_t5gemma_tts import resample
from t5gemma_tts.reference_t5gemma_tts import load_transcriber
from training.speaking import normalise_words


WHISPER_RATE = 16000
_normalise_english = EnglishTextNormalizer({})


def load_recogniser(name: str, language: str) -> Callable[[np.ndarray, float], str]:
    """
    Args:
        name (`str`): Folder of a CTranslate2 model (with `model.bin`), which needs `pip install faster-whisper`; or Hub
            name or folder of a model for transformers' speech recognition pipeline.
        language (`str`): Of the speech, e.g. "en"; transformers' models find it out by themselves.

    Returns:
        a function of (float32 waveform (num_samples,), Hz) that returns the text. Greedy: the same every time.

    Raises:
        ImportError: without faster-whisper.
        OSError: if the model cannot be loaded.
    """
    if not (Path(name) / "model.bin").is_file():
        return load_transcriber(name)
    try:
        from faster_whisper import WhisperModel
    except ImportError as error:
        raise ImportError(f"{name!r} is a CTranslate2 model, which needs `pip install faster-whisper`.") from error
    model = WhisperModel(str(name), device="cpu", compute_type="float32", cpu_threads=1)

    def recognise(waveform: np.ndarray, sampling_rate: float) -> str:
        audio = resample(waveform, sampling_rate, WHISPER_RATE).astype(np.float32)
        segments, _ = model.transcribe(
            audio, language=language, beam_size=1, temperature=0.0, condition_on_previous_text=False
        )
        return " ".join(segment.text.strip() for segment in segments)

    return recognise


def comparable(text: str, language: str) -> str:
    """Words as they are compared: English without spelling of numbers and contractions, others without punctuation."""
    return _normalise_english(text) if language == "en" else normalise_words(text)


__all__ = ["comparable", "load_recogniser"]
