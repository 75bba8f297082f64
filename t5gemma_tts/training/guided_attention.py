"""Guided attention: a training loss that keeps cross-attention near the diagonal.

Speech follows its text in order, so alignment is close to the diagonal. Small models learn this slowly; the guided
attention loss of Tachibana et al. (2017, "Efficiently trainable text-to-speech system based on deep convolutional
networks with guided attention", section 3.3) speeds it up. If the dataset has alignments, they replace the diagonal.
The loss applies to half of the heads of each layer. It reads attention weights, so it needs eager attention.
"""

import torch

from .. import T5GemmaTTSConfig
from ..model.loss import IGNORE_INDEX


def segment_progress(mask: torch.Tensor, is_separator: torch.Tensor) -> torch.Tensor:
    """
    Progress of each token in a reference-separator-target sequence: 0 to 1 in the reference, 2 to 3 in the target.

    Args:
        mask (`torch.Tensor` of shape `(batch_size, length)`): 1 for tokens, 0 for padding.
        is_separator (`torch.BoolTensor` of the same shape): at most one separator per row.

    Returns:
        `torch.FloatTensor` of the same shape; a row without a separator is all target.
    """
    in_target = (is_separator.cumsum(-1) > 0) | ~is_separator.any(-1, keepdim=True)
    progress = torch.zeros(mask.shape, device=mask.device)
    for inside in (in_target & mask.bool(), ~in_target & mask.bool()):
        index = (inside.cumsum(-1) - 1).clamp(min=0)
        last = (inside.sum(-1, keepdim=True) - 1).clamp(min=1)
        progress = torch.where(inside, index / last, progress)
    return progress + 2.0 * in_target


def guided_attention_loss(
    cross_attentions: tuple[torch.Tensor, ...], batch: dict[str, torch.Tensor], config: T5GemmaTTSConfig, width: float
) -> torch.Tensor:
    """
    Guided attention loss: `attention * (1 - exp(-distance^2 / (2 width^2)))`, summed over target tokens and averaged
    over the guided heads. Distances are fractions of the utterance, or text tokens if the batch has `text_positions`.

    Args:
        cross_attentions (tuple of `torch.FloatTensor` of shape `(batch_size, num_heads, length, text_length)`)
        batch: output of the collator.
        config (`T5GemmaTTSConfig`): has the separator token ids.
        width (`float`): standard deviation of the unpenalized band, in the unit of the distances; 0.2 in the paper.

    Returns:
        `torch.FloatTensor`: scalar.
    """
    if "text_positions" in batch:
        audio = batch["text_positions"]
        text = torch.arange(batch["input_ids"].shape[1], device=audio.device)[None]
    else:
        text = segment_progress(batch["attention_mask"], batch["input_ids"] == config.text_separator_token_id)
        audio = segment_progress(
            batch["decoder_attention_mask"], batch["decoder_input_ids"] == config.audio_separator_token_id
        )
    distance = audio[:, :, None] - text[:, None, :]  # (batch, length, text_length)
    cost = 1 - torch.exp(-distance.square() / (2 * width**2))
    cost = cost * (batch["labels"] != IGNORE_INDEX)[:, :, None]
    total = sum(
        (layer[:, : (layer.shape[1] + 1) // 2] * cost[:, None]).sum((0, 2, 3)).mean() for layer in cross_attentions
    )
    return total / len(cross_attentions)


__all__ = ["guided_attention_loss", "segment_progress"]
