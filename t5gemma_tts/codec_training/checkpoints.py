"""Checkpoints of codec training: everything that an exact continuation needs, there whole or not at all."""

import json
import logging
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ..sharded.resuming import explain_damage, explain_unwritten


logger = logging.getLogger(__name__)

PREFIX = "checkpoint-"
UNFINISHED = "_unfinished-checkpoint"
# what may be other than it was when a run goes on
CHANGEABLE = {
    "output_dir",
    "resume",
    "cache_dir",
    "logging_steps",
    "eval_steps",
    "eval_clips",
    "eval_audio_clips",
    "save_steps",
    "save_total_limit",
    "report_to",
    "use_cpu",
}


def checkpoints(folder: Path) -> list[Path]:
    """Those in `folder`, the latest last."""
    found = [path for path in folder.glob(f"{PREFIX}*") if path.name[len(PREFIX) :].isdigit()]
    return sorted(found, key=lambda path: int(path.name[len(PREFIX) :]))


def save_checkpoint(accelerator, folder: Path, state: dict, modules: dict, optimizers: dict, keep: int) -> None:
    """
    Writes `checkpoint-<step>`: beside, then renamed.

    Args:
        accelerator (`Accelerator`)
        folder (`Path`): Where checkpoints are.
        state (`dict`): For JSON; has "step", "num_processes" and "settings".
        modules (`dict[str, nn.Module]`): Weights are written as safetensors under these names.
        optimizers (`dict[str, Optimizer]`)
        keep (`int`): Older checkpoints are removed.

    Raises:
        OSError: if it cannot be written; those before are as they were.
    """
    with explain_unwritten(folder, f"{PREFIX}{state['step']}", folder / UNFINISHED):
        _save(accelerator, folder, state, modules, optimizers, keep)


def _save(accelerator, folder: Path, state: dict, modules: dict, optimizers: dict, keep: int) -> None:
    aside, place = folder / UNFINISHED, folder / f"{PREFIX}{state['step']}"
    if accelerator.is_main_process:
        if aside.exists():
            shutil.rmtree(aside)
        aside.mkdir(parents=True)
    accelerator.wait_for_everyone()
    torch.save(_random_state(), aside / f"random-{accelerator.process_index}.pt")
    if accelerator.is_main_process:
        for name, module in modules.items():
            save_file({key: t.contiguous() for key, t in module.state_dict().items()}, aside / f"{name}.safetensors")
        torch.save({name: optimizer.state_dict() for name, optimizer in optimizers.items()}, aside / "optimizers.pt")
        (aside / "state.json").write_text(json.dumps(state, indent=2), encoding="utf-8")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        for path in aside.iterdir():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        if place.exists():
            shutil.rmtree(place)
        os.replace(aside, place)
        for old in checkpoints(folder)[:-keep]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()


def load_checkpoint(accelerator, path: Path, settings: dict, modules: dict, optimizers: dict) -> dict:
    """
    Loads what `save_checkpoint` wrote.

    Args:
        accelerator, modules, optimizers: As for `save_checkpoint`.
        path (`Path`): The checkpoint.
        settings (`dict`): Options of this run, compared with "settings" of the state.

    Returns:
        `dict`: the state.

    Raises:
        ValueError: if it is damaged, or the run had another number of processes, or other options.
    """
    with explain_damage(path):
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    check_settings(state["settings"], settings, path)
    if state["num_processes"] != accelerator.num_processes:
        raise ValueError(
            f"{str(path)!r} is of a run with {state['num_processes']} processes, this one has "
            f"{accelerator.num_processes}: batches would be others."
        )
    with explain_damage(path):
        for name, module in modules.items():
            module.load_state_dict(load_file(path / f"{name}.safetensors"))
        saved = torch.load(path / "optimizers.pt", map_location="cpu", weights_only=True)
        for name, optimizer in optimizers.items():
            optimizer.load_state_dict(saved[name])
        _set_random_state(torch.load(path / f"random-{accelerator.process_index}.pt", weights_only=True))
    return state


def check_settings(before: dict, now: dict, path: Path) -> None:
    """
    Raises:
        ValueError: if options that decide about weights are not those of the interrupted run; names them.
    """
    changed = [
        f"{name}: {json.dumps(before.get(name))} before, {json.dumps(now.get(name))} now"
        for name in sorted(before.keys() | now.keys())
        if name not in CHANGEABLE and before.get(name) != now.get(name)
    ]
    if changed:
        raise ValueError(f"{str(path)!r} is of a run with other options ({'; '.join(changed)}): repeat them to go on.")


def _random_state() -> dict:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _set_random_state(state: dict) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])


__all__ = ["checkpoints", "load_checkpoint", "save_checkpoint"]
