"""PEFT adapters: which base model an adapter belongs to, and the model with the adapter merged into its weights."""

import json
import warnings
from pathlib import Path

from transformers.utils.peft_utils import find_adapter_config_file

from .checkpoints import resolve_checkpoint
from .model.modeling_t5gemma_tts import T5GemmaTTSForConditionalGeneration


def base_of_adapter(name: str) -> str | None:
    """
    Returns the base model that an adapter names, or None if `name` is no adapter, by the rule of transformers.

    Args:
        name (`str`): Hub name or folder.

    Raises:
        ValueError: if the adapter's configuration names no base model.
    """
    try:
        path = find_adapter_config_file(name)
    except (OSError, ValueError):  # no such repository: loading the checkpoint says so
        return None
    if path is None:
        return None
    base = json.loads(Path(path).read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not base:
        raise ValueError(f"the adapter {name!r} names no base model; `t5gemma-tts merge` takes one with `--model`.")
    return resolve_checkpoint(base)


def merge_into(model: T5GemmaTTSForConditionalGeneration, adapter: str) -> T5GemmaTTSForConditionalGeneration:
    """
    Adds an adapter to the weights of its base model.

    Args:
        model ([`T5GemmaTTSForConditionalGeneration`]): the base model, which is changed.
        adapter (`str`): Hub name or folder of the adapter.

    Raises:
        ImportError: if peft is not installed.
        OSError, ValueError: if the adapter is damaged or does not fit the model.
    """
    try:
        from peft import PeftModel
    except ImportError as error:
        raise ImportError(f'adapters need `pip install "t5gemma-tts[train]"` ({error}).') from error
    with warnings.catch_warnings():  # peft asks for an attribute that transformers renamed
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        merged: T5GemmaTTSForConditionalGeneration = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    return merged.eval()


__all__ = ["base_of_adapter", "merge_into"]
