"""Sources with a split column."""

import json

import pytest
import soundfile
from recordings import clip, load_rows, prepare, write_pairs

from t5gemma_tts.preparation.folder_source import FolderSource


SPLITS = ["train", "validation", "unseen_pairs", "", "not a name"]


def write_source(folder, column: str):
    folder.mkdir()
    rows = [{"file_name": f"{number}.wav", "text": "Hello.", column: split} for number, split in enumerate(SPLITS)]
    for number, row in enumerate(rows):
        soundfile.write(folder / row["file_name"], clip(number), 16000)
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.mark.parametrize("column", ["split", "part"])
def test_rows_stay_in_the_splits_they_name(codec, tmp_path, column):
    source = write_source(tmp_path / "source", column)
    given = {} if column == "split" else {"split_column": column}
    prepare(source, tmp_path / "out", codec, validation_share=0.0, **given)
    rows = load_rows(tmp_path / "out")
    assert {split: [row["id"] for row in part] for split, part in rows.items()} == {
        "train": ["0", "3"],  # that without a split is drawn
        "validation": ["1"],
        "unseen_pairs": ["2"],
    }
    (skipped,) = map(json.loads, (tmp_path / "out" / "skipped.jsonl").read_text().splitlines())
    assert skipped["row"] == 4 and "'not a name'" in skipped["message"]


def test_rows_without_splits_are_drawn(codec, tmp_path):
    source = write_source(tmp_path / "source", "part")
    assert not FolderSource(source).has_splits
    prepare(source, tmp_path / "out", codec, validation_count=2)
    assert {split: len(part) for split, part in load_rows(tmp_path / "out").items()} == {"train": 3, "validation": 2}


def test_error_for_options_that_contradict_splits(codec, tmp_path):
    source = write_source(tmp_path / "source", "split")
    with pytest.raises(ValueError, match="`validation_count` cannot be used with a folder whose rows have splits"):
        prepare(source, tmp_path / "out", codec, validation_count=2)
    with pytest.raises(ValueError, match="`split_column` is 'part'.*file_name, text, split"):
        prepare(source, tmp_path / "out", codec, split_column="part")
    pairs = write_pairs(tmp_path / "pairs", 2)
    with pytest.raises(ValueError, match="`split_column` cannot be used with a dataset"):
        prepare(pairs, tmp_path / "out", codec, split_column="split", source_format="datasets")
