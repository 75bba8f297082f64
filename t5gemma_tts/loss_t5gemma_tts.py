"""Training loss of T5Gemma-TTS: cross-entropy over audio tokens, without reference and separator."""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from .chunked_loss_t5gemma_tts import chunked_cross_entropy


if TYPE_CHECKING:
    from .modeling_t5gemma_tts import T5GemmaTTSAudioHead


IGNORE_INDEX = -100


class SpeechLoss(NamedTuple):
    """
    Attributes:
        loss (`torch.Tensor`): float32 scalar, per target token.
        num_targets (`torch.LongTensor`): scalar, the tokens that counted.
        num_top10 (`torch.LongTensor`): scalar, those of them among their 10 largest logits.
    """

    loss: torch.Tensor
    num_targets: torch.Tensor
    num_top10: torch.Tensor


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
    hidden_states: torch.Tensor,
    head: "T5GemmaTTSAudioHead",
    labels: torch.Tensor,
    separator_token_id: int,
    eos_token_id: int,
    eos_loss_weight: float = 1.0,
    no_loss_on_prefix: bool = True,
    num_items_in_batch: torch.Tensor | int | None = None,
    logits: torch.Tensor | None = None,
) -> SpeechLoss:
    """
    Cross-entropy per target token, in float32.

    The original multiplies this mean by its token count and divides by it again in its trainer; its class weight sits
    on a token that never occurs, ours on the end token.

    Args:
        hidden_states (`torch.Tensor` of shape `(batch_size, length, hidden_size)`): the decoder's output.
        head (`T5GemmaTTSAudioHead`): used if there are no logits.
        labels (`torch.LongTensor` of shape `(batch_size, length)`): -100 is ignored, the separator always is.
        no_loss_on_prefix (`bool`): ignore everything up to the separator as well.
        num_items_in_batch (`int`, *optional*):
            Divides the weighted sum (Trainer: target tokens over all accumulated batches). Without it the result is the
            mean weighted by class.
        logits (`torch.Tensor` of shape `(batch_size, length, vocab_size)`, *optional*):
            Taken from here; without them they are made in chunks, of counted tokens only, and never held together.

    Returns:
        [`SpeechLoss`]; its loss is 0 when no target is left.
    """
    ignored = mask_prefix(labels, separator_token_id) if no_loss_on_prefix else labels == separator_token_id
    counted = ~ignored & (labels != IGNORE_INDEX)
    targets = labels[counted]  # (num_targets,)
    weights = torch.ones_like(targets, dtype=torch.float32)
    if eos_loss_weight != 1.0:
        weights = torch.where(targets == eos_token_id, eos_loss_weight, weights)
    if logits is None and isinstance(head.out_proj, nn.Linear):
        total, num_top10 = chunked_cross_entropy(head.features(hidden_states[counted]), head.out_proj, targets, weights)
    else:
        # an adapter around the last layer has no plain weight to work on
        logits = head(hidden_states[counted]).float() if logits is None else logits[counted].float()
        losses = nn.functional.cross_entropy(logits, targets, reduction="none")
        total = (losses * weights).sum()
        num_top10 = ((logits > logits.gather(1, targets[:, None])).sum(-1) < 10).sum()
    divisor = weights.sum().clamp(min=torch.finfo(torch.float32).tiny)
    if num_items_in_batch is not None:
        divisor = torch.as_tensor(num_items_in_batch, device=total.device, dtype=total.dtype)
    return SpeechLoss(total / divisor, counted.sum(), num_top10)


__all__ = ["IGNORE_INDEX", "SpeechLoss", "mask_prefix", "speech_loss"]
