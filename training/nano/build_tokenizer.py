"""Builds the tokenizer of nano, which converts English text to phonemes.

    python training/nano/build_tokenizer.py FOLDER --corpus CORPUS

A model with ten million parameters cannot learn English spelling from a few hours of speech. The tokenizer stores the
pronunciations of the words in the corpus and has letter rules for all other words. Both are part of its normalizer, so
that `AutoTokenizer` loads it without a separate dictionary.
"""

import argparse
import csv
import sys
from collections.abc import Iterable
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a clone works without installation

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers  # noqa: E402
from tokenizers.models import WordLevel  # noqa: E402
from transformers import PreTrainedTokenizerFast  # noqa: E402

from t5gemma_tts.cli.command import command  # noqa: E402
from training.nano.sentences import words_of  # noqa: E402


PAD, EOS, BOS, SEPARATOR, UNKNOWN = "<pad>", "<eos>", "<bos>", "<sep>", "<unk>"
SPECIAL_TOKENS = [PAD, EOS, BOS, SEPARATOR, UNKNOWN]
STRESS = "ˈˌ"
SPACE = "▁"
PUNCTUATION = ".,?!"

# ASCII symbols of sounds become full-width characters, so that no letter rule matches a sound
_FULL_WIDTH = {code: code + 0xFEE0 for code in range(ord("!"), ord("~") + 1)}

DIGITS = dict(zip("0123456789", "zero one two three four five six seven eight nine".split(), strict=True))

CONSONANTS, CONSONANT_SOUNDS = "bcdfghjklmnpqrstvwz", "bkdfɡhʤklmnpkɹstvwz"

# letter rules for words that are not in the corpus, applied in this order
LETTER_SOUNDS = [
    (r"(?<=[td])ed(?!\p{L}|')", "ᵻd"),
    (r"(?<=\p{L})tion", "ʃən"),
    ("tch|ch", "ʧ"),
    ("sch", "sk"),
    ("sh", "ʃ"),
    ("ph", "f"),
    ("th", "θ"),
    ("ck", "k"),
    ("qu", "kw"),
    (r"ng(?!\p{L})", "ŋ"),
    (r"(?<!\p{L})kn", "n"),
    (r"(?<!\p{L})wr", "ɹ"),
    ("igh", "I"),
    ("dge", "ʤ"),
    (r"ce(?!\p{L})", "s"),
    (r"ge(?!\p{L})", "ʤ"),
    ("c(?=[eiy])", "s"),
    (r"a(?=[bcdfgklmnpstvz]e(?!\p{L}))", "A"),
    (r"i(?=[bcdfgklmnpstvz]e(?!\p{L}))", "I"),
    (r"o(?=[bcdfgklmnpstvz]e(?!\p{L}))", "O"),
    (r"u(?=[bcdfgklmnpstvz]e(?!\p{L}))", "u"),
    ("ee|ea|ie", "i"),
    ("oo|ew|ue", "u"),
    ("ai|ay|ei|ey", "A"),
    ("oa", "O"),
    ("ou|ow", "W"),
    ("oi|oy", "Y"),
    ("au|aw", "ɔ"),
    (r"e(?!\p{L})", ""),
    ("[eiu]r", "ɜɹ"),
    ("ar", "ɑɹ"),
    ("or", "ɔɹ"),
    (r"y(?!\p{L})", "i"),
    (r"(?<!\p{L})y", "j"),
    (r"o(?!\p{L})", "O"),
    (r"a(?!\p{L})", "ə"),
    *((letter + letter + "?", sound) for letter, sound in zip(CONSONANTS, CONSONANT_SOUNDS, strict=True)),
    ("xx?", "ks"),
    ("a", "æ"),
    ("e", "ɛ"),
    ("[iy]", "ɪ"),
    ("o", "ɑ"),
    ("u", "ʌ"),
]  # fmt: skip


def pronounce_words(texts: Iterable[str]) -> dict[str, str]:
    """
    Returns the pronunciation of each word in the texts, by the voice hibari.

    A sound is one symbol, with a stress mark before stressed vowels.

    Raises:
        ImportError: if hibari is not installed.
    """
    try:
        import hibari
    except ImportError as error:
        raise ImportError(f"pronunciations need `pip install hibari-tts`: {error}") from error
    voice = hibari.Hibari()
    words = sorted({word for text in texts for word in words_of(text)} | set(DIGITS.values()))
    return {word: "".join(voice.phonemize(word)).strip() for word in words}


def build_tokenizer(pronunciations: dict[str, str]) -> PreTrainedTokenizerFast:
    """
    Builds the tokenizer.

    Args:
        pronunciations (`dict[str, str]`): Sounds of lower-case words, from `pronounce_words`.

    Returns:
        `PreTrainedTokenizerFast` with a token for each sound (stressed and unstressed vowels are different tokens), for
        the space between words and for each punctuation mark.

    Raises:
        ValueError: if there are no words.
    """
    if not pronunciations:
        raise ValueError("`pronunciations` has no words.")
    rules = [
        normalizers.NFKC(),
        normalizers.Lowercase(),
        normalizers.Replace(Regex("[’‘`]"), "'"),
        *(normalizers.Replace(digit, f" {word} ") for digit, word in DIGITS.items()),
        *(
            normalizers.Replace(Regex(rf"(?<![a-z']){word}(?![a-z]|'(?!s\b))"), _to_full_width(sounds))
            for word, sounds in pronunciations.items()
        ),
        *_possessive_rules(),
        *(normalizers.Replace(Regex(letters), _to_full_width(sound)) for letters, sound in LETTER_SOUNDS),
        normalizers.Replace(Regex("[;:…]"), ","),
        normalizers.Replace(Regex(r"[\s\-–—]+"), SPACE),
        normalizers.Replace(Regex("['\"()]"), ""),
        normalizers.Replace(Regex(f"^{SPACE}+|{SPACE}+$|{SPACE}+(?=[{SPACE}{PUNCTUATION}])"), ""),
    ]
    sounds = {symbol for word in pronunciations.values() for symbol in _symbols(word)}
    sounds |= {symbol for _, sound in LETTER_SOUNDS for symbol in sound}
    # add each vowel with all stress marks, including combinations that the corpus lacks
    vowels = {symbol[-1] for symbol in sounds if symbol[0] in STRESS}
    sounds |= {mark + vowel for mark in STRESS for vowel in vowels} | vowels
    vocabulary = [*SPECIAL_TOKENS, SPACE, *PUNCTUATION, *sorted(_to_full_width(sound) for sound in sounds)]
    tokenizer = Tokenizer(WordLevel({token: index for index, token in enumerate(vocabulary)}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(rules)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(f"[{STRESS}]?[^{STRESS}]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        bos_token=BOS,
        unk_token=UNKNOWN,
        additional_special_tokens=[SEPARATOR],
    )


def _possessive_rules() -> list[normalizers.Normalizer]:
    """Rules for the sound of "'s", which depends on the sound before it."""
    sibilants, voiceless = _to_full_width("szʃʒʤʧ"), _to_full_width("ptkfθ")
    return [
        normalizers.Replace(Regex(f"(?<=[{sibilants}])'s(?![a-z])"), _to_full_width("ᵻz")),
        normalizers.Replace(Regex(f"(?<=[{voiceless}])'s(?![a-z])"), _to_full_width("s")),
        normalizers.Replace(Regex("'s(?![a-z])"), _to_full_width("z")),
    ]


def _symbols(sounds: str) -> list[str]:
    """Splits sounds into symbols; a stress mark belongs to the symbol after it."""
    symbols = []
    for symbol in sounds:
        if symbols and symbols[-1] in STRESS:
            symbols[-1] += symbol
        else:
            symbols.append(symbol)
    return symbols


def _to_full_width(sounds: str) -> str:
    return sounds.translate(_FULL_WIDTH)


def read_texts(corpus: Path) -> list[str]:
    """Returns the distinct training texts of a corpus, sorted."""
    with open(corpus / "metadata.csv", encoding="utf-8", newline="") as file:
        return sorted({row["text"] for row in csv.DictReader(file) if row["split"] == "train"})


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--corpus", type=Path, required=True, help="folder with the output of training/nano/corpus.py")
    arguments = parser.parse_args(argv)
    if arguments.folder.exists():
        raise FileExistsError(f"{str(arguments.folder)!r} exists; name a new folder.")
    tokenizer = build_tokenizer(pronounce_words(read_texts(arguments.corpus)))
    tokenizer.save_pretrained(arguments.folder)
    print(f"{arguments.folder}: {len(tokenizer)} tokens")


if __name__ == "__main__":
    sys.exit(main())
