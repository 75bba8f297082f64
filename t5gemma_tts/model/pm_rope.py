"""Progress-Monitoring RoPE: positions are a token's relative progress through its sequence."""

from collections.abc import Callable

import torch
from transformers.models.t5gemma.modeling_t5gemma import T5GemmaRotaryEmbedding, rotate_half


def progress_positions(mask: torch.Tensor, scale: float, use_pm_rope: bool = True) -> torch.Tensor:
    """
    Positions of all tokens of complete sequences.

    Args:
        mask (`torch.Tensor` of shape `(batch_size, length)`): 1 for tokens, 0 for padding on either side.
        scale (`float`): position of each sequence's last token.
        use_pm_rope (`bool`): False gives the token's index instead.

    Returns:
        `torch.FloatTensor` of the same shape, float32: `index / (num_tokens - 1) * scale`, 0 at padding and in
        sequences of one token.
    """
    mask = mask.to(torch.float32)
    index = (mask.cumsum(-1) - 1).clamp(min=0) * mask
    if not use_pm_rope:
        return index
    return index / (mask.sum(-1, keepdim=True) - 1).clamp(min=1) * scale


def decoder_positions(
    prompt_mask: torch.Tensor, target_length: torch.Tensor, num_steps: int, scale: float, use_pm_rope: bool
) -> torch.Tensor:
    """
    Positions of the prompt and all new tokens of a generation.

    Args:
        prompt_mask (`torch.Tensor` of shape `(batch_size, prompt_length)`): 0 for the padding on the left.
        target_length (`torch.LongTensor` of shape `(batch_size,)`): expected number of decoder tokens, including the
            start token.
        num_steps (`int`): number of new tokens.
        scale (`float`): position of the last expected token.
        use_pm_rope (`bool`): False gives token indices instead.

    Returns:
        `torch.FloatTensor` of shape `(batch_size, prompt_length + num_steps)`, float32. As in the original, the
        division runs in float32 for the prompt and in float64 for new tokens; results on the CPU are bit-identical.
    """
    prompt_mask = prompt_mask.cpu()
    prompt_index = (prompt_mask.cumsum(-1) - 1).clamp(min=0) * prompt_mask
    index = prompt_mask.sum(-1, keepdim=True) + torch.arange(num_steps)  # (batch_size, num_steps)
    if not use_pm_rope:
        return torch.cat([prompt_index, index], dim=-1).to(torch.float32)
    last = (target_length.cpu().unsqueeze(-1) - 1).clamp(min=1)
    prompt = prompt_index.to(torch.float32) / last.to(torch.float32) * scale
    new = (index.to(torch.float64) / last.to(torch.float64) * scale).clamp(max=scale)
    return torch.cat([prompt, new.to(torch.float32)], dim=-1)


class T5GemmaTTSRotaryEmbedding(T5GemmaRotaryEmbedding):
    """
    Rotary embedding whose frequencies stay float32 under `model.to(dtype)`.

    In bfloat16, progress positions would be off by up to 4.
    """

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> "T5GemmaTTSRotaryEmbedding":
        module = super()._apply(fn, recurse)
        if module.inv_freq.dtype != torch.float32:
            inv_freq, _ = self.compute_default_rope_parameters(self.config)
            module.inv_freq = inv_freq.to(module.inv_freq.device)
            module.original_inv_freq = module.inv_freq.clone()
        return module


def apply_rotation(states: torch.Tensor, position_embeddings: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Rotates `(batch_size, num_heads, length, head_dim)` states by (cos, sin) of `(batch_size, length, head_dim)`."""
    cos, sin = (table.unsqueeze(1) for table in position_embeddings)
    return states * cos + rotate_half(states) * sin


__all__ = ["T5GemmaTTSRotaryEmbedding", "apply_rotation", "decoder_positions", "progress_positions"]
