"""Tokenizer of nano: stored pronunciations, letter rules, loading."""

import csv

import pytest
from transformers import AutoTokenizer

from training.nano.build_tokenizer import SEPARATOR, build_tokenizer, main, read_texts


PRONUNCIATIONS = {
    "cat": "kˈæt",
    "cats": "kˈæts",
    "the": "ðə",
    "it": "ɪt",
    "bit": "bˈɪt",
    "fox": "fˈɑks",
    "emma": "ˈɛmə",
}
PRONUNCIATIONS |= {name: "wˈʌn" for name in "zero one two three four five six seven eight nine".split()}
PRONUNCIATIONS["can't"] = "kˈænt"


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(PRONUNCIATIONS)


def sounds(tokenizer, text: str) -> str:
    """Returns the sounds of the tokens with full-width characters converted back to ASCII."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.unk_token_id not in ids, text
    decoded = tokenizer.decode(ids)
    return "".join(chr(ord(c) - 0xFEE0) if 0xFF01 <= ord(c) <= 0xFF5E else c for c in decoded)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("The cat.", "ðə▁kˈæt."),
        ("the  CATS!", "ðə▁kˈæts!"),
        ("Bit it?", "bˈɪt▁ɪt?"),  # "it" matches only as a whole word
        ("Emma's cat's fox’s", "ˈɛməz▁kˈæts▁fˈɑksᵻz"),
        ("Can't", "kˈænt"),
        ("cat-fox; it", "kˈæt▁fˈɑks,▁ɪt"),
        ("7 cats", "wˈʌn▁kˈæts"),
        ("shock phone", "ʃɑk▁fOn"),  # letter rules
        (" the cat ", "ðə▁kˈæt"),
    ],
)
def test_text_to_sounds(tokenizer, text, expected):
    assert sounds(tokenizer, text) == expected


def test_a_stressed_vowel_is_one_token(tokenizer):
    assert tokenizer.tokenize("cat") == ["ｋ", "ˈæ", "ｔ"]
    assert SEPARATOR in tokenizer.all_special_tokens


def test_every_letter_has_a_sound(tokenizer):
    for letter in "abcdfghijklmnopqrstuvwxyz":  # a lone "e" at the end is silent
        assert sounds(tokenizer, letter), letter
    assert tokenizer.unk_token_id in tokenizer("日本")["input_ids"]


def test_save_and_load(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "The fox bit Emma's 3 cats quickly."
    assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert loaded.convert_tokens_to_ids(SEPARATOR) == tokenizer.convert_tokens_to_ids(SEPARATOR)


def test_error_without_words():
    with pytest.raises(ValueError, match="`pronunciations` has no words"):
        build_tokenizer({})


def test_held_out_texts_are_not_read(tmp_path):
    with open(tmp_path / "metadata.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "id", "text", "split"])
        writer.writerows([["1", "1", "A cat.", "train"], ["2", "2", "A cat.", "train"], ["3", "3", "B.", "validation"]])
    assert read_texts(tmp_path) == ["A cat."]


def test_an_existing_folder_is_kept(tmp_path, capsys):
    assert main([str(tmp_path), "--corpus", str(tmp_path)]) == 1
    assert "exists; name a new folder" in capsys.readouterr().err
