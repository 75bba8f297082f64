"""Model cards: content from checkpoint, run, evaluations and notes; errors."""

import json
import shutil

import numpy as np
import pytest
import soundfile
from huggingface_hub import ModelCard

from t5gemma_tts.evaluation.report import write_report
from t5gemma_tts.model_cards.build import build_card, main


@pytest.fixture
def folder(tiny_checkpoint, tmp_path):
    shutil.copytree(tiny_checkpoint, tmp_path / "voice")
    return tmp_path / "voice"


@pytest.fixture
def evaluation(tmp_path):
    return write_evaluation(tmp_path / "measured", "some words", 1)


def write_evaluation(folder, title, wrong):
    (folder / "audio").mkdir(parents=True)
    rows = []
    for number in range(4):
        soundfile.write(folder / "audio" / f"{title[:4]}{number}.flac", np.zeros(1600), 16000)
        rows.append(
            {
                "id": f"{number}",
                "text": f"the old | dog {number}",
                "language": "en",
                "speaker": "",
                "asked_seconds": 1.0,
                "seconds": 1.0 + 0.02 * number,
                "taken_seconds": 0.5,
                "heard": "the old fox",
                "errors": {"characters": [2, 11], "words": [wrong, 4]},
                "failures": ["loop"] if number == 2 else [],
            }
        )
    settings = {"model": "other", "title": title, "list": "me/words", "split": "test", "items": 4, "seed": 0}
    settings |= {"speed": 1.0, "with_references": False, "recorded_lengths": False, "asr": "ear"}
    names = {row["id"]: f"{title[:4]}{row['id']}.flac" for row in rows}
    write_report(folder, settings | {"speaker_encoder": None}, rows, folder / "audio", names)
    return folder


def test_evaluations_curves_and_notes(folder, evaluation, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    history = [{"step": 1, "loss": 5.0}, {"step": 2, "loss": 4.0, "eval_loss": 4.5}]
    (run / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    (tmp_path / "recipe.yaml").write_text("learning_rate: 0.002\ndatasets: [me/words]\nmodel: me/base\n")
    notes = "---\nlicense: cc0-1.0\nlanguage: en\n---\n## Introduction\n\nA fine voice.\n\n## Training\n\nBy night.\n"
    (tmp_path / "notes.md").write_text(notes)
    more = write_evaluation(tmp_path / "more", "other words", 2)
    options = ["--run", str(run), "--recipe", str(tmp_path / "recipe.yaml"), "--notes", str(tmp_path / "notes.md")]
    assert main([str(folder), *options, "--name", "me/voice", "--evaluation", str(evaluation), str(more)]) == 0
    card = ModelCard.load(folder / "README.md")
    data = card.data.to_dict()
    assert (data["license"], data["language"], data["base_model"]) == ("cc0-1.0", "en", "me/base")
    assert data["datasets"] == ["me/words"] and card.data.model_name == "me/voice"
    results = {(one.dataset_name, one.metric_type): one.metric_value for one in card.data.eval_results}
    assert results["some words", "wer"] == 25 and results["other words", "wer"] == 50
    assert results["some words", "duration_error"] == 3
    for part in (
        "A fine voice.",
        "By night.",
        "| learning rate | 0.002 |",
        "| training loss | 4 | 2 |",
        "| some words | 4 | 25.0 % (25.0 to 25.0 %) |  | 75.0 % ",
        "(evaluation/duration.png)",
        'some words: "the old | dog 0" (transcript:\n  "the old fox")',
        "| the old \\| dog 2 | the old fox | loop |",
        "![Losses over training steps](curves.png)",
    ):
        assert part in card.text, part
    assert str(tmp_path) not in card.content and "T5Gemma encoder reads" not in card.text
    assert len(list((folder / "audio").glob("*.wav"))) == 6 == len(data["widget"])
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "evaluation" / "error_by_length.png").is_file()


def test_evaluation_within_the_checkpoint(folder, evaluation):
    shutil.copytree(evaluation, folder / "evaluation")
    text = build_card(folder).text
    assert "(evaluation/worst/some2.flac)" in text and (folder / "evaluation" / "worst" / "some2.flac").is_file()
    assert "Full results of the first test list" not in text and "Not specified" in text and "## Training" not in text


def test_codec_figures_and_losses(folder, tmp_path):
    figures = {"clips": 7, "mel": 0.3, "codes_used_share": 0.9, "codebook_size": 256}
    figures |= {"wer_codec": 0.08, "wer_recording": 0.05}
    (tmp_path / "codec.json").write_text(json.dumps(figures))
    (tmp_path / "losses.jsonl").write_text('{"step": 1, "mel": 1.0}\n{"step": 2, "mel": 0.8}\n')
    text = build_card(folder, codec_run=tmp_path, codec_evaluation=tmp_path / "codec.json").text
    assert "7 recordings: word error rate 8.0 %" in text and "90.0 % of 256 codes" in text
    assert "(curves.png)" in text and "DNSMOS" not in text
    shutil.copy(folder / "curves.png", tmp_path / "more.png")
    (tmp_path / "more.md").write_text("### More\n\n![A picture](more.png) ![b](https://example.com/b.png)\n")
    text = build_card(folder, includes=[tmp_path / "more.md"]).text
    assert "### More\n\n![A picture](evaluation/more.png) ![b](https://example.com/b.png)\n" in text
    assert (folder / "evaluation" / "more.png").is_file()


def test_errors(folder, evaluation, tmp_path, capsys):
    def refused(message, *options):
        assert main([str(folder), *options]) == 1
        assert message in capsys.readouterr().err

    refused("is not an evaluation", "--evaluation", str(tmp_path))
    refused("notes.md", "--notes", str(tmp_path / "notes.md"))
    for text, message in (
        ("## Poetry\n\nRoses.", "['poetry']; a card may have the sections Introduction"),
        ("Roses.", "text before the first heading"),
        ("---\nname: x\n---\n", "may have the keys license, language"),
        ("---\n: {\n---\n", "is not valid YAML"),
    ):
        (tmp_path / "notes.md").write_text(text)
        refused(message, "--notes", str(tmp_path / "notes.md"))
    (tmp_path / "recipe.yaml").write_text("- 1\n")
    refused("has no options", "--recipe", str(tmp_path / "recipe.yaml"))
    (evaluation / "evaluation.json").write_text("{")
    refused("is damaged", "--evaluation", str(evaluation))
    assert not (folder / "README.md").exists()
