"""English text to phonemes: a lexicon, stems of inflected words, letters of acronyms, and a model for the rest.

Phonemes are written as misaki does (https://github.com/hexgrad/misaki): IPA with capitals for diphthongs (A I O W Y),
ʤ and ʧ for affricates, T for a flap, and a stress mark before a stressed vowel.
"""

import re
import unicodedata
from typing import NamedTuple

from .english_heteronyms import guess_role
from .letter_to_sound import MAX_LETTERS, LetterToSound
from .lexicon import Lexicon, as_phonemes


VOWELS = "æɐɑɔəɛɜɪʊʌᵊᵻAIOWYiu"
STRESS = "ˈˌ"
PAUSES = ".,?!"
_LETTER_PHONEMES = dict(
    zip(
        "abcdefghijklmnopqrstuvwxyz",
        "A bi si di i ɛf ʤi Aʧ I ʤA kA ɛl ɛm ɛn O pi kju ɑɹ ɛs ti ju vi dˈʌbᵊlju ɛks wI zi".split(),
        strict=True,
    )
)
_TOKEN = re.compile(
    r"(?P<letters>\b(?:[A-Za-z]\.){2,})|(?P<word>[^\W\d_]+(?:['’][^\W\d_]+)*['’]?)|(?P<digit>\d)|(?P<mark>[.,?!;:…—–]+)"
)
# before a consonant, before a vowel, before a pause
_REDUCED = {"the": ("ðə", "ði", "ði"), "a": ("ɐ", "ɐ", "ˈA"), "to": ("tə", "tʊ", "tu")}
_DIGITS = dict(zip("0123456789", "zero one two three four five six seven eight nine".split(), strict=True))
_MARKS = str.maketrans({";": ",", ":": ",", "—": ",", "–": ",", "…": "."})
_LATIN_LETTERS = {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ı": "i", "þ": "th", "ð": "th"}
_LATIN_LETTERS |= {letter.upper(): plain.title() for letter, plain in _LATIN_LETTERS.items() if letter not in "ßı"}
_CONTRACTIONS = {"'ll": "ᵊl", "'re": "ɹ", "'ve": "v", "'d": "d", "'m": "m"}


class PronouncedWord(NamedTuple):
    """A piece of text, `text[start:end]`, and its phonemes; punctuation is its own phoneme."""

    start: int
    end: int
    phonemes: str


class EnglishPronouncer:
    """
    Args:
        lexicon (`Lexicon`): phonemes of common words.
        letter_to_sound (`LetterToSound`, *optional*): guesses words that are not in the lexicon; without it they are
            spelled letter by letter.
    """

    def __init__(self, lexicon: Lexicon, letter_to_sound: LetterToSound | None = None):
        self.lexicon = lexicon
        self.letter_to_sound = letter_to_sound
        self._cache: dict[str, str] = {}

    def __call__(self, text: str, lexicon: Lexicon | None = None) -> str:
        """Phonemes of a text, with " " between words and the marks . , ? ! kept."""
        joined = ""
        for piece in self.pronounce(text, lexicon):
            joined += piece.phonemes if piece.phonemes[0] in PAUSES or not joined else " " + piece.phonemes
        return joined

    def pronounce(self, text: str, lexicon: Lexicon | None = None) -> list[PronouncedWord]:
        """
        Words and pauses of a text in order.

        Args:
            text (`str`): English text. Other symbols than letters, digits and punctuation are left out.
            lexicon (`Lexicon`, *optional*): entries that take precedence: spellings or phonemes between slashes.

        Raises:
            ValueError: for letters of another script, for which there are no phonemes.
        """
        tokens = self._tokens(text)
        words = [text[start:end].lower().replace("’", "'") for start, end, kind in tokens if kind != "mark"]
        all_capitals = len(words) > 1 and text.isupper()
        pieces: list[PronouncedWord] = []
        reducible: list[int] = []  # indices of "the", "a" and "to" that the caller's lexicon does not pronounce
        number = -1
        for start, end, kind in tokens:
            token = text[start:end].replace("’", "'")
            if kind == "mark":
                mark = _pause(token)
                if pieces and pieces[-1].phonemes not in PAUSES:
                    pieces.append(PronouncedWord(start, end, mark))
                continue
            number += 1
            if kind == "letters":
                phonemes = spell(token)
            else:
                word = token.lower() if all_capitals else token
                phonemes = self._phonemes(_DIGITS.get(word, word), words, number, lexicon)
            if phonemes:
                if words[number] in _REDUCED and (lexicon is None or token not in lexicon):
                    reducible.append(len(pieces))
                pieces.append(PronouncedWord(start, end, phonemes))
        for index in reducible:
            pieces[index] = _in_context(pieces, index, text)
        return pieces

    def _tokens(self, text: str) -> list[tuple[int, int, str]]:
        tokens = []
        for match in _TOKEN.finditer(text):
            start, end = match.span()
            if match.lastgroup == "word":
                end -= len(match[0]) - len(match[0].rstrip("'’"))
            tokens.append((start, end, str(match.lastgroup)))
        return tokens

    def _phonemes(self, word: str, words: list[str], index: int, lexicon: Lexicon | None) -> str:
        if lexicon is not None and (roles := lexicon.roles(word)):
            given = _choose(roles, guess_role(words, index, roles))
            return as_phonemes(given) or self(given)
        if len(word) > 2 and word[-1] == "s" and word[:-1].isupper() and word[:-1].isascii():  # "PCs"
            return spell(word[:-1]) + "z"
        if roles := self._roles(word):
            return _choose(roles, guess_role(words, index, roles) if len(roles) > 1 else "")
        if word not in self._cache:
            if len(self._cache) > 10_000:
                self._cache.clear()
            self._cache[word] = self._unknown(word)
        return self._cache[word]

    def _roles(self, word: str) -> dict[str, str] | None:
        roles = self.lexicon.roles(word)
        return {role: phonemes.strip("/") for role, phonemes in roles.items()} if roles else None

    def _unknown(self, word: str) -> str:
        """Phonemes of a word that the lexicon lacks."""
        folded = _fold(word)
        if not all(c in _LETTER_PHONEMES or c == "'" for c in folded.lower()):
            unknown = "".join(sorted({c for c in folded if c.lower() not in _LETTER_PHONEMES and c != "'"}))
            raise ValueError(f"`text` has letters that this checkpoint cannot read: {unknown!r} in {word!r}.")
        if folded != word and (roles := self._roles(folded)):
            return _choose(roles)
        lower = folded.lower()
        for ending, sound in _CONTRACTIONS.items():
            if lower.endswith(ending) and len(lower) > len(ending):
                stem = self._known(folded[: -len(ending)])
                return stem + (_past(stem) if ending == "'d" and stem[-1] in "td" else sound)
        if lower.endswith("n't") and len(lower) > 3:
            return self._known(folded[:-3]) + "ᵊnt"
        if lower.endswith("'s") and len(lower) > 2:
            stem = self._known(folded[:-2])
            return stem + _plural(stem)
        if lower.endswith("in'"):
            return self._known(folded[:-1] + "g")[:-1] + "n"
        if folded.isupper() and 1 < len(folded) <= 5 or not re.search("[aeiouy]", lower):
            return spell(lower)
        return self._inflected(lower) or self._compound(lower) or self._guess(lower)

    def _known(self, word: str) -> str:
        roles = self._roles(word)
        return _choose(roles) if roles else self._unknown(word)

    def _inflected(self, word: str) -> str | None:
        """Plurals, third persons, past tenses and -ing forms of words in the lexicon."""
        for stem in _stems(word, "s", "es"):
            if phonemes := self._stem_phonemes(stem):
                return phonemes + _plural(phonemes)
        for stem in _stems(word, "d", "ed"):
            if phonemes := self._stem_phonemes(stem):
                return phonemes + _past(phonemes)
        for ending, sound in (("ing", "ɪŋ"), ("ly", "li"), ("ness", "nəs"), ("less", "ləs"), ("er", "əɹ")):
            for stem in _stems(word, ending, ending):
                if phonemes := self._stem_phonemes(stem):
                    return phonemes + sound
        return None

    def _stem_phonemes(self, stem: str) -> str | None:
        roles = self._roles(stem) if len(stem) > 2 else None
        return _choose(roles, "VERB") if roles else None

    def _compound(self, word: str) -> str | None:
        """Two words of the lexicon with four letters or more each; the second loses its main stress."""
        for cut in range(len(word) - 4, 3, -1):
            first, second = self._stem_phonemes(word[:cut]), self._stem_phonemes(word[cut:])
            if first and second:
                return first + second.replace("ˈ", "ˌ")
        return None

    def _guess(self, word: str) -> str:
        if self.letter_to_sound is None or len(word) > MAX_LETTERS:
            return spell(word)
        return "".join(self.letter_to_sound.pronounce([word])[0]) or spell(word)


def _choose(roles: dict[str, str], role: str = "") -> str:
    """The pronunciation for a role, or else the usual one, or else the first."""
    return roles.get(role) or roles.get("") or next(iter(roles.values()))


def _in_context(pieces: list[PronouncedWord], index: int, text: str) -> PronouncedWord:
    """The form of "the", "a" or "to" before the sound that follows."""
    piece = pieces[index]
    following = pieces[index + 1].phonemes if index + 1 < len(pieces) else PAUSES
    before_consonant, before_vowel, before_pause = _REDUCED[text[piece.start : piece.end].lower()]
    if following[0] in PAUSES:
        return piece._replace(phonemes=before_pause)
    return piece._replace(phonemes=before_vowel if following.lstrip(STRESS)[0] in VOWELS else before_consonant)


def spell(letters: str) -> str:
    """Phonemes of the names of letters, with the main stress on the last."""
    names = [_LETTER_PHONEMES[letter] for letter in letters.lower() if letter in _LETTER_PHONEMES]
    stressed = [_stress(name, "ˈ" if name is names[-1] else "ˌ") for name in names[:-1]]
    return "".join(stressed + [_stress(name, "ˈ") for name in names[-1:]])


def count_phonemes(phonemes: str) -> int:
    """Phonemes as ARPAbet counts them, for estimates of durations: an r-colored vowel is one, punctuation counts."""
    return len(re.sub(rf"[{STRESS} ]|(?<=[ɜə])ɹ", "", phonemes))


def _stress(name: str, mark: str) -> str:
    if "ˈ" in name:
        return name
    first = next(position for position, symbol in enumerate(name) if symbol in VOWELS)
    return name[:first] + mark + name[first:]


def _pause(marks: str) -> str:
    marks = marks.translate(_MARKS)
    return next(mark for mark in "?!.," if mark in marks)


def _fold(word: str) -> str:
    """The word without accents, and with letters such as "ß" replaced by those of the alphabet."""
    letters = "".join(_LATIN_LETTERS.get(letter, letter) for letter in word)
    return "".join(letter for letter in unicodedata.normalize("NFKD", letters) if not unicodedata.combining(letter))


def _plural(stem: str) -> str:
    if stem[-1:] in "szʃʒʤʧ":
        return "ᵻz"
    return "s" if stem[-1:] in "ptkfθ" else "z"


def _past(stem: str) -> str:
    if stem[-1:] in "td":
        return "ᵻd"
    return "t" if stem[-1:] in "pkfθsʃʧ" else "d"


def _stems(word: str, short: str, long: str) -> list[str]:
    """Words that may have got an ending: "stopp", "stop" and "stoppe" for "stopped"."""
    stems = []
    for ending in dict.fromkeys((long, short)):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            stem = word[: -len(ending)]
            stems.append(stem)
            if ending != "s":
                if stem[-1] == "i":
                    stems.append(stem[:-1] + "y")
                elif len(stem) > 3 and stem[-1] == stem[-2]:
                    stems.append(stem[:-1])
                if short != "s":
                    stems.append(stem + "e")
    return stems
