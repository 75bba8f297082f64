"""Evaluation metrics: text errors, failures, confidence intervals, breakdowns."""

import numpy as np
import pytest

from t5gemma_tts.evaluation import bootstrap
from t5gemma_tts.evaluation.failures import find_failures
from t5gemma_tts.evaluation.similarity import cosine
from t5gemma_tts.evaluation.statistics import by_language, by_length, summarize
from t5gemma_tts.evaluation.text_errors import comparable, count_errors, error_rate


def test_words_in_english_and_characters_in_japanese_and_chinese():
    assert comparable("It's 21 o'clock, Mr. Smith!", "en") == comparable("it is twenty one o'clock mister smith", "en")
    assert comparable("こんにちは、 世界。", "ja") == "こんにちは世界"
    assert count_errors("The old dog.", "the old fox", "en") == {"characters": (2, 11), "words": (1, 3)}
    assert count_errors("今日は。", "今日わ", "ja") == {"characters": (1, 3)}
    assert count_errors("Hello", "", "en") == {"characters": (5, 5), "words": (1, 1)}
    assert count_errors("。", "はい", "ja") == {"characters": (2, 0)}
    counts = [count_errors("the old dog", "the old fox", "en"), count_errors("今日は", "今日わ", "zh")]
    assert error_rate(counts, "characters") == 3 / 14
    with pytest.raises(ValueError, match="all texts are empty"):
        error_rate([])


def test_failures():
    def failures(codes, ended=True, heard="the old dog", text="the old dog", language="en"):
        return find_failures(codes, ended, 50.0, text, heard, language)

    varied = np.random.default_rng(0).integers(0, 4096, 200).tolist()
    assert failures(varied) == []
    assert failures([], heard="") == ["empty"]
    assert failures(varied, ended=False) == ["endless"]
    assert failures(varied[:50] + [7] * 75) == ["loop"]  # held for 1.5 seconds
    assert failures(varied[:50] + [7] * 70) == []
    assert failures(varied[:20] * 4) == ["loop"] and failures(varied[:20] * 2 + varied[20:60]) == []
    assert failures(varied, heard="the old dog the old dog the old dog") == ["loop"]
    assert failures(varied, heard="no no no no", text="no no no no") == []
    assert failures(varied, heard="今日は今日は今日は", text="今日は", language="ja") == ["loop"]


def test_intervals_hold_what_they_promise():
    """About 95 % of the intervals of random samples contain the true mean."""
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(100):
        values = generator.exponential(1.0, 120)
        pairs = np.stack([values, np.ones(120)])
        low, high = bootstrap.confidence_interval(bootstrap.bootstrap_statistic([pairs], bootstrap.ratio)[0])
        hits += low <= 1 <= high
    assert 85 <= hits <= 100


def test_same_items_are_drawn_for_both():
    values = np.random.default_rng(0).normal(size=50)
    pairs = [np.stack([values, np.ones(50)]), np.stack([values + 1, np.ones(50)])]
    first, second = bootstrap.bootstrap_statistic(pairs, bootstrap.ratio)
    np.testing.assert_allclose(second - first, 1)
    assert len(first) == bootstrap.DRAWS and first.std() > 0.05


def test_share_interval():
    low, high = bootstrap.wilson_interval(200, 200)
    assert high == pytest.approx(1) and low == pytest.approx(0.98116, abs=1e-4)
    low, high = bootstrap.wilson_interval(10, 20)
    assert (low, high) == pytest.approx((0.29930, 0.70070), abs=1e-4)


def row(number, text="the old dog", wrong=0, language="en", seconds=2.0, asked=2.0, **more):
    unit = {"characters": [wrong, 11]} | ({"words": [wrong, 3]} if language == "en" else {})
    return {
        "id": f"{number}",
        "text": text,
        "language": language,
        "speaker": "",
        "asked_seconds": asked,
        "seconds": seconds,
        "taken_seconds": 1.0,
        "errors": unit,
        "heard": "",
        "failures": [],
    } | more


def test_summary():
    rows = [row(0, wrong=1, seconds=2.2), row(1), row(2, seconds=1.94), row(3, failures=["loop"], similarity=0.5)]
    found = summarize(rows)
    assert found["wer"]["value"] == 1 / 12 and found["wer"]["items"] == 4
    assert found["duration_error"]["value"] == pytest.approx((0.1 + 0.03) / 4)
    assert found["duration_error_p90"]["value"] == pytest.approx(np.quantile([0.1, 0, 0.03, 0], 0.9))
    assert found["within_5_percent"]["value"] == 0.75 and found["loop"]["value"] == 0.25
    assert found["similarity"] == {"value": 0.5, "low": 0.5, "high": 0.5, "items": 1}
    assert found["real_time_factor"]["value"] == pytest.approx(4 / 8.14)
    assert "dnsmos_overall" not in found and "own_voice" not in found
    for one in found.values():
        assert one["low"] <= one["value"] <= one["high"] + 1e-12


def test_breakdowns():
    long = " ".join(["word"] * 20)
    rows = [row(0, "Hi you.", 1), row(1, long), row(2, "今日は。", 2, "ja"), row(3, "Four words are here.")]
    groups = by_length(rows)
    assert [(group["unit"], group["length"], group["items"]) for group in groups] == [
        ("characters", "1-10", 1),
        ("words", "1-3", 1),
        ("words", "4-7", 1),
        ("words", "16+", 1),
    ]
    assert "wer" not in groups[0]["figures"] and groups[1]["figures"]["wer"]["value"] == 1 / 3
    assert [(group["language"], group["items"]) for group in by_language(rows)] == [("en", 3), ("ja", 1)]


def test_cosine():
    assert cosine(np.array([1.0, 0]), np.array([2.0, 0])) == 1 and cosine(np.zeros(2), np.ones(2)) == 0
