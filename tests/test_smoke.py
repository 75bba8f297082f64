"""The steps of `make train-smoke` in a smaller size: corpus, preparation, training, speech, check."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import yaml
from organ import Organ
from recordings import ENVIRONMENT, prepare

from training import check_run
from training.nano.corpus import make_corpus


ROOT = Path(__file__).parents[1]
NANO = "t5gemma_tts/checkpoints/nano"
RECIPE = yaml.safe_load((ROOT / "training" / "recipes" / "smoke.yaml").read_text())
LESS = {"max_steps": 30, "warmup_steps": 3, "max_tokens_per_batch": 600, "eval_steps": 30, "save_steps": 30}


@pytest.fixture(scope="module")
def trained(tiny_checkpoint, tmp_path_factory):
    """Runs the recipe's commands with the tiny checkpoint and returns the folder."""
    folder = tmp_path_factory.mktemp("smoke")
    make_corpus(folder / "data" / "smoke" / "corpus", [Organ], num_sentences=16, num_validation=2, num_unseen_pairs=0)
    prepare(folder / "data" / "smoke" / "corpus", folder / RECIPE["datasets"][0], tiny_checkpoint)
    (folder / "less.yaml").write_text(yaml.safe_dump(RECIPE | LESS | {"model": str(tiny_checkpoint), "use_cpu": True}))
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", ROOT / "accelerate_config.yaml"]
    command = [*map(str, launch), str(ROOT / "training" / "train.py"), "less.yaml"]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / RECIPE["output_dir"]


def test_the_trained_checkpoint_speaks(trained, run, tmp_path, capsys):
    code, output, error = run(
        "speak", "Good morning!", "--model", trained, "-o", "smoke.wav", "--duration", 0.4, "--seed", 0
    )
    assert code == 0, error
    assert "smoke.wav" in output and soundfile.info(tmp_path / "smoke.wav").duration >= 0.1
    assert check_run.main([str(trained), str(tmp_path / "smoke.wav")]) == 0
    losses = check_run.logged_losses(trained)
    expected = f"loss {losses[0]:.3f} at first, {losses[-1]:.3f} at last"
    assert expected in capsys.readouterr().out and losses[-1] < 0.8 * losses[0]


def test_recipe_trains_what_the_makefile_prepares():
    script = subprocess.check_output(["make", "--dry-run", "--always-make", "train-smoke"], cwd=ROOT, text=True)
    commands = " ".join(script.replace("\\\n", " ").split())
    assert f"nano/init_model.py {RECIPE['model']} --codec {NANO}/codec --tokenizer {NANO} " in commands
    assert f"--output {RECIPE['datasets'][0]} --codec {NANO}" in commands
    assert f'speak "Good morning! The train leaves at seven." --model {RECIPE["output_dir"]} ' in commands
    assert f"check_run.py {RECIPE['output_dir']} smoke.wav" in commands
    assert "train.py training/recipes/smoke.yaml" in commands


def write_run(folder: Path, losses: list) -> None:
    history = [{"loss": loss, "step": step} for step, loss in enumerate(losses)] + [{"eval_loss": 1.0}]
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": history}))


@pytest.mark.parametrize(
    "losses, message",
    [
        ([5.0, 3.0, 4.1], "5.000 at first, 4.100 at last.* must be below 0.8"),
        ([5.0, float("nan")], "nan at last.* must be below 0.8"),
        ([5.0], "has 1 losses"),
    ],
)
def test_a_run_that_learned_nothing_fails(losses, message, tmp_path, capsys):
    write_run(tmp_path, losses)
    soundfile.write(tmp_path / "said.wav", [0.1] * 1600, 16000)
    assert check_run.main([str(tmp_path), str(tmp_path / "said.wav")]) == 1
    error = capsys.readouterr().err
    assert re.search(message, error), error


def test_what_is_not_there_fails(tmp_path, capsys):
    assert check_run.main([str(tmp_path), str(tmp_path / "said.wav")]) == 1
    assert "no run has ended there" in capsys.readouterr().err
    write_run(tmp_path, [5.0, 1.0])
    assert check_run.main([str(tmp_path), str(tmp_path / "said.wav")]) == 1
    assert "no audio file" in capsys.readouterr().err
    soundfile.write(tmp_path / "said.wav", [], 16000)
    assert check_run.main([str(tmp_path), str(tmp_path / "said.wav")]) == 1
    assert "The audio is empty" in capsys.readouterr().err
