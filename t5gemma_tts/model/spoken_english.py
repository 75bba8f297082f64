"""Verbalisation rules for English: symbols, punctuation marks and web addresses, and the list of all rules."""

import re

from .english_abbreviations import ABBREVIATIONS
from .english_amounts import AMOUNTS, MONEY, POWERS, VULGAR_FRACTIONS
from .english_dates import DATES, MONTHS, PHONES
from .english_numbers import cardinal, digits, integer, plural, two_digits
from .spoken_characters import (
    ADDRESS,
    BLANKS,
    COMPOSED,
    FULL_WIDTH_TO_ASCII,
    QUOTES,
    REMOVED,
    LanguageRules,
    Rule,
    one_of,
    remove_at_line_start,
    spell_address,
    symbol_number,
)


_ADDRESS_NAMES = {
    ".": "dot",
    "/": "slash",
    "@": "at",
    "-": "dash",
    "_": "underscore",
    "?": "question mark",
    "=": "equals",
    "&": "and",
    "#": "hash",
    "%": "percent",
    "+": "plus",
    "~": "tilde",
    ":": "colon",
}
_NAMES = {
    "&": "and",
    "+": "plus",
    "=": "equals",
    "==": "equals",
    "@": "at",
    "%": "percent",
    "/": "slash",
    "\\": "backslash",
    "<": "less than",
    ">": "greater than",
    "<=": "less than or equal to",
    ">=": "greater than or equal to",
    "≤": "less than or equal to",
    "≥": "greater than or equal to",
    "≠": "not equal to",
    "!=": "not equal to",
    "≈": "approximately",
    "±": "plus or minus",
    "+/-": "plus or minus",
    "×": "times",
    "÷": "divided by",
    "\u2212": "minus",
    "√": "square root of",
    "∞": "infinity",
    "∑": "sum",
    "∆": "delta",
    "π": "pi",
    "°": "degrees",
    "℃": "degrees Celsius",
    "℉": "degrees Fahrenheit",
    "©": "copyright",
    "§": "section",
    "№": "number",
    "$": "dollars",
    "£": "pounds",
    "€": "euros",
    "¥": "yen",
    "¢": "cents",
    "->": "to",
    "=>": "to",
    "→": "to",
    "⇒": "to",
    "←": "from",
    "↑": "up",
    "↓": "down",
    "↔": "to",
}
_REPEATED = re.compile(r" ?(?:([=~#*+_|\\/<>^-])\1{2,})")


def _address(match: re.Match[str]) -> str:
    return spell_address(match, _ADDRESS_NAMES, lambda part: integer(part) if len(part) < 3 else digits(part))


def _dash(match: re.Match[str]) -> str:
    """A comma where the dash separates words; nothing at the start of a line or beside another mark."""
    text, end = match.string, match.end()
    before, after = text[match.start() - 1 : match.start()], text[end : end + 1]
    if match.start() == 0 or before == "\n":
        return ""
    if before in ".,;:!?-":
        return " " if after.isalnum() else ""
    if not after or after in ".,;:!?":
        return ""
    closing = after in "\n)]}" or after in "\"'" and not text[end + 1 : end + 2].isalnum()
    return "," if closing else ", "


def _ellipsis(match: re.Match[str]) -> str | None:
    following = match.string[match.end() : match.end() + 1]
    words = "... " if following.isalnum() else "..."
    return words if words != match[0] else None


def _name(match: re.Match[str]) -> str:
    return _NAMES[match[0]]


def _hash(match: re.Match[str]) -> str:
    following = match.string[match.end() : match.end() + 1]
    return "number" if following.isdigit() else "hashtag" if following.isalpha() else "hash"


def _underscore(match: re.Match[str]) -> str:
    before, after = match.string[match.start() - 1 : match.start()], match.string[match.end() : match.end() + 1]
    return " " if match.start() and before.isalnum() and after.isalnum() else ""


_ADDRESSES: tuple[Rule, ...] = ((ADDRESS, _address),)
_NAMES_WITH_SIGNS: tuple[Rule, ...] = (
    (re.compile(r"C\+\+(?![A-Za-z0-9+])"), lambda match: "C plus plus"),
    (re.compile(r"([CF])#(?![A-Za-z0-9])"), lambda match: f"{match[1]} sharp"),
    (re.compile(r"([A-Z])\+(?![A-Za-z0-9+])"), lambda match: f"{match[1]} plus"),
)
_MARKS: tuple[Rule, ...] = (
    (re.compile(r"'([0-9]0)'?s\b"), lambda match: plural(cardinal(int(match[1])))),
    (re.compile(r"(?<![A-Za-z0-9])'([0-9]{2})(?![0-9'A-Za-z])"), lambda match: two_digits(int(match[1]))),
    (re.compile("[-*•·‣▪+] "), remove_at_line_start),
    (re.compile("#{1,6} "), remove_at_line_start),
    (_REPEATED, lambda match: ""),
    (re.compile(r"</?[A-Za-z][^<>\n]{0,80}>"), lambda match: ""),
    (re.compile(r"(?<=[0-9]) ?[-\u2212] ?(?=[0-9.]+ ?=)"), lambda match: " minus "),
    (re.compile(r"(?<=[0-9a-zA-Z%°])\u2013(?=[$£€¥]?[0-9])|(?<=[0-9])[-~](?=[$£€¥]?[0-9])"), lambda match: " to "),
    (re.compile(r"(?<![A-Za-z0-9)\]])[-\u2212](?=\.?[0-9]|[$£€¥])"), lambda match: "minus "),
    (re.compile(" ?(?:[\u2014\u2015\u2e3a\u2e3b]|--)+ ?|[ \u00a0][-\u2013] "), _dash),
    (re.compile(r"\u2026+|\.{4,}|\.(?: \.){2,}"), _ellipsis),
    (re.compile(r"\^(?=[A-Za-z])"), lambda match: " to the power of "),
    (re.compile("(?<=[0-9]),(?=[0-9])"), lambda match: ", "),
    (re.compile(r"(?<=[0-9]) ?\* ?(?=[0-9])"), lambda match: " times "),
    (re.compile(r"(?<= )\*(?= )"), lambda match: "asterisk"),
    (re.compile(r"\*+"), lambda match: ""),
    (re.compile("_+"), _underscore),
    (re.compile("#"), _hash),
    (re.compile(r"~(?= ?[$£€¥]?[0-9])"), lambda match: "about "),
    (re.compile(r"~(?=/)"), lambda match: "tilde"),
    (re.compile("~+"), lambda match: ""),
    (re.compile(r" ?[\^|®™¶†‡♡♥♪○◯•·]+"), lambda match: ""),
    (re.compile(one_of(_NAMES)), _name),
    (re.compile("[\u2150-\u218b\u2460-\u24ff]"), lambda match: symbol_number(match, cardinal)),
)

_SEEN = {**FULL_WIDTH_TO_ASCII, **QUOTES, 0x2010: "-", 0x2011: "-", 0x2043: "-"}
_KEPT = {**_SEEN, **BLANKS, 0x2012: "-", 0x2013: "-"}
_RULES: dict[str, tuple[Rule, ...]] = {
    "letter": COMPOSED + _ADDRESSES + MONTHS + MONEY + ABBREVIATIONS + _NAMES_WITH_SIGNS,
    "digit": _ADDRESSES + DATES + AMOUNTS,
    "symbol": REMOVED + PHONES + MONEY + POWERS + VULGAR_FRACTIONS + _MARKS,
}
ENGLISH = LanguageRules(_SEEN, _KEPT, _RULES)


__all__ = ["ENGLISH"]
