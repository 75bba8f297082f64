"""Long texts in pieces to be spoken one by one: paragraphs, sentences, clauses, and words where nothing else helps.

Sentences are found by the rules of sentencex (English, Japanese, Chinese and many more). No character is lost but white
space between pieces.
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
    """`text` to be spoken, and the silence that belongs after it."""

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
    Pieces of at most `max_seconds` each, as long as that allows: neighbouring sentences of a paragraph go together.

    Args:
        text (`str`): paragraphs are lines.
        seconds_of (callable): estimates how long a text takes to speak.
        max_seconds (`float`): a word that takes longer is a piece for itself.
        first_max_seconds (`float`, *optional*): for the first piece.
        language (`str`, *optional*): detected from `text` if not given.

    Raises:
        ValueError: for a text without anything to say, or limits that are not above 0.
        ImportError: without sentencex.
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
        parts = _with_their_quotes(segment(language, paragraph))
        units = [(part, SENTENCE_PAUSE) for part in parts]
        for unit in _regroup(units, seconds_of, max_seconds, None if pieces else first_max_seconds):
            pieces.append(Piece(unit[0].strip(), unit[1]))
        pieces[-1] = Piece(pieces[-1].text, PARAGRAPH_PAUSE)
    pieces[-1] = Piece(pieces[-1].text, 0.0)
    return pieces


def _with_their_quotes(sentences: list[str]) -> list[str]:
    """A closed quotation that goes on in lower case, or with と, does not end its sentence."""
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
    """Joins neighbours while they are short enough, and splits what is too long at the next finer joints."""
    grouped: list[tuple[str, float]] = []
    for text, pause in _fitting(units, seconds_of, limit, first_limit):
        room = first_limit if first_limit is not None and len(grouped) == 1 else limit
        if grouped and seconds_of((grouped[-1][0] + text).strip()) <= room:
            grouped[-1] = (grouped[-1][0] + text, pause)
        else:
            grouped.append((text, pause))
    return grouped


def _fitting(
    units: list[tuple[str, float]], seconds_of: Callable[[str], float], limit: float, first_limit: float | None
) -> Iterator[tuple[str, float]]:
    for number, (text, pause) in enumerate(units):
        room = first_limit if first_limit is not None and number == 0 else limit
        if seconds_of(text.strip()) <= room:
            yield text, pause
            continue
        for split, split_pause in ((_clauses, CLAUSE_PAUSE), (_words, WORD_PAUSE)):
            parts = split(text)
            if len(parts) > 1:
                finer = [(part, split_pause) for part in parts[:-1]] + [(parts[-1], pause)]
                yield from _regroup(finer, seconds_of, limit, first_limit if number == 0 else None)
                break
        else:
            yield text, pause


def _clauses(text: str) -> list[str]:
    return _with_their_blanks(_CLAUSE_ENDS.split(text))


def _words(text: str) -> list[str]:
    """Words with the blank after them; of writing without blanks, runs of 8 characters."""
    words = re.findall(r"\S+\s*", text)
    if len(words) > 1:
        return words
    return _with_their_blanks([text[start : start + 8] for start in range(0, len(text), 8)])


def _with_their_blanks(parts: list[str]) -> list[str]:
    """Without parts in which there is nothing to say: they go with what is before or after."""
    joined: list[str] = []
    for part in parts:
        if joined and not (part.strip() and joined[-1].strip()):
            joined[-1] += part
        else:
            joined.append(part)
    return joined


__all__ = ["Piece", "split_text"]
