"""Writes nano's pronunciation lexicon: the phonemes of the commonest English words.

    python training/nano/build_lexicon.py lexicon_en.tsv.gz --all pronunciations.tsv --held-out held_out.tsv

Words and their ranks come from wordfreq (Apache-2.0; the lists CC BY-SA 4.0), phonemes from the dictionaries of hibari
(Apache-2.0), which are misaki's (Apache-2.0). Words with several pronunciations get one line for each role that the
dictionary tells apart (VERB, NOUN, VBD and so on). `pip install hibari-tts wordfreq` first.
"""

import argparse
import gzip
import importlib
import importlib.resources
import json
import random
import re
from operator import itemgetter
from pathlib import Path
from typing import Any


WORD = re.compile("[a-z]+(?:'[a-z]+)*")
SYMBOLS = str.maketrans({"ɾ": "T", "ʔ": "t"})  # nano writes a flap as T and has no glottal stop
ROLES = {"VERB", "NOUN", "ADJ", "ADV", "VBD", "VBN"}
# words whose capitals mean letters, though a word is spelled alike
LETTER_WORDS = {
    "US": "jˌuˈɛs",
    "AI": "ˌAˈI",
    "IT": "ˌItˈi",
    "PM": "pˌiˈɛm",
    "AM": "ˌAˈɛm",
    "UK": "jˌukˈA",
    "OK": "ˌOkˈA",
}

# pronunciations in a sentence, where the voice reads the single word differently
IN_SENTENCES = {"am": "ɐm"}


def read_dictionary() -> dict[str, dict[str, str]]:
    """Pronunciations of every word that hibari's American dictionaries have, by role; "" is the usual one."""
    assets = importlib.resources.files("hibari") / "assets"
    entries: dict[str, Any] = {}
    for name in ("lexicon_us_silver.json.gz", "lexicon_us_gold.json.gz"):
        entries.update(json.loads(gzip.decompress((assets / name).read_bytes())))
    dictionary: dict[str, dict[str, str]] = {}
    for word, value in entries.items():
        roles = {"DEFAULT": value} if isinstance(value, str) else value
        usual = roles.get("DEFAULT")
        if usual is None:
            continue
        found = {"": usual.translate(SYMBOLS)}
        found |= {
            role: phonemes.translate(SYMBOLS)
            for role, phonemes in roles.items()
            if role in ROLES and phonemes and phonemes.translate(SYMBOLS) != found[""]
        }
        dictionary[word] = found
    return dictionary


def build(num_words: int, dictionary: dict[str, dict[str, str]]) -> list[tuple[str, str, str]]:
    """Lines of word, phonemes and role for the `num_words` commonest words that the dictionary or its stems have."""
    voice = importlib.import_module("hibari").Hibari()
    ranked = importlib.import_module("wordfreq").top_n_list("en", 4 * num_words)
    lines = [(word, phonemes, "") for word, phonemes in LETTER_WORDS.items()]
    count = 0
    for word in ranked:
        if count >= num_words or not WORD.fullmatch(word):
            continue
        roles = next((dictionary[form] for form in (word, word.capitalize()) if form in dictionary), None)
        if roles is None:
            continue
        usual = IN_SENTENCES.get(word) or "".join(voice.phonemize(word)).strip().translate(SYMBOLS)
        count += 1
        lines.append((word, usual if len(roles) == 1 else roles[""], ""))
        lines += [(word, phonemes, role) for role, phonemes in roles.items() if role]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="lexicon to write, .tsv.gz")
    parser.add_argument("--num-words", type=int, default=60_000)
    parser.add_argument("--all", type=Path, required=True, help="TSV file for all words of the dictionary")
    parser.add_argument("--held-out", type=Path, required=True, help="TSV file for 2 000 words to measure rules on")
    arguments = parser.parse_args()
    dictionary = read_dictionary()
    words = {word.lower(): roles[""] for word, roles in sorted(dictionary.items()) if WORD.fullmatch(word.lower())}
    lines = build(arguments.num_words, dictionary)
    held_out = random.Random(0).sample(sorted({word for word, _, _ in lines[len(LETTER_WORDS) :]} & set(words)), 2000)
    for path, chosen in ((arguments.all, sorted(words)), (arguments.held_out, sorted(held_out))):
        path.write_text("".join(f"{word}\t{words[word]}\n" for word in chosen), encoding="utf-8")
    text = "".join(
        f"{word}\t/{phonemes}/\t{role}".rstrip() + "\n" for word, phonemes, role in sorted(lines, key=itemgetter(0, 2))
    )
    arguments.output.write_bytes(gzip.compress(text.encode("utf-8"), 9, mtime=0))
    print(f"{len(lines)} lines, {arguments.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
