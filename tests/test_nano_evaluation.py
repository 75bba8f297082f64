"""The published evaluation of nano, and the command that creates it."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from t5gemma_tts.checkpoints import NANO
from t5gemma_tts.evaluation.report import as_markdown
from t5gemma_tts.evaluation.run import read_rows
from t5gemma_tts.evaluation.statistics import by_length, recording_rows, summarize
from training.nano import evaluate
from training.nano.sentences import plan_utterances


REPORTS = Path(__file__).parents[1] / "model_card" / "nano"


def same(found, expected) -> bool:
    """Compares two reports; the last digits of numbers may differ, because they depend on the CPU."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return found == (pytest.approx(expected, abs=1e-9) if isinstance(expected, float) else expected)


@pytest.mark.parametrize("name", evaluate.SETS)
def test_report_is_that_of_its_rows(name):
    folder = REPORTS / name
    results, rows = json.loads((folder / "evaluation.json").read_text()), read_rows(folder)
    assert same(results["figures"], summarize(rows))
    assert same(results["recordings"], summarize(recording_rows(rows)))
    assert same(results["by_length"], by_length(rows))
    text = (folder / "evaluation.md").read_text(encoding="utf-8")
    assert text == as_markdown(results)
    assert results["settings"]["title"] == evaluate.SETS[name][0]
    for link in (part.split(")")[0] for part in text.split("](")[1:]):
        assert (folder / link).is_file(), link


def test_two_hundred_held_out_sentences_beside_their_recordings():
    rows = read_rows(REPORTS / "held_out")
    held_out = [one.text for one in plan_utterances(["hibari"], num_sentences=1) if one.split == "validation"]
    assert [row["text"] for row in rows] == held_out and len(held_out) == 200
    results = json.loads((REPORTS / "held_out" / "evaluation.json").read_text())
    assert results["recordings"]["wer"]["value"] < results["figures"]["wer"]["value"] < 0.15
    assert {"similarity", "dnsmos_overall", "real_time_factor", "loop"} <= results["figures"].keys()


def test_all_sets_are_of_the_same_weights():
    weights = {
        json.loads((REPORTS / name / "evaluation.json").read_text())["settings"]["weights"] for name in evaluate.SETS
    }
    assert len(weights) == 1


def test_ordinary_sentences_are_those_of_the_list():
    for name, most in (("ordinary", 0.06), ("short", 0.2)):
        texts = (evaluate.REPOSITORY / "training" / "nano" / evaluate.SETS[name][2]).read_text(encoding="utf-8")
        assert [row["text"] for row in read_rows(REPORTS / name)] == texts.splitlines()
        figures = json.loads((REPORTS / name / "evaluation.json").read_text())["figures"]
        assert figures["wer"]["value"] <= most


def test_command_asks_for_what_it_says(tmp_path, monkeypatch):
    """Each test list is evaluated with `t5gemma-tts evaluate`; the first failure stops the command."""
    from t5gemma_tts.cli import main as command

    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "corpus.json").write_text("{}")
    asked = []

    def run(options):
        asked.append(command.build_parser().parse_args(options))
        return len(asked) == 2

    monkeypatch.setattr(command, "main", run)
    options = ["--asr", "ear", "--corpus", str(tmp_path / "corpus"), "--output", str(tmp_path / "out"), "--limit", "5"]
    assert evaluate.main([*options, "--sets", "held_out", "references", "unseen_pairs"]) == 1
    first, second = asked
    assert (first.model, first.speaker, first.limit, first.split) == (NANO, "hibari", 5, "validation")
    assert (
        second.same_speaker_references and second.reference_seconds == [3, 5] and second.output.endswith("references")
    )


def test_sizes_in_the_card_are_those_of_the_weights():
    card = (REPORTS / "notes.md").read_text(encoding="utf-8")
    for file in ("model.safetensors", "codec/model.safetensors"):
        total = 0
        with safe_open(Path(NANO) / file, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118 (a file, not a dict)
                shape = weights.get_slice(name).get_shape()
                count = 1
                for size in shape:
                    count *= size
                total += count
        assert f"{total / 1e6:.1f} million" in card
