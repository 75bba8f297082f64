"""Splitting of long texts: no word is lost, and splits are at natural boundaries."""

import re

import pytest

from t5gemma_tts.sentences import CLAUSE_PAUSE, PARAGRAPH_PAUSE, SENTENCE_PAUSE, WORD_PAUSE, split_text


def seconds(text: str) -> float:
    return 0.1 * len(text)


def texts_of(text: str, limit: float, **kwargs) -> list[str]:
    pieces = split_text(text, seconds, limit, **kwargs)
    assert all(piece.text and piece.text == piece.text.strip() for piece in pieces)
    squeezed = [re.sub(r"\s", "", one) for one in (text, "".join(piece.text for piece in pieces))]
    assert squeezed[0] == squeezed[1]  # nothing but white space is lost
    return [piece.text for piece in pieces]


ENGLISH = (
    'Dr. Smith paid $3.50 at 5 p.m. on Monday. He left! "Why did he go?" she asked. Mr. J. R. Jones wrote e.g. books.'
)
JAPANESE = "今日は晴れです。「行こう。」と彼は言った。どうして？わからない！価格は3.5円。"
CHINESE = "你好。他说：“走吧。”真的吗？是的！价格是3.5元。"


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        (
            "en",
            ENGLISH,
            [
                "Dr. Smith paid $3.50 at 5 p.m. on Monday.",
                "He left!",
                '"Why did he go?" she asked.',
                "Mr. J. R. Jones wrote e.g. books.",
            ],
        ),
        (
            "ja",
            JAPANESE,
            ["今日は晴れです。", "「行こう。」と彼は言った。", "どうして？", "わからない！", "価格は3.5円。"],
        ),
        ("zh", CHINESE, ["你好。", "他说：“走吧。”", "真的吗？", "是的！", "价格是3.5元。"]),
    ],
)
def test_sentences_of_each_language(language, text, expected):
    # a limit that the longest sentence just fits, and no two of them together
    found = [text for text in texts_of(text, seconds(max(expected, key=len)), language=language)]
    assert [sentence for piece in found for sentence in expected if sentence in piece] == expected
    assert texts_of(text, 1000.0, language=language) == [text]


def test_neighbours_go_together_while_they_fit():
    assert texts_of("One is here. Two is. Three it is. Four.", 2.1, language="en") == [
        "One is here. Two is.",
        "Three it is. Four.",
    ]


def test_pauses():
    pieces = split_text("One is one. Two is two.\n\n  Three, then four or five and six.", seconds, 1.3, language="en")
    assert [(piece.text, piece.pause_seconds) for piece in pieces] == [
        ("One is one.", SENTENCE_PAUSE),
        ("Two is two.", PARAGRAPH_PAUSE),
        ("Three,", CLAUSE_PAUSE),
        ("then four or", WORD_PAUSE),
        ("five and six.", 0.0),
    ]


def test_long_sentences_split_at_clauses_then_words():
    text = "When the rain had stopped, and the sun came out, we went on (slowly at first); nobody said a word"
    found = texts_of(text, 5.0, language="en")
    assert found == [
        "When the rain had stopped, and the sun came out,",
        "we went on (slowly at first); nobody said a word",
    ]
    assert all(seconds(piece) <= 2.0 for piece in texts_of(text, 2.0, language="en"))
    assert texts_of("The number 1,234,567 is, well, large", 2.0, language="en")[0] == "The number 1,234,567"
    assert texts_of("supercalifragilistic", 1.0, language="en") == ["supercal", "ifragili", "stic"]
    assert max(map(len, texts_of("あ" * 100, 2.0, language="ja"))) <= 20


def test_first_piece_has_its_own_limit():
    text = "One two three four five. Six seven eight nine ten. Eleven twelve."
    assert texts_of(text, 10.0, first_max_seconds=3.0, language="en") == [
        "One two three four five.",
        "Six seven eight nine ten. Eleven twelve.",
    ]


@pytest.mark.parametrize("limit", [0.5, 1.0, 3.0, 7.5])
@pytest.mark.parametrize("text", [ENGLISH * 3, JAPANESE * 3, CHINESE * 3, "a\nb\n\nc", "...", "!?", "「」", "x" * 70])
def test_nothing_is_lost_at_any_limit(text, limit):
    pieces = texts_of(text, limit, language="ja" if "は" in text else "en")
    assert all(seconds(piece) <= max(limit, 0.8) for piece in pieces)


def test_invalid_input():
    with pytest.raises(ValueError, match="`text` has nothing to say"):
        split_text(" \n ", seconds, 1.0, language="en")
    with pytest.raises(ValueError, match="`max_seconds` must be above 0, got 0"):
        split_text("Hello.", seconds, 0, language="en")
    with pytest.raises(ValueError, match="`first_max_seconds` must be above 0, got -1"):
        split_text("Hello.", seconds, 1, first_max_seconds=-1, language="en")


def test_blanks_are_no_pieces():
    """A word cut into runs of 8, with a blank after the last of them; and a blank between two joints."""
    for text in ("0000000000000000 000000", "「あ」 (い)", "「あ」 ("):
        pieces = split_text(text, lambda piece: 0.1 * len(piece), 0.1, language="en")
        assert all(piece.text.strip() for piece in pieces)
        assert "".join(piece.text for piece in pieces).replace(" ", "") == text.replace(" ", "")
