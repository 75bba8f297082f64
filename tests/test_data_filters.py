"""Data preparation: filters, splits and speed variants."""

import dataclasses

import numpy as np
import pytest
import soundfile
from datasets import load_from_disk
from recordings import all_rows, prepare, write_pairs

from t5gemma_tts import XCodec2
from t5gemma_tts.preparation.filters import DEFAULT_FILTERS, RowFilters, longest_repetition
from t5gemma_tts.preparation.metadata import DatasetMetadata
from t5gemma_tts.preparation.rows import BadRow
from t5gemma_tts.preparation.schema import prepared_features
from t5gemma_tts.preparation.speed import change_speed
from t5gemma_tts.preparation.splitting import split_by_id


@pytest.mark.parametrize(
    ("text", "repeated"),
    [
        ("Thank you. " * 5, True),
        ("Thank you. " * 4, False),
        ("So I went home. Then I went home. And so I went home again, to sleep and to dream.", False),
        ("The number is 1,000,000,000 and no, no, no, no, no, not more.", False),
        ("ご視聴ありがとうございました。" * 6, True),
        ("a" * 30, True),
        ("She sells sea shells by the sea shore, and the shells she sells are sea shells.", False),
    ],
)
def test_repetition(text, repeated):
    filters = RowFilters(max_repetitions=4)
    if repeated:
        with pytest.raises(BadRow, match="times in a row; at most 4") as caught:
            filters.check_text(text, "en")
        assert caught.value.reason == "repetition"
    else:
        filters.check_text(text, "en")


def test_longest_repetition_counts():
    assert longest_repetition("Bye! " + "Thank you, " * 7 + "bye.") == ("thankyou", 7)
    assert longest_repetition("") == longest_repetition("abc") == ("", 0)


def test_filters():
    filters = dataclasses.replace(DEFAULT_FILTERS, languages=("en-US", "ja"), min_characters=3, max_characters=10)
    filters.check_text("Hello", "en")
    for text, language, reason in (
        ("Hello", "zh", "language"),
        ("Hi", "en", "characters"),
        ("x" * 11, "en", "characters"),
    ):
        with pytest.raises(BadRow) as caught:
            filters.check_text(text, language)
        assert caught.value.reason == reason
    filters.check_duration(1.0, "Hello you")
    filters.check_duration(30.0, "x" * 100)
    for seconds, text, reason in (
        (0.4, "Hello", "seconds"),
        (30.1, "x" * 100, "seconds"),
        (1.0, "x" * 41, "characters_per_second"),
        (20.0, "Hello", "characters_per_second"),
    ):
        with pytest.raises(BadRow) as caught:
            filters.check_duration(seconds, text)
        assert caught.value.reason == reason
    with pytest.raises(ValueError, match=r"`min_seconds` \(9\) must not be above `max_seconds` \(3\)"):
        RowFilters(min_seconds=9, max_seconds=3)


def test_filters_reach_the_rows(codec, tmp_path):
    source = write_pairs(tmp_path / "source", 3)
    (source / "clip01.txt").write_text("今日はいい天気ですね。")
    (source / "clip02.txt").write_text("Thank you. " * 5)
    summary = prepare(source, tmp_path / "out", codec, languages=["en"], max_characters_per_second=200.0)
    assert summary.skipped == {"language": 1, "repetition": 1}
    assert list(all_rows(tmp_path / "out")) == ["clip00"]


def test_split_depends_only_on_the_id():
    ids = [f"row-{number}" for number in range(4000)]
    places = dict(zip(ids, split_by_id(ids, share=0.1), strict=True))
    assert 300 < sum(place == "validation" for place in places.values()) < 500
    shuffled = list(np.random.default_rng(0).permutation(ids + [f"new-{number}" for number in range(500)]))
    again = dict(zip(shuffled, split_by_id(shuffled, share=0.1), strict=True))
    assert {row_id: again[row_id] for row_id in ids} == places
    wider = dict(zip(ids, split_by_id(ids, share=0.2), strict=True))
    assert all(wider[row_id] == "validation" for row_id in ids if places[row_id] == "validation")
    counted = split_by_id(ids, count=7)
    assert counted.count("validation") == 7
    assert dict(zip(ids[::-1], split_by_id(ids[::-1], count=7), strict=True)) == dict(zip(ids, counted, strict=True))
    with pytest.raises(ValueError, match="below the number of rows, 3; got 3"):
        split_by_id(ids[:3], count=3)


def test_speed_keeps_the_pitch():
    pytest.importorskip("av")
    tone = (0.3 * np.sin(2 * np.pi * 440 * np.arange(32000) / 16000)).astype(np.float32)
    for factor in (0.8, 1.25):
        stretched = change_speed(tone, 16000, factor)
        assert stretched.dtype == np.float32
        assert len(stretched) == pytest.approx(32000 / factor, rel=0.01)
        spectrum = np.abs(np.fft.rfft(stretched * np.hanning(len(stretched))))
        assert np.argmax(spectrum) * 16000 / len(stretched) == pytest.approx(440, abs=3)
        assert np.abs(stretched).max() == pytest.approx(0.3, abs=0.05)


def test_speed_variants(codec, tmp_path):
    pytest.importorskip("av")
    source = write_pairs(tmp_path / "source", 2, seconds=1.0)
    prepare(source, tmp_path / "out", codec, speed_factors=[0.8, 1.25])
    assert DatasetMetadata.load(tmp_path / "out").speed_factors == [0.8, 1.25]
    reference = XCodec2.from_pretrained(codec)
    assert load_from_disk(tmp_path / "out")["train"].features == prepared_features(with_stretched=True)
    for name, row in all_rows(tmp_path / "out").items():
        waveform, _ = soundfile.read(source / f"{name}.wav", dtype="float32")
        for factor, codes in zip([0.8, 1.25], row["codes_stretched"], strict=True):
            assert codes == reference.encode(change_speed(waveform, 16000, factor), 16000).tolist()
            assert len(codes) == pytest.approx(row["num_frames"] / factor, abs=2)
