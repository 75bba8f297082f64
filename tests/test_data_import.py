"""Import of encoded folders of the original project."""

import json
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from datasets import load_from_disk
from recordings import all_rows, code_bytes, load_rows, prepare

from t5gemma_tts.preparation.metadata import DatasetMetadata
from t5gemma_tts.preparation.original_source import read_codes, read_neighbors
from t5gemma_tts.preparation.rows import BadRow
from t5gemma_tts.preparation.schema import prepared_features


TEXTS = ["Hello, you there.", "今日はいい天気 です。", "“Quotes”\nand a second line.", "Übung macht den Meister."]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_original(folder: Path, num_rows: int = 12, seed: int = 0) -> dict[str, dict]:
    """
    Makes a folder of the original project; returns its rows by id. Two rows have no neighbours (one by an empty file,
    one without a file), codes reach both ends of the codebook, and ids have a folder in them.
    """
    random = np.random.default_rng(seed)
    rows = {}
    for number in range(num_rows):
        codes = random.integers(0, 65536, random.integers(5, 60))
        codes[:2] = 0, 65535
        rows[f"{number % 3:02x}/utterance_{number}"] = {
            "text": TEXTS[number % len(TEXTS)],
            "codes": codes.tolist(),
            "split": "validation" if number in (3, 8) else "train",
        }
    ids = list(rows)
    for number, (row_id, row) in enumerate(rows.items()):
        write(folder / "text" / f"{row_id}.txt", f"  {row['text']}\n")
        write(folder / "xcodec2_1cb" / f"{row_id}.txt", " ".join(map(str, row["codes"])) + "\n")
        chosen = [] if number < 2 else random.choice(len(ids), 3, replace=False).tolist()
        row["neighbors"] = [ids[place] for place in chosen]
        row["distances"] = [round(float(random.uniform(0, 90)), 3) for _ in chosen]
        lines = zip(row["neighbors"], row["distances"], strict=True)
        if number:
            write(folder / "neighbors" / f"{row_id}.txt", "".join(f"{name}.txt\t{far}\t1.500\n" for name, far in lines))
    for split, name in (("train", "train"), ("validation", "valid")):
        lines = (f"{row_id}\t{len(row['codes'])}\n" for row_id, row in rows.items() if row["split"] == split)
        write(folder / "manifest_final" / f"{name}.txt", "".join(lines))
    return rows


def test_round_trip(tmp_path):
    expected = write_original(tmp_path / "original")
    summary = prepare(tmp_path / "original", tmp_path / "out", rows_per_shard=5)
    assert summary.num_rows == {"train": 10, "validation": 2} and summary.skipped == {}
    imported = load_rows(tmp_path / "out")
    for split, rows in imported.items():
        assert [row["id"] for row in rows] == [name for name, row in expected.items() if row["split"] == split]
    for row in (row for rows in imported.values() for row in rows):
        original = expected[row["id"]]
        assert row["text"] == original["text"]  # not normalised
        assert row["codes"] == original["codes"]
        assert row["neighbors"] == original["neighbors"]
        assert row["neighbor_distances"] == pytest.approx(original["distances"], rel=1e-6)
        assert row["num_frames"] == len(original["codes"])
        assert row["duration_seconds"] == pytest.approx(len(original["codes"]) / 50)
    assert (all_rows(tmp_path / "out")["01/utterance_1"]["language"], imported["train"][0]["language"]) == ("ja", "en")
    dataset = load_from_disk(tmp_path / "out")["train"]
    assert dataset.features == prepared_features(with_neighbors=True)
    assert DatasetMetadata.load(tmp_path / "out") == DatasetMetadata("", 65536, 50.0)
    stored = np.frombuffer(code_bytes(dataset), np.uint16)
    assert stored.min() == 0 and stored.max() == 65535


def test_card_of_an_import(tmp_path):
    write_original(tmp_path / "original")
    prepare(tmp_path / "original", tmp_path / "out", codec="someone/codec", language="en")
    card = huggingface_hub.DatasetCard.load(tmp_path / "out" / "README.md")
    assert "codec `someone/codec`" in card.text and "Codebook of 65536 entries" in card.text
    assert "- `neighbors`: " in card.text and "max_seconds" not in card.text
    assert DatasetMetadata.load(tmp_path / "out").codec == "someone/codec"


def test_other_folder_names_and_manifests_in_pieces(tmp_path):
    expected = write_original(tmp_path / "original")
    for old, new in (("text", "words"), ("xcodec2_1cb", "codes"), ("manifest_final", "lists"), ("neighbors", "near")):
        (tmp_path / "original" / old).rename(tmp_path / "original" / new)
    lists = tmp_path / "original" / "lists"
    lines = (lists / "train.txt").read_text().splitlines(keepends=True)
    (lists / "train.txt").unlink()
    write(lists / "train_part=0.txt", "".join(lines[:4]))
    write(lists / "train_part=1.txt", "".join(lines[4:]))
    (lists / "valid.txt").rename(lists / "test.txt")
    names = {"text_folder": "words", "codes_folder": "codes", "manifest_folder": "lists", "neighbors_folder": "near"}
    summary = prepare(tmp_path / "original", tmp_path / "out", **names)
    assert summary.num_rows == {"train": 10, "test": 2}
    rows = all_rows(tmp_path / "out")
    assert {row_id: row["codes"] for row_id, row in rows.items()} == {k: row["codes"] for k, row in expected.items()}


def test_rows_stay_in_their_split_without_a_validation_manifest(tmp_path):
    write_original(tmp_path / "original")
    (tmp_path / "original" / "manifest_final" / "valid.txt").unlink()
    assert prepare(tmp_path / "original", tmp_path / "out").num_rows == {"train": 10}


def test_bad_rows_are_named_and_skipped(tmp_path):
    folder = tmp_path / "original"
    expected = write_original(folder)
    ids = list(expected)

    def codes(number):
        return folder / "xcodec2_1cb" / f"{ids[number]}.txt"

    write(codes(0), "1 2 65536 4\n")
    write(codes(1), "1 -2 3\n")
    write(codes(2), "1 two 3\n")
    write(codes(4), "\n")
    codes(5).unlink()
    write(codes(6), "1 2\n3 4\n")
    write(folder / "text" / f"{ids[7]}.txt", " \n")
    (folder / "text" / f"{ids[9]}.txt").unlink()
    write(folder / "neighbors" / f"{ids[10]}.txt", "a.txt\tfar\n")
    summary = prepare(folder, tmp_path / "out")
    assert sorted(all_rows(tmp_path / "out")) == sorted([ids[3], ids[8], ids[11]])
    assert summary.skipped == {"codes": 6, "empty_text": 1, "transcript": 1, "neighbors": 1}
    lines = [json.loads(line) for line in (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()]
    skipped = {line["id"]: line for line in lines}
    assert skipped[ids[0]]["row"] == 0 and skipped[ids[0]]["file"] == str(codes(0))
    for number, message in (
        (0, "code 65536 at frame 2 of"),
        (1, "code -2 at frame 1 of"),
        (2, "invalid literal"),
        (4, "holds no codes"),
        (5, "No such file"),
        (6, "has 2 lines"),
        (7, "the transcript is empty"),
        (9, "cannot read the transcript"),
        (10, "the distance must be a number, got 'far'"),
    ):
        assert message in skipped[ids[number]]["message"]
    with pytest.raises(ValueError, match=rf"row 0 \('{ids[0]}', .*{ids[0]}.txt\): code 65536 .* in \[0, 65536\)"):
        prepare(folder, tmp_path / "strict", strict=True)


def test_smaller_codebook_skips_every_row(tmp_path):
    write_original(tmp_path / "original")
    with pytest.raises(ValueError, match=r"none of the 12 rows can be used. Skipped: 12 for codes, .*\[0, 256\)"):
        prepare(tmp_path / "original", tmp_path / "out", codebook_size=256)


def test_wrong_length_in_the_manifest_is_reported(tmp_path, caplog):
    expected = write_original(tmp_path / "original")
    first = next(iter(expected))
    manifest = tmp_path / "original" / "manifest_final" / "train.txt"
    manifest.write_text(manifest.read_text().replace(f"{first}\t", f"{first}\t9", 1))
    prepare(tmp_path / "original", tmp_path / "out")
    assert all_rows(tmp_path / "out")[first]["codes"] == expected[first]["codes"]
    number = len(expected[first]["codes"])
    assert f"has {number} codes, its manifest says 9{number}" in caplog.text


def test_bad_manifests(tmp_path):
    write(tmp_path / "original" / "manifest_final" / "train.txt", "good\t4\nbad line\n")
    with pytest.raises(ValueError, match=r"train.txt', line 2: expected `id TAB number of codes`, got 'bad line'"):
        prepare(tmp_path / "original", tmp_path / "out")
    write(tmp_path / "original" / "manifest_final" / "train.txt", "\n")
    with pytest.raises(ValueError, match="no rows in .*expected train.txt"):
        prepare(tmp_path / "original", tmp_path / "out")


def test_filters_only_when_asked_for(tmp_path):
    expected = write_original(tmp_path / "original")
    summary = prepare(tmp_path / "original", tmp_path / "out", max_seconds=0.5)
    longer = sum(len(row["codes"]) > 25 for row in expected.values())
    assert summary.skipped == {"seconds": longer}
    assert prepare(tmp_path / "original", tmp_path / "normal", normalize_text=True).skipped == {}
    assert all_rows(tmp_path / "normal")["01/utterance_1"]["text"] == "今日はいい天気です。"


def test_error_for_options_of_recordings(tmp_path):
    write_original(tmp_path / "original")
    with pytest.raises(ValueError, match="`validation_count` cannot be used with an import"):
        prepare(tmp_path / "original", tmp_path / "out", validation_count=2)
    with pytest.raises(ValueError, match="`text_column`, `speed_factors` cannot be used with an import"):
        prepare(tmp_path / "original", tmp_path / "out", text_column="text", speed_factors=[0.9])


def test_files_of_codes_and_neighbors(tmp_path):
    write(tmp_path / "codes.txt", "  1 2\t3  \n\n")
    codes = read_codes(tmp_path / "codes.txt", 4)
    assert codes.dtype == np.uint16 and codes.tolist() == [1, 2, 3]
    with pytest.raises(BadRow, match="code 3 at frame 2"):
        read_codes(tmp_path / "codes.txt", 3)
    write(tmp_path / "huge.txt", "1 99999999999999999999\n")
    with pytest.raises(BadRow, match="cannot read the codes"):
        read_codes(tmp_path / "huge.txt", 4)
    write(tmp_path / "neighbors.txt", "a/b.txt\t0.5\t2.0\tmore\nc\n\n")
    assert read_neighbors(tmp_path / "neighbors.txt") == (["a/b", "c"], [0.5, None])
    assert read_neighbors(tmp_path / "none.txt") == ([], [])
