"""Recipes with options of the command line, and the messages of wrong ones."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
import yaml

from t5gemma_tts.recipes import RecipeParser
from t5gemma_tts.training.arguments import T5GemmaTTSTrainingArguments
from t5gemma_tts.training.train import mixed_precision, parse_arguments


ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Options:
    steps: int = 10
    rate: float = 1.0
    fast: bool = False
    names: list[str] = field(default_factory=lambda: ["a"])
    settings: str | None = None
    note: str | None = "x"

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"`steps` must be at least 1, got {self.steps}.")


def parse(*argv):
    (options,) = RecipeParser([Options], "train", "Trains.").parse_recipe([str(item) for item in argv])
    return options


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("steps: 20\nrate: 1e-3\nfast: true\nnames: [b, c]\nsettings: {x: 1}\nnote: null\n")
    return path


def test_recipe(recipe):
    assert parse(recipe) == Options(20, 1e-3, True, ["b", "c"], '{"x": 1}', "x")
    assert parse() == Options()


def test_options_win_over_the_recipe(recipe):
    assert parse(recipe, "--steps", 5, "--fast", "false", "--names", "d") == Options(
        5, 1e-3, False, ["d"], '{"x": 1}', "x"
    )


def test_empty_list(recipe):
    recipe.write_text("names: []\n")
    assert parse(recipe).names == []
    assert parse(recipe, "--names", "e").names == ["e"]


def test_values_that_start_with_a_dash(recipe):
    recipe.write_text("rate: -1.5\nnote: --x\n")
    assert (parse(recipe).rate, parse(recipe).note) == (-1.5, "--x")


@pytest.mark.parametrize(
    "text, argv, message",
    [
        ("steps: 20", ["--step", "3"], "there is no option '--step'; did you mean '--steps'?"),
        ("step: 20", [], "there is no option '--step'; did you mean '--steps'?"),
        ("steps: many", [], "argument --steps: invalid int value: 'many'"),
        ("steps: 20", ["--steps", "2.5"], "argument --steps: invalid int value: '2.5'"),
        ("steps: 0", [], "`steps` must be at least 1, got 0."),
        ("- steps", [], "must hold options by name, got list"),
        ("steps: [", [], "is not valid YAML"),
        ("steps: 1", ["other.yaml"], "unexpected argument 'other.yaml'"),
    ],
)
def test_errors_are_one_line(text, argv, message, tmp_path, capsys):
    path = tmp_path / "recipe.yaml"
    path.write_text(text + "\n")
    with pytest.raises(SystemExit) as stop:
        parse(path, *argv)
    written = capsys.readouterr().err
    assert stop.value.code == 2 and written.startswith("train: ") and message in written
    assert written.count("\n") == 1


def test_missing_recipe(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(tmp_path / "none.yaml")
    assert stop.value.code == 2 and "none.yaml' cannot be read: No such file" in capsys.readouterr().err


def test_help_lists_all_options(capsys):
    with pytest.raises(SystemExit) as stop:
        parse("--help")
    written = capsys.readouterr().out
    assert stop.value.code == 0 and "[RECIPE.yaml]" in written and "--settings" in written


@pytest.mark.parametrize("name", ["finetune", "lora", "lora-16gb", "scratch", "smoke"])
def test_every_recipe_can_be_overridden(name, tmp_path):
    path = ROOT / "training" / "recipes" / f"{name}.yaml"
    model, data, training = parse_arguments([str(path), "--datasets", "mine", "--output_dir", str(tmp_path / "run")])
    assert data.datasets == ["mine"] and training.output_dir == str(tmp_path / "run")
    assert training.learning_rate == yaml.safe_load(path.read_text())["learning_rate"]


def test_device_and_precision_follow_the_machine(tmp_path, monkeypatch):
    arguments = T5GemmaTTSTrainingArguments(output_dir=str(tmp_path))
    if not torch.accelerator.is_available():
        assert arguments.use_cpu and arguments.bf16 is False and mixed_precision(arguments) == "float32"
    assert T5GemmaTTSTrainingArguments(output_dir=str(tmp_path), bf16=True, use_cpu=True).bf16 is True
    monkeypatch.setattr("t5gemma_tts.training.arguments.is_torch_bf16_gpu_available", lambda: True)
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    monkeypatch.setattr("transformers.training_args.is_torch_bf16_gpu_available", lambda: True, raising=False)
    assert T5GemmaTTSTrainingArguments(output_dir=str(tmp_path)).bf16 is True
    assert T5GemmaTTSTrainingArguments(output_dir=str(tmp_path), bf16=False).bf16 is False


def test_script_prints_one_line(tmp_path):
    command = [sys.executable, ROOT / "training" / "train.py", ROOT / "training" / "recipes" / "lora.yaml"]
    done = subprocess.run([*command, "--learning_rat", "1"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "t5gemma-tts train: there is no option '--learning_rat'; did you mean '--learning_rate'?\n"
