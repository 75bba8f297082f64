"""accelerate accepts the launch configurations, and train.py accepts the recipes."""

from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file

from t5gemma_tts.training.train import parse_arguments


ROOT = Path(__file__).parents[1]
CONFIGS = [ROOT / "accelerate_config.yaml", *sorted((ROOT / "training" / "accelerate").glob("*.yaml"))]
RECIPES = sorted(
    [*(ROOT / "training" / "recipes").glob("*.yaml"), *(ROOT / "training" / "recipes" / "nano").glob("tts*.yaml")]
)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_accelerate_reads_the_configuration(path):
    config = load_config_from_file(str(path))
    written = yaml.safe_load(path.read_text())
    assert config.num_processes == written["num_processes"]
    assert config.mixed_precision == written["mixed_precision"]
    assert getattr(config.distributed_type, "value", config.distributed_type) == written["distributed_type"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_has_known_options_only(path, tmp_path):
    recipe = yaml.safe_load(path.read_text())
    copy = tmp_path / "recipe.yaml"
    copy.write_text(yaml.safe_dump(recipe | {"report_to": []}))
    model, data, training = parse_arguments([str(copy)])
    assert training.learning_rate == recipe["learning_rate"]
    assert data.datasets == recipe["datasets"] and model.lora_rank == recipe.get("lora_rank", 0)
    _, _, training = parse_arguments([str(copy), "--learning_rate", "0.25", "--output_dir", str(tmp_path / "run")])
    assert training.learning_rate == 0.25 and training.output_dir == str(tmp_path / "run")
