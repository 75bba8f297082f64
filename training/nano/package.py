"""Packs a trained speech model and its codec as a checkpoint in half precision, as a Hub repository has it.

    python training/nano/package.py FOLDER --model RUN --codec CODEC

Weights are stored in float16 and load as float32, which is what processors are fast and exact in; a codec's encoder may
choose another code where two are equally near. A checkpoint inside the package holds no code:
`t5gemma-tts export` adds it.
"""

import argparse
import json
import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a clone works without installation

import torch  # noqa: E402

from t5gemma_tts import T5GemmaTTSForConditionalGeneration, T5GemmaTTSProcessor, XCodec2  # noqa: E402
from t5gemma_tts.cli.command import command  # noqa: E402


PACKAGE = Path(__file__).resolve().parents[2] / "t5gemma_tts"


def package(folder: Path, model: str, codec: str) -> int:
    """
    Args:
        folder (`Path`): new.
        model (`str`): what `training/train.py` wrote.
        codec (`str`): what `training/train_codec.py` wrote; its codes must be those that the model was trained on.

    Returns:
        `int`: bytes of all files.

    Raises:
        FileExistsError: if `folder` exists.
        OSError, ValueError: for a model or codec that cannot be loaded, or that do not fit together.
    """
    if folder.exists():
        raise FileExistsError(f"{str(folder)!r} exists; name a new folder.")
    trained = T5GemmaTTSForConditionalGeneration.from_pretrained(model, dtype=torch.float32)
    processor = T5GemmaTTSProcessor.from_pretrained(model)
    processor.codec_name_or_path = trained.config.codec_name_or_path = None  # it goes along
    processor.codec = XCodec2.from_pretrained(codec)
    trained.half().save_pretrained(folder)
    processor.codec.model.half()
    processor.save_pretrained(folder)
    for config in (folder / "config.json", folder / "codec" / "config.json"):
        _load_as_float32(config)
    if PACKAGE in folder.resolve().parents:
        _remove_code(folder)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _load_as_float32(path: Path) -> None:
    """Whatever its weights are stored in: `from_pretrained` goes by the configuration."""

    def changed(value):
        if not isinstance(value, dict):
            return value
        return {
            key: "float32" if key == "dtype" and inner else changed(inner)
            for key, inner in value.items()
            if key != "_name_or_path"  # a folder of the machine that trained it
        }

    config = changed(json.loads(path.read_text(encoding="utf-8")))
    path.write_text(json.dumps(config | {"dtype": "float32"}, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _remove_code(folder: Path) -> None:
    """Removes the code and its `auto_map`: inside the package the checkpoint loads with the package's own classes."""
    for copy in folder.glob("*.py"):
        copy.unlink()
    for path in folder.glob("*config.json"):
        stored = json.loads(path.read_text(encoding="utf-8"))
        stored.pop("auto_map", None)
        path.write_text(json.dumps(stored, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", required=True, help="folder that training/train.py made")
    parser.add_argument("--codec", required=True, help="folder that training/train_codec.py made")
    arguments = parser.parse_args(argv)
    size = package(arguments.folder, arguments.model, arguments.codec)
    print(f"{arguments.folder}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(main())
