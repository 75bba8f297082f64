"""Reads the original project's training bundles, `torch.save({model, optimizer, scheduler, args})`, safely."""

import argparse
import os
import re
import zipfile
from collections.abc import Callable
from typing import Any

import torch

from ..model.xcodec2_original import shorten


# the only class that a bundle needs besides tensors and containers, which torch allows by default
ALLOWED_GLOBALS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [argparse.Namespace]
# key prefixes of DistributedDataParallel and torch.compile, which the original's trainer may save
WRAPPER_PREFIXES = ("module.", "_orig_mod.")
# second names of the encoder and the decoder in the original: the names of the backbone that they duplicate
ALIASES = {
    "encoder_module.": ("backbone.model.encoder.", "backbone.base_model.model.model.encoder."),
    "decoder_module.": ("backbone.model.decoder.", "backbone.base_model.model.model.decoder."),
}


def load_bundle(path: str | os.PathLike[str]) -> dict[str, Any]:
    """
    Reads a training bundle without executing any code in it.

    Besides tensors and plain containers, only `argparse.Namespace` is allowed. The file is memory-mapped, so that
    unused tensors, such as the optimizer's, are not read.

    Args:
        path (`str` or `os.PathLike`): A `.pth` file.

    Returns:
        `dict` with at least "model" (`dict[str, torch.Tensor]`, the original's names) and "args"
        (`argparse.Namespace`); full bundles also have "optimizer" and "scheduler".

    Raises:
        OSError: if the file does not exist or is not readable.
        ValueError: if it is damaged, is not a bundle, or refers to another class or function, which the message names.
    """
    path = os.fspath(path)
    try:
        with torch.serialization.safe_globals(ALLOWED_GLOBALS):
            bundle = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path) or None)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a damaged or malicious pickle can fail anywhere
        if refused := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise ValueError(
                f"{path!r} is not loaded for safety: it refers to {refused[1]}. A training bundle may only hold "
                "tensors, plain containers and an argparse.Namespace."
            ) from error
        raise ValueError(
            f"{path!r} must be a training bundle written by `torch.save`; it is another file or damaged."
        ) from error
    if not isinstance(bundle, dict) or not {"model", "args"} <= bundle.keys():
        found = list(bundle) if isinstance(bundle, dict) else type(bundle).__name__
        raise ValueError(f"{path!r} must be a training bundle, with 'model' and 'args'; found {found}.")
    model, args = bundle["model"], bundle["args"]
    if not isinstance(args, argparse.Namespace):
        raise ValueError(f"'args' in {path!r} must be an argparse.Namespace, got {type(args).__name__}.")
    if not isinstance(model, dict) or not model or not all(isinstance(v, torch.Tensor) for v in model.values()):
        raise ValueError(f"'model' in {path!r} must be a non-empty dictionary of tensors.")
    return bundle


def remove_aliases(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """
    Removes wrapper prefixes from the keys, and the duplicates `encoder_module.*` and `decoder_module.*`.

    Raises:
        ValueError: if a duplicate differs from the backbone's weight.
    """
    for prefix in WRAPPER_PREFIXES:
        if all(key.startswith(prefix) for key in state_dict):
            state_dict = {key.removeprefix(prefix): value for key, value in state_dict.items()}
    unique, different = {}, []
    for key, value in state_dict.items():
        alias = next((prefix for prefix in ALIASES if key.startswith(prefix)), None)
        if alias is None:
            unique[key] = value
            continue
        names = [original + key.removeprefix(alias) for original in ALIASES[alias]]
        original = next((state_dict[name] for name in names if name in state_dict), None)
        if original is None:
            unique[key] = value  # `load_model` reports it as unexpected
        elif not _equal(value, original):
            different.append(key)
    if different:
        raise ValueError(f"{len(different)} weights are stored twice and differ: {shorten(different)}.")
    return unique


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.data_ptr() == other.data_ptr() and one.stride() == other.stride():
        return True
    return torch.equal(one, other)
