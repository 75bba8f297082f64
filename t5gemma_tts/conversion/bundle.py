"""Training bundles of the original project, `torch.save({model, optimizer, scheduler, args})`, read without trust."""

import argparse
import os
import re
import zipfile
from collections.abc import Callable
from typing import Any

import torch

from ..model.xcodec2_original import shorten


# the only class in a bundle, besides tensors and containers, which torch knows by itself
ALLOWED_GLOBALS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [argparse.Namespace]
# prefixes of wrappers that the original's trainer can leave (DistributedDataParallel, torch.compile)
WRAPPER_PREFIXES = ("module.", "_orig_mod.")
# the original registers both halves of the backbone a second time under these names
ALIASES = {
    "encoder_module.": ("backbone.model.encoder.", "backbone.base_model.model.model.encoder."),
    "decoder_module.": ("backbone.model.decoder.", "backbone.base_model.model.model.decoder."),
}


def load_bundle(path: str | os.PathLike[str]) -> dict[str, Any]:
    """
    Reads a training bundle. Nothing in it is executed: besides tensors and plain containers, only
    `argparse.Namespace` is allowed. Tensors are mapped from the file, so that those not used are not read.

    Args:
        path (`str` or `os.PathLike`): a `.pth` file.

    Returns:
        `dict` with at least "model" (`dict[str, torch.Tensor]`, the original's names) and "args"
        (`argparse.Namespace`); full bundles also have "optimizer" and "scheduler".

    Raises:
        OSError: if the file is not there or not readable.
        ValueError: if it is damaged, is no bundle, or holds any other class or function (named in the message).
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
                f"{path!r} is refused: it refers to {refused[1]}, and a training bundle holds nothing but tensors, "
                "plain containers and an argparse.Namespace."
            ) from error
        raise ValueError(
            f"{path!r} must be a training bundle written by `torch.save`: it is something else, or damaged."
        ) from error
    if not isinstance(bundle, dict) or not {"model", "args"} <= bundle.keys():
        found = list(bundle) if isinstance(bundle, dict) else type(bundle).__name__
        raise ValueError(f"{path!r} must be a training bundle, with 'model' and 'args'; found {found}.")
    model, args = bundle["model"], bundle["args"]
    if not isinstance(args, argparse.Namespace):
        raise ValueError(f"'args' in {path!r} must be an argparse.Namespace, got {type(args).__name__}.")
    if not isinstance(model, dict) or not model or not all(isinstance(v, torch.Tensor) for v in model.values()):
        raise ValueError(f"'model' in {path!r} must be a dictionary of tensors that is not empty.")
    return bundle


def without_aliases(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """
    A bundle's weights with every tensor once: wrapper prefixes are cut, and `encoder_module.*` and `decoder_module.*`
    are dropped where they are the backbone's own tensors.

    Raises:
        ValueError: if one of them differs from the backbone's.
    """
    for prefix in WRAPPER_PREFIXES:
        if all(key.startswith(prefix) for key in state_dict):
            state_dict = {key.removeprefix(prefix): value for key, value in state_dict.items()}
    kept, different = {}, []
    for key, value in state_dict.items():
        alias = next((prefix for prefix in ALIASES if key.startswith(prefix)), None)
        if alias is None:
            kept[key] = value
            continue
        names = [original + key.removeprefix(alias) for original in ALIASES[alias]]
        original = next((state_dict[name] for name in names if name in state_dict), None)
        if original is None:
            kept[key] = value  # reported later, as unexpected
        elif not _is_same(value, original):
            different.append(key)
    if different:
        raise ValueError(f"{len(different)} weights are stored twice and differ: {shorten(different)}.")
    return kept


def _is_same(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.data_ptr() == other.data_ptr() and one.stride() == other.stride():
        return True
    return torch.equal(one, other)
