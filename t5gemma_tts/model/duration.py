"""Estimating how long a text takes to speak."""

from typing import NamedTuple

from .language import check_text, resolve_language
from .phonemes import count_phonemes
from .validation import is_finite_number


class Pace(NamedTuple):
    """Seconds per phoneme: without a reference, and the bounds of what is measured on one."""

    default: float
    minimum: float
    maximum: float


PACES = {
    "en": Pace(0.085, 0.06, 0.12),
    "ja": Pace(0.10, 0.07, 0.15),
    "zh": Pace(0.27, 0.18, 0.36),
    "other": Pace(0.11, 0.07, 0.18),
}
MINIMUM_SECONDS = 0.5
MAXIMUM_SECONDS = 120.0

_SENTENCE_ENDS = ".!?。！？"
_CLAUSE_ENDS = "、，,;；:"
_MAXIMUM_PAUSE_SECONDS = 10.0
# The reference's own pauses are in its measured pace already.
_PAUSE_SHARE_WITH_REFERENCE = 0.3


def estimate_duration(
    text: str,
    language: str | None = None,
    reference_text: str | None = None,
    reference_duration_seconds: float | None = None,
    reference_language: str | None = None,
    has_reference: bool | None = None,
    num_phonemes: int | None = None,
    reference_num_phonemes: int | None = None,
) -> float:
    """
    Estimate the duration of a text when spoken, by the original's formula: `phonemes * pace + pauses`.

    The pace is the language's default, or with a reference its measured seconds per phoneme, kept within the bounds of
    the reference's language. Pauses come from the punctuation, see `pause_seconds`; with a reference 0.3 of them count.

    Args:
        text (`str`): the text to be spoken, without the reference's.
        language (`str`, *optional*): language tag of `text`; detected when None.
        reference_text (`str`, *optional*): transcript of the reference audio. When None or blank, the reference is
            taken to say `text`.
        reference_duration_seconds (`float`, *optional*): length of the reference audio in seconds.
        reference_language (`str`, *optional*): language tag of the reference. When None it is detected from the
            transcript, or without transcript that of `text`.
        has_reference (`bool`, *optional*): whether a reference will be used; by default whether its length is given.
            True without a length is for a reference which cannot be measured: default pace, but 0.3 of the pauses.
        num_phonemes (`int`, *optional*): phonemes of `text`; counted when None.
        reference_num_phonemes (`int`, *optional*): phonemes of `reference_text`; counted when None.

    Returns:
        `float`: seconds, from 0.5 to 120.

    Raises:
        ValueError: a text or language is not a string; a language is blank; `reference_duration_seconds` is not a
            finite number above 0; something about a reference is given when there is none.
    """
    if has_reference is None:
        has_reference = reference_duration_seconds is not None
    _check_reference(has_reference, reference_text, reference_duration_seconds, reference_language)
    language = resolve_language(check_text("text", text), language)
    phonemes = max(count_phonemes(text, language) if num_phonemes is None else num_phonemes, 1)
    if reference_duration_seconds is None:
        pace = _pace_of(language).default
    else:
        if reference_text is None or not reference_text.strip():
            reference_text, reference_num_phonemes = text, num_phonemes
            reference_language = language if reference_language is None else reference_language
        reference_language = resolve_language(reference_text, reference_language)
        if reference_num_phonemes is None:
            reference_num_phonemes = count_phonemes(reference_text, reference_language)
        reference_phonemes = max(reference_num_phonemes, 1)
        bounds = _pace_of(reference_language)
        pace = min(max(float(reference_duration_seconds) / reference_phonemes, bounds.minimum), bounds.maximum)
    pauses = pause_seconds(text) * (_PAUSE_SHARE_WITH_REFERENCE if has_reference else 1.0)
    return min(max(phonemes * pace + pauses, MINIMUM_SECONDS), MAXIMUM_SECONDS)


def pause_seconds(text: str) -> float:
    """
    Seconds of silence which the punctuation of a text asks for, at most 10: 0.4 for the end of a sentence inside the
    text, 0.2 for a comma, semicolon or colon, 1.0 for an ellipsis ("…" or "...") and 0.12 for a dash ("—" or "--").
    """
    sentence_ends = _count_any(text, _SENTENCE_ENDS)
    if text.rstrip().endswith(tuple(_SENTENCE_ENDS)):
        sentence_ends -= 1
    ellipses = text.count("…") + text.count("...")
    dashes = text.count("—") + text.count("--")
    seconds = 0.4 * sentence_ends + 0.2 * _count_any(text, _CLAUSE_ENDS) + 1.0 * ellipses + 0.12 * dashes
    return min(seconds, _MAXIMUM_PAUSE_SECONDS)


def _count_any(text: str, characters: str) -> int:
    return sum(text.count(character) for character in characters)


def _pace_of(language: str) -> Pace:
    return PACES.get(language, PACES["other"])


def _check_reference(
    has_reference: bool, text: str | None, duration_seconds: float | None, language: str | None
) -> None:
    if text is not None:
        check_text("reference_text", text)
    if duration_seconds is not None:
        if not is_finite_number(duration_seconds) or duration_seconds <= 0:
            raise ValueError(
                f"reference_duration_seconds must be a finite number of seconds above 0, got {duration_seconds!r}"
            )
    if not has_reference:
        given = {
            "reference_text": text,
            "reference_duration_seconds": duration_seconds,
            "reference_language": language,
        }
        for name, value in given.items():
            if value is not None:
                raise ValueError(
                    f"{name} is given ({value!r}) but there is no reference: give reference_duration_seconds, "
                    "or has_reference=True if its length is unknown"
                )
