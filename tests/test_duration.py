"""Duration estimates without golden rows: bounds, pauses and bad arguments."""

import pytest

from t5gemma_tts.model.duration import estimate_duration, pause_seconds


def approx(seconds: float):
    return pytest.approx(seconds, rel=0, abs=1e-9)


def test_estimates_stay_within_bounds():
    assert estimate_duration("", "fr") == 0.5
    assert estimate_duration("x" * 10000, "fr") == 120.0


def test_a_reference_without_transcript_has_the_language_of_the_text():
    # 20 characters in 2 s: the pace of the reference is the text's
    assert estimate_duration("x" * 20, "fr", reference_duration_seconds=2.0) == approx(2.0)
    assert estimate_duration("x" * 20, "fr", reference_text=" \n", reference_duration_seconds=2) == approx(2.0)


def test_pauses():
    assert pause_seconds("One. Two.") == approx(0.4)
    assert pause_seconds("One. Two. \n") == approx(0.4)
    assert pause_seconds("," * 1000) == 10.0


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), float("inf"), True, "3", [1.0]])
def test_bad_reference_duration(seconds):
    with pytest.raises(ValueError, match="reference_duration_seconds must be .* got"):
        estimate_duration("hello", "fr", reference_duration_seconds=seconds)


@pytest.mark.parametrize("reference", [{"reference_text": "hi"}, {"reference_language": "en"}])
def test_details_of_no_reference(reference):
    with pytest.raises(ValueError, match=f"{next(iter(reference))} is given"):
        estimate_duration("hello", "fr", **reference)


def test_length_of_no_reference():
    with pytest.raises(ValueError, match="reference_duration_seconds is given"):
        estimate_duration("hello", "fr", reference_duration_seconds=1.0, has_reference=False)
