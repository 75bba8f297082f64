"""What the verbalisation rules of all languages share: character tables, emoji, invisible characters, web addresses."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple


# A pattern, tried at one position of the text, and the words for its match: None if the rule does not apply after all.
Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], str | None]]


class LanguageRules(NamedTuple):
    """Characters as the rules see them, characters of the text that stays, and the rules by what they start with."""

    seen: Mapping[int, str | int]
    kept: Mapping[int, str | int]
    rules: Mapping[str, tuple[Rule, ...]]


FULL_WIDTH_TO_ASCII: Mapping[int, int | str] = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {
    0xFFE0: "¢",
    0xFFE1: "£",
    0xFFE5: "¥",
    0x3000: " ",
}
BLANKS: Mapping[int, str] = dict.fromkeys([0x00A0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F], " ") | {
    0x2028: "\n",
    0x2029: "\n",
}
QUOTES: Mapping[int, str] = dict.fromkeys(map(ord, "‘’‚‛′‹›`´"), "'") | dict.fromkeys(map(ord, "“”„‟″«»"), '"')

# Invisible: controls, soft hyphens, joiners, marks of direction, variation selectors, tags, byte order marks.
INVISIBLE = (
    "\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\ufff9-\ufffd\U000e0000-\U000e0fff"
)
# without ○ ◯ ♡ ♥ ♪, which Japanese texts use as letters
_PICTURES = (
    "\u2300-\u23ff\u2500-\u25ca\u25cc-\u25ee\u25f0-\u2660\u2662-\u2664\u2666-\u2669\u266b-\u27bf\u2b00-\u2bff"
    "\U0001f000-\U0001faff"
)
_EMOJI = re.compile(f"(?: ?[{_PICTURES}{INVISIBLE}\u20e3])+")
_EMOJI_AND_BLANK = re.compile(f"(?:[{_PICTURES}{INVISIBLE}\u20e3] ?)+")
_INVISIBLE = re.compile(f"[{INVISIBLE}]+")
NUMBER = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?"
_LETTERS = "A-Za-zÀ-ÖØ-öø-ɏ"
_MARKED_WORD = re.compile(f"[{_LETTERS}]+[\u0300-\u036f][{_LETTERS}\u0300-\u036f]*")
_MARKED_KANA = re.compile(".[\u3099\u309a]", re.DOTALL)


def _remove_emoji(match: re.Match[str]) -> str:
    """Nothing, or one blank where two words would run together."""
    text = match.string
    before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
    return " " if before.isalnum() and after.isalnum() and before < "\u0250" and after < "\u0250" else ""


def _compose(match: re.Match[str]) -> str | None:
    composed = unicodedata.normalize("NFC", match[0])
    return composed if composed != match[0] else None


def one_of(words: Iterable[str]) -> str:
    """The body of a regular expression that matches any of the words, the longest first."""
    return "|".join(map(re.escape, sorted(words, key=len, reverse=True)))


_DOMAINS = "com org net edu gov mil info biz io co uk de fr jp cn eu ai dev app tv"
_SUFFIXES = "pdf txt html htm js ts py json csv xml zip exe jpg jpeg png gif svg mp3 mp4 wav doc docx xls xlsx ppt md"
_HOST = "(?:[A-Za-z0-9-]{1,63}[.]){1,5}"
_PATH = r"(?:[:/?#][A-Za-z0-9._~:/?#@!$&'()*+,;=%-]{0,2000}(?<=[A-Za-z0-9/]))?"
ADDRESS = re.compile(
    rf"[A-Za-z0-9][A-Za-z0-9._+-]{{0,63}}@{_HOST}[A-Za-z]{{2,24}}"
    rf"|(?:https?|ftp)://(?P<named>[A-Za-z0-9.-]{{1,255}}(?<=[A-Za-z0-9]){_PATH})"
    rf"|www[.]{_HOST}[A-Za-z]{{2,24}}{_PATH}"
    rf"|{_HOST}(?:{_DOMAINS.replace(' ', '|')})(?![A-Za-z0-9_-]|[.][A-Za-z0-9]){_PATH}"
    rf"|[A-Za-z0-9_-]{{1,64}}[.](?:{_SUFFIXES.replace(' ', '|')})(?![A-Za-z0-9])"
)
_ADDRESS_PARTS = re.compile("[A-Za-z]+|[0-9]+|[^A-Za-z0-9]")


def spell_address(match: re.Match[str], names: Mapping[str, str], number: Callable[[str], str]) -> str:
    """The words of a web address, an e-mail address or a file name. `names` has the names of symbols."""
    address = (match["named"] or match[0]).rstrip("/")
    parts = []
    for part in _ADDRESS_PARTS.findall(address):
        if part[0].isalpha():
            parts.append("WWW" if part == "www" else part)
        elif part[0].isdigit():
            parts.append(number(part))
        elif part in names:
            parts.append(names[part])
    return " ".join(parts)


def symbol_number(match: re.Match[str], cardinal: Callable[[int], str]) -> str:
    """The words of a circled or Roman number that is one character; for other characters, their plain letters."""
    number = unicodedata.numeric(match[0], None)
    if number is None or number != int(number):
        return unicodedata.normalize("NFKC", match[0])
    return cardinal(int(number))


def remove_at_line_start(match: re.Match[str]) -> str | None:
    """Nothing for the marks of a list or a heading; None elsewhere."""
    return "" if match.start() == 0 or match.string[match.start() - 1] == "\n" else None


def mark_between(match: re.Match[str], comma: str) -> str:
    """A comma where a dash separates words; nothing at the start or end of a line or beside another mark."""
    text = match.string
    before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
    return comma if match.start() and before.isalnum() and after.isalnum() else ""


FRACTION = "[\u00bc-\u00be\u2153-\u215e]"
EAST_ASIAN_SEEN = {**FULL_WIDTH_TO_ASCII, 0x301C: "~", 0x2010: "-", 0x2011: "-"}
EAST_ASIAN_KEPT = {**{code: plain for code, plain in FULL_WIDTH_TO_ASCII.items() if chr(code).isalnum()}, **BLANKS}
LIST_MARKS: tuple[Rule, ...] = (
    (re.compile(r"[-*•‣] "), remove_at_line_start),
    (re.compile("#{1,6} "), remove_at_line_start),
    (re.compile(r"([=#*+_|-])\1{2,}"), lambda match: ""),
)
# before all other rules
REMOVED: tuple[Rule, ...] = (
    (_INVISIBLE, lambda match: ""),
    (_EMOJI_AND_BLANK, remove_at_line_start),
    (_EMOJI, _remove_emoji),
    (_MARKED_KANA, _compose),
)
COMPOSED: tuple[Rule, ...] = ((_MARKED_WORD, _compose),)
