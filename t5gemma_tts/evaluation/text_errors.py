"""Word and character error rates between texts and transcripts."""

import re
import unicodedata
from collections.abc import Iterable

from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

from ..model.language import canonical_language


WITHOUT_SPACES = ("ja", "zh")
Counts = dict[str, tuple[int, int]]
# without Whisper's British spelling table, which is part of its tokenizer
_normalise_english = EnglishTextNormalizer({})


def counts_characters(language: str) -> bool:
    """Returns whether the language has no spaces between words, so that errors are counted in characters."""
    return canonical_language(language) in WITHOUT_SPACES


def comparable(text: str, language: str) -> str:
    """
    Normalizes a text for comparison: English with Whisper's normalizer, which unifies numbers and contractions;
    Japanese and Chinese with NFKC, without punctuation and spaces; other languages in lower case without punctuation.
    """
    if canonical_language(language) == "en":
        return _normalise_english(text)
    words = re.sub(r"[^\w\s']", " ", unicodedata.normalize("NFKC", text).lower()).split()
    return ("" if counts_characters(language) else " ").join(words)


def count_errors(text: str, transcript: str, language: str) -> Counts:
    """
    Counts the errors of a transcript.

    Args:
        text (`str`): reference text.
        transcript (`str`): transcript of the speech.
        language (`str`): language tag such as "en".

    Returns:
        `dict[str, tuple[int, int]]`: `(errors, length)` for "characters", and for "words" in languages with spaces.
        Errors are substitutions, deletions and insertions; length is that of the reference. Both texts are normalized
        by [`comparable`].
    """
    import jiwer

    reference, hypothesis = comparable(text, language), comparable(transcript, language)
    found = {
        "characters": (len(hypothesis), 0) if not reference else _count(jiwer.process_characters(reference, hypothesis))
    }
    if not counts_characters(language):
        found["words"] = (
            (len(hypothesis.split()), 0) if not reference else _count(jiwer.process_words(reference, hypothesis))
        )
    return found


def _count(alignment) -> tuple[int, int]:
    errors = alignment.substitutions + alignment.deletions + alignment.insertions
    return errors, alignment.hits + alignment.substitutions + alignment.deletions


def error_rate(counts: Iterable[Counts], unit: str = "words") -> float:
    """
    Computes total errors / total length over all texts. Insertions can make it larger than 1.

    Args:
        counts (iterable of `dict`): return values of [`count_errors`].
        unit (`str`, *optional*, defaults to `"words"`): "words" or "characters"; languages without spaces always use
            characters.

    Raises:
        ValueError: if all texts are empty.
    """
    pairs = [one.get(unit) or one["characters"] for one in counts]
    length = sum(total for _, total in pairs)
    if not length:
        raise ValueError("all texts are empty after normalization.")
    return sum(errors for errors, _ in pairs) / length


def word_error_rate(texts: list[str], transcripts: list[str], language: str) -> float:
    """Returns the word error rate over all texts, or the character error rate in languages without spaces."""
    return error_rate(
        count_errors(text, hypothesis, language) for text, hypothesis in zip(texts, transcripts, strict=True)
    )


__all__ = ["comparable", "count_errors", "counts_characters", "error_rate", "word_error_rate"]
