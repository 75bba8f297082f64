"""PEFT adapters: which base model an adapter belongs to, and the model with the adapter merged into its weights."""

import json
import warnings
from pathlib import Path

from transformers.utils.hub import cached_file

from .checkpoints import resolve_checkpoint
from .model.modeling_t5gemma_tts import T5GemmaTTSForConditionalGeneration


ADAPTER_CONFIG = "adapter_config.json"


def base_of_adapter(name: str) -> str | None:
    """
    Returns the base model that an adapter names, or None if `name` is no adapter.

    Args:
        name (`str`): Hub name or folder.

    Raises:
        ValueError: if the adapter's configuration names no base model.
    """
    if Path(name).is_dir() and not Path(name, ADAPTER_CONFIG).is_file():
        return None
    try:
        path = cached_file(
            name,
            ADAPTER_CONFIG,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except (OSError, ValueError):  # no such repository: loading the checkpoint says so
        return None
    if path is None or Path(name, "config.json").is_file():
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


__all__ = ["ADAPTER_CONFIG", "base_of_adapter", "merge_into"]
