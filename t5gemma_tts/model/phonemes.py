"""Phoneme counts, from which durations are estimated."""

import contextlib
import functools
import importlib
import importlib.util
import re
import sys
import threading
import warnings
from collections.abc import Callable

from .english_g2p import has_tagger, load_english_g2p
from .language import canonical_language, check_text


_LATIN_LETTER = re.compile("[A-Za-z]")
_LOADING = threading.Lock()
PACKAGES = {"en": "g2p_en", "ja": "pyopenjtalk", "zh": "pypinyin"}


def count_phonemes(text: str, language: str) -> int:
    """
    Count the phonemes of a text, as the original does for its durations.

    English: ARPAbet symbols and punctuation marks of g2p_en. Japanese: phonemes of pyopenjtalk without pauses. Chinese:
    syllables of pypinyin. Any other language, a language whose package is not installed and a text which the package
    cannot read: characters. The last two give one warning per language and process.

    The packages are imported at the first use of their language, and nothing is downloaded.

    Args:
        text (`str`): the text.
        language (`str`): language tag, see `canonical_language`.

    Returns:
        `int`: the number of phonemes, which may be 0; a number of characters is at least 1.

    Raises:
        ValueError: `text` or `language` is not a string, or `language` is blank.
    """
    check_text("text", text)
    language = canonical_language(language)
    if language not in _LOADERS:
        return _count_characters(text)
    with _LOADING:
        count = _load(language)
    try:
        return count(text)
    except Exception as error:  # the packages raise errors of many kinds, inflect even a bare Exception
        _warn_once(
            f"The front-end for language {language!r} cannot read a text ({type(error).__name__}): durations of such "
            "texts are estimated from their number of characters"
        )
        return _count_characters(text)


def describe_front_ends() -> dict[str, str]:
    """What counts the phonemes of each language: its package, or "characters" without it, and what else is missing."""
    found = {
        language: package if importlib.util.find_spec(package) else f"characters ({package} is missing)"
        for language, package in PACKAGES.items()
    }
    if found["en"] == PACKAGES["en"] and not has_tagger():
        found["en"] += " (NLTK's tagger is missing: all homographs are read as nouns)"
    return found


@functools.cache
def _load(language: str) -> Callable[[str], int]:
    try:
        return _LOADERS[language]()
    except ImportError as error:
        _warn_once(
            f"No phonemes for language {language!r} ({error}): durations are estimated from the number of characters. "
            'To install what is missing: pip install "t5gemma-tts[text]"'
        )
        return _count_characters


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(message, stacklevel=3)


def _count_characters(text: str) -> int:
    return max(len(text), 1)


def _load_english() -> Callable[[str], int]:
    g2p = load_english_g2p()
    return lambda text: sum(not symbol.isspace() and not symbol.startswith("<") for symbol in g2p(text))


def _load_japanese() -> Callable[[str], int]:
    # At import pyopenjtalk prints a remark about onnxruntime, which must not end up in a command's output.
    with contextlib.redirect_stdout(sys.stderr):
        g2p = importlib.import_module("pyopenjtalk").g2p
    return lambda text: sum(phoneme not in ("pau", "sil") for phoneme in g2p(text, join=False))


def _load_chinese() -> Callable[[str], int]:
    lazy_pinyin = importlib.import_module("pypinyin").lazy_pinyin
    return lambda text: sum(_LATIN_LETTER.search(syllable) is not None for syllable in lazy_pinyin(text))


_LOADERS = {"en": _load_english, "ja": _load_japanese, "zh": _load_chinese}
