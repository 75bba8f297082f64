"""Checkpoints of codec training: written atomically, with all state that an exact resume needs."""

import json
import logging
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ..sharded.resuming import explain_load_errors, explain_save_errors


logger = logging.getLogger(__name__)

PREFIX = "checkpoint-"
UNFINISHED = "_unfinished-checkpoint"
# options that may change when a run is resumed
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
    """Returns the checkpoints in `folder`, the latest last."""
    found = [path for path in folder.glob(f"{PREFIX}*") if path.name[len(PREFIX) :].isdigit()]
    return sorted(found, key=lambda path: int(path.name[len(PREFIX) :]))


def save_checkpoint(accelerator, folder: Path, state: dict, modules: dict, optimizers: dict, keep: int) -> None:
    """
    Writes `checkpoint-<step>` atomically: to a temporary folder, which is then renamed.

    Args:
        accelerator (`Accelerator`)
        folder (`Path`): Parent folder of the checkpoints.
        state (`dict`): Saved as JSON; has "step", "num_processes" and "settings".
        modules (`dict[str, nn.Module]`): Saved as safetensors under these names.
        optimizers (`dict[str, Optimizer]`)
        keep (`int`): Number of checkpoints to keep; older ones are removed.

    Raises:
        OSError: if it cannot be written; earlier checkpoints are unchanged.
    """
    with explain_save_errors(folder, f"{PREFIX}{state['step']}", folder / UNFINISHED):
        _save(accelerator, folder, state, modules, optimizers, keep)


def _save(accelerator, folder: Path, state: dict, modules: dict, optimizers: dict, keep: int) -> None:
    temporary, target = folder / UNFINISHED, folder / f"{PREFIX}{state['step']}"
    if accelerator.is_main_process:
        if temporary.exists():
            shutil.rmtree(temporary)
        temporary.mkdir(parents=True)
    accelerator.wait_for_everyone()
    torch.save(_random_state(), temporary / f"random-{accelerator.process_index}.pt")
    if accelerator.is_main_process:
        for name, module in modules.items():
            save_file(
                {key: t.contiguous() for key, t in module.state_dict().items()}, temporary / f"{name}.safetensors"
            )
        torch.save(
            {name: optimizer.state_dict() for name, optimizer in optimizers.items()}, temporary / "optimizers.pt"
        )
        (temporary / "state.json").write_text(json.dumps(state, indent=2), encoding="utf-8")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        for path in temporary.iterdir():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        if target.exists():
            shutil.rmtree(target)
        os.replace(temporary, target)
        for old in checkpoints(folder)[:-keep]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()


def load_checkpoint(accelerator, path: Path, settings: dict, modules: dict, optimizers: dict) -> dict:
    """
    Loads a checkpoint that `save_checkpoint` wrote.

    Args:
        accelerator, modules, optimizers: As for `save_checkpoint`; loaded in place.
        path (`Path`): Folder of the checkpoint.
        settings (`dict`): Options of this run, compared with "settings" of the saved state.

    Returns:
        `dict`: the saved state.

    Raises:
        ValueError: if the checkpoint is damaged, or its run had another number of processes or other options.
    """
    with explain_load_errors(path):
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    check_settings(state["settings"], settings, path)
    if state["num_processes"] != accelerator.num_processes:
        raise ValueError(
            f"{str(path)!r} is from a run with {state['num_processes']} processes, but this run has "
            f"{accelerator.num_processes}, which would change the batches."
        )
    with explain_load_errors(path):
        for name, module in modules.items():
            module.load_state_dict(load_file(path / f"{name}.safetensors"))
        saved = torch.load(path / "optimizers.pt", map_location="cpu", weights_only=True)
        for name, optimizer in optimizers.items():
            optimizer.load_state_dict(saved[name])
        _set_random_state(torch.load(path / f"random-{accelerator.process_index}.pt", weights_only=True))
    return state


def check_settings(before: dict, now: dict, path: Path) -> None:
    """
    Compares the options of an interrupted run with the current ones.

    Raises:
        ValueError: if options that affect the weights differ; the message lists them.
    """
    changed = [
        f"{name}: {json.dumps(before.get(name))} before, {json.dumps(now.get(name))} now"
        for name in sorted(before.keys() | now.keys())
        if name not in CHANGEABLE and before.get(name) != now.get(name)
    ]
    if changed:
        raise ValueError(
            f"{str(path)!r} is from a run with other options ({'; '.join(changed)}): use the same options to resume."
        )


def _random_state() -> dict:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _set_random_state(state: dict) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])


__all__ = ["checkpoints", "load_checkpoint", "save_checkpoint"]
