"""Voices on disk: whole or not there, and only under plain names."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_checkpoint import tiny_codec

from t5gemma_tts.serving.errors import BadRequest, Conflict, NotFound
from t5gemma_tts.serving.voices import VoiceStore, codec_fingerprint


VOICE = {"codes": [5, 4000, 7], "reference_text": "Guten Tag, 世界.", "duration_seconds": 0.06, "consent": True}


@pytest.fixture
def store(tmp_path) -> VoiceStore:
    return VoiceStore(tmp_path / "voices", codec="abc")


def test_added_voice_is_visible_to_other_stores(store):
    added = store.add("anna-1", **VOICE)
    other = VoiceStore(store.folder, codec="abc")
    assert other.get("anna-1") == added and other.voices() == [added]
    assert added.codes == (5, 4000, 7) and added.consent is True and added.created.endswith("+00:00")
    assert sorted(path.name for path in (store.folder / "anna-1").iterdir()) == ["codes.safetensors", "voice.json"]
    assert json.loads((store.folder / "anna-1" / "voice.json").read_text())["reference_text"] == "Guten Tag, 世界."
    other.delete("anna-1")
    with pytest.raises(NotFound, match="no voice 'anna-1'"):
        store.get("anna-1")
    assert not list(store.folder.iterdir())


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../anna",
        "a/b",
        "a\\b",
        "/etc",
        "anna\n",
        "Anna",
        "ann\0a",
        "-anna",
        ".anna",
        "ä",
        "a" * 65,
        "a b",
    ],
)
def test_names_with_paths_are_refused(store, name):
    for use in (store.get, store.delete, lambda name: store.add(name, **VOICE)):
        with pytest.raises(BadRequest, match="the name of a voice must be"):
            use(name)
    assert not list(store.folder.iterdir())


def test_refusals(store):
    with pytest.raises(BadRequest, match="the model's own voice"):
        store.add("default", **VOICE)
    with pytest.raises(BadRequest, match="`consent` must be true"):
        store.add("anna", **VOICE | {"consent": False})
    with pytest.raises(NotFound):
        store.delete("anna")
    store.add("anna", **VOICE)
    with pytest.raises(Conflict, match="'anna' already"):
        store.add("anna", **VOICE)
    with pytest.raises(BadRequest, match="1 voices already"):
        VoiceStore(store.folder, codec="abc", max_voices=1).add("berta", **VOICE)
    with pytest.raises(BadRequest, match="another codec encoded the voice"):
        VoiceStore(store.folder, codec="xyz").get("anna")


@pytest.mark.parametrize("step", ["rename", "write_text"])
def test_crash_leaves_no_files(store, monkeypatch, step):
    def crash(*arguments, **options):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Path, step, crash)
        with pytest.raises(OSError, match="disk full"):
            store.add("anna", **VOICE)
    assert not list(store.folder.iterdir())
    (store.folder / ".draft-of-a-killed-process").mkdir()
    assert store.names() == []
    store.add("anna", **VOICE)


def test_concurrent_adds_of_one_name(store, monkeypatch):
    together = threading.Barrier(4)
    exists = Path.exists

    def all_at_once(path):
        found = exists(path)
        if not found:
            together.wait(60)
        return found

    monkeypatch.setattr(Path, "exists", all_at_once)
    outcomes = []

    def add(number):
        try:
            store.add("anna", **VOICE | {"codes": [number]})
            outcomes.append(number)
        except Conflict:
            outcomes.append(None)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    (winner,) = [number for number in outcomes if number is not None]
    assert outcomes.count(None) == 3 and store.get("anna").codes == (winner,)
    assert [path.name for path in store.folder.iterdir()] == ["anna"]


def test_unencodable_texts(store):
    """JSON can name halves of surrogate pairs, UTF-8 has none."""
    store.add("anna", **VOICE)
    record = store.folder / "anna" / "voice.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"reference_text": "\ud800"}))
    with pytest.raises(BadRequest, match="'anna' is damaged"):
        store.get("anna")
    assert store.voices() == []


@pytest.mark.parametrize("file", ["codes.safetensors", "voice.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b"[1]"])
def test_damaged_voices(store, file, content):
    good = store.add("berta", **VOICE)
    store.add("anna", **VOICE)
    (store.folder / "anna" / file).write_bytes(content)
    with pytest.raises(BadRequest, match="'anna' is damaged"):
        store.get("anna")
    assert store.voices() == [good]
    store.delete("anna")
    assert store.add("anna", **VOICE) == replace(good, name="anna", created=store.get("anna").created)


def test_codec_is_identified_by_its_quantizer():
    codec, other = tiny_codec(0), tiny_codec(1)
    assert codec_fingerprint(codec) == codec_fingerprint(tiny_codec(0)) != codec_fingerprint(other)
    codec.model.acoustic_decoder = other.model.acoustic_decoder
    assert codec_fingerprint(codec) == codec_fingerprint(tiny_codec(0))


@pytest.mark.parametrize(
    ("field", "value"),
    [("reference_text", None), ("reference_text", " "), ("duration_seconds", "x"), ("created", 5), ("name", "other")],
)
def test_voices_with_values_of_other_types(store, field, value):
    good = store.add("berta", **VOICE)
    store.add("anna", **VOICE)
    path = store.folder / "anna" / "voice.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(BadRequest, match="'anna' is damaged"):
        store.get("anna")
    assert store.voices() == [good]
