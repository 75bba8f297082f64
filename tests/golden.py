"""Reads recorded results of the original implementation from `GOLDEN_DIR/{tts,codec}`."""

import json
import os
from pathlib import Path

import torch
from safetensors.torch import load_file

from t5gemma_tts import T5GemmaTTSConfig, T5GemmaTTSForConditionalGeneration
from t5gemma_tts.model.weights import ORIGINAL_KEY_MAPPING


GOLDEN_DIR = Path(os.environ.get("GOLDEN_DIR", Path(__file__).parent / "fixtures"))
TTS_DIR = GOLDEN_DIR / "tts"

LOGITS_ATOL = 2e-3  # what the recording's README suggests: RoPE angles reach 2000 radians
LOSS_RTOL = 1e-4
STABLE_MARGIN = 0.02  # below it a greedy choice may flip by rounding


def case_dirs(part: str) -> list[Path]:
    return sorted(path.parent for path in (TTS_DIR / part).glob("*/case.json"))


def parametrize(part: str, select=lambda case: True):
    """(argnames, argvalues, ids) for the cases of one part, by folder."""
    chosen = [path for path in case_dirs(part) if select(json.loads((path / "case.json").read_text()))]
    return {"argnames": "path", "argvalues": chosen, "ids": [path.name for path in chosen]}


def read_case(path: Path) -> tuple[dict, dict, dict]:
    """(case.json, inputs, expected) of one case folder."""
    case = json.loads((path / "case.json").read_text())
    return case, load_file(path / "inputs.safetensors"), load_file(path / "expected.safetensors")


def our_key(original_key: str) -> str:
    import re

    for pattern, target in ORIGINAL_KEY_MAPPING.items():
        original_key = re.sub(pattern, target, original_key)
    return original_key


def load_model(path: Path, case: dict) -> T5GemmaTTSForConditionalGeneration:
    """The case's model with its attention, overridden settings and patched weights."""
    folder = (path / case["model"]).resolve()
    original = json.loads((folder / "config.json").read_text()) | case.get("config_overrides", {})
    config = T5GemmaTTSConfig.from_original(original)
    if case["attn"] == "eager":
        # the original's eager attention applies the backbone's soft-capping, its sdpa ignores it
        for side in ("encoder", "decoder"):
            module = getattr(config.backbone, side)
            module.attn_logit_softcapping = original["t5_config_dict"][side]["attn_logit_softcapping"]
    model = T5GemmaTTSForConditionalGeneration.from_pretrained(folder, config=config, attn_implementation=case["attn"])
    for patch in case.get("weight_patch", []):
        with torch.no_grad():
            model.get_parameter(our_key(patch["tensor"]))[tuple(patch["index"])] += patch["add"]
    return model
