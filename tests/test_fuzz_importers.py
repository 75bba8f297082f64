"""Fuzz test of source folders: each row is read or skipped with a reason, and errors name the folder."""

import io
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from recordings import clip
from strategies import HUGE, PHRASES, cases, damaged, json_values, texts

from t5gemma_tts.cli.codec import read_tokens
from t5gemma_tts.preparation.encoding import ClipEncoder, CodesImporter
from t5gemma_tts.preparation.filters import RowFilters
from t5gemma_tts.preparation.folder_source import FolderSource
from t5gemma_tts.preparation.metadata import DatasetMetadata
from t5gemma_tts.preparation.original_source import OriginalSource
from t5gemma_tts.preparation.rows import BadRow


class Rate:
    """The attributes of a codec that loading a clip needs."""

    input_sampling_rate = 16000


COLUMNS = ("file_name", "text", "id", "speaker", "language", "start_seconds", "split", "extra")
NAMES = (
    "a.wav",
    "b.wav",
    "sub/c.flac",
    "missing.wav",
    "../out.wav",
    "/etc/passwd",
    "a.txt",
    ".",
    "x" * 300 + ".wav",
    "",
)
AUDIO = {}
for suffix in ("wav", "flac", "ogg"):
    file = io.BytesIO()
    soundfile.write(file, clip(1, seconds=0.1), 16000, format=suffix.upper())
    AUDIO[suffix] = file.getvalue()


def cells():
    return st.sampled_from(NAMES) | st.sampled_from(PHRASES) | texts(10) | st.sampled_from(["en", "train", "1.5", ""])


@st.composite
def jsonl_files(draw) -> bytes:
    lines = []
    for _ in range(draw(st.integers(0, 4))):
        values = cells() | json_values() | st.sampled_from([HUGE, 1.5, True])
        line = {name: draw(values) for name in draw(st.sets(st.sampled_from(COLUMNS)))}
        line |= {"file_name": draw(cells()), "text": draw(cells())} if draw(st.booleans()) else {}
        lines.append(json.dumps(draw(st.just(line) | json_values()), ensure_ascii=draw(st.booleans())))
    return "\n".join(lines).encode("utf-8", "surrogatepass")


@st.composite
def csv_files(draw) -> bytes:
    """Metadata files, including the format of LJSpeech: cells separated by bars, without a header."""
    bars = draw(st.booleans())
    lines = [] if bars else [list(draw(st.permutations(COLUMNS)))[: draw(st.integers(1, 8))]]
    lines += draw(st.lists(st.lists(cells(), max_size=9), max_size=4))
    quote = draw(st.sampled_from(['"', '""', ""]))
    joined = [("|" if bars else ",").join(quote + cell + quote for cell in line) for line in lines]
    return draw(st.sampled_from(["\n", "\r\n", "\r"])).join(joined).encode("utf-8", "surrogatepass")


def files(strategy):
    """Audio files: valid, damaged or random bytes."""
    return strategy | strategy.flatmap(lambda whole: damaged(whole)) | st.binary(max_size=60)


def fill(folder: Path) -> Path:
    """A folder with two valid recordings, and a valid recording outside it, which rows must not use."""
    source = folder / "source"
    (source / "sub").mkdir(parents=True)
    (source / "a.wav").write_bytes(AUDIO["wav"])
    (source / "sub" / "c.flac").write_bytes(AUDIO["flac"])
    (source / "b.wav").write_bytes(b"no audio")
    (folder / "out.wav").write_bytes(AUDIO["wav"])
    return source


def check_source(source, encoder, folder: Path) -> None:
    assert len(source) == len(source.ids) and all(isinstance(row_id, str) for row_id in source.ids)
    assert isinstance(source.fingerprint, str)
    for index in range(len(source)):
        assert isinstance(source.file_of(index), str)
        try:
            row = encoder.load(source.ids[index], source[index])
        except BadRow as error:
            assert error.reason.isidentifier() and str(error)
            continue
        columns = row[1] if isinstance(row, tuple) else row
        assert columns["text"].strip() and columns["language"] and columns["duration_seconds"] > 0
        if isinstance(row, tuple):
            assert row[0].dtype == np.float32 and np.isfinite(row[0]).all()
            assert folder in Path(source.file_of(index)).resolve().parents  # no other file than those in there


@cases(30)
@given(content=files(jsonl_files()) | files(csv_files()), kind=st.sampled_from(["csv", "jsonl"]))
def test_metadata_files(content, kind):
    with tempfile.TemporaryDirectory() as name:
        folder = fill(Path(name).resolve())
        (folder / f"metadata.{kind}").write_bytes(content)
        try:
            source = FolderSource(folder)
        except ValueError as error:
            assert str(folder) in str(error)
            return
        check_source(source, ClipEncoder(Rate, RowFilters(), default_language="en"), folder)


@cases(30)
@given(
    manifest=files(st.lists(st.tuples(cells(), st.integers(-1, 20) | texts(4))).map(lambda lines: manifest_of(lines))),
    codes=files(st.lists(st.integers(-1, 70) | st.just(HUGE)).map(lambda codes: " ".join(map(str, codes)).encode())),
    neighbors=files(st.lists(st.tuples(cells(), st.floats() | texts(4))).map(lambda lines: manifest_of(lines))),
    text=files(texts().map(lambda text: text.encode("utf-8", "surrogatepass"))),
)
def test_folders_of_the_original_project(manifest, codes, neighbors, text):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve() / "source"
        for part, content in {"text": text, "xcodec2_1cb": codes, "neighbors": neighbors}.items():
            (folder / part).mkdir(parents=True)
            (folder / part / "a.wav.txt").write_bytes(content)
        (folder / "manifest_final").mkdir()
        (folder / "manifest_final" / "train.txt").write_bytes(manifest)
        try:
            source = OriginalSource(folder)
        except ValueError as error:
            assert str(folder) in str(error)
            return
        check_source(source, CodesImporter(RowFilters(), 64, 50.0, default_language="en"), folder)


def manifest_of(lines) -> bytes:
    return "\n".join(f"{name}\t{number}" for name, number in lines).encode("utf-8", "surrogatepass")


@cases(30)
@given(data=st.data(), suffix=st.sampled_from(["wav", "flac", "ogg"]))
def test_recordings(data, suffix):
    content = data.draw(damaged(AUDIO[suffix]) | damaged(AUDIO[suffix], most_changed=64) | st.binary(max_size=80))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        (folder / f"a.{suffix}").write_bytes(content)
        (folder / "a.txt").write_text("Hello.")
        check_source(FolderSource(folder), ClipEncoder(Rate, RowFilters(), default_language="en"), folder)


@cases(30)
@given(content=json_values().map(json.dumps) | texts())
def test_descriptions_of_datasets(content):
    fields = {"codec": "x", "codebook_size": 64, "frame_rate": 50.0}
    for text in (
        content,
        json.dumps(fields | {"codebook_size": content}),
        json.dumps(fields | {"frame_rate": content}),
    ):
        with pytest.raises(ValueError, match="here does not describe a prepared dataset"):
            DatasetMetadata.from_json(text, "here")


@cases(30)
@given(content=files(st.lists(st.integers()).map(lambda codes: " ".join(map(str, codes)).encode())))
def test_token_files(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "tokens.txt"
    path.write_bytes(content)
    try:
        clips = read_tokens(str(path))
    except ValueError as error:
        assert str(path) in str(error)
        return
    assert clips and all(isinstance(token, int) for clip in clips.values() for token in clip)
