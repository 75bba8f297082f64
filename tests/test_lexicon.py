"""Lexicons: files, entries, and their use by both kinds of checkpoints."""

import gzip
import json
from pathlib import Path

import pytest
from datasets import load_from_disk
from test_processing import text_ids
from tiny_checkpoint import tiny_tokenizer

from t5gemma_tts import T5GemmaTTSProcessor
from t5gemma_tts.checkpoints import NANO
from t5gemma_tts.loading import load_processor
from t5gemma_tts.model.lexicon import Lexicon


@pytest.fixture(scope="module")
def nano():
    return load_processor(NANO, codec_device="cpu")


def phonemes(processor, text, **kwargs):
    ids = processor(text, **kwargs)["input_ids"][0].tolist()
    return processor.tokenizer.decode(ids, skip_special_tokens=True).replace("▁", " ")


def test_files(tmp_path):
    lexicon = Lexicon({"nginx": "engine x", "Nguyen": "/wˈɪn/"})
    lexicon.add("read", "/ɹˈid/")
    lexicon.add("read", "/ɹˈɛd/", "VBD")
    for name in ("my.tsv", "my.tsv.gz"):
        lexicon.save(tmp_path / name)
        loaded = Lexicon.load(tmp_path / name)
        assert loaded.words() == lexicon.words()
        assert loaded.roles("read") == {"": "/ɹˈid/", "VBD": "/ɹˈɛd/"}
    assert gzip.decompress((tmp_path / "my.tsv.gz").read_bytes()) == (tmp_path / "my.tsv").read_bytes()


def test_case_of_words():
    lexicon = Lexicon({"polish": "paul ish", "Polish": "pole ish"})
    assert lexicon.roles("Polish") == {"": "pole ish"}
    assert lexicon.roles("POLISH") == {"": "paul ish"}
    assert Lexicon({"Reading": "redding"}).roles("reading") is None


@pytest.mark.parametrize(
    "text, message",
    [
        ("word\n", "line 1: must be a word, a tab and a pronunciation"),
        ("a\tb\n# remark\n\nc\td\te\tf\n", "line 4: must be"),
        ("a\tb\nnginx\t/ˈɛn\n", "line 2: .* phonemes between two slashes, got '/ˈɛn'"),
        ("a\t \n", "line 1: .*a pronunciation must be one line of text"),
        ("a\t" + "b" * 1000, "line 1: must be"),
    ],
)
def test_bad_files(tmp_path, text, message):
    (tmp_path / "bad.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        Lexicon.load(tmp_path / "bad.tsv")


def test_files_that_are_not_text(tmp_path):
    (tmp_path / "bad.tsv").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "bad.tsv.gz").write_bytes(b"abc")
    for name in ("bad.tsv", "bad.tsv.gz"):
        with pytest.raises(ValueError, match="is not a UTF-8 text file"):
            Lexicon.load(tmp_path / name)


@pytest.mark.parametrize("value", [3, ["a"], {"a": 1}, {"": "b"}, {"a": "b\nc"}, {"a": "b/c"}])
def test_bad_values(nano, value):
    with pytest.raises(ValueError, match="`lexicon`"):
        nano("Hello.", lexicon=value)


def test_nano_reads_spellings_and_phonemes(nano, tmp_path):
    assert phonemes(nano, "Use nginx.", lexicon={"nginx": "engine x"}) == "jˈuz ˈɛnʤən ˈɛks."
    assert phonemes(nano, "Use nginx.", lexicon={"nginx": "/ˈɛnʤᵻn/"}) == "jˈuz ˈɛnʤᵻn."
    (tmp_path / "my.tsv").write_text("nginx\tengine x\n", encoding="utf-8")
    assert phonemes(nano, "Use NGINX.", lexicon=tmp_path / "my.tsv") == "jˈuz ˈɛnʤən ˈɛks."
    assert phonemes(nano, "Hello.") == phonemes(nano, "Hello.", lexicon={"unused": "word"})


def test_nano_refuses_phonemes_that_it_has_no_token_for(nano):
    with pytest.raises(ValueError, match="`lexicon`: .*'ʘ'"):
        nano("Use nginx.", lexicon={"nginx": "/ʘ/"})


def test_checkpoints_that_read_spelling():
    processor = T5GemmaTTSProcessor(tiny_tokenizer(), codebook_size=256, text_separator_token_id=3)
    replaced = processor("Use nginx and nginxes.", lexicon={"nginx": "engine x"})["input_ids"][0].tolist()
    assert replaced == processor("Use engine x and nginxes.")["input_ids"][0].tolist()
    assert replaced[: len(text_ids("Use engine x"))] == text_ids("Use engine x")
    assert processor("東京です", lexicon={"東京": "とうきょう"})["input_ids"].tolist() == (
        processor("とうきょうです")["input_ids"].tolist()
    )
    with pytest.raises(ValueError, match="this checkpoint reads spelling"):
        processor("Use nginx.", lexicon={"nginx": "/ˈɛnʤᵻn/"})


def test_saved_with_the_processor(nano, tmp_path):
    nano.save_pretrained(tmp_path, save_codec=False)
    loaded = T5GemmaTTSProcessor.from_pretrained(tmp_path)
    text = "Dr. Smith read 21 glorptastic books."
    assert loaded(text)["input_ids"].tolist() == nano(text)["input_ids"].tolist()
    assert (tmp_path / "lexicon_en.tsv.gz").read_bytes() == (Path(NANO) / "lexicon_en.tsv.gz").read_bytes()


def test_a_missing_lexicon_is_an_error(nano, tmp_path):
    nano.save_pretrained(tmp_path, save_codec=False)
    (tmp_path / "lexicon_en.tsv.gz").unlink()
    with pytest.raises(OSError, match="lexicon_en.tsv.gz"):
        T5GemmaTTSProcessor.from_pretrained(tmp_path)("Hello.")


def test_command_line(run, tmp_path):
    (tmp_path / "my.tsv").write_text("nginx\tengine x\n", encoding="utf-8")
    options = ["--seed", 0, "--duration", 1]
    run("speak", "Use nginx.", "-o", "with.wav", "--lexicon", "my.tsv", *options)
    run("speak", "Use engine x.", "-o", "spelled.wav", *options)
    run("speak", "Use nginx.", "-o", "without.wav", *options)
    sounds = {name: (tmp_path / f"{name}.wav").read_bytes() for name in ("with", "spelled", "without")}
    assert sounds["with"] == sounds["spelled"] != sounds["without"]
    run("speak", "It costs $5.", "-o", "5.wav", *options)
    run("speak", "It costs five dollars.", "-o", "words.wav", "--no-normalize", *options)
    assert (tmp_path / "5.wav").read_bytes() == (tmp_path / "words.wav").read_bytes()
    (tmp_path / "bad.tsv").write_text("nginx\n", encoding="utf-8")
    code, _, error = run("speak", "Use nginx.", "-o", "bad.wav", "--lexicon", "bad.tsv", *options)
    assert code == 1 and "'bad.tsv', line 1: must be a word, a tab and a pronunciation" in error


def test_batches(run, tmp_path):
    (tmp_path / "my.tsv").write_text("nginx\tengine x\n", encoding="utf-8")
    rows = [{"id": "a", "text": "Use nginx.", "duration_seconds": 1.0}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    code, _, error = run("batch", "rows.jsonl", "-o", "with", "--lexicon", "my.tsv", "--keep", "codes")
    assert code == 0, error
    code, _, error = run("batch", "rows.jsonl", "-o", "without", "--keep", "codes")
    assert code == 0, error
    codes = [load_from_disk(tmp_path / name)["codes"][0] for name in ("with", "without")]
    assert len(codes[0]) and codes[0] != codes[1]
    (tmp_path / "bad.tsv").write_text("nginx\n", encoding="utf-8")
    code, _, error = run("batch", "rows.jsonl", "-o", "bad", "--lexicon", "bad.tsv")
    assert code == 1 and "'bad.tsv', line 1" in error and not (tmp_path / "bad").exists()
