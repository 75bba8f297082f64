"""Packages a trained speech model and its codec as a float16 checkpoint.

    python training/nano/package.py FOLDER --model RUN --codec CODEC --average-with EARLIER

With `--average-with`, the weights are the mean of two checkpoints of one training history, which keeps what the earlier
one did well (Wortsman et al., arXiv 2109.01903). Weights are stored in float16 and load as float32, in which CPUs are
fast. Rounding can change codes of the codec's encoder where two are almost equally near. A checkpoint inside the Python
package has no code files; `t5gemma-tts export` adds them.
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


def package_checkpoint(folder: Path, model: str, codec: str, average_with: str | None = None) -> int:
    """
    Writes a float16 checkpoint with its codec.

    Args:
        folder (`Path`): New folder.
        model (`str`): Output of `training/train.py`.
        codec (`str`): Output of `training/train_codec.py`, with the codes that the model was trained on.
        average_with (`str`, *optional*): Checkpoint whose weights are averaged with those of `model`.

    Returns:
        `int`: size of all files in bytes.

    Raises:
        FileExistsError: if `folder` exists.
        OSError, ValueError: if the model or the codec cannot be loaded, or they do not fit together.
    """
    if folder.exists():
        raise FileExistsError(f"{str(folder)!r} exists; name a new folder.")
    trained = T5GemmaTTSForConditionalGeneration.from_pretrained(model, dtype=torch.float32)
    if average_with is not None:
        _average(trained, T5GemmaTTSForConditionalGeneration.from_pretrained(average_with, dtype=torch.float32))
    processor = T5GemmaTTSProcessor.from_pretrained(model)
    processor.codec_name_or_path = trained.config.codec_name_or_path = None  # the codec is saved with the model
    processor.codec = XCodec2.from_pretrained(codec)
    trained.half().save_pretrained(folder)
    processor.codec.model.half()
    processor.save_pretrained(folder)
    for config in (folder / "config.json", folder / "codec" / "config.json"):
        _load_as_float32(config)
    if PACKAGE in folder.resolve().parents:
        _remove_code(folder)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@torch.no_grad()
def _average(model: torch.nn.Module, other: torch.nn.Module) -> None:
    """Sets the weights of `model` to the mean of both; raises a `ValueError` if their shapes differ."""
    theirs = dict(other.named_parameters())
    for name, weight in model.named_parameters():
        if name not in theirs or theirs[name].shape != weight.shape:
            raise ValueError(f"the checkpoints cannot be averaged: {name!r} has other shapes in them.")
        weight.lerp_(theirs[name], 0.5)


def _load_as_float32(path: Path) -> None:
    """Sets the dtype in the configuration to float32, so that `from_pretrained` converts the float16 weights."""

    def convert(value):
        if not isinstance(value, dict):
            return value
        return {
            key: "float32" if key == "dtype" and inner else convert(inner)
            for key, inner in value.items()
            if key != "_name_or_path"  # local folder of the training machine
        }

    config = convert(json.loads(path.read_text(encoding="utf-8")))
    path.write_text(json.dumps(config | {"dtype": "float32"}, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _remove_code(folder: Path) -> None:
    """Removes code files and `auto_map`: the bundled checkpoint loads with the classes of the package."""
    for path in folder.glob("*.py"):
        path.unlink()
    for path in folder.glob("*config.json"):
        config = json.loads(path.read_text(encoding="utf-8"))
        config.pop("auto_map", None)
        path.write_text(json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", required=True, help="output folder of training/train.py")
    parser.add_argument("--codec", required=True, help="output folder of training/train_codec.py")
    parser.add_argument("--average-with", metavar="CHECKPOINT", help="average the weights with it")
    arguments = parser.parse_args(argv)
    size = package_checkpoint(arguments.folder, arguments.model, arguments.codec, arguments.average_with)
    print(f"{arguments.folder}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(main())
