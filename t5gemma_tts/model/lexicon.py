"""Pronunciation lexicons: how single words are said, as phonemes or as another spelling."""

import gzip
import os
import re
from collections.abc import Mapping
from pathlib import Path


MAX_LINE_CHARACTERS = 1000
_PHONEMES = re.compile(r"/([^/]+)/")


class Lexicon:
    """
    Pronunciations of words, each for one role in the sentence or for all.

    A file has a word, a tab and its pronunciation on each line, and perhaps another tab and a role (VERB, NOUN, ADJ,
    ADV, VBD, VBN), for words such as "read". Lines that start with "#" are comments. A pronunciation is another
    spelling ("engine x") or phonemes between slashes ("/ˈɛnʤᵻn/"). Words are matched whole. A word in lower case
    matches any case; any other word matches as it is written.

    Args:
        entries (`Mapping[str, str]`, *optional*): pronunciations of words.

    Raises:
        ValueError: for an entry that is not text, has an empty side or a line break, or has one slash only.
    """

    def __init__(self, entries: Mapping[str, str] | None = None):
        self._entries: dict[str, dict[str, str]] = {}
        self._pattern: re.Pattern[str] | None = None
        for word, pronunciation in (entries or {}).items():
            self.add(word, pronunciation)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, word: str) -> bool:
        return self.roles(word) is not None

    def add(self, word: str, pronunciation: str, role: str = "") -> None:
        """Adds an entry, replacing the one for the same word and role."""
        for name, value in (("word", word), ("pronunciation", pronunciation)):
            if not isinstance(value, str) or not value.strip() or len(value.splitlines()) != 1 or "\t" in value:
                raise ValueError(f"`lexicon`: a {name} must be one line of text without tabs, got {value!r}.")
        pronunciation = pronunciation.strip()
        if "/" in pronunciation and not _PHONEMES.fullmatch(pronunciation):
            raise ValueError(
                f"`lexicon`: the pronunciation of {word!r} must be another spelling or phonemes between two slashes, "
                f"got {pronunciation!r}."
            )
        self._pattern = None
        self._entries.setdefault(word.strip(), {})[role] = pronunciation

    def roles(self, word: str) -> dict[str, str] | None:
        """Pronunciations of a word by role ("" is the usual one), or None. Phonemes are between slashes."""
        return self._entries.get(word) or self._entries.get(word.lower())

    def words(self) -> list[str]:
        """All words, longest first."""
        return sorted(self._entries, key=len, reverse=True)

    def respell(self, text: str) -> str:
        """
        Replaces words by their other spelling, for checkpoints that read spelling. A word of ASCII characters must
        stand alone.

        Raises:
            ValueError: for a word in the text that has phonemes.
        """
        if not self._entries:
            return text
        if self._pattern is None:
            words = map(re.escape, self.words())
            whole = (rf"(?<!\w){word}(?!\w)" if word.isascii() else word for word in words)
            self._pattern = re.compile("|".join(whole), re.IGNORECASE)
        return self._pattern.sub(self._respell_match, text)

    def _respell_match(self, match: re.Match[str]) -> str:
        roles = self.roles(match[0])
        if roles is None:  # in another case
            return match[0]
        spelling = next(iter(roles.values()))
        if as_phonemes(spelling):
            raise ValueError(
                f"`lexicon`: this checkpoint reads spelling, so {match[0]!r} must have another spelling and not "
                f"phonemes, got {spelling!r}."
            )
        return spelling

    @classmethod
    def from_value(cls, value: "Lexicon | Mapping[str, str] | str | os.PathLike[str]") -> "Lexicon":
        """
        A lexicon from itself, a dict of pronunciations, or the path of a file.

        Raises:
            ValueError: for anything else, and for entries that are not valid.
            FileNotFoundError: for a path without a file.
        """
        if isinstance(value, Lexicon):
            return value
        if isinstance(value, Mapping):
            return cls(value)
        if isinstance(value, (str, os.PathLike)):
            return cls.load(value)
        raise ValueError(f"`lexicon` must be a dict of words and pronunciations or a TSV file, got {value!r}.")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Lexicon":
        """
        Reads a UTF-8 file of lines, compressed if its name ends in ".gz".

        Raises:
            ValueError: for a line that is not valid; the message has its number.
        """
        data = Path(path).read_bytes()
        try:
            text = (gzip.decompress(data) if str(path).endswith(".gz") else data).decode("utf-8-sig")
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise ValueError(f"`lexicon` file {str(path)!r} is not a UTF-8 text file: {error}") from error
        lexicon = cls()
        for number, line in enumerate(text.split("\n"), start=1):
            line = line.rstrip("\r")
            if not line.strip() or line.startswith("#"):
                continue
            fields = line.split("\t")
            if len(fields) not in (2, 3) or len(line) > MAX_LINE_CHARACTERS:
                raise ValueError(
                    f"`lexicon` file {str(path)!r}, line {number}: must be a word, a tab and a pronunciation, and "
                    f"perhaps a tab and a role, got {line[:80]!r}."
                )
            word, pronunciation, role = fields if len(fields) == 3 else (*fields, "")
            try:
                lexicon.add(word, pronunciation, role)
            except ValueError as error:
                raise ValueError(f"`lexicon` file {str(path)!r}, line {number}: {error}") from error
        return lexicon

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the file that `load` reads. The same entries give the same bytes."""
        lines = [
            f"{word}\t{pronunciation}\t{role}".rstrip("\t") + "\n"
            for word, roles in sorted(self._entries.items())
            for role, pronunciation in sorted(roles.items())
        ]
        data = "".join(lines).encode("utf-8")
        Path(path).write_bytes(gzip.compress(data, 9, mtime=0) if str(path).endswith(".gz") else data)


def as_phonemes(pronunciation: str) -> str | None:
    """The phonemes of a pronunciation that stands between slashes; None for a spelling."""
    match = _PHONEMES.fullmatch(pronunciation)
    return match[1] if match else None
