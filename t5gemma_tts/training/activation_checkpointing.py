"""Selective activation checkpointing: saves outputs of matrix products and attention, recomputes the rest.

Norms, rotary embeddings and activation functions hold more than half of a layer's activation memory but are cheap to
recompute. Checkpointing whole layers (`activation_checkpointing`) saves more memory, but also recomputes the expensive
matrix products.
"""

from functools import partial

import torch
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts


aten = torch.ops.aten
# attention kernels of all devices; names differ between torch versions, missing ones are skipped
ATTENTION = [
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_attention_math_for_mps",
]
SAVED_OPERATIONS = {aten.mm.default, aten.addmm.default, aten.bmm.default, aten.baddbmm.default} | {
    getattr(aten, name).default for name in ATTENTION if hasattr(aten, name)
}


def checkpoint_policy(context, operation, *args, **kwargs) -> CheckpointPolicy:
    """Checkpoint policy: saves outputs of the operations in `SAVED_OPERATIONS`, recomputes all others."""
    return CheckpointPolicy.MUST_SAVE if operation in SAVED_OPERATIONS else CheckpointPolicy.PREFER_RECOMPUTE


def enable_selective_checkpointing(model) -> None:
    """
    Enables selective checkpointing in every layer of `model`, a `PreTrainedModel` or a PEFT model around one.

    Losses and gradients are bit-identical to those without checkpointing.
    """
    contexts = partial(create_selective_checkpoint_contexts, checkpoint_policy)
    model.activation_checkpointing_enable(
        activation_checkpointing_kwargs={"use_reentrant": False, "context_fn": contexts}
    )


__all__ = ["enable_selective_checkpointing"]
