"""From the text that a user writes to the text that the tokenizer reads: verbalization, lexicons, phonemes."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import is_offline_mode
from transformers.utils.hub import cached_file

from .english_pronunciation import EnglishPronouncer, count_phonemes
from .language import resolve_language
from .letter_to_sound import LetterToSound
from .lexicon import Lexicon
from .spoken_text import verbalize
from .text_normalization import normalize_text


PRONOUNCERS = {"en": EnglishPronouncer}
LEXICON_FILE = "lexicon_{language}.tsv.gz"
LETTER_TO_SOUND_FILE = "letter_to_sound_{language}.safetensors"

LexiconLike = Lexicon | Mapping[str, str] | str | os.PathLike[str]


class PreparedText(NamedTuple):
    """
    `text` is what the tokenizer reads, `words` the same in words and `num_phonemes` its phonemes if `text` is phonemes.
    `language` is None if it was neither given nor implied by the checkpoint.
    """

    text: str
    words: str
    language: str | None
    num_phonemes: int | None


class TextFrontEnd:
    """
    Prepares texts for the tokenizer of one checkpoint. Without languages, and without `normalize`, texts go through as
    the original project prepares them.

    Args:
        phoneme_languages (`list[str]`, *optional*): languages that the tokenizer reads as phonemes; each has a lexicon,
            and perhaps a letter-to-sound model, among the checkpoint's files. The first is for texts whose language
            is not given.
        normalize (`bool`, *optional*, defaults to `False`): whether numbers, dates, symbols and abbreviations are
            replaced by words unless a call says otherwise.
        source (`str`, *optional*): Hub name or folder of the checkpoint, from which the files are read at first use.
        hub_kwargs: arguments of transformers' `cached_file`, such as `revision`.
    """

    def __init__(
        self,
        phoneme_languages: list[str] | None = None,
        normalize: bool = False,
        source: str | None = None,
        **hub_kwargs: Any,
    ):
        for language in phoneme_languages or ():
            if language not in PRONOUNCERS:
                raise ValueError(f"`phoneme_languages` must be among {sorted(PRONOUNCERS)}, got {language!r}.")
        self.phoneme_languages = list(phoneme_languages or ())
        self.normalize = normalize
        self.source = source
        self.hub_kwargs = hub_kwargs
        self._pronouncers: dict[str, EnglishPronouncer] = {}

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike[str], **hub_kwargs: Any) -> "TextFrontEnd":
        """
        The front-end of a checkpoint, or of a folder with a tokenizer. Without `processor_config.json` there, it
        prepares texts as the original project does.
        """
        file = cached_file(
            str(name_or_path),
            "processor_config.json",
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=not is_offline_mode(),
            **hub_kwargs,
        )
        config = {} if file is None else json.loads(Path(file).read_text(encoding="utf-8"))
        return cls(config.get("phoneme_languages"), bool(config.get("normalize")), str(name_or_path), **hub_kwargs)

    def pronouncer(self, language: str) -> EnglishPronouncer:
        """
        The pronouncer of a language, loaded at first use.

        Raises:
            OSError: if the checkpoint lacks the lexicon.
        """
        if language not in self._pronouncers:
            if self.source is None:
                raise OSError(f"this processor has no lexicon for {language!r}: load it with `from_pretrained`.")
            lexicon = cached_file(self.source, LEXICON_FILE.format(language=language), **self.hub_kwargs)
            assert lexicon is not None  # a missing file is an error of cached_file
            model = cached_file(
                self.source,
                LETTER_TO_SOUND_FILE.format(language=language),
                _raise_exceptions_for_missing_entries=False,
                **self.hub_kwargs,
            )
            self._pronouncers[language] = PRONOUNCERS[language](
                Lexicon.load(lexicon), None if model is None else LetterToSound.load(model)
            )
        return self._pronouncers[language]

    def prepare(
        self,
        text: str,
        language: str | None = None,
        normalize: bool | None = None,
        lexicon: LexiconLike | None = None,
    ) -> PreparedText:
        """
        Args:
            text (`str`): the text.
            language (`str`, *optional*): language tag; detected, or the checkpoint's first, when None.
            normalize (`bool`, *optional*): whether numbers and so on become words; the checkpoint's default if None.
            lexicon (*optional*): pronunciations of words that take precedence over the checkpoint's.

        Raises:
            ValueError: for a language, letters or phonemes that the checkpoint cannot read, and for a bad lexicon.
        """
        if normalize is not None and not isinstance(normalize, bool):
            raise ValueError(f"`normalize` must be True, False or None, got {normalize!r}.")
        own = None if lexicon is None else Lexicon.from_value(lexicon)
        if self.phoneme_languages and language is None:
            language = self.phoneme_languages[0]
        given, language = language, resolve_language(text, language)
        if self.phoneme_languages and language not in self.phoneme_languages:
            raise ValueError(
                f"`language` must be one of {self.phoneme_languages} for this checkpoint, got {language!r}."
            )
        if self.normalize if normalize is None else normalize:
            text = verbalize(text, language).text
        if self.phoneme_languages:
            phonemes = self.pronouncer(language)(text, own)
            return PreparedText(phonemes, text, language, count_phonemes(phonemes))
        if own is not None:
            text = own.respell(text)
        text = normalize_text(text, language)
        return PreparedText(text, text, given, None)

    def to_phonemes(self, texts: list[str]) -> list[str]:
        """
        Texts of a dataset as the tokenizer reads them: phonemes, or the texts themselves for other checkpoints.

        Raises:
            ValueError: for a text that the checkpoint cannot read; the message has its index.
        """
        if not self.phoneme_languages:
            return texts
        prepared = []
        for number, text in enumerate(texts):
            try:
                prepared.append(self.prepare(text).text)
            except ValueError as error:
                raise ValueError(f"text {number}, {text!r}: {error}") from error
        return prepared

    def save(self, folder: str | os.PathLike[str]) -> list[str]:
        """Writes the lexicons and letter-to-sound models into a folder, and returns their paths."""
        paths = []
        for language in self.phoneme_languages:
            pronouncer = self.pronouncer(language)
            paths.append(os.path.join(folder, LEXICON_FILE.format(language=language)))
            pronouncer.lexicon.save(paths[-1])
            if pronouncer.letter_to_sound is not None:
                paths.append(os.path.join(folder, LETTER_TO_SOUND_FILE.format(language=language)))
                pronouncer.letter_to_sound.save(paths[-1])
        return paths
