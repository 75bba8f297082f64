"""What a checkpoint must have for a run to go on from it exactly, and words for what is wrong with one."""

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
    Looks for what transformers' Trainer goes on without, with other numbers than the interrupted run's.

    Args:
        checkpoint (`str` or `os.PathLike`): folder that the Trainer saved.
        process_index, num_processes (`int`, *optional*): of this run.

    Raises:
        FileNotFoundError: if there is no such folder, or files are missing; names them.
        ValueError: if its state is damaged.
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
        raise FileNotFoundError(f"{str(folder)!r} cannot be resumed: it lacks {', '.join(missing)}. {_others(folder)}")
    with explain_damage(folder):
        state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        if not isinstance(state["global_step"], int):
            raise ValueError(f"`global_step` of its trainer_state.json is {state['global_step']!r}")


@contextlib.contextmanager
def explain_damage(checkpoint: str | os.PathLike[str]) -> Iterator[None]:
    """
    Turns what loading stumbles over in a damaged checkpoint into one kind of error.

    Raises:
        ValueError: names the checkpoint, and those that there are besides.
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
            f"{str(checkpoint)!r} is damaged, or of another model or optimizer "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}). {_others(Path(checkpoint))}"
        ) from error


@contextlib.contextmanager
def explain_unwritten(folder: Path, name: str, unfinished: Path) -> Iterator[None]:
    """
    Says what is left when a checkpoint cannot be written, and removes `unfinished`, which may be what fills the disk.

    Raises:
        OSError: names the checkpoint.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise OSError(
            f"{name} cannot be written to {str(folder)!r}: {error}. Earlier ones are as they were: make room, and go "
            "on from the last."
        ) from error


def _others(folder: Path) -> str:
    found = [path for path in folder.parent.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if path != folder]
    names = sorted((path.name for path in found if path.is_dir()), key=lambda name: (len(name), name))
    if not names:
        return "There is no other checkpoint beside it."
    return f"To go on from another one, name it by `resume_from_checkpoint`: beside it are {', '.join(names)}."


__all__ = ["check_resumable", "explain_damage", "explain_unwritten"]
