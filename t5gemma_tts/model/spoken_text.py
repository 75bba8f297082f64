"""Verbalisation: what is written in digits, symbols and abbreviations is put into the words that a reader would say."""

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from .language import canonical_language, check_text
from .spoken_characters import Rule
from .spoken_chinese import CHINESE
from .spoken_english import ENGLISH
from .spoken_japanese import JAPANESE


_LANGUAGES = {"en": ENGLISH, "ja": JAPANESE, "zh": CHINESE}
# Where a rule may begin. A match without a rule is skipped: letters and digits as a whole, all else one character.
_TRIGGER = re.compile(
    "(?P<letter>[A-Za-zÀ-ÖØ-öø-ɏ]+)|(?P<digit>[0-9]+)"
    "|(?P<symbol>[^\\w\\s]|_|[ \u00a0](?=[^\\w\\s])|.(?=[\u3099\u309a])"
    "|[\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u218b\u2460-\u24ff\uff66-\uff9f])"
)


@dataclass(frozen=True)
class Span:
    """A replaced stretch: `text[start:end]` of the original became `spoken.text[spoken_start:spoken_end]`."""

    start: int
    end: int
    spoken_start: int
    spoken_end: int


@dataclass(frozen=True)
class SpokenText:
    """
    A text in words, and where each replaced stretch came from.

    `spans` are in order and do not overlap; what is between them is the same in the original. A span of which one side
    is empty is a stretch that was removed.
    """

    text: str
    spans: tuple[Span, ...]

    def original_range(self, start: int, end: int) -> tuple[int, int]:
        """
        Map a range of the spoken text back to the original.

        Args:
            start (`int`): first character in the spoken text.
            end (`int`): the character after the last one.

        Returns:
            `tuple[int, int]`: start and end of the smallest original range that is spoken so. A replaced stretch counts
            as a whole, and a removed stretch at the border is left out.

        Raises:
            ValueError: `start` and `end` are not a range within the spoken text.
        """
        if not 0 <= start <= end <= len(self.text):
            raise ValueError(f"start and end must be a range in 0 to {len(self.text)}, got {start!r} and {end!r}")
        first, last = start, end
        before = bisect_right(self.spans, start, key=lambda span: span.spoken_start)
        if before:
            span = self.spans[before - 1]
            first = span.start if start < span.spoken_end else span.end + start - span.spoken_end
        before = bisect_left(self.spans, end, key=lambda span: span.spoken_start)
        if before:
            span = self.spans[before - 1]
            last = span.end if end <= span.spoken_end else span.end + end - span.spoken_end
        return first, max(first, last)


def verbalize(text: str, language: str) -> SpokenText:
    """
    Write out what is not written in words: numbers, money, dates, times, units, abbreviations, symbols, web addresses.

    Typographic quotes, dashes, ellipses and full-width letters become plain ones; emoji and invisible characters are
    removed. Ordinary words, punctuation marks and line breaks stay as they are. The time taken is linear in the length
    of the text.

    Args:
        text (`str`): the text.
        language (`str`): language tag, see `canonical_language`. A text in another language than English, Japanese or
            Chinese is returned as it is.

    Returns:
        `SpokenText`: the words and, for each replaced stretch, its place in `text`.

    Raises:
        ValueError: `text` or `language` is not a string, or `language` is blank.
    """
    check_text("text", text)
    language_rules = _LANGUAGES.get(canonical_language(language))
    if language_rules is None:
        return SpokenText(text, ())
    seen = text.translate(language_rules.seen)
    writer = _Writer(text, text.translate(language_rules.kept))
    position = 0
    while trigger := _TRIGGER.search(seen, position):
        kind, position = str(trigger.lastgroup), trigger.end()
        found = _apply(language_rules.rules[kind], seen, trigger.start())
        if found is None:
            position = trigger.start() + 1 if kind == "symbol" else trigger.end()
        else:
            end, words = found
            following = seen[end : end + 1]
            writer.replace(trigger.start(), end, words, following)
            position = end
    return writer.finish()


def _apply(rules: tuple[Rule, ...], seen: str, start: int) -> tuple[int, str] | None:
    for pattern, words_of in rules:
        match = pattern.match(seen, start)
        if match:
            words = words_of(match)
            if words is not None:
                return match.end(), words
    return None


class _Writer:
    """Collects the spoken text and its spans. `kept` is the original with single characters replaced by others."""

    def __init__(self, original: str, kept: str):
        self._original, self._kept = original, kept
        self._position = self._length = 0
        self._last = ""
        self._pieces: list[str] = []
        self._spans: list[Span] = []

    def replace(self, start: int, end: int, words: str, following: str) -> None:
        """Replaces a stretch; blanks are added between words and letters or digits that touch them."""
        self._keep(start)
        if words and _is_latin(self._last) and _is_latin(words[0]):
            words = f" {words}"
        if words and _is_latin(words[-1]) and _is_latin(following):
            words += " "
        if words != self._original[start:end]:
            self._spans.append(Span(start, end, self._length, self._length + len(words)))
        self._append(words)
        self._position = end

    def finish(self) -> SpokenText:
        self._keep(len(self._original))
        return SpokenText("".join(self._pieces), tuple(self._spans))

    def _keep(self, end: int) -> None:
        start, kept = self._position, self._kept[self._position : end]
        if kept != self._original[start:end]:
            for index, character in enumerate(kept):
                if character != self._original[start + index]:
                    spoken = self._length + index
                    self._spans.append(Span(start + index, start + index + 1, spoken, spoken + 1))
        self._append(kept)
        self._position = end

    def _append(self, words: str) -> None:
        if words:
            self._pieces.append(words)
            self._length += len(words)
            self._last = words[-1]


def _is_latin(character: str) -> bool:
    return character.isalnum() and character < "\u0250"


__all__ = ["Span", "SpokenText", "verbalize"]
