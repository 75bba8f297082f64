"""Errors between what should be said and what was heard: words, or characters where words have no spaces."""

import re
import unicodedata
from collections.abc import Iterable

from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

from ..model.language import canonical_language


WITHOUT_SPACES = ("ja", "zh")
Counts = dict[str, tuple[int, int]]
# without Whisper's table of British spellings, which comes with its tokenizer
_normalise_english = EnglishTextNormalizer({})


def counts_characters(language: str) -> bool:
    """Whether error rates of the language are those of characters."""
    return canonical_language(language) in WITHOUT_SPACES


def comparable(text: str, language: str) -> str:
    """
    A text as it is compared: English as Whisper's normaliser writes it, which spells numbers and contractions one way;
    Japanese and Chinese as characters of one width without punctuation and spaces; others in lower case without
    punctuation.
    """
    if canonical_language(language) == "en":
        return _normalise_english(text)
    words = re.sub(r"[^\w\s']", " ", unicodedata.normalize("NFKC", text).lower()).split()
    return ("" if counts_characters(language) else " ").join(words)


def count_errors(text: str, heard: str, language: str) -> Counts:
    """
    Args:
        text (`str`): what should be said.
        heard (`str`): what was heard.
        language (`str`): a tag such as "en".

    Returns:
        `(errors, length)` of "characters", and of "words" in languages that write them apart; errors are substitutions,
        deletions and insertions, length is that of `text`. Both in terms of [`comparable`] texts.
    """
    import jiwer

    truth, said = comparable(text, language), comparable(heard, language)
    found = {"characters": (len(said), 0) if not truth else _count(jiwer.process_characters(truth, said))}
    if not counts_characters(language):
        found["words"] = (len(said.split()), 0) if not truth else _count(jiwer.process_words(truth, said))
    return found


def _count(alignment) -> tuple[int, int]:
    errors = alignment.substitutions + alignment.deletions + alignment.insertions
    return errors, alignment.hits + alignment.substitutions + alignment.deletions


def error_rate(counts: Iterable[Counts], unit: str = "words") -> float:
    """
    Errors over the length of all texts; above 1 where more is said than asked.

    Args:
        counts: what [`count_errors`] returned for each text.
        unit (`str`, *optional*, defaults to `"words"`): or "characters", which count as well for texts without words.

    Raises:
        ValueError: if there is nothing in the texts.
    """
    pairs = [one.get(unit) or one["characters"] for one in counts]
    length = sum(total for _, total in pairs)
    if not length:
        raise ValueError("none of the texts has anything to compare.")
    return sum(errors for errors, _ in pairs) / length


def word_error_rate(texts: list[str], heard: list[str], language: str) -> float:
    """Of all texts together; characters count in languages without spaces."""
    return error_rate(count_errors(text, said, language) for text, said in zip(texts, heard, strict=True))


__all__ = ["comparable", "count_errors", "counts_characters", "error_rate", "word_error_rate"]
