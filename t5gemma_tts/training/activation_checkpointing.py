"""Selective activation checkpointing: matrix products and attention are kept, what is cheap is computed again.

Norms, rotations and activations hold more than half of a layer's memory and little of its time. Checkpointing whole
layers (`activation_checkpointing`) saves more, and repeats the dear products too.
"""

from functools import partial

import torch
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts


aten = torch.ops.aten
# attention of every device: names differ between torch versions, and one that is missing is never called
ATTENTION = [
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_attention_math_for_mps",
]
KEPT = {aten.mm.default, aten.addmm.default, aten.bmm.default, aten.baddbmm.default} | {
    getattr(aten, name).default for name in ATTENTION if hasattr(aten, name)
}


def keep_products(context, operation, *args, **kwargs) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if operation in KEPT else CheckpointPolicy.PREFER_RECOMPUTE


def enable_selective_checkpointing(model) -> None:
    """
    Makes every layer of `model` (a `PreTrainedModel`, or a PEFT model around one) keep products and attention only.

    Losses and gradients stay what they are, bit for bit.
    """
    contexts = partial(create_selective_checkpoint_contexts, keep_products)
    model.activation_checkpointing_enable(
        activation_checkpointing_kwargs={"use_reentrant": False, "context_fn": contexts}
    )


__all__ = ["enable_selective_checkpointing"]
