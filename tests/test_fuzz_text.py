"""Fuzz test of text functions: normalizing, splitting and measuring never fails or loses text."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import cases, numbers, texts

from t5gemma_tts.model.duration import MAXIMUM_SECONDS, MINIMUM_SECONDS, estimate_duration
from t5gemma_tts.model.language import canonical_language, detect_language
from t5gemma_tts.model.text_normalization import normalize_text
from t5gemma_tts.sentences import split_text


LANGUAGES = st.none() | st.sampled_from(["en", "ja", "zh", "de", "ar", "xx"])


def without_blanks(text: str) -> str:
    return "".join(text.split())


def halves_in(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


@cases(40)
@given(text=texts(300), language=LANGUAGES)
def test_normalising(text, language):
    if halves_in(text):
        with pytest.raises(ValueError, match="text must not have half of a surrogate pair"):
            normalize_text(text, language)
        return
    spoken = normalize_text(text, language)
    assert isinstance(spoken, str) and len(spoken) <= len(text)
    assert normalize_text(spoken, language or "en") == spoken or language == "ja"
    if language not in (None, "ja"):
        assert spoken == text
    if language == "ja":
        assert not set(spoken) & set("\t①②▼？！") and "………" not in spoken


@cases(40)
@given(
    text=texts(300),
    language=LANGUAGES,
    max_seconds=st.floats(0.1, 100) | st.sampled_from([1.0, 3.0, math.inf]),
    first=st.none() | st.floats(0.1, 5),
)
def test_splitting(text, language, max_seconds, first):
    def seconds_of(piece):
        return 0.1 * len(piece)

    try:
        pieces = split_text(text, seconds_of, max_seconds, first, language)
    except ValueError as error:
        assert halves_in(text) or ("`text` has nothing to say" in str(error) and not text.strip())
        return
    assert without_blanks("".join(piece.text for piece in pieces)) == without_blanks(text)
    assert all(piece.text.strip() and 0 <= piece.pause_seconds < 1 for piece in pieces)
    assert pieces[-1].pause_seconds == 0
    for number, piece in enumerate(pieces):
        limit = first if number == 0 and first is not None else max_seconds
        assert seconds_of(piece.text) <= max(limit, seconds_of("x" * 8)) or " " not in piece.text


@cases(40)
@given(
    text=texts(100),
    language=LANGUAGES | texts(5) | numbers(),
    reference_text=st.none() | texts(100),
    seconds=st.none() | st.floats(0.1, 30) | numbers(),
)
def test_measuring(text, language, reference_text, seconds):
    try:
        estimate = estimate_duration(text, language, reference_text, seconds)
    except ValueError as error:
        half = halves_in(text) and str(error).startswith("text must not have half of a surrogate pair")
        named = ("language", "reference_text", "reference_duration_seconds")
        assert half or any(name in str(error) for name in named)
        return
    assert MINIMUM_SECONDS <= estimate <= MAXIMUM_SECONDS


@cases(40)
@given(text=texts(100))
def test_languages(text):
    if halves_in(text):
        for function in (detect_language, canonical_language):
            with pytest.raises(ValueError, match="must not have half of a surrogate pair"):
                function(text)
        return
    assert detect_language(text) in ("ja", "zh", "en", "other")
    assert detect_language(text) == detect_language(text)
    try:
        assert canonical_language(text)
    except ValueError as error:
        assert "language must be a tag" in str(error) and not text.strip()
