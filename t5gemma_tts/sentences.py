"""Splits long texts into pieces: at paragraphs and sentences, then at clauses, and at words as a last resort.

sentencex finds the sentences (English, Japanese, Chinese and many more). The pieces have all characters of the text
except white space between them.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .model.language import check_text, resolve_language


PARAGRAPH_PAUSE, SENTENCE_PAUSE, CLAUSE_PAUSE, WORD_PAUSE = 0.7, 0.35, 0.15, 0.0  # seconds
_CLAUSE_ENDS = re.compile(r"(?<=[,;:，、；：—])(?!\d)|(?<=[)）」』”])(?=\s)|(?<=\s)(?=[(（])")
_CLOSING = tuple("」』”’）)]】》\"'")


@dataclass(frozen=True)
class Piece:
    """`text` to speak, and the silence after it in seconds."""

    text: str
    pause_seconds: float


def split_text(
    text: str,
    seconds_of: Callable[[str], float],
    max_seconds: float,
    first_max_seconds: float | None = None,
    language: str | None = None,
) -> list[Piece]:
    """
    Splits a text into pieces of at most `max_seconds`, and joins neighboring sentences of a paragraph up to that limit.

    Args:
        text (`str`): text with one paragraph per line.
        seconds_of (callable): estimates the duration of a text in seconds.
        max_seconds (`float`): longest estimated duration; a longer word becomes its own piece.
        first_max_seconds (`float`, *optional*): limit of the first piece, if it differs.
        language (`str`, *optional*): en, ja, zh or another code; detected by default.

    Returns:
        `list[Piece]`: the pieces in order; the last one has no pause.

    Raises:
        ValueError: if the text is empty, or a limit is not above 0.
        ImportError: if sentencex is not installed.
    """
    try:
        from sentencex import segment
    except ImportError as error:
        raise ImportError("long texts need sentencex: `pip install t5gemma-tts[text]`.") from error
    language = resolve_language(check_text("text", text), language)
    for name, limit in (("max_seconds", max_seconds), ("first_max_seconds", first_max_seconds)):
        if limit is not None and not limit > 0:
            raise ValueError(f"`{name}` must be above 0, got {limit}.")
    if not text.strip():
        raise ValueError("`text` has nothing to say.")
    pieces: list[Piece] = []
    for paragraph in filter(None, map(str.strip, text.splitlines())):
        parts = _join_quotations(segment(language, paragraph))
        units = [(part, SENTENCE_PAUSE) for part in parts]
        for unit in _regroup(units, seconds_of, max_seconds, None if pieces else first_max_seconds):
            pieces.append(Piece(unit[0].strip(), unit[1]))
        pieces[-1] = Piece(pieces[-1].text, PARAGRAPH_PAUSE)
    pieces[-1] = Piece(pieces[-1].text, 0.0)
    return pieces


def _join_quotations(sentences: list[str]) -> list[str]:
    """Joins a sentence that ends in a quotation with a next one that starts in lower case or with と."""
    joined: list[str] = []
    for sentence in filter(str.strip, sentences):
        if joined and joined[-1].rstrip().endswith(_CLOSING) and re.match(r"[a-zと]", sentence):
            joined[-1] += sentence
        else:
            joined.append(sentence)
    return joined


def _regroup(
    units: list[tuple[str, float]], seconds_of: Callable[[str], float], limit: float, first_limit: float | None
) -> list[tuple[str, float]]:
    """Joins neighboring units up to the limit, and splits longer units at clauses or words."""
    grouped: list[tuple[str, float]] = []
    for text, pause in _split_long_units(units, seconds_of, limit, first_limit):
        unit_limit = first_limit if first_limit is not None and len(grouped) == 1 else limit
        if grouped and seconds_of((grouped[-1][0] + text).strip()) <= unit_limit:
            grouped[-1] = (grouped[-1][0] + text, pause)
        else:
            grouped.append((text, pause))
    return grouped


def _split_long_units(
    units: list[tuple[str, float]], seconds_of: Callable[[str], float], limit: float, first_limit: float | None
) -> Iterator[tuple[str, float]]:
    for number, (text, pause) in enumerate(units):
        unit_limit = first_limit if first_limit is not None and number == 0 else limit
        if seconds_of(text.strip()) <= unit_limit:
            yield text, pause
            continue
        for split, split_pause in ((_split_clauses, CLAUSE_PAUSE), (_split_words, WORD_PAUSE)):
            parts = split(text)
            if len(parts) > 1:
                finer = [(part, split_pause) for part in parts[:-1]] + [(parts[-1], pause)]
                yield from _regroup(finer, seconds_of, limit, first_limit if number == 0 else None)
                break
        else:
            yield text, pause


def _split_clauses(text: str) -> list[str]:
    return _join_blanks(_CLAUSE_ENDS.split(text))


def _split_words(text: str) -> list[str]:
    """Words with the space after them, or runs of 8 characters in scripts without spaces."""
    words = re.findall(r"\S+\s*", text)
    if len(words) > 1:
        return words
    return _join_blanks([text[start : start + 8] for start in range(0, len(text), 8)])


def _join_blanks(parts: list[str]) -> list[str]:
    """Joins parts that are only white space with a neighbor."""
    joined: list[str] = []
    for part in parts:
        if joined and not (part.strip() and joined[-1].strip()):
            joined[-1] += part
        else:
            joined.append(part)
    return joined


__all__ = ["Piece", "split_text"]
