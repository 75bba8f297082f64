"""Ordinary texts of nano's corpus: what is taken from WordNet, and what must not be trained on."""

from pathlib import Path

import pytest

from training.nano.ordinary_texts import (
    as_sentence,
    main,
    select_sentences,
    short_texts,
    texts_of_test_lists,
    wordnet_examples,
    words_of,
)
from training.nano.sentences import TRAIN, plan_utterances


NANO_TRAINING = Path(__file__).resolve().parents[1] / "training" / "nano"


@pytest.fixture
def wordnet(tmp_path):
    folder = tmp_path / "wordnet"
    folder.mkdir()
    for name in ("data.adj", "data.adv", "data.noun"):
        (folder / name).write_text('00001 00 n 01 cup 0 000 | a vessel; "a cup of tea"; "he drank 3 cups"\n')
    (folder / "data.verb").write_text('00002 00 v 01 run 0 000 | move fast; "Don`t run--you\'ll be out of breath"\n')
    return folder


def test_examples(wordnet):
    assert list(wordnet_examples(wordnet))[-2:] == ["he drank 3 cups", "Don`t run--you'll be out of breath"]
    with pytest.raises(FileNotFoundError, match="data.adj"):
        list(wordnet_examples(wordnet.parent))


@pytest.mark.parametrize(
    "example, expected",
    [
        ("a  cup of tea", "A cup of tea."),
        ("Who is there?", "Who is there?"),
        ("he drank 3 cups", None),  # a digit
        ("tea", None),  # too short
        ("a " * 17 + "cup", None),  # too long
        ("caf\u00e9 au lait", None),
        ("the man (or boy) ran", None),
    ],
)
def test_sentences(example, expected):
    assert as_sentence(example) == expected


def test_selection_leaves_out_tests_repetitions_and_unknown_words():
    tested = (NANO_TRAINING / "ordinary_sentences.txt").read_text(encoding="utf-8").splitlines()[0]
    candidates = ["A cup of tea.", "A cup of tea!", "Tea for two.", "A zzyx of tea.", tested]
    known = set(words_of(" ".join(candidates))) - {"zzyx"}
    assert sorted(select_sentences(candidates, 10, known)) == ["A cup of tea.", "Tea for two."]
    assert len(select_sentences(candidates, 1, known)) == 1


def test_selection_prefers_words_that_are_rare_so_far():
    candidates = [f"the cat saw {word}" for word in ("one", "two", "three")] + ["green birds sing loudly"]
    chosen = select_sentences(candidates, 2, set(words_of(" ".join(candidates))))
    assert "green birds sing loudly" in chosen


def test_short_texts_are_distinct_and_not_tested():
    texts = short_texts(["hello", "thank", "you", "maybe", "bread"], 12)
    assert len({words_of(text) for text in texts}) == len(texts) == 12
    assert not texts_of_test_lists() & {words_of(text) for text in texts}
    assert all(text[0].isupper() and text[-1] in ".?!" and len(words_of(text)) in (1, 2) for text in texts)
    assert short_texts(["hello", "thank", "you", "maybe", "bread"], 12) == texts
    with pytest.raises(ValueError, match="2 words are too few for 50 short texts"):
        short_texts(["hello", "bread"], 50)


def test_lists_of_tests_are_read():
    tests = texts_of_test_lists()
    for name, count in (("ordinary_sentences.txt", 200), ("short_sentences.txt", 60)):
        lines = (NANO_TRAINING / name).read_text(encoding="utf-8").splitlines()
        assert len(lines) == count and {words_of(line) for line in lines} <= tests


def test_own_texts_of_a_plan_are_shared_between_voices_and_held_out_ones_left_out():
    options = {"num_sentences": 2, "num_validation": 3, "num_unseen_pairs": 0}
    held_out = [item.text for item in plan_utterances(["organ"], **options) if item.split != TRAIN]
    texts = ["First text.", held_out[0], "Second text.", "Third text.", "Fourth text."]
    plan = plan_utterances(["organ", "flute"], **options, own_texts=texts)
    spoken = [(item.voice, item.text) for item in plan if item.split == TRAIN]
    assert spoken == [
        ("organ", "First text."),
        ("organ", "Second text."),
        ("flute", "Third text."),
        ("flute", "Fourth text."),
    ]
    assert [item.text for item in plan if item.split != TRAIN] == held_out * 2
    with pytest.raises(ValueError, match="2 texts for each of 2 voices are needed, got 3"):
        plan_utterances(["organ", "flute"], **options, own_texts=texts[:4])


def test_command_does_not_overwrite(wordnet, tmp_path, capsys):
    pytest.importorskip("wordfreq")
    output = tmp_path / "texts.txt"
    arguments = [str(output), "--wordnet", str(wordnet), "--sentences", "5", "--short", "4"]
    assert main(arguments) in (0, None)
    texts = output.read_text(encoding="utf-8").splitlines()
    assert "A cup of tea." in texts and len(texts) == 6
    assert main(arguments) not in (0, None)
    assert "exists" in capsys.readouterr().err
