"""English pronunciation with nano's lexicon: inflections, heteronyms, acronyms, unknown words."""

import pytest

from t5gemma_tts.checkpoints import NANO
from t5gemma_tts.model.english_pronunciation import count_phonemes, spell
from t5gemma_tts.model.letter_to_sound import LetterToSound
from t5gemma_tts.model.lexicon import Lexicon
from t5gemma_tts.model.text_front_end import TextFrontEnd


@pytest.fixture(scope="module")
def front_end():
    return TextFrontEnd.from_pretrained(NANO)


@pytest.fixture(scope="module")
def pronounce(front_end):
    return front_end.pronouncer("en")


@pytest.mark.parametrize(
    "text, phonemes",
    [
        ("Hello there.", "həlˈO ðˈɛɹ."),
        ("lives", "lˈIvz"),
        ("echo quotes", "ˈɛkO kwˈOts"),
        ("the apple, the pear", "ði ˈæpᵊl, ðə pˈɛɹ"),
        ("to eat, to go", "tʊ ˈit, tə ɡˌO"),
        ("Emma's, James's", "ˈɛməz, ʤˈAmzᵻz"),
        ("it'd won't they're", "ˈɪTəd wˈOnt ðɛɹ"),
        ("FBI U.S. PCs NASA", "ˌɛfbˌiˈI jˌuˈɛs pˌisˈiz nˈæsə"),
        ("It is A to Z.", "ɪt ɪz ɐ tə zˈi."),
        ("café naïve", "kæfˈA nɑˈiv"),
        ("HELLO WORLD", "həlˈO wˈɜɹld"),
        ("Wait; what: no…", "wˈAt, wˌʌt, nˈO."),
        ("Stop!!! Really?!", "stˈɑp! ɹˈiᵊli?"),
        ("“Yes,” she said", "jˈɛs, ʃi sˈɛd"),
    ],
)
def test_phonemes(pronounce, text, phonemes):
    assert pronounce(text) == phonemes


@pytest.mark.parametrize(
    "text, word, phonemes",
    [
        ("I want to read.", 3, "ɹˈid"),
        ("She has read it.", 2, "ɹˈɛd"),
        ("He read it.", 1, "ɹˈɛd"),
        ("I read it yesterday.", 1, "ɹˈɛd"),
        ("They live here.", 1, "lˈɪv"),
        ("A live show.", 1, "lˈIv"),
        ("People live in boats.", 1, "lˈɪv"),
        ("Please close it.", 1, "klˈOz"),
        ("A close friend.", 1, "klˈOs"),
        ("Set a new record.", 3, "ɹˈɛkəɹd"),
        ("We record music.", 1, "ɹəkˈɔɹd"),
        ("My favorite subject at school.", 2, "sˈʌbʤɛkt"),
        ("My brother lives in Paris.", 2, "lˈɪvz"),
        ("The people live in boats.", 2, "lˈɪv"),
        ("I am here.", 1, "ɐm"),
        ("Use it.", 0, "jˈuz"),
        ("What is the use?", 3, "jˈus"),
    ],
)
def test_heteronyms(pronounce, text, word, phonemes):
    assert pronounce(text).strip(".?").split()[word] == phonemes


@pytest.mark.parametrize(
    "word, stem, ending",
    [("glimpse", "glimpse", ""), ("skateboards", "skateboard", "z"), ("vaporwaves", "vaporwave", "z")],
)
def test_inflections_of_words_that_are_not_in_the_lexicon(pronounce, word, stem, ending):
    assert pronounce(word) == pronounce(stem) + ending


def test_unknown_words_are_guessed_from_their_letters(pronounce):
    assert pronounce("zorp").lstrip("ˈ").startswith("z") and pronounce("zorp").endswith("p")
    assert pronounce("zorps's").endswith("sᵻz")


def test_accents_and_letters_outside_of_the_alphabet(pronounce):
    assert pronounce("Ørsted Straße Zürich") == pronounce("Orsted Strasse Zurich")


def test_the_lexicon_of_a_call_decides_about_reduced_words(pronounce):
    assert pronounce("the cat", Lexicon({"the": "/ðˈi/"})).startswith("ðˈi ")


def test_letters_of_other_scripts_are_an_error(pronounce):
    with pytest.raises(ValueError, match="cannot read: '東' in"):
        pronounce("I love 東.")
    assert pronounce("Go ☃ now") == "ɡˌO nˈW"


def test_positions(pronounce):
    text = "The U.S. won't, café!"
    assert [text[piece.start : piece.end] for piece in pronounce.pronounce(text)] == [
        "The", "U.S.", "won't", ",", "café", "!",
    ]  # fmt: skip


def test_spelling():
    assert spell("fbi") == "ˌɛfbˌiˈI" and spell("a") == "ˈA" and spell("ww") == "dˈʌbᵊljudˈʌbᵊlju"


def test_counts():
    assert count_phonemes("wˈɜɹld ˈɑɹt.") == 4 + 3 + 1


def test_front_end_normalizes_by_default(front_end):
    assert front_end.prepare("Dr. Lee paid $5.").words == "Doctor Lee paid five dollars."
    assert front_end.prepare("It is 5.", normalize=False).words == "It is 5."
    assert front_end.prepare("It is 5.", normalize=False).text == front_end.prepare("It is five.").text
    with pytest.raises(ValueError, match="`normalize` must be True, False or None, got 1"):
        front_end.prepare("Hi.", normalize=1)
    with pytest.raises(ValueError, match=r"`language` must be one of \['en'\] for this checkpoint, got 'ja'"):
        front_end.prepare("Hi.", language="ja")


def test_letter_to_sound_model(tmp_path):
    model = LetterToSound("abc", ["k", "ˈæ"], hidden_size=8).eval()
    model.save(tmp_path / "model.safetensors")
    loaded = LetterToSound.load(tmp_path / "model.safetensors")
    assert loaded.phonemes == model.phonemes and loaded.letters == "abc"
    words = ["ab", "", "?", "abcabc"]
    assert loaded.pronounce(words) == [loaded.pronounce([word])[0] for word in words]
    assert loaded.pronounce(["", "?"]) == [[], []]
    with pytest.raises(ValueError, match="at most 64 letters"):
        model.pronounce(["a" * 65])
