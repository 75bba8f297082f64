"""Writes the model card of a checkpoint from what stands in its folder: configuration, recipe, training log.

    python -m model_card.build MODEL_DIR [--name me/my-voice] [--license apache-2.0]

Nothing is asked of the network, and local paths do not reach the card.
"""

import argparse
import json
import re
import sys
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData


TEMPLATE = Path(__file__).with_name("template.md")
RECIPE_FILE = "training_recipe.json"
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
# options of a run that tell how the weights came about, as far as they were set
SHOWN_OPTIONS = [
    "optim",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "num_train_epochs",
    "max_steps",
    "max_tokens_per_batch",
    "gradient_accumulation_steps",
    "prompt_probability",
    "bf16",
    "fp16",
    "freeze_backbone",
    "lora_rank",
    "lora_alpha",
    "use_dora",
    "quantize",
    "seed",
]


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def public_name(name: str | None) -> str | None:
    """A Hub name as it is; of a local path, its last part."""
    if not name:
        return None
    return name if HUB_NAME.fullmatch(name) and not Path(name).exists() else Path(name).name


def last_results(log_history: list[dict]) -> list[tuple[str, str, int]]:
    """The newest value of every figure in a Trainer's log, with its step; speeds and times left out."""
    found = {}
    for entry in log_history:
        for key, value in entry.items():
            quality = key in ("loss", "top10_accuracy") or (
                key.startswith("eval_") and not key.endswith(("_runtime", "_per_second"))
            )
            if quality:
                found["training_" + key if not key.startswith("eval_") else key] = value, entry["step"]
    return [(key, f"{value:.4g}", step) for key, (value, step) in sorted(found.items())]


def build_card(folder: str | Path, name: str | None = None, license: str | None = None) -> ModelCard:
    """
    Args:
        folder (`str` or `Path`): A checkpoint or a PEFT adapter, with `training_recipe.json` and
            `trainer_state.json` where it was trained by `training/train.py`.
        name (`str`, *optional*): Hub name; the folder's own if not given.
        license (`str`, *optional*): Hub identifier of the weights' licence.

    Raises:
        FileNotFoundError: if there is neither a model nor an adapter in `folder`.
    """
    from t5gemma_tts.cli.info import describe

    folder = Path(folder)
    adapter = (folder / "adapter_config.json").is_file()
    if not adapter and not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"{str(folder)!r} is no checkpoint: it has neither config.json nor adapter_config.json."
        )
    name = name or folder.resolve().name
    recipe = read_json(folder / RECIPE_FILE)
    options = recipe.get("options", {})
    base = read_json(folder / "adapter_config.json").get("base_model_name_or_path")
    facts = describe(base if adapter else str(folder))
    sampling_rate = int(facts["sampling_rate"].split()[0])
    facts = {key: value for key, value in facts.items() if key not in ("model", "layout")}
    facts["codec"] = public_name(facts["codec"])
    source = options.get("model") or options.get("backbone") or base
    datasets = options.get("datasets") or []
    training = {"started from": public_name(source), "data": ", ".join(public_name(d) for d in datasets)}
    training |= {"rows": recipe.get("num_rows")}
    training |= {key: options[key] for key in SHOWN_OPTIONS if options.get(key) not in (None, False, "", -1)}
    without_effect = ["num_train_epochs"] if "max_steps" in training else []
    without_effect += [] if "lora_rank" in training else ["lora_alpha"]
    metadata = ModelCardData(
        language=recipe.get("languages") or None,
        license=license,
        library_name="peft" if adapter else "transformers",
        pipeline_tag="text-to-speech",
        base_model=source if source and public_name(source) == source and "/" in source else None,
        datasets=[d for d in datasets if public_name(d) == d and "/" in d] or None,
        tags=["t5gemma-tts", "xcodec2", "voice-cloning"],
    )
    return ModelCard.from_template(
        metadata,
        template_path=str(TEMPLATE),
        name=name,
        adapter=adapter,
        facts=facts,
        sampling_rate=sampling_rate,
        training={k: v for k, v in training.items() if v and k not in without_effect} if options else None,
        results=last_results(read_json(folder / "trainer_state.json").get("log_history", [])),
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="model_card.build", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="checkpoint or adapter; its README.md is written")
    parser.add_argument("--name", help="Hub name; the folder's own if not given")
    parser.add_argument("--license", help="Hub identifier of the weights' licence")
    arguments = parser.parse_args(argv)
    try:
        card = build_card(arguments.folder, arguments.name, arguments.license)
    except (FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    card.save(Path(arguments.folder, "README.md"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
