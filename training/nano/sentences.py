"""Generates sentences from the grammar so that all words occur about equally often and next to many other words.

From a few random candidates, the one with the rarest words is chosen. Word frequencies are therefore unnatural, but a
small model sees every word in little speech.
"""

import random
import re
from collections import Counter
from dataclasses import dataclass

from t5gemma_tts.preparation.splitting import TRAIN, VALIDATION, id_hash
from training.nano.grammar import RULES
from training.nano.words import LEXICON, OPEN_VOCABULARY, WORDS_WITH_A, WORDS_WITH_AN


UNSEEN_PAIRS = "unseen_pairs"
MAX_WORDS = 25

# kinds of sentences with their weights; the mean length is 8 words
_KINDS = {"tiny": 13, "short": 26, "medium": 34, "long": 18, "very-long": 8}
_CANDIDATES, _WORD_CANDIDATES = 12, 12
# training sentences have log-uniform speeds in this range; held-out sentences have speed 1
MIN_SPEED, MAX_SPEED = 0.75, 1.3
# minimum number and fraction of reserved pairs in a sentence for the split of unseen pairs
_MIN_RESERVED_PAIRS, _MIN_RESERVED_FRACTION = 3, 0.5
_MAX_ATTEMPTS = 1000

_SLOT = re.compile(r"<([^<>]+)>")
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
_ARTICLE = re.compile(r"\b(a) (?=([a-z]+))", re.IGNORECASE)
_SENTENCE_START = re.compile(r"(?:^|(?<=[.!?] ))[a-z]")


@dataclass(frozen=True)
class Utterance:
    """A sentence for a voice, with the seed of the voice and the speed; 1 is the voice's natural speed."""

    id: str
    voice: str
    split: str
    text: str
    seed: int
    speed: float = 1.0


def words_of(text: str) -> list[str]:
    """Returns the lower-case words of a text; "Emma's" becomes "emma", and "twenty-one" two words."""
    words = _WORD.findall(text.lower())
    return [word[:-2] if word.endswith("'s") and word[:-2] in OPEN_VOCABULARY else word for word in words]


def pairs_of(words: list[str]) -> list[tuple[str, str]]:
    """Returns all pairs of adjacent words."""
    return list(zip(words, words[1:], strict=False))


def open_pairs_of(words: list[str]) -> list[tuple[str, str]]:
    """Returns the pairs of adjacent words that are both in the open vocabulary, unlike "the", "of" and numbers."""
    return [pair for pair in pairs_of(words) if OPEN_VOCABULARY.issuperset(pair)]


def _has_many_open_pairs(words: list[str]) -> bool:
    count = len(open_pairs_of(words))
    return count >= _MIN_RESERVED_PAIRS and count >= _MIN_RESERVED_FRACTION * (len(words) - 1)


class SentenceGenerator:
    """
    Generates sentences from the grammar.

    Args:
        seed (`str` or `int`): Random seed; equal seeds give equal sentences.
        taken (`set`): Word sequences that must not be generated; new sentences are added.
        reserved (`set`, *optional*): Pairs of words that must not be adjacent.
    """

    def __init__(self, seed, taken: set[tuple[str, ...]], reserved: set[tuple[str, str]] | None = None):
        self.random = random.Random(seed)
        self.taken = taken
        self.reserved = reserved or set()
        self.counts: Counter[str] = Counter()
        self.pairs: set[tuple[str, str]] = set()

    def sentence(self) -> str:
        """
        Generates a new sentence with 1 to 25 words.

        Raises:
            ValueError: if no new sentence is found.
        """
        return self._generate(self.random.choices(list(_KINDS), list(_KINDS.values()))[0])

    def sentence_of_new_pairs(self) -> str:
        """Generates a new sentence with at least three pairs of open words, which are at least half of its pairs."""
        return self._generate("medium", _has_many_open_pairs)

    def _generate(self, kind: str, accept=lambda words: True) -> str:
        """Returns the best of a few random candidates."""
        candidates = []
        for _ in range(_MAX_ATTEMPTS):
            text = self._add_articles_and_capitals(self._expand(kind))
            words = words_of(text)
            if self._is_allowed(words) and accept(words):
                candidates.append((self._score(words), text, words))
                if len(candidates) == _CANDIDATES:
                    break
        if not candidates:
            raise ValueError(f"no new sentence was found after {len(self.taken)} sentences. Use fewer.")
        _, text, words = max(candidates, key=lambda candidate: candidate[0])
        self.taken.add(tuple(words))
        self.counts.update(words)
        self.pairs.update(pairs_of(words))
        return text

    def _is_allowed(self, words: list[str]) -> bool:
        open_words = [word for word in words if word in OPEN_VOCABULARY]
        return (
            1 <= len(words) <= MAX_WORDS
            and len(open_words) == len(set(open_words))
            and tuple(words) not in self.taken
            and self.reserved.isdisjoint(pairs_of(words))
        )

    def _score(self, words: list[str]) -> float:
        """Scores rare words and new pairs; the normalization favors neither long nor short sentences."""
        rarity = sum((1 + self.counts[word]) ** -3 for word in words) / len(words) ** 0.7
        pairs = pairs_of(words)
        return rarity * (1 + sum(pair not in self.pairs for pair in pairs) / max(len(pairs), 1))

    def _expand(self, symbol: str) -> str:
        if symbol in LEXICON:
            words = LEXICON[symbol]
            candidates = self.random.sample(words, min(_WORD_CANDIDATES, len(words)))
            return min(candidates, key=lambda word: self.counts[word.lower()])
        return _SLOT.sub(lambda slot: self._expand(slot[1]), self.random.choice(RULES[symbol]))

    @staticmethod
    def _add_articles_and_capitals(text: str) -> str:
        """Chooses between "a" and "an", and capitalizes the first letters of sentences."""

        def article(match: re.Match) -> str:
            word = match[2].lower()
            vowel = word in WORDS_WITH_AN or (word[0] in "aeiou" and word not in WORDS_WITH_A)
            return f"{match[1]}n " if vowel else match[0]

        return _SENTENCE_START.sub(lambda match: match[0].upper(), _ARTICLE.sub(article, text))


def plan_utterances(
    voices: list[str],
    num_sentences: int = 3000,
    num_validation: int = 200,
    num_unseen_pairs: int = 50,
    seed: int = 0,
    own_texts: list[str] | None = None,
) -> list[Utterance]:
    """
    Plans the corpus: separate training sentences for each voice, and the same held-out sentences for all voices.

    All training and held-out sentences are distinct. Held-out sentences do not depend on the voices, and the training
    sentences of a voice do not depend on the voices after it. Pairs of adjacent open words in the split `unseen_pairs`
    do not occur in training sentences of the grammar.

    With `own_texts`, these are the training sentences, and the voices share them: each speaks the next `num_sentences`.
    Held-out sentences among them are left out.

    Raises:
        ValueError: for numbers out of range, repeated voices, or fewer own texts than the voices need.
    """
    check_plan(voices, num_sentences, num_validation, num_unseen_pairs)
    taken: set[tuple[str, ...]] = set()
    generator = SentenceGenerator(f"{seed}/{UNSEEN_PAIRS}", taken)
    unseen = [generator.sentence_of_new_pairs() for _ in range(num_unseen_pairs)]
    generator = SentenceGenerator(f"{seed}/{VALIDATION}", taken)
    held_out = {VALIDATION: [generator.sentence() for _ in range(num_validation)], UNSEEN_PAIRS: unseen}
    reserved = reserved_pairs(unseen)
    if own_texts is not None:
        own_texts = [text for text in own_texts if tuple(words_of(text)) not in taken]
        if len(own_texts) < num_sentences * len(voices):
            raise ValueError(
                f"{num_sentences} texts for each of {len(voices)} voices are needed, got {len(own_texts)}."
            )
    utterances = []
    for index, voice in enumerate(voices):
        if own_texts is not None:
            training = own_texts[index * num_sentences : (index + 1) * num_sentences]
        else:
            generator = SentenceGenerator(f"{seed}/{voice}", taken, reserved)
            training = [generator.sentence() for _ in range(num_sentences)]
        texts = {TRAIN: training, **held_out}
        for split, sentences in texts.items():
            for number, text in enumerate(sentences):
                name = f"{voice}-{split}-{number:05d}"
                speed = _speed_of(f"{seed}/{name}/speed") if split == TRAIN else 1.0
                utterances.append(Utterance(name, voice, split, text, id_hash(f"{seed}/{name}") % 2**31, speed))
    return utterances


def _speed_of(name: str) -> float:
    fraction = id_hash(name) / 2**64
    return round(MIN_SPEED * (MAX_SPEED / MIN_SPEED) ** fraction, 2)


def reserved_pairs(texts: list[str]) -> set[tuple[str, str]]:
    """Returns the pairs of adjacent open words in the texts."""
    return {pair for text in texts for pair in open_pairs_of(words_of(text))}


def check_plan(voices: list[str], num_sentences: int, num_validation: int, num_unseen_pairs: int) -> None:
    """
    Checks the arguments of `plan_utterances`.

    Raises:
        ValueError: for numbers out of range or repeated voices.
    """
    if not voices or len(set(voices)) != len(voices):
        raise ValueError(f"`voices` must be one or more distinct names, got {voices}.")
    for name, value, minimum in (
        ("sentences", num_sentences, 1),
        ("validation", num_validation, 0),
        ("unseen_pairs", num_unseen_pairs, 0),
    ):
        if value < minimum:
            raise ValueError(f"`{name}` must be {minimum} or more, got {value}.")
