"""The small voice's tokenizer: ordinary English text in, the sounds of its words out.

A model of ten million weights that hears a few hours of speech does not learn English spelling from it. So the
tokenizer knows how the words of the corpus are said, and has rules of thumb for the letters of all others. Both are
part of its normaliser, so that `AutoTokenizer` loads it like any other and no dictionary is needed beside it.
"""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from training.nano.sentences import words_of


PAD, EOS, BOS, SEPARATOR, UNKNOWN = "<pad>", "<eos>", "<bos>", "<sep>", "<unk>"
SPECIAL_TOKENS = [PAD, EOS, BOS, SEPARATOR, UNKNOWN]
STRESS = "ˈˌ"
SPACE = "▁"
PUNCTUATION = ".,?!"

# sounds are written apart from letters, so that no rule takes one for the other
_FULL_WIDTH = {code: code + 0xFEE0 for code in range(ord("!"), ord("~") + 1)}

DIGITS = dict(zip("0123456789", "zero one two three four five six seven eight nine".split(), strict=True))

# letters of words that are not in the corpus, in this order; V stands for a vowel letter, C for a consonant
LETTER_SOUNDS = [
    (r"(?<=[td])ed(?![a-z'])", "ᵻd"),
    (r"(?<=[a-z])tion", "ʃən"),
    ("tch|ch", "ʧ"),
    ("sch", "sk"),
    ("sh", "ʃ"),
    ("ph", "f"),
    ("th", "θ"),
    ("ck", "k"),
    ("qu", "kw"),
    (r"ng(?![a-z])", "ŋ"),
    (r"(?<![a-z])kn", "n"),
    (r"(?<![a-z])wr", "ɹ"),
    ("igh", "I"),
    ("dge", "ʤ"),
    (r"ce(?![a-z])", "s"),
    (r"ge(?![a-z])", "ʤ"),
    ("c(?=[eiy])", "s"),
    ("a(?=[bcdfgklmnpstvz]e(?![a-z]))", "A"),
    ("i(?=[bcdfgklmnpstvz]e(?![a-z]))", "I"),
    ("o(?=[bcdfgklmnpstvz]e(?![a-z]))", "O"),
    ("u(?=[bcdfgklmnpstvz]e(?![a-z]))", "u"),
    ("ee|ea|ie", "i"),
    ("oo|ew|ue", "u"),
    ("ai|ay|ei|ey", "A"),
    ("oa", "O"),
    ("ou|ow", "W"),
    ("oi|oy", "Y"),
    ("au|aw", "ɔ"),
    ("e(?![a-z])", ""),
    ("[eiu]r", "ɜɹ"),
    ("ar", "ɑɹ"),
    ("or", "ɔɹ"),
    (r"y(?![a-z])", "i"),
    ("(?<![a-z])y", "j"),
    ("o(?![a-z])", "O"),
    ("a(?![a-z])", "ə"),
    *((f"{letter}{letter}?", sound) for letter, sound in zip("bcdfghjklmnpqrstvwz", "bkdfɡhʤklmnpkɹstvwz", strict=True)),
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


__all__ = ["SEPARATOR", "build_tokenizer", "pronunciations"]
