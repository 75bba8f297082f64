"""The small voice's tokenizer: ordinary English text in, the sounds of its words out.

    python training/nano/spelling.py FOLDER --corpus CORPUS

A model of ten million weights that hears a few hours of speech does not learn English spelling from it. So the
tokenizer knows how the words of the corpus are said, and has rules of thumb for the letters of all others. Both are
part of its normaliser, so that `AutoTokenizer` loads it like any other and no dictionary is needed beside it.
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

# sounds are written apart from letters, so that no rule takes one for the other
_FULL_WIDTH = {code: code + 0xFEE0 for code in range(ord("!"), ord("~") + 1)}

DIGITS = dict(zip("0123456789", "zero one two three four five six seven eight nine".split(), strict=True))

CONSONANTS, CONSONANT_SOUNDS = "bcdfghjklmnpqrstvwz", "bkdfɡhʤklmnpkɹstvwz"

# letters of words that are not in the corpus, in this order
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


def pronunciations(texts: Iterable[str]) -> dict[str, str]:
    """
    How the voice hibari says each word of the texts, one symbol for a sound and a mark before a stressed vowel.

    Raises:
        ImportError: if hibari is missing.
    """
    try:
        import hibari
    except ImportError as error:
        raise ImportError(f"pronunciations need `pip install hibari-tts`: {error}") from error
    voice = hibari.Hibari()
    words = sorted({word for text in texts for word in words_of(text)} | set(DIGITS.values()))
    return {word: "".join(voice.phonemize(word)).strip() for word in words}


def build_tokenizer(said: dict[str, str]) -> PreTrainedTokenizerFast:
    """
    Args:
        said (`dict[str, str]`): Sounds of lower-case words, as `pronunciations` gives them.

    Returns:
        `PreTrainedTokenizerFast`: A token for each sound, vowels with and without stress apart, for the space between
            words and for punctuation.

    Raises:
        ValueError: without words.
    """
    if not said:
        raise ValueError("`said` has no words.")
    rules = [
        normalizers.NFKC(),
        normalizers.Lowercase(),
        normalizers.Replace(Regex("[’‘`]"), "'"),
        *(normalizers.Replace(digit, f" {word} ") for digit, word in DIGITS.items()),
        *(
            normalizers.Replace(Regex(rf"(?<![a-z']){word}(?![a-z]|'(?!s\b))"), _written(sounds))
            for word, sounds in said.items()
        ),
        *_endings(),
        *(normalizers.Replace(Regex(letters), _written(sound)) for letters, sound in LETTER_SOUNDS),
        normalizers.Replace(Regex("[;:…]"), ","),
        normalizers.Replace(Regex(r"[\s\-–—]+"), SPACE),
        normalizers.Replace(Regex("['\"()]"), ""),
        normalizers.Replace(Regex(f"^{SPACE}+|{SPACE}+$|{SPACE}+(?=[{SPACE}{PUNCTUATION}])"), ""),
    ]
    sounds = {symbol for word in said.values() for symbol in _symbols(word)}
    sounds |= {symbol for _, sound in LETTER_SOUNDS for symbol in sound}
    # a stress that the words of the corpus lack must not make a known sound unknown
    vowels = {symbol[-1] for symbol in sounds if symbol[0] in STRESS}
    sounds |= {mark + vowel for mark in STRESS for vowel in vowels} | vowels
    vocabulary = [*SPECIAL_TOKENS, SPACE, *PUNCTUATION, *sorted(_written(sound) for sound in sounds)]
    tokenizer = Tokenizer(WordLevel({token: number for number, token in enumerate(vocabulary)}, unk_token=UNKNOWN))
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


def _endings() -> list[normalizers.Normalizer]:
    """The sound of "'s", by the one before it."""
    hissing, voiceless = _written("szʃʒʤʧ"), _written("ptkfθ")
    return [
        normalizers.Replace(Regex(f"(?<=[{hissing}])'s(?![a-z])"), _written("ᵻz")),
        normalizers.Replace(Regex(f"(?<=[{voiceless}])'s(?![a-z])"), _written("s")),
        normalizers.Replace(Regex("'s(?![a-z])"), _written("z")),
    ]


def _symbols(sounds: str) -> list[str]:
    symbols = []
    for symbol in sounds:
        if symbols and symbols[-1] in STRESS:
            symbols[-1] += symbol
        else:
            symbols.append(symbol)
    return symbols


def _written(sounds: str) -> str:
    return sounds.translate(_FULL_WIDTH)


def read_texts(corpus: Path) -> list[str]:
    """Training texts of a corpus folder, each once."""
    with open(corpus / "metadata.csv", encoding="utf-8", newline="") as file:
        return sorted({row["text"] for row in csv.DictReader(file) if row["split"] == "train"})


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--corpus", type=Path, required=True, help="folder that training/nano/corpus.py made")
    arguments = parser.parse_args(argv)
    if arguments.folder.exists():
        raise FileExistsError(f"{str(arguments.folder)!r} exists; name a new folder.")
    tokenizer = build_tokenizer(pronunciations(read_texts(arguments.corpus)))
    tokenizer.save_pretrained(arguments.folder)
    print(f"{arguments.folder}: {len(tokenizer)} tokens")


if __name__ == "__main__":
    sys.exit(main())
