"""Sentences of the grammar, chosen so that all words are said about equally often and in many neighbourhoods.

Of a few random candidates the one with the rarest words wins. That is far from how often people say them, but a small
model sees every word in the little speech it is given.
"""

import random
import re
from collections import Counter
from dataclasses import dataclass

from t5gemma_tts.preparation.splitting import TRAIN, VALIDATION, id_hash
from training.nano.grammar import RULES
from training.nano.words import LEXICON, OPEN_VOCABULARY, SAID_WITH_A, SAID_WITH_AN


UNSEEN_PAIRS = "unseen_pairs"
LONGEST_SENTENCE = 25  # words

# kinds of sentences with their shares: words per sentence, 8 in the mean
_KINDS = {"tiny": 13, "short": 26, "medium": 34, "long": 18, "very-long": 8}
_CANDIDATES, _WORD_CANDIDATES = 12, 12
# of training sentences, even on a logarithmic scale; what is held out is said at the voice's natural pace
SLOWEST_SPEED, FASTEST_SPEED = 0.75, 1.3
# of a sentence of new pairs
_MIN_RESERVED_PAIRS, _MIN_RESERVED_SHARE = 3, 0.5
_MOST_ATTEMPTS = 1000

_SLOT = re.compile(r"<([^<>]+)>")
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
_ARTICLE = re.compile(r"\b(a) (?=([a-z]+))", re.IGNORECASE)
_SENTENCE_START = re.compile(r"(?:^|(?<=[.!?] ))[a-z]")


@dataclass(frozen=True)
class Utterance:
    """A sentence that a voice shall speak. `seed` is of the voice's own randomness, `speed` 1 is its natural pace."""

    id: str
    voice: str
    split: str
    text: str
    seed: int
    speed: float = 1.0


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation; "Emma's" counts as "emma", "twenty-one" as two words."""
    words = _WORD.findall(text.lower())
    return [word[:-2] if word.endswith("'s") and word[:-2] in OPEN_VOCABULARY else word for word in words]


def pairs_of(words: list[str]) -> list[tuple[str, str]]:
    return list(zip(words, words[1:], strict=False))


def open_pairs_of(words: list[str]) -> list[tuple[str, str]]:
    """The adjacent pairs of words that are both of the open vocabulary: not those with "the", "of" or a number."""
    return [pair for pair in pairs_of(words) if OPEN_VOCABULARY.issuperset(pair)]


def _has_many_open_pairs(words: list[str]) -> bool:
    count = len(open_pairs_of(words))
    return count >= _MIN_RESERVED_PAIRS and count >= _MIN_RESERVED_SHARE * (len(words) - 1)


class SentenceMaker:
    """
    Draws sentences from the grammar.

    Args:
        seed (`str` or `int`): Of this maker's random numbers: equal seeds make equal sentences.
        taken (`set`): Word sequences that must not be said again; those that are made are added.
        reserved (`set`, *optional*): Pairs of words that must not stand side by side.
    """

    def __init__(self, seed, taken: set[tuple[str, ...]], reserved: set[tuple[str, str]] | None = None):
        self.random = random.Random(seed)
        self.taken = taken
        self.reserved = reserved or set()
        self.counts: Counter[str] = Counter()
        self.pairs: set[tuple[str, str]] = set()

    def sentence(self) -> str:
        """
        A sentence of 1 to 25 words that has not been made before.

        Raises:
            ValueError: if the grammar has no more of them.
        """
        return self._rarest(self.random.choices(list(_KINDS), list(_KINDS.values()))[0])

    def sentence_of_new_pairs(self) -> str:
        """One of which at least half of the adjacent pairs, and three or more, are of the open vocabulary."""
        return self._rarest("medium", _has_many_open_pairs)

    def _rarest(self, kind: str, is_wanted=lambda words: True) -> str:
        """The best of a few random candidates."""
        candidates = []
        for _ in range(_MOST_ATTEMPTS):
            text = self._written(self._expanded(kind))
            words = words_of(text)
            if self._is_accepted(words) and is_wanted(words):
                candidates.append((self._need(words), text, words))
                if len(candidates) == _CANDIDATES:
                    break
        if not candidates:
            raise ValueError(f"the grammar makes no more new sentences ({len(self.taken)} so far): ask for fewer.")
        _, text, words = max(candidates, key=lambda candidate: candidate[0])
        self.taken.add(tuple(words))
        self.counts.update(words)
        self.pairs.update(pairs_of(words))
        return text

    def _is_accepted(self, words: list[str]) -> bool:
        of_meaning = [word for word in words if word in OPEN_VOCABULARY]
        return (
            1 <= len(words) <= LONGEST_SENTENCE
            and len(of_meaning) == len(set(of_meaning))
            and tuple(words) not in self.taken
            and self.reserved.isdisjoint(pairs_of(words))
        )

    def _need(self, words: list[str]) -> float:
        """How rare the words are so far, and how new their pairs; by neither sum nor mean, which prefer a length."""
        rarity = sum((1 + self.counts[word]) ** -3 for word in words) / len(words) ** 0.7
        pairs = pairs_of(words)
        return rarity * (1 + sum(pair not in self.pairs for pair in pairs) / max(len(pairs), 1))

    def _expanded(self, symbol: str) -> str:
        if symbol in LEXICON:
            words = LEXICON[symbol]
            some = self.random.sample(words, min(_WORD_CANDIDATES, len(words)))
            return min(some, key=lambda word: self.counts[word.lower()])
        return _SLOT.sub(lambda slot: self._expanded(slot[1]), self.random.choice(RULES[symbol]))

    @staticmethod
    def _written(text: str) -> str:
        """With the article that the next word asks for, and capitals where sentences begin."""

        def article(match: re.Match) -> str:
            word = match[2].lower()
            vowel = word in SAID_WITH_AN or (word[0] in "aeiou" and word not in SAID_WITH_A)
            return f"{match[1]}n " if vowel else match[0]

        return _SENTENCE_START.sub(lambda match: match[0].upper(), _ARTICLE.sub(article, text))


def plan_utterances(
    voices: list[str], num_sentences: int = 3000, num_validation: int = 200, num_unseen_pairs: int = 50, seed: int = 0
) -> list[Utterance]:
    """
    Who says what: `num_sentences` of its own to train on for each voice, and for all voices the same held-out ones. No
    sentence is in two splits, nor are two training sentences the same. Held-out sentences do not depend on the voices,
    and a voice's not on those after it.

    Of the sentences of `unseen_pairs`, no adjacent pair of open words occurs in training.

    Raises:
        ValueError: for numbers out of range or repeated voices.
    """
    check_plan(voices, num_sentences, num_validation, num_unseen_pairs)
    taken: set[tuple[str, ...]] = set()
    maker = SentenceMaker(f"{seed}/{UNSEEN_PAIRS}", taken)
    unseen = [maker.sentence_of_new_pairs() for _ in range(num_unseen_pairs)]
    maker = SentenceMaker(f"{seed}/{VALIDATION}", taken)
    held_out = {VALIDATION: [maker.sentence() for _ in range(num_validation)], UNSEEN_PAIRS: unseen}
    reserved = reserved_pairs(unseen)
    utterances = []
    for voice in voices:
        maker = SentenceMaker(f"{seed}/{voice}", taken, reserved)
        texts = {TRAIN: [maker.sentence() for _ in range(num_sentences)], **held_out}
        for split, sentences in texts.items():
            for number, text in enumerate(sentences):
                name = f"{voice}-{split}-{number:05d}"
                speed = _speed_of(f"{seed}/{name}/speed") if split == TRAIN else 1.0
                utterances.append(Utterance(name, voice, split, text, id_hash(f"{seed}/{name}") % 2**31, speed))
    return utterances


def _speed_of(name: str) -> float:
    share = id_hash(name) / 2**64
    return round(SLOWEST_SPEED * (FASTEST_SPEED / SLOWEST_SPEED) ** share, 2)


def reserved_pairs(texts: list[str]) -> set[tuple[str, str]]:
    """The pairs of open words that stand side by side in these texts."""
    return {pair for text in texts for pair in open_pairs_of(words_of(text))}


def check_plan(voices: list[str], num_sentences: int, num_validation: int, num_unseen_pairs: int) -> None:
    """
    Raises:
        ValueError: for numbers out of range or repeated voices.
    """
    if not voices or len(set(voices)) != len(voices):
        raise ValueError(f"`voices` must name each voice once, and at least one, got {voices}.")
    for name, value, least in (
        ("sentences", num_sentences, 1),
        ("validation", num_validation, 0),
        ("unseen_pairs", num_unseen_pairs, 0),
    ):
        if value < least:
            raise ValueError(f"`{name}` must be {least} or more, got {value}.")
