"""What people fill in on the web page, and what they are told about it."""

from pathlib import Path

import pytest

from t5gemma_tts.serving.errors import BadRequest
from t5gemma_tts.serving.limits import Limits
from t5gemma_tts.ui.options import MAX_SEED, SpeechOptions


LIMITS = Limits(max_characters=100)
VOICE = {"reference": Path("voice.wav"), "reference_text": "Words."}


def check(**options):
    SpeechOptions(**{"text": "Hello."} | options).check(LIMITS, max_seconds=120.0, max_samples=4)


@pytest.mark.parametrize(
    "options",
    [
        {},
        VOICE,
        {"duration_seconds": 120.0},
        {"speed": 0.25},
        {"speed": 4.0, "num_samples": 4, "seed": MAX_SEED},
        {"text": "a" * 101, "in_pieces": True},
        {"temperature": 0.0, "min_p": 0.0},
        {"temperature": 2.0, "top_k": 1, "top_p": 0.1, "min_p": 0.5},
    ],
)
def test_valid_texts(options):
    check(**options)


@pytest.mark.parametrize(
    ("options", "param", "message"),
    [
        ({"text": " \n"}, "text", "text is empty"),
        ({"text": "a" * 101}, "text", "101 characters; at most 100 are allowed.*Long text"),
        (
            {"text": "a" * 20_001, "in_pieces": True},
            "text",
            "20,001 characters; at most 20,000 are allowed. Shorten it",
        ),
        ({"reference_text": "Words."}, "reference_text", "transcript but no recording"),
        (VOICE | {"reference_text": " "}, "reference_text", "no transcript.*Transcribe"),
        ({"duration_seconds": 0.0}, "duration", "above 0 and at most 120 seconds, got 0"),
        ({"duration_seconds": 120.5}, "duration", "got 120.5"),
        ({"duration_seconds": float("nan")}, "duration", "got nan"),
        ({"duration_seconds": 5.0, "in_pieces": True}, "duration", "long text has no chosen length"),
        ({"speed": 0.0}, "speed", "from 0.25 to 4, got 0"),
        ({"speed": float("nan")}, "speed", "got nan"),
        ({"num_samples": 5}, "num_samples", "number of samples must be from 1 to 4"),
        ({"num_samples": 0}, "num_samples", "number of samples must be from 1 to 4"),
        ({"num_samples": 2, "in_pieces": True}, "num_samples", "one sample only"),
        ({"seed": -1}, "seed", "whole number from 0"),
        ({"seed": MAX_SEED + 1}, "seed", "whole number from 0"),
        ({"temperature": 0.001}, "temperature", "must be 0, or at least"),
        ({"min_p": 1e-9}, "min_p", "must be 0, or at least"),
    ],
)
def test_invalid_texts(options, param, message):
    with pytest.raises(BadRequest, match=message) as caught:
        check(**options)
    assert caught.value.param == param


def test_sampling_is_left_to_the_model_unless_chosen():
    assert SpeechOptions("Hello.").sampling() == {}
    assert SpeechOptions("Hello.", temperature=0.0, top_k=5).sampling() == {"do_sample": False, "temperature": 1.0}
    assert SpeechOptions("Hello.", top_k=5).sampling() == {"do_sample": True, "top_k": 5}
