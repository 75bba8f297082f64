"""Builds the tokenizer of nano, which reads phonemes, with the lexicon that turns English text into them.

    python training/nano/build_text_front_end.py FOLDER --lexicon lexicon_en.tsv.gz \\
        --letter-to-sound letter_to_sound_en.safetensors

A model with ten million parameters cannot learn English spelling from a few hours of speech, so it reads phonemes. The
lexicon is from `build_lexicon.py`, the model for other words from `train_letter_to_sound.py`.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a clone works without installation

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers  # noqa: E402
from tokenizers.models import WordLevel  # noqa: E402
from transformers import PreTrainedTokenizerFast  # noqa: E402

from t5gemma_tts.cli.command import command  # noqa: E402
from t5gemma_tts.model.text_front_end import LETTER_TO_SOUND_FILE, LEXICON_FILE  # noqa: E402


PAD, EOS, BOS, SEPARATOR, UNKNOWN = "<pad>", "<eos>", "<bos>", "<sep>", "<unk>"
SPECIAL_TOKENS = [PAD, EOS, BOS, SEPARATOR, UNKNOWN]
STRESS = "ˈˌ"
SPACE = "▁"
PUNCTUATION = ".,?!"
# the order fixes the ids that trained weights know
STRESSED_VOWELS = "æɑɔɛɜɪʊʌAIOWYiu"
PHONEMES = [
    *"æðŋɐɑɔəɛɜɡɪɹʃʊʌʒʤʧ",
    *(mark + vowel for mark in STRESS for vowel in STRESSED_VOWELS),
    *"θᵊᵻAIOTWYbdfhijklmnpstuvwz",
]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of phonemes. A vowel with its stress mark is one token, as is the space and each punctuation mark."""
    vocabulary = [*SPECIAL_TOKENS, SPACE, *PUNCTUATION, *PHONEMES]
    tokenizer = Tokenizer(WordLevel({token: index for index, token in enumerate(vocabulary)}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(r"\s+"), SPACE),
            normalizers.Replace(Regex(f"^{SPACE}+|{SPACE}+$|{SPACE}+(?=[{SPACE}{PUNCTUATION}])"), ""),
        ]
    )
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


def build_text_front_end(folder: Path, lexicon: Path, letter_to_sound: Path) -> PreTrainedTokenizerFast:
    """
    Writes the tokenizer, the lexicon, the letter-to-sound model and their settings into a new folder.

    Raises:
        FileExistsError: if `folder` exists.
    """
    if folder.exists():
        raise FileExistsError(f"{str(folder)!r} exists; name a new folder.")
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(folder)
    shutil.copyfile(lexicon, folder / LEXICON_FILE.format(language="en"))
    shutil.copyfile(letter_to_sound, folder / LETTER_TO_SOUND_FILE.format(language="en"))
    settings = {"phoneme_languages": ["en"], "normalize": True}
    (folder / "processor_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return tokenizer


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lexicon", type=Path, required=True, help="output of training/nano/build_lexicon.py")
    parser.add_argument(
        "--letter-to-sound", type=Path, required=True, help="output of training/nano/train_letter_to_sound.py"
    )
    arguments = parser.parse_args(argv)
    tokenizer = build_text_front_end(arguments.folder, arguments.lexicon, arguments.letter_to_sound)
    print(f"{arguments.folder}: {len(tokenizer)} tokens")


if __name__ == "__main__":
    sys.exit(main())
