"""Tokenizer and text front-end of nano: phonemes, loading, errors."""

import pytest
from transformers import AutoTokenizer

from t5gemma_tts.checkpoints import NANO
from t5gemma_tts.model.text_front_end import TextFrontEnd
from training.nano.build_text_front_end import SEPARATOR, build_text_front_end, build_tokenizer, main


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.mark.parametrize(
    "phonemes, tokens",
    [
        ("ðə kˈæt.", "ð ə ▁ k ˈæ t ."),
        (" ðə   kˈæt ! ", "ð ə ▁ k ˈæ t !"),
        ("hˌWs?", "h ˌW s ?"),
    ],
)
def test_a_stressed_vowel_is_one_token(tokenizer, phonemes, tokens):
    assert tokenizer.tokenize(phonemes) == tokens.split()
    assert SEPARATOR in tokenizer.all_special_tokens


def test_it_is_the_tokenizer_of_nano(tokenizer):
    bundled = AutoTokenizer.from_pretrained(NANO)
    assert bundled.get_vocab() == tokenizer.get_vocab()
    text = "ðə kˈæt, ˈænd  tˈu fˈɑksᵻz!"
    assert bundled(text)["input_ids"] == tokenizer(text)["input_ids"]


def test_every_phoneme_of_the_lexicon_has_a_token(tokenizer):
    pronouncer = TextFrontEnd.from_pretrained(NANO).pronouncer("en")
    found = {
        symbol
        for word in pronouncer.lexicon.words()
        for phonemes in pronouncer.lexicon.roles(word).values()
        for symbol in tokenizer.tokenize(phonemes.strip("/"))
    }
    assert pronouncer.letter_to_sound is not None
    found |= {symbol for symbol in pronouncer.letter_to_sound.phonemes if symbol not in tokenizer.get_vocab()}
    assert found <= set(tokenizer.get_vocab())


def test_folder_prepares_texts_like_nano(tmp_path):
    files = [f"{NANO}/{name}" for name in ("lexicon_en.tsv.gz", "letter_to_sound_en.safetensors")]
    build_text_front_end(tmp_path / "front_end", *files)
    loaded = TextFrontEnd.from_pretrained(tmp_path / "front_end")
    text = "The fox bit Emma's 3 cats quickly."
    assert loaded.prepare(text) == TextFrontEnd.from_pretrained(NANO).prepare(text)
    assert AutoTokenizer.from_pretrained(tmp_path / "front_end").convert_tokens_to_ids(SEPARATOR) == 3


def test_an_existing_folder_is_kept(tmp_path, capsys):
    assert main([str(tmp_path), "--lexicon", "none", "--letter-to-sound", "none"]) == 1
    assert "exists; name a new folder" in capsys.readouterr().err
