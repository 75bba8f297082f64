"""The card of the packed voice: figures of the evaluations, curves and sounds, and what is refused."""

import csv
import json
import shutil

import numpy as np
import pytest
import soundfile
from huggingface_hub import ModelCard

from training.nano.card import main


EVALUATION = {
    "validation": {
        "sentences": 3,
        "wer": 0.1234,
        "wer_recordings": 0.05,
        "empty": 0,
        "endless": 1,
        "wer_by_words": {"1-3": 0.5, "4-7": 0.25},
        "heard": [{"text": "Hello there.", "heard": "Yellow there."}],
    },
    "unseen_pairs": {
        "sentences": 2,
        "wer": 0.2,
        "wer_recordings": 0.06,
        "empty": 0,
        "endless": 0,
        "wer_by_words": {},
        "heard": [],
    },
    "lengths": {"0.8": {"mean_absolute_error": 0.012, "within_5_percent": 0.99, "wer": 0.3}},
    "voices": {
        "cases": 10,
        "right_voice": 0.9,
        "similarity_own": 0.81,
        "similarity_other": 0.52,
        "wer": {"anna": 0.1, "ben": 0.3},
    },
}
CODEC = {
    "clips": 7,
    "wer_codec": 0.08,
    "wer_recording": 0.05,
    "mel": 0.3,
    "codes_used_share": 0.9,
    "codebook_size": 256,
}


@pytest.fixture
def stages(tiny_checkpoint, tmp_path):
    """What the stages before leave behind."""
    shutil.copytree(tiny_checkpoint, tmp_path / "nano")
    for name in ("run", "codec", "corpus", "audio"):
        (tmp_path / name).mkdir()
    history = [{"step": 1, "loss": 5.0}, {"step": 2, "loss": 4.0, "eval_loss": 4.5, "eval_text_gap": 0.2}]
    (tmp_path / "run" / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    options = {"learning_rate": 0.002, "max_steps": 2, "guided_attention_tokens": None}
    (tmp_path / "run" / "training_recipe.json").write_text(json.dumps({"options": options}))
    (tmp_path / "codec" / "losses.jsonl").write_text('{"step": 1, "mel": 1.0}\n{"step": 2, "mel": 0.8}\n')
    voice = {"license": "CC0-1.0.", "source": "https://example.com/anna"}
    about = {"sampling_rate": 16000, "hours": {"anna": 1.5}, "vocabulary_size": 12, "voices": {"anna": voice}}
    (tmp_path / "corpus" / "corpus.json").write_text(json.dumps(about))
    with open(tmp_path / "corpus" / "metadata.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "split"])
        for number in range(5):
            writer.writerow([f"a{number}", "Hello there." if number == 0 else f"Text {number}.", "validation"])
            writer.writerow([f"b{number}", f"Pair {number}.", "unseen_pairs"])
    for name in ("a0", "a1", "b0", "b3", "b4"):
        soundfile.write(tmp_path / "audio" / f"{name}.wav", np.zeros(160), 16000)
    (tmp_path / "evaluation.json").write_text(json.dumps(EVALUATION))
    (tmp_path / "codec.json").write_text(json.dumps(CODEC))
    return tmp_path


def options(folder) -> list[str]:
    names = {
        "--run": "run",
        "--codec-run": "codec",
        "--corpus": "corpus",
        "--evaluation": "evaluation.json",
        "--codec-evaluation": "codec.json",
        "--audio": "audio",
    }
    return [str(folder / "nano"), *(part for name, path in names.items() for part in (name, str(folder / path)))]


def test_card_says_what_was_measured(stages):
    assert main(options(stages)) == 0
    card = ModelCard.load(stages / "nano" / "README.md")
    assert card.data.pipeline_tag == "text-to-speech" and card.data.license == "mit"
    for row in (
        "| held-out sentences | 3 | 12.3 % | 5.0 % | 0 | 1 |",
        "| sentences with an unseen pair | 2 | 20.0 % | 6.0 % | 0 | 0 |",
        "| x 0.8 | 1.2 % | 99.0 % | 30.0 % |",
        "| words wrong | 50.0 % | 25.0 % |",
        "90.0 % of the speech",
        "anna 10.0 %, ben 30.0 %.",
        "7 held-out recordings of both voices: 8.0 % of the words wrong",
        'held-out sentences: "Hello there." (heard:\n  "Yellow there.")',
        "| learning rate | 0.002 |",
        "- anna: CC0-1.0. https://example.com/anna",
    ):
        assert row in card.text, row
    assert "guided" not in card.text and str(stages) not in card.text
    assert {path.stem for path in (stages / "nano" / "audio").iterdir()} == {"a0", "a1", "b0", "b3", "b4"}
    assert (stages / "nano" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_refusals(stages, capsys):
    shutil.rmtree(stages / "audio")
    assert main(options(stages)) == 1
    assert "has no sound of held-out sentences" in capsys.readouterr().err
    assert main(options(stages)) == 1  # half a card is there
    assert "exists" in capsys.readouterr().err
    shutil.rmtree(stages / "nano" / "audio")
    (stages / "evaluation.json").unlink()
    assert main(options(stages)) == 1
    assert "evaluation.json" in capsys.readouterr().err
