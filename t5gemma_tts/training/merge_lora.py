"""Merges a LoRA adapter into its base model and checks that the logits do not change."""

from pathlib import Path

import torch
from peft import PeftModel
from transformers.utils.peft_utils import ADAPTER_CONFIG_NAME

from .. import T5GemmaTTSForConditionalGeneration, T5GemmaTTSProcessor
from ..adapters import base_of_adapter
from ..checkpoints import resolve_checkpoint


def merge_adapter(adapter: str, output: str, model: str | None = None) -> float:
    """
    Writes the base model with the merged adapter as one checkpoint.

    Args:
        adapter (`str`): folder of the PEFT adapter.
        output (`str`): folder to create; must not exist.
        model (`str`, *optional*): base model (default: the one named in the adapter config).

    Returns:
        `float`: largest absolute difference between the logits before and after merging.

    Raises:
        FileExistsError: if `output` exists.
        ValueError: if merging changes the logits by more than 1e-2 of their standard deviation.
    """
    if Path(output).exists():
        raise FileExistsError(f"{output!r} exists; name a new folder.")
    if not Path(adapter, ADAPTER_CONFIG_NAME).is_file():
        raise ValueError(f"{adapter!r} is no adapter: it has no {ADAPTER_CONFIG_NAME}.")
    model = resolve_checkpoint(model) if model else base_of_adapter(adapter)
    base = T5GemmaTTSForConditionalGeneration.from_pretrained(model)
    adapted = PeftModel.from_pretrained(base, adapter).eval()
    probe = torch.arange(16).remainder(base.config.codebook_size)[None]
    inputs = {
        "input_ids": torch.arange(3, 19).remainder(base.config.backbone.encoder.vocab_size)[None],
        "decoder_input_ids": probe,
        "decoder_attention_mask": torch.ones_like(probe),
    }
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    with torch.no_grad():
        before = adapted(**inputs).logits.float()
        merged = adapted.merge_and_unload()
        after = merged(**inputs).logits.float()
    difference = (after - before).abs().max().item()
    if not difference <= 1e-2 * before.std().item():
        raise ValueError(f"merging changed the logits by up to {difference}, more than rounding explains.")
    merged.save_pretrained(output)
    T5GemmaTTSProcessor.from_pretrained(model).save_pretrained(output)
    return difference
