"""Selects ordinary English texts for the corpus: WordNet's example sentences, and short texts of common words.

    python training/nano/ordinary_texts.py texts.txt --wordnet /usr/share/wordnet --sentences 9000 --short 3000

The examples of WordNet (Debian package `wordnet-base`, WordNet license) are written by people and have a wide
vocabulary. The short texts are single words and pairs of words, by wordfreq's frequency. Texts of the test list
`ordinary_sentences.txt` are left out, and so are texts whose words nano's lexicon does not have.
"""

import argparse
import random
import re
import sys
from collections import Counter
from collections.abc import Container, Iterator
from pathlib import Path


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from t5gemma_tts.cli.command import command  # noqa: E402


TEST_LISTS = ("ordinary_sentences.txt", "short_sentences.txt")
WORDNET_FILES = ("data.adj", "data.adv", "data.noun", "data.verb")
MIN_WORDS, MAX_WORDS = 3, 16
_EXAMPLE = re.compile(r'"([^"]+)"')
_TEXT = re.compile(r"[A-Za-z][A-Za-z',?! -]*[A-Za-z][.?!]?")
_WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)?")
# of so many candidates, the text with the rarest words is selected
_CANDIDATES = 8
_MAX_ATTEMPTS = 100


def wordnet_examples(folder: Path) -> Iterator[str]:
    """
    Yields the example sentences of WordNet's data files.

    Args:
        folder (`Path`): folder with WordNet's database files.

    Raises:
        FileNotFoundError: if a database file is missing.
    """
    for name in WORDNET_FILES:
        with open(folder / name, encoding="latin-1") as file:
            for line in file:
                _, _, gloss = line.partition("|")
                yield from _EXAMPLE.findall(gloss)


def as_sentence(example: str) -> str | None:
    """Returns the example with a capital letter and a final mark, or `None` if it has symbols or a wrong length."""
    text = " ".join(example.replace("`", "'").split())
    if not _TEXT.fullmatch(text) or not MIN_WORDS <= len(_WORD.findall(text)) <= MAX_WORDS:
        return None
    return text[0].upper() + text[1:] + ("" if text[-1] in ".?!" else ".")


def words_of(text: str) -> tuple[str, ...]:
    """Returns the words of a text in lower case."""
    return tuple(_WORD.findall(text.lower()))


def texts_of_test_lists() -> set[tuple[str, ...]]:
    """Returns the word sequences of the test lists, which must not be trained on."""
    lines: list[str] = []
    for name in TEST_LISTS:
        lines += Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    return {words_of(line) for line in lines}


def select_sentences(candidates: list[str], count: int, known: Container[str], seed: int = 0) -> list[str]:
    """
    Selects sentences with a wide vocabulary.

    Args:
        candidates (`list[str]`): sentences.
        count (`int`): number of sentences to select.
        known (`Lexicon` or `set[str]`): words in lower case; sentences with other words are left out.
        seed (`int`, *optional*, defaults to 0)

    Returns:
        `list[str]`: at most `count` distinct sentences.
    """
    taken = texts_of_test_lists()
    usable = []
    for text in candidates:
        words = words_of(text)
        if words not in taken and all(word in known for word in words):
            taken.add(words)
            usable.append(text)
    random.Random(seed).shuffle(usable)
    counts: Counter[str] = Counter()
    selected = []
    while usable and len(selected) < count:
        pool = usable[-_CANDIDATES:]
        best = max(range(len(pool)), key=lambda number: _rarity(words_of(pool[number]), counts))
        selected.append(usable.pop(len(usable) - len(pool) + best))
        counts.update(words_of(selected[-1]))
    return selected


def _rarity(words: tuple[str, ...], counts: Counter) -> float:
    return sum((1 + counts[word]) ** -1.5 for word in words) / len(words) ** 0.7


def short_texts(words: list[str], count: int, seed: int = 0) -> list[str]:
    """
    Makes texts of one or two words.

    Args:
        words (`list[str]`): words, the most frequent first.
        count (`int`): number of texts.
        seed (`int`, *optional*, defaults to 0)

    Returns:
        `list[str]`: distinct texts with a capital letter and a final mark.

    Raises:
        ValueError: if there are too few words for so many texts.
    """
    generator = random.Random(seed)
    taken = texts_of_test_lists()
    texts: list[str] = []
    for _ in range(_MAX_ATTEMPTS * count):
        if len(texts) == count:
            return texts
        # a log-uniform rank: frequent words often, rare ones sometimes
        chosen = tuple(words[int(len(words) ** generator.random()) - 1] for _ in range(generator.choice((1, 1, 2))))
        if chosen not in taken:
            taken.add(chosen)
            text = " ".join(chosen)
            texts.append(text[0].upper() + text[1:] + generator.choice("....?!"))
    raise ValueError(f"{len(words)} words are too few for {count} short texts.")


@command
def main(argv: list[str] | None = None) -> None:
    from wordfreq import top_n_list

    from t5gemma_tts.checkpoints import NANO
    from t5gemma_tts.model.lexicon import Lexicon

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, metavar="FILE", help="text file to write; must not exist")
    parser.add_argument(
        "--wordnet", type=Path, required=True, metavar="FOLDER", help="folder with WordNet's data files"
    )
    parser.add_argument("--sentences", type=int, default=9000, help="number of sentences (default: 9000)")
    parser.add_argument("--short", type=int, default=3000, help="number of texts of 1 or 2 words (default: 3000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the selection (default: 0)")
    parsed = parser.parse_args(argv)
    known = Lexicon.load(Path(NANO) / "lexicon_en.tsv.gz")
    candidates = [text for example in wordnet_examples(parsed.wordnet) if (text := as_sentence(example))]
    sentences = select_sentences(candidates, parsed.sentences, known, parsed.seed)
    common = [word for word in top_n_list("en", 20000) if word in known and len(word) > 1]
    texts = sentences + short_texts(common, parsed.short, parsed.seed)
    random.Random(parsed.seed).shuffle(texts)
    with open(parsed.output, "x", encoding="utf-8") as file:
        file.writelines(f"{text}\n" for text in texts)
    print(f"{parsed.output}: {len(texts)} texts, {len({word for text in texts for word in words_of(text)})} words")


if __name__ == "__main__":
    sys.exit(main())
