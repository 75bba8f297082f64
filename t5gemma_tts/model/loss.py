"""Training loss: cross-entropy over audio tokens, excluding the reference and the separator.

With 65 541 classes, the logits of a batch take more memory than the model's activations. `chunked_cross_entropy`
computes them for one chunk of tokens at a time, and computes the gradients in the forward pass, so that nothing is
recomputed. As a consequence, backward can run only once.
"""

from typing import Any, NamedTuple

import torch
from torch import nn

from .backbone import T5GemmaTTSAudioHead


IGNORE_INDEX = -100
MAX_CHUNK_ELEMENTS = 3 << 22  # float32 logits per chunk: 48 MiB


class SpeechLoss(NamedTuple):
    """
    Loss and counts for logging.

    Attributes:
        loss (`torch.Tensor`): float32 scalar, per target token.
        num_targets (`torch.LongTensor`): scalar, number of target tokens in the loss.
        num_top10 (`torch.LongTensor`): scalar, number of targets among their 10 largest logits.
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
    head: T5GemmaTTSAudioHead,
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

    Equals the original project's loss: it multiplies this mean by the token count, and its trainer divides by it again.
    `eos_loss_weight` differs: the original applies it to a token that never occurs, this function to the end token.

    Args:
        hidden_states (`torch.Tensor` of shape `(batch_size, length, hidden_size)`): the decoder's output.
        head (`T5GemmaTTSAudioHead`): computes the logits if they are not given.
        labels (`torch.LongTensor` of shape `(batch_size, length)`): -100 and the separator are ignored.
        separator_token_id, eos_token_id (`int`)
        eos_loss_weight (`float`): class weight of the end token.
        no_loss_on_prefix (`bool`): also ignore everything before the separator.
        num_items_in_batch (`int`, *optional*):
            Divisor of the weighted sum (Trainer: target tokens over all accumulated batches). By default, the sum of
            the class weights of all targets.
        logits (`torch.Tensor` of shape `(batch_size, length, vocab_size)`, *optional*):
            Precomputed logits. If not given, they are computed in chunks, only for target tokens.

    Returns:
        [`SpeechLoss`]; its loss is 0 if there are no targets.
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
        # an adapter wraps the last layer, so the chunked loss cannot use its weight
        logits = head(hidden_states[counted]).float() if logits is None else logits[counted].float()
        losses = nn.functional.cross_entropy(logits, targets, reduction="none")
        total = (losses * weights).sum()
        num_top10 = ((logits > logits.gather(1, targets[:, None])).sum(-1) < 10).sum()
    divisor = weights.sum().clamp(min=torch.finfo(torch.float32).tiny)
    if num_items_in_batch is not None:
        divisor = torch.as_tensor(num_items_in_batch, device=total.device, dtype=total.dtype)
    return SpeechLoss(total / divisor, counted.sum(), num_top10)


class ChunkedCrossEntropy(torch.autograd.Function):
    """
    Weighted sum of cross-entropies of `hidden_states @ weight.T + bias`.

    Forward arguments: `hidden_states` `(num_tokens, hidden_size)`, `weight` `(vocab_size, hidden_size)`, `bias`
    `(vocab_size,)`, `targets` `(num_tokens,)` int64, `token_weights` `(num_tokens,)` float32, `chunk_size` in tokens.
    Returns the float32 sum and the number of targets among their 10 largest logits.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden_states: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        targets: torch.Tensor,
        token_weights: torch.Tensor,
        chunk_size: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        device_type = hidden_states.device.type
        compute_dtype = weight.dtype
        if torch.is_autocast_enabled(device_type):
            compute_dtype = torch.get_autocast_dtype(device_type)
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        needs_any = needs_hidden or needs_weight or needs_bias
        grad_hidden = torch.empty_like(hidden_states) if needs_hidden else None
        grad_weight = torch.zeros_like(weight) if needs_weight else None
        grad_bias = torch.zeros_like(bias, dtype=torch.float32) if needs_bias else None
        total = hidden_states.new_zeros((), dtype=torch.float32)
        num_top10 = torch.zeros((), dtype=torch.long, device=hidden_states.device)
        # one buffer for all chunks: allocating one per chunk costs more than the arithmetic
        shape = min(chunk_size, len(targets)), len(weight)
        buffer = torch.empty(shape, dtype=compute_dtype, device=hidden_states.device)
        with torch.autocast(device_type, enabled=False):
            computed_weight, computed_bias = weight.to(compute_dtype), bias.to(compute_dtype)
            for start in range(0, len(targets), chunk_size):
                rows = slice(start, start + chunk_size)
                hidden = hidden_states[rows].to(compute_dtype)
                target, token_weight = targets[rows, None], token_weights[rows, None]
                logits = torch.mm(hidden, computed_weight.T, out=buffer[: len(hidden)]).add_(computed_bias)
                logits = logits.float()  # (chunk, vocab_size)
                target_logit = logits.gather(1, target)
                num_top10 += ((logits > target_logit).sum(-1) < 10).sum()
                largest = logits.amax(-1, keepdim=True)
                exponentials = logits.sub_(largest).exp_()
                normalizer = exponentials.sum(-1, keepdim=True)
                total += ((normalizer.log() + largest - target_logit) * token_weight).sum()
                if not needs_any:
                    continue
                # gradient of the weighted sum by the logits, in place: weight * (softmax - one-hot)
                gradient = exponentials.mul_(token_weight / normalizer)
                gradient.scatter_add_(1, target, -token_weight)
                if grad_bias is not None:
                    grad_bias += gradient.sum(0)
                gradient = gradient.to(compute_dtype)
                if grad_hidden is not None:
                    grad_hidden[rows] = gradient @ computed_weight
                if grad_weight is not None and grad_weight.dtype == compute_dtype:
                    grad_weight.addmm_(gradient.T, hidden)
                elif grad_weight is not None:
                    grad_weight += gradient.T @ hidden
        ctx.gradients = [grad_hidden, grad_weight, None if grad_bias is None else grad_bias.to(bias.dtype)]
        ctx.mark_non_differentiable(num_top10)
        return total, num_top10

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_total: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the chunked loss can be differentiated only once; run the forward pass again.")
        gradients, ctx.gradients = ctx.gradients, None
        # in place: a copy of the head's gradient would be as large as the head
        scaled = [None if gradient is None else gradient.mul_(grad_total.to(gradient.dtype)) for gradient in gradients]
        return *scaled, None, None, None


def chunked_cross_entropy(
    hidden_states: torch.Tensor,
    head: nn.Linear,
    targets: torch.Tensor,
    token_weights: torch.Tensor,
    chunk_size: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Weighted sum of cross-entropies; value and gradient equal those of the plain computation.

    Args:
        hidden_states (`torch.Tensor` of shape `(num_tokens, hidden_size)`): input of `head`.
        head (`nn.Linear`): the last layer, with bias.
        targets (`torch.LongTensor` of shape `(num_tokens,)`): class ids, none ignored.
        token_weights (`torch.FloatTensor` of shape `(num_tokens,)`)
        chunk_size (`int`, *optional*): tokens per chunk; by default, as many as fit in 48 MiB of float32 logits.

    Returns:
        `(total, num_top10)`: float32 scalar, and the int64 number of targets among their 10 largest logits.
    """
    chunk_size = chunk_size or max(1, MAX_CHUNK_ELEMENTS // head.out_features)
    return ChunkedCrossEntropy.apply(hidden_states, head.weight, head.bias, targets, token_weights, chunk_size)


__all__ = ["IGNORE_INDEX", "SpeechLoss", "chunked_cross_entropy", "mask_prefix", "speech_loss"]
