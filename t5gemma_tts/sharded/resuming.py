"""Checks that a training run can resume exactly from a checkpoint, and explains errors of loading and saving."""

import contextlib
import json
import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR


WEIGHT_FILES = ("model.safetensors", "adapter_model.safetensors", "model.safetensors.index.json")


def check_resumable(checkpoint: str | os.PathLike[str], process_index: int = 0, num_processes: int = 1) -> None:
    """
    Checks that a checkpoint has all files for an exact resume.

    transformers' Trainer ignores missing optimizer, scheduler and random states, and the run then gives other results.

    Args:
        checkpoint (`str` or `os.PathLike`): Folder that the Trainer saved.
        process_index, num_processes (`int`, *optional*): Rank and number of processes of this run.

    Raises:
        FileNotFoundError: if the folder or files in it are missing; the message names them.
        ValueError: if `trainer_state.json` is damaged.
    """
    folder = Path(checkpoint)
    if not folder.is_dir():
        raise FileNotFoundError(f"`resume_from_checkpoint` {str(folder)!r} is not a folder.")
    random_state = "rng_state.pth" if num_processes == 1 else f"rng_state_{process_index}.pth"
    missing = [
        name
        for name in ("trainer_state.json", "optimizer.pt", "scheduler.pt", random_state)
        if not (folder / name).is_file()
    ]
    weights = next((name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if weights is None:
        missing.append(WEIGHT_FILES[0])
    if missing:
        raise FileNotFoundError(
            f"{str(folder)!r} cannot be resumed: it lacks {', '.join(missing)}. {_other_checkpoints(folder)}"
        )
    with explain_load_errors(folder):
        state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        if not isinstance(state["global_step"], int):
            raise ValueError(f"`global_step` in trainer_state.json is {state['global_step']!r}")


@contextlib.contextmanager
def explain_load_errors(checkpoint: str | os.PathLike[str]) -> Iterator[None]:
    """
    Converts the errors of loading a damaged checkpoint to a ValueError.

    Raises:
        ValueError: names the checkpoint and the other checkpoints of the run.
    """
    try:
        yield
    except (
        AttributeError,
        EOFError,
        LookupError,
        OSError,
        RuntimeError,
        SafetensorError,
        TypeError,
        ValueError,
        pickle.UnpicklingError,
    ) as error:
        raise ValueError(
            f"{str(checkpoint)!r} is damaged, or belongs to another model or optimizer "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}). "
            f"{_other_checkpoints(Path(checkpoint))}"
        ) from error


@contextlib.contextmanager
def explain_save_errors(folder: Path, name: str, unfinished: Path) -> Iterator[None]:
    """
    Explains why a checkpoint cannot be saved, and removes the folder `unfinished` to free its disk space.

    Raises:
        OSError: names the checkpoint.
    """
    try:
        yield
    except Exception as error:
        # `tokenizers` raises a bare Exception when the disk is full
        if not isinstance(error, (OSError, RuntimeError, SafetensorError)) and type(error) is not Exception:
            raise
        shutil.rmtree(unfinished, ignore_errors=True)
        raise OSError(
            f"{name} cannot be written to {str(folder)!r}: {error}. Earlier checkpoints are unchanged: free "
            "some space and resume from the last one."
        ) from error


def _other_checkpoints(folder: Path) -> str:
    found = [path for path in folder.parent.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if path != folder]
    names = sorted((path.name for path in found if path.is_dir()), key=lambda name: (len(name), name))
    if not names:
        return "The run has no other checkpoint."
    return f"The run also has {', '.join(names)}; choose one by `resume_from_checkpoint`."


__all__ = ["check_resumable", "explain_load_errors", "explain_save_errors"]
