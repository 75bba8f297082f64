"""Exports a checkpoint as a folder for the Hub: weights, processor, codec, code and model card."""

import json
import shutil
from pathlib import Path

from .checkpoints import resolve_checkpoint
from .loading import load_model, load_processor
from .model import configuration_t5gemma_tts
from .model.configuration_t5gemma_tts import AUTO_MAP, T5GemmaTTSConfig


MODEL_CODE = Path(configuration_t5gemma_tts.__file__).parent
CODEC_FOLDER = "codec"


def export_checkpoint(model: str, output: str | Path) -> Path:
    """
    Writes a folder that `from_pretrained(..., trust_remote_code=True)` can load without this package.

    A local checkpoint in this project's layout is copied unchanged; others are loaded and saved.

    Args:
        model (`str`): Hub name or folder, in our layout or the original project's, or "nano" for the bundled voice.
        output (`str` or `Path`): folder to write; must not exist.

    Returns:
        `Path`: the folder.

    Raises:
        FileExistsError: if `output` exists.
        OSError, ValueError: if the checkpoint does not exist or is damaged.
    """
    folder = Path(output)
    if folder.exists():
        raise FileExistsError(f"{str(folder)!r} exists; name a new folder.")
    source = Path(resolve_checkpoint(model))
    if _has_our_layout(source):
        load_processor(str(source))  # raises for a checkpoint that could not be loaded again
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    else:
        load_model(model, device="cpu").save_pretrained(folder)
    if not (folder / CODEC_FOLDER).is_dir():
        load_processor(str(source) if source.is_dir() else model, codec_device="cpu").save_pretrained(folder)
    add_code(folder)
    if not (folder / "README.md").is_file():
        from .model_cards.build import build_card

        build_card(folder).save(folder / "README.md")
    return folder


def add_code(folder: Path) -> None:
    """Copies the model's code into a checkpoint and names its classes in `auto_map`."""
    for file in MODEL_CODE.glob("*.py"):
        if file.name != "__init__.py":
            shutil.copy(file, folder / file.name)
    for name, classes in (
        ("config.json", AUTO_MAP),
        ("processor_config.json", {"AutoProcessor": AUTO_MAP["AutoProcessor"]}),
    ):
        path = folder / name
        stored = json.loads(path.read_text(encoding="utf-8"))
        text = json.dumps(stored | {"auto_map": classes}, indent=2, sort_keys=True, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")


def _has_our_layout(folder: Path) -> bool:
    config = folder / "config.json"
    if not config.is_file():
        return False
    return json.loads(config.read_text(encoding="utf-8")).get("model_type") == T5GemmaTTSConfig.model_type


__all__ = ["add_code", "export_checkpoint"]
