"""Language tags and language detection."""

import functools
import importlib
import re
from typing import Any


_KANA = re.compile("[\u3040-\u30ff]")
_CJK_IDEOGRAPH = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")


def check_text(name: str, value: object) -> str:
    """Return `value` if it is a string of whole characters; raise ValueError naming the argument `name` otherwise."""
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a string, got {value!r} of type {type(value).__name__}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} must not have half of a surrogate pair, as at position {error.start}") from error
    return value


def canonical_language(language: str) -> str:
    """
    Reduce a language tag to the name the duration rules know.

    Args:
        language (`str`): a tag such as "ja-JP", "ZH", "yue", "en_US"; upper or lower case.

    Returns:
        `str`: "ja", "zh" (also for Cantonese, "yue") or "en" by prefix; any other tag in lower case, which the
        duration rules treat as "other".

    Raises:
        ValueError: `language` is not a string, or blank.
    """
    tag = check_text("language", language).strip().lower()
    if not tag:
        raise ValueError(f"language must be a tag such as 'en', 'ja' or 'zh', got {language!r}; use None to detect it")
    if tag.startswith("ja"):
        return "ja"
    if tag.startswith(("zh", "yue")):
        return "zh"
    if tag.startswith("en"):
        return "en"
    return tag


def detect_language(text: str) -> str:
    """
    Find out the language of a text as the original does: langdetect's answer where it is Japanese, Chinese or English,
    otherwise (or without langdetect) by script: any kana is Japanese, any CJK ideograph Chinese, all else English.

    The answer is the same at every call, and langdetect's global settings are neither used nor changed.

    Args:
        text (`str`): the text.

    Returns:
        `str`: "ja", "zh" or "en"; "other" for a text that is empty or only blanks.

    Raises:
        ValueError: `text` is not a string.
    """
    if not check_text("text", text).strip():
        return "other"
    guess = _langdetect_guess(text)
    if guess in ("ja", "zh", "en"):
        return guess
    if _KANA.search(text):
        return "ja"
    if _CJK_IDEOGRAPH.search(text):
        return "zh"
    return "en"


def resolve_language(text: str, language: str | None) -> str:
    """The canonical name of `language` if given, else the detected language of `text`."""
    return detect_language(text) if language is None else canonical_language(language)


def _langdetect_guess(text: str) -> str | None:
    factory = _langdetect_factory()
    if factory is None:
        return None
    detector = factory.create()
    detector.append(text)
    try:
        return canonical_language(detector.detect())
    except importlib.import_module("langdetect").LangDetectException:
        return None


@functools.cache
def _langdetect_factory() -> Any:
    """A factory of our own: the package's shared one would need its class-wide seed set."""
    try:
        langdetect = importlib.import_module("langdetect")
    except ImportError:
        return None
    factory = langdetect.DetectorFactory()
    table = NgramProbabilities()

    def add_profile(profile: Any, index: int, num_languages: int) -> None:
        factory.langlist.append(profile.name)
        table.add(profile, num_languages)

    factory.add_profile, factory.word_lang_prob_map = add_profile, table
    factory.load_profile(langdetect.PROFILES_DIRECTORY)
    factory.set_seed(0)
    return factory


class NgramProbabilities:
    """
    langdetect's table of n-grams, `{ngram: [probability in each language]}`, computed where a text needs it.

    Filling the whole table, 88 000 n-grams in 55 languages, takes most of the time before langdetect's first answer.
    """

    def __init__(self) -> None:
        self._profiles: list[Any] = []
        self._num_languages = 0
        self._ngrams: set[str] = set()
        self._computed: dict[str, list[float]] = {}

    def add(self, profile: Any, num_languages: int) -> None:
        """Appends the profile of one of `num_languages` languages."""
        self._profiles.append(profile)
        self._num_languages = num_languages
        self._ngrams.update(profile.freq)

    def __contains__(self, ngram: str) -> bool:
        return ngram in self._ngrams

    def __getitem__(self, ngram: str) -> list[float]:
        if ngram not in self._computed:
            self._computed[ngram] = self._compute(ngram)
        return self._computed[ngram]

    def _compute(self, ngram: str) -> list[float]:
        probabilities = [0.0] * self._num_languages
        for index, profile in enumerate(self._profiles):
            if 1 <= len(ngram) <= 3 and ngram in profile.freq:
                probabilities[index] = 1.0 * profile.freq[ngram] / profile.n_words[len(ngram) - 1]
        return probabilities
