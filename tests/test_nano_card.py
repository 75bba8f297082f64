"""The card of nano is up to date with its notes, recipe and evaluations."""

import os
import shutil
from pathlib import Path

from huggingface_hub import ModelCard

from t5gemma_tts.checkpoints import NANO
from t5gemma_tts.model_cards.build import main
from training.nano.evaluate import SETS


ROOT = Path(__file__).parents[1]


def options() -> list[str]:
    """Returns the options in the recipe's README."""
    reports = ROOT / "model_card" / "nano"
    return [
        "--notes",
        str(reports / "notes.md"),
        "--recipe",
        str(ROOT / "training" / "recipes" / "nano" / "tts_3.yaml"),
        "--evaluation",
        *(str(reports / name) for name in SETS),
        "--include",
        str(reports / "pm_rope.md"),
        "--codec-evaluation",
        str(reports / "codec.json"),
    ]


def test_card_is_up_to_date(tmp_path):
    folder = tmp_path / "nano"
    shutil.copytree(
        NANO, folder, copy_function=os.symlink, ignore=shutil.ignore_patterns("*.py", "audio", "evaluation")
    )
    (folder / "README.md").unlink()
    assert main([str(folder), *options()]) == 0
    assert (folder / "README.md").read_text() == Path(NANO, "README.md").read_text()
    for name in ("audio", "evaluation"):
        generated = {path.name: path.read_bytes() for path in (folder / name).iterdir()}
        assert generated and generated == {path.name: path.read_bytes() for path in Path(NANO, name).iterdir()}


def test_card_is_complete():
    card = ModelCard.load(Path(NANO, "README.md"))
    assert card.data.license == "mit" and card.data.language == "en" and card.data.pipeline_tag == "text-to-speech"
    assert card.data.model_name == "nano" and {result.metric_type for result in card.data.eval_results} >= {
        "wer",
        "cer",
    }
    assert {sample["output"]["url"] for sample in card.data.to_dict()["widget"]} == {
        f"audio/{path.name}" for path in Path(NANO, "audio").iterdir()
    }
    for part in (
        "| held-out sentences | 200 | ",
        "## Limits",
        "hibari: Apache-2.0",
        "joe: CC0-1.0",
        "### The codec alone",
        "### The 10 worst items",
        "(curves.png)",
        "(evaluation/error_by_length.png)",
        "(evaluation/duration.png)",
        "(evaluation/pm_rope.png)",
    ):
        assert part in card.text, part
    for link in (part.split(")")[0] for part in card.text.split("](")[1:]):
        assert link.startswith("https://") or Path(NANO, link).is_file(), link
    assert str(ROOT) not in card.content
