"""Training loss of T5Gemma-TTS: cross-entropy over audio tokens, without reference and separator."""

import torch
from torch import nn


IGNORE_INDEX = -100


def mask_prefix(labels: torch.Tensor, separator_token_id: int) -> torch.Tensor:
    """
    Marks the reference part of each row: everything up to and including the first separator.

    Args:
        labels (`torch.LongTensor` of shape `(batch_size, length)`)
        separator_token_id (`int`)

    Returns:
        `torch.BoolTensor` of the same shape, all False in rows without a separator.
    """
    is_separator = labels == separator_token_id
    seen_before = is_separator.cumsum(-1) - is_separator.long()
    return is_separator.any(-1, keepdim=True) & (seen_before == 0)


def speech_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    separator_token_id: int,
    eos_token_id: int,
    eos_loss_weight: float = 1.0,
    no_loss_on_prefix: bool = True,
    num_items_in_batch: torch.Tensor | int | None = None,
) -> torch.Tensor:
    """
    Cross-entropy per target token, in float32.

    The original multiplies this mean by its token count and divides by it again in its trainer; its class weight sits
    on a token that never occurs, ours on the end token.

    Args:
        logits (`torch.Tensor` of shape `(batch_size, length, vocab_size)`)
        labels (`torch.LongTensor` of shape `(batch_size, length)`): -100 is ignored, the separator always is.
        no_loss_on_prefix (`bool`): Ignore everything up to the separator as well.
        num_items_in_batch (`int`, *optional*):
            Divides the weighted sum (Trainer: target tokens over all accumulated batches). Without it the result is the
            mean weighted by class.

    Returns:
        `torch.Tensor`: a scalar; 0 when no target is left.
    """
    ignored = mask_prefix(labels, separator_token_id) if no_loss_on_prefix else labels == separator_token_id
    labels = labels.masked_fill(ignored, IGNORE_INDEX)
    losses = nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORE_INDEX, reduction="none"
    )
    weights = (labels.flatten() != IGNORE_INDEX).to(losses.dtype)
    if eos_loss_weight != 1.0:
        weights = torch.where(labels.flatten() == eos_token_id, weights * eos_loss_weight, weights)
    total = (losses * weights).sum()
    if num_items_in_batch is not None:
        return total / torch.as_tensor(num_items_in_batch, device=total.device, dtype=total.dtype)
    return total / weights.sum().clamp(min=torch.finfo(total.dtype).tiny)


__all__ = ["IGNORE_INDEX", "mask_prefix", "speech_loss"]
