"""Merges the LoRA weights of the original project's training bundles, or saves them as a PEFT adapter."""

import json
import math
import re
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ..model.weights import ORIGINAL_KEY_MAPPING, UNUSED_ORIGINAL_KEYS


PEFT_PREFIX = "backbone.base_model.model."
LORA_KEY = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])\.default\.weight")


@dataclass
class LoraWeights:
    """
    LoRA weights of a training bundle.

    Args:
        factors (`dict`): For each module (original name), "A" of shape (rank, in_features) and "B" of shape
            (out_features, rank).
        rank (`int`): LoRA rank.
        alpha (`float`): The update of a weight is alpha / rank * B A.
        dropout (`float`): Dropout in training.
    """

    factors: dict[str, dict[str, torch.Tensor]]
    rank: int
    alpha: float
    dropout: float


def split_lora(
    state_dict: dict[str, torch.Tensor], args: Namespace
) -> tuple[dict[str, torch.Tensor], LoraWeights | None]:
    """
    Splits a bundle's weights into base weights, with their names before LoRA, and LoRA weights (None if it has none).

    Raises:
        ValueError: if A, B or the base weight of a module is missing, or shapes do not match each other or `args`.
    """
    base: dict[str, torch.Tensor] = {}
    factors: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in state_dict.items():
        if key.startswith(PEFT_PREFIX):
            key = "backbone." + key.removeprefix(PEFT_PREFIX)
        if match := LORA_KEY.fullmatch(key):
            factors.setdefault(match["module"], {})[match["side"]] = value
        else:
            base[key.replace(".base_layer.", ".")] = value
    if not factors:
        return base, None

    settings: dict[str, Any] = {}
    types: dict[str, tuple[type, ...]] = {"lora_r": (int,), "lora_alpha": (int, float)}
    for name, accepted in types.items():
        settings[name] = getattr(args, name, None)
        if not isinstance(settings[name], accepted) or not 0 < settings[name] < math.inf:
            raise ValueError(f"`{name}` in the bundle's 'args' must be a number above 0, got {settings[name]!r}.")
    rank = settings["lora_r"]
    for module, pair in factors.items():
        weight = base.get(f"{module}.weight")
        if len(pair) != 2 or weight is None:
            present = [f"lora_{side}" for side in sorted(pair)] + ["base_layer"] * (weight is not None)
            raise ValueError(f"{module} must have lora_A, lora_B and base_layer, got only {', '.join(present)}.")
        if weight.ndim != 2:
            raise ValueError(f"base_layer of {module} must have two dimensions, got shape {tuple(weight.shape)}.")
        expected = (rank, weight.shape[1]), (weight.shape[0], rank)
        found = tuple(pair["A"].shape), tuple(pair["B"].shape)
        if found != expected:
            raise ValueError(
                f"lora_A and lora_B of {module} must have shapes {expected[0]} and {expected[1]} at `lora_r` {rank}, "
                f"got {found[0]} and {found[1]}."
            )
    lora = LoraWeights(factors, rank, settings["lora_alpha"], float(getattr(args, "lora_dropout", None) or 0.0))
    return base, lora


def merge_lora_weights(
    base: dict[str, torch.Tensor], lora: LoraWeights, dtype: torch.dtype | None = None
) -> dict[str, torch.Tensor]:
    """Returns W + alpha / rank * B A for each module, computed in float32 and cast to `dtype` (default: that of W)."""
    merged = dict(base)
    for module, pair in lora.factors.items():
        weight = base[f"{module}.weight"]
        update = (lora.alpha / lora.rank) * (pair["B"].float() @ pair["A"].float())
        merged[f"{module}.weight"] = (weight.float() + update).to(dtype or weight.dtype)
    return merged


def save_adapter(lora: LoraWeights, model: torch.nn.Module, folder: Path, base_model_name_or_path: str) -> None:
    """
    Writes a folder that `peft.PeftModel.from_pretrained(model, folder)` loads.

    Args:
        lora (`LoraWeights`): LoRA weights.
        model (`torch.nn.Module`): Converted model. If other modules have the same last name component as the adapted
            ones, `target_modules` has full names.
        folder (`Path`): Folder to create.
        base_model_name_or_path (`str`): Stored in `adapter_config.json`.
    """
    tensors, adapted = {}, set()
    for original, pair in lora.factors.items():
        if any(re.match(pattern, f"{original}.weight") for pattern in UNUSED_ORIGINAL_KEYS):
            continue
        module = f"{original}."
        for pattern, ours in ORIGINAL_KEY_MAPPING.items():
            module = re.sub(pattern, ours, module)
        module = module.removesuffix(".")
        adapted.add(module)
        for side, value in pair.items():
            tensors[f"base_model.model.{module}.lora_{side}.weight"] = value.contiguous()
    suffixes = {module.rsplit(".", 1)[-1] for module in adapted}
    matched = {name for name, _ in model.named_modules() if name.rsplit(".", 1)[-1] in suffixes}
    config = {
        "base_model_name_or_path": base_model_name_or_path,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "peft_type": "LORA",
        "r": lora.rank,
        "target_modules": sorted(suffixes if matched == adapted else adapted),
        "task_type": "SEQ_2_SEQ_LM",
    }
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
