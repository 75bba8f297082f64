"""Training of nano's letter-to-sound model on a small alphabet."""

import pytest

from t5gemma_tts.model.letter_to_sound import LetterToSound
from training.nano.train_letter_to_sound import main, phoneme_error_rate, read_pairs, train


WORDS = {"".join((a, b, c)): (a, b, c) for a in "abd" for b in "abd" for c in "abd"}
SOUNDS = {"a": "ˈæ", "b": "b", "d": "d"}
PAIRS = [(word, [SOUNDS[letter] for letter in letters]) for word, letters in WORDS.items()]


def save(path, pairs):
    path.write_text("".join(f"{word}\t{''.join(phonemes)}\n" for word, phonemes in pairs), encoding="utf-8")


def test_it_learns(tmp_path):
    output = tmp_path / "model.safetensors"
    before = phoneme_error_rate(LetterToSound("abd", ["b", "d", "ˈæ"]).eval(), PAIRS)
    model = train(list(PAIRS), PAIRS, output, epochs=100, batch_size=9)
    rate, words = phoneme_error_rate(model, PAIRS)
    assert before[0] > 0.5 and rate < 0.1 and words < 0.3
    assert phoneme_error_rate(LetterToSound.load(output), PAIRS)[0] == pytest.approx(rate, abs=0.03)


def test_words_that_cannot_be_aligned_are_left_out(tmp_path):
    (tmp_path / "words.tsv").write_text("ab\tˈæb\na\tˈæbdb\nA\tˈæ\nbb\tbb\n", encoding="utf-8")
    assert read_pairs(tmp_path / "words.tsv") == [("ab", ["ˈæ", "b"]), ("bb", ["b", "b"])]


def test_held_out_words_are_not_trained_on(tmp_path, capsys):
    save(tmp_path / "words.tsv", PAIRS)
    save(tmp_path / "held_out.tsv", PAIRS[:7])
    output = tmp_path / "model.safetensors"
    assert (
        main([str(tmp_path / "words.tsv"), str(output), "--held-out", str(tmp_path / "held_out.tsv"), "--epochs", "1"])
        == 0
    )
    assert f"{len(PAIRS) - 7} words to train on, 7 held out" in capsys.readouterr().out
    assert output.is_file()
