"""Writes the model card of a checkpoint from its config, training recipe, log and evaluation.

    t5gemma-tts evaluate LIST --model MODEL_DIR -o MODEL_DIR/evaluation
    python -m t5gemma_tts.model_cards.build MODEL_DIR [--name me/my-voice] [--license apache-2.0]

It works offline and leaves local paths out of the card. Options name other folders for recipe, log and evaluations;
`--notes` adds your own text.
"""

import argparse
import json
import re
import sys
import warnings
from pathlib import Path

import yaml
from huggingface_hub import ModelCard, ModelCardData

from ..checkpoint_info import describe_checkpoint
from .curves import PICTURE, draw_curves
from .notes import Notes, read_notes


TEMPLATE = Path(__file__).with_name("template.md")
RECIPE_FILE = "training_recipe.json"
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
# training options to show in the card if they are set
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
    "audio_mask_row_probability",
    "guided_attention_tokens",
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
    """Reads a JSON file; {} if it does not exist."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def public_name(name: str | None) -> str | None:
    """Returns a Hub name unchanged, and the last part of a local path."""
    if not name:
        return None
    return name if HUB_NAME.fullmatch(name) and not Path(name).exists() else Path(name).name


def last_results(log_history: list[dict]) -> list[tuple[str, str, int]]:
    """Returns `(metric, value, step)` of the last value of each metric in a Trainer log, without runtimes."""
    found = {}
    for entry in log_history:
        for key, value in entry.items():
            quality = key in ("loss", "top10_accuracy") or (
                key.startswith("eval_") and not key.endswith(("_runtime", "_per_second"))
            )
            if quality:
                found["training_" + key if not key.startswith("eval_") else key] = value, entry["step"]
    return [(key, f"{value:.4g}", step) for key, (value, step) in sorted(found.items())]


def read_options(recipe: Path) -> dict:
    """
    Reads the options of a recipe: YAML, or JSON as `training/train.py` writes it.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is neither YAML nor JSON, or has no options.
    """
    try:
        found = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"the recipe {str(recipe)!r} is neither YAML nor JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"the recipe {str(recipe)!r} has no options.")
    return found if "options" in found else {"options": found}


def codec_figures(figures: dict) -> dict:
    """Formats the metrics of a codec for the card, from the JSON of `training/evaluate_codec.py`."""
    shown = {name: f"{100 * figures[name]:.1f} %" for name in ("wer_codec", "wer_recording") if name in figures}
    if "overall_codec" in figures:
        shown["dnsmos"] = f"{figures['overall_codec']:.2f} (recordings {figures['overall_recording']:.2f})"
    return shown | {
        "clips": figures["clips"],
        "mel": f"{figures['mel']:.3f}",
        "used": f"{100 * figures['codes_used_share']:.1f} %",
        "codebook_size": figures["codebook_size"],
    }


def training_table(recipe: dict, base: str | None) -> dict:
    """Returns the rows of the training table: base model, data, number of rows and options that were set."""
    options = recipe.get("options", {})
    if not options:
        return {}
    source = options.get("model") or options.get("backbone") or base
    datasets = options.get("datasets") or []
    training = {"started from": public_name(source), "data": ", ".join(public_name(d) for d in datasets)}
    training |= {"rows": recipe.get("num_rows")}
    training |= {key: options[key] for key in SHOWN_OPTIONS if options.get(key) not in (None, False, "", -1)}
    without_effect = ["num_train_epochs"] if "max_steps" in training else []
    without_effect += [] if "lora_rank" in training else ["lora_alpha"]
    return {key: value for key, value in training.items() if value and key not in without_effect}


def draw(log_history: list[dict], folder: Path, codec_run: Path | None) -> str | None:
    """Plots the training curves; returns the file name, also of an existing plot if there is no log."""
    try:
        if not draw_curves(log_history, folder / PICTURE, codec_run) and log_history:
            return None
    except ImportError as error:  # missing matplotlib must not fail a finished training run
        warnings.warn(str(error), stacklevel=2)
    return PICTURE if (folder / PICTURE).is_file() else None


def build_card(
    folder: str | Path,
    name: str | None = None,
    license: str | None = None,
    run: str | Path | None = None,
    recipe: str | Path | None = None,
    codec_run: str | Path | None = None,
    evaluations: list[str | Path] = (),
    codec_evaluation: str | Path | None = None,
    includes: list[str | Path] = (),
    notes: str | Path | None = None,
) -> ModelCard:
    """
    Builds a model card, and copies its plots and audio samples to `folder`.

    Args:
        folder (`str` or `Path`): A checkpoint or a PEFT adapter.
        name (`str`, *optional*): Hub name (default: the folder name).
        license (`str`, *optional*): Hub identifier of the license of the weights.
        run (`str` or `Path`, *optional*): Folder with `training_recipe.json` and `trainer_state.json`, as
            `training/train.py` writes them (default: `folder`).
        recipe (`str` or `Path`, *optional*): Training options, instead of those in `run`.
        codec_run (`str` or `Path`, *optional*): Output folder of codec training.
        evaluations (`list[str | Path]`, *optional*): Output folders of `t5gemma-tts evaluate` (default: `evaluation` in
            `folder`, if it exists). The card shows the full report of the first.
        codec_evaluation (`str` or `Path`, *optional*): JSON of `training/evaluate_codec.py`.
        includes (`list[str | Path]`, *optional*): Markdown files to insert after the evaluations, with their images.
        notes (`str` or `Path`, *optional*): Markdown file for [`read_notes`].

    Returns:
        `ModelCard`

    Raises:
        FileNotFoundError: if `folder` has neither a model nor an adapter, or a file is missing.
        ValueError: if a file is invalid.
    """
    folder = Path(folder)
    run = folder if run is None else Path(run)
    adapter = (folder / "adapter_config.json").is_file()
    if not adapter and not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"{str(folder)!r} is not a checkpoint: it has neither config.json nor adapter_config.json."
        )
    name = name or folder.resolve().name
    words = Notes() if notes is None else read_notes(notes)
    trained = read_json(run / RECIPE_FILE) if recipe is None else read_options(Path(recipe))
    options = trained.get("options", {})
    base = read_json(folder / "adapter_config.json").get("base_model_name_or_path")
    facts = describe_checkpoint(base if adapter else str(folder))
    sampling_rate = int(facts["sampling_rate"].split()[0])
    codec_within = not adapter and (folder / "codec").is_dir()
    facts = {key: value for key, value in facts.items() if key not in ("model", "layout")}
    facts["codec"] = "included" if codec_within else public_name(facts["codec"])
    source = options.get("model") or options.get("backbone") or base
    datasets = options.get("datasets") or []
    from .evaluations import include_evaluations, include_markdown

    evaluation = None
    if evaluations or (folder / "evaluation" / "evaluation.json").is_file():
        evaluation = include_evaluations(folder, [Path(one) for one in evaluations] or [folder / "evaluation"])
    samples = evaluation.samples if evaluation else []
    metadata = {
        "language": trained.get("languages") or None,
        "license": license,
        "base_model": source if source and public_name(source) == source and "/" in source else None,
        "datasets": [d for d in datasets if public_name(d) == d and "/" in d] or None,
        "tags": ["t5gemma-tts", "xcodec2", "voice-cloning"],
    }
    metadata |= {key: value for key, value in words.metadata.items() if metadata[key] is None or key != "license"}
    log_history = read_json(run / "trainer_state.json").get("log_history", [])
    return ModelCard.from_template(
        ModelCardData(
            **metadata,
            library_name="peft" if adapter else "transformers",
            pipeline_tag="text-to-speech",
            model_name=name,
            eval_results=evaluation.results if evaluation else None,
            widget=[{"text": one["text"], "output": {"url": f"audio/{one['file']}"}} for one in samples] or None,
        ),
        template_path=str(TEMPLATE),
        name=name,
        adapter=adapter,
        facts=facts,
        sampling_rate=sampling_rate,
        license=metadata["license"],
        notes=words.sections,
        training=training_table(trained, base),
        curves=draw(log_history, folder, codec_run and Path(codec_run)),
        results=last_results(log_history),
        evaluation=evaluation,
        samples=samples,
        included=[include_markdown(folder, Path(one)) for one in includes],
        codec=codec_evaluation and codec_figures(json.loads(Path(codec_evaluation).read_text(encoding="utf-8"))),
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="t5gemma_tts.model_cards.build", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="checkpoint or adapter; writes its README.md")
    parser.add_argument("--name", help="Hub name (default: the folder name)")
    parser.add_argument("--license", help="Hub identifier of the license of the weights")
    parser.add_argument("--run", metavar="FOLDER", help="output of training/train.py (default: the checkpoint)")
    parser.add_argument("--recipe", metavar="FILE", help="training options, instead of those of the run")
    parser.add_argument("--codec-run", metavar="FOLDER", help="output of training/train_codec.py, for its loss curves")
    parser.add_argument(
        "--evaluation",
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="output of `t5gemma-tts evaluate`; the first in full (default: `evaluation` in the checkpoint)",
    )
    parser.add_argument("--codec-evaluation", metavar="FILE", help="JSON of training/evaluate_codec.py")
    parser.add_argument(
        "--include",
        nargs="+",
        default=[],
        metavar="FILE",
        help="Markdown to insert after the evaluations, with its images",
    )
    parser.add_argument("--notes", metavar="FILE", help="Markdown with your own text for sections of the card")
    arguments = parser.parse_args(argv)
    options = vars(arguments)
    options |= {"evaluations": options.pop("evaluation"), "includes": options.pop("include")}
    try:
        card = build_card(**options)
    except (ImportError, OSError, ValueError, KeyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    card.save(Path(arguments.folder, "README.md"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
