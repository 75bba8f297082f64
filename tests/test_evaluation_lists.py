"""Test lists: layouts, references, errors."""

import numpy as np
import pytest
import soundfile
from datasets import Dataset, DatasetDict
from organ import Organ
from speech_data import save_prepared

from t5gemma_tts.evaluation.test_lists import read_item_audio, read_test_list, recording_duration
from training.nano.corpus import make_corpus


class Flute(Organ):
    name = "flute"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "out"
    make_corpus(folder, [Organ, Flute], num_sentences=1, num_validation=6, num_unseen_pairs=1)
    return folder


def write_tone(path, seconds=0.5, rate=16000):
    soundfile.write(path, 0.1 * np.sin(np.arange(int(seconds * rate))), rate)


def test_seed_tts_layout(tmp_path):
    (tmp_path / "wavs").mkdir()
    for name in ("a", "b"):
        write_tone(tmp_path / "wavs" / f"{name}.wav")
    lines = ["one|The voice.|wavs/a.wav|Hello there.", "", "two| 声。 |wavs/b.wav|今日は。|wavs/a.wav"]
    (tmp_path / "meta.lst").write_text("\n".join(lines), encoding="utf-8")
    first, second = read_test_list(tmp_path / "meta.lst")
    assert (first.id, first.text, first.reference_text, first.language) == ("one", "Hello there.", "The voice.", "en")
    assert first.reference_audio == str(tmp_path / "wavs" / "a.wav") and first.recording is None
    assert (second.language, second.reference_text, recording_duration(second)) == ("ja", "声。", 0.5)
    (tmp_path / "meta.lst").write_text("one|The voice.|Hello.")
    with pytest.raises(ValueError, match="line 1 .* got 3 fields"):
        read_test_list(tmp_path / "meta.lst")
    (tmp_path / "meta.lst").write_text("one|The voice.|wavs/c.wav|Hello.")
    with pytest.raises(FileNotFoundError, match="line 1 .*c.wav"):
        read_test_list(tmp_path / "meta.lst")


def test_lines(tmp_path):
    (tmp_path / "lines.txt").write_text("Hello there.\n\n  Good morning! \n今日は。\n", encoding="utf-8")
    items = read_test_list(tmp_path / "lines.txt")
    assert [(item.id, item.text) for item in items] == [
        ("00000", "Hello there."),
        ("00001", "Good morning!"),
        ("00002", "今日は。"),
    ]
    assert [item.language for item in items] == ["en", "en", "ja"]
    assert [item.id for item in read_test_list(tmp_path / "lines.txt", limit=2)] == ["00000", "00002"]
    with pytest.raises(ValueError, match="has no recording, so `recorded_lengths` cannot be used"):
        read_test_list(tmp_path / "lines.txt", recorded_lengths=True)
    with pytest.raises(ValueError, match="no reference found for '00000'"):
        read_test_list(tmp_path / "lines.txt", same_speaker_references=True)
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(ValueError, match="has no texts"):
        read_test_list(tmp_path / "empty.txt")
    with pytest.raises(FileNotFoundError, match="no test list"):
        read_test_list(tmp_path / "nothing")
    with pytest.raises(ValueError, match="`limit`"):
        read_test_list(tmp_path / "lines.txt", limit=0)


def test_prepared_dataset(tmp_path):
    save_prepared(tmp_path / "data", 4)
    items = read_test_list(tmp_path / "data", recorded_lengths=True)
    assert len(items) == 12 and items[0].id == "row-0" and "codes" in items[0].recording
    assert items[0].duration_seconds == pytest.approx(len(items[0].recording["codes"]) / 50)
    with pytest.raises(ValueError, match="no split 'test'; it has train, validation"):
        read_test_list(tmp_path / "data", split="test")
    with pytest.raises(ValueError, match=r"`speaker` 'anna' has no rows .*speaker-0"):
        read_test_list(tmp_path / "data", speaker="anna")


def test_dataset_with_audio_and_references(tmp_path):
    write_tone(tmp_path / "a.wav", 1.0)
    sound = {"bytes": (tmp_path / "a.wav").read_bytes(), "path": None}
    from datasets import Audio

    rows = {"text": ["Hello.", "Bye."], "audio": [sound, sound], "reference_audio": [sound, None]}
    rows |= {"reference_text": ["Voice.", None], "language": ["en", "en"]}
    data = Dataset.from_dict(rows).cast_column("audio", Audio()).cast_column("reference_audio", Audio())
    DatasetDict({"validation": data}).save_to_disk(tmp_path / "data")
    first, second = read_test_list(tmp_path / "data")
    waveform, rate = read_item_audio(first.recording)
    assert (len(waveform), rate, waveform.dtype) == (16000, 16000, np.float32)
    assert first.reference_text == "Voice." and second.reference_audio is None
    twice = Dataset.from_dict({"text": ["a", "b"], "id": ["x", "x"]})
    twice.save_to_disk(tmp_path / "twice")
    with pytest.raises(ValueError, match="the id 'x' occurs twice"):
        read_test_list(tmp_path / "twice")
    Dataset.from_dict({"words": ["a"]}).save_to_disk(tmp_path / "words")
    with pytest.raises(ValueError, match="no column text"):
        read_test_list(tmp_path / "words")


def test_recordings_and_references_of_the_same_speaker(corpus):
    items = read_test_list(corpus, speaker="organ")
    assert len(items) == 6 and all(item.id.startswith("organ-validation") for item in items)
    given = read_test_list(corpus, same_speaker_references=True, reference_seconds=(0.1, 60))
    assert len(given) == 12
    texts = {item.recording: item.text for item in given}
    for item in given:
        assert f"/{item.speaker}/" in item.reference_audio and item.reference_text == texts[item.reference_audio]
        assert item.reference_text != item.text
    with pytest.raises(ValueError, match="no other recording of 50 to 60 seconds"):
        read_test_list(corpus, same_speaker_references=True, reference_seconds=(50, 60))
