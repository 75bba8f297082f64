"""Normalisation of the text to be spoken."""

import re
import unicodedata

from .language import check_text, resolve_language


_REMOVED = (
    " \u3000;▼♀♂《》≪≫①②③④⑤⑥\u02d7\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\u23af\u23e4\u2500\u2501\u2e3a\u2e3b"
)
_FULL_WIDTH_TO_ASCII = {code: code - 0xFEE0 for a, z in ("０９", "ＡＺ", "ａｚ") for code in range(ord(a), ord(z) + 1)}
# U+FF66 to U+FF9D: the voicing marks after them stay separate characters, as in the original.
_HALF_WIDTH_KATAKANA = {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0xFF66, 0xFF9E)}
_JAPANESE_TABLE = (
    dict.fromkeys(map(ord, _REMOVED))
    | str.maketrans("\uff5e\u301c？！●◯〇♥", "ーー?!○○○♡")
    | _FULL_WIDTH_TO_ASCII
    | _HALF_WIDTH_KATAKANA
)


def normalize_text(text: str, language: str | None = None) -> str:
    """
    Normalise a text the way the training data of the original was normalised: Japanese only, other languages are
    returned as they are.

    Japanese loses tabs, the mark "[n]", blanks, dashes and a few symbols; wave dashes become long-vowel marks;
    full-width letters, digits, "？" and "！" become ASCII; half-width katakana become full-width; three or more "…"
    become two. Line breaks stay, and Unicode normalisation forms are not applied.

    Args:
        text (`str`): the text.
        language (`str`, *optional*): language tag; detected from `text` when None.

    Returns:
        `str`: the normalised text, possibly empty.

    Raises:
        ValueError: `text` or `language` is not a string, or `language` is blank.
    """
    if resolve_language(check_text("text", text), language) != "ja":
        return text
    text = text.replace("\t", "").replace("[n]", "").translate(_JAPANESE_TABLE)
    return re.sub("…{3,}", "……", text)
