"""Text conditioning checks: the loss increase with wrong texts, and the pattern of cross-attention.

A model can learn to babble: the loss falls while the words stay wrong. Its text gap then stays near 0.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..model.loss import IGNORE_INDEX


def with_swapped_texts(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor] | None:
    """Returns the batch with each text moved to the next row, or None for a batch of one row."""
    if len(batch["input_ids"]) < 2:
        return None
    return {**batch, **{name: batch[name].roll(1, dims=0) for name in ("input_ids", "attention_mask")}}


@torch.no_grad()
def cross_attention(model, batch: dict[str, torch.Tensor], row: int = 0) -> torch.Tensor:
    """
    Computes the cross-attention weights of one row.

    Args:
        model (`T5GemmaTTSForConditionalGeneration`): in eval mode; its decoder runs once with eager attention.
        batch: output of the collator, without reference prompts.
        row (`int`, *optional*, defaults to 0)

    Returns:
        `torch.FloatTensor` of shape `(num_layers, num_heads, num_targets, text_length)`, float32 on the CPU.
    """
    decoder = model.get_decoder()
    implementation = decoder.config._attn_implementation
    inputs = {name: tensor[row : row + 1] for name, tensor in batch.items()}
    try:
        decoder.set_attn_implementation("eager")
        outputs = model(**inputs, skip_logits=True, use_cache=False, output_attentions=True)
    finally:
        decoder.set_attn_implementation(implementation)
    counted = inputs["labels"][0] != IGNORE_INDEX
    text_length = int(inputs["attention_mask"].sum())
    maps = torch.stack([layer[0] for layer in outputs.cross_attentions]).float()  # (layers, heads, audio, text)
    return maps[:, :, counted, :text_length].cpu()


def attention_offsets(maps: torch.Tensor) -> torch.Tensor:
    """
    Mean distance of each head from the diagonal: |center of attention - progress of the code|, averaged over codes.

    Both run from 0 at the start to 1 at the end. Uniform attention has an offset of 0.25.

    Args:
        maps (`torch.FloatTensor` of shape `(num_layers, num_heads, num_targets, text_length)`)

    Returns:
        `torch.FloatTensor` of shape `(num_layers, num_heads)`.
    """
    num_targets, text_length = maps.shape[2:]
    centers = maps @ torch.linspace(0, 1, text_length)  # (layers, heads, audio)
    return (centers - torch.linspace(0, 1, num_targets)).abs().mean(-1)


def attention_picture(maps: torch.Tensor, cell: int = 4) -> np.ndarray:
    """
    Grayscale image of all heads, uint8 of shape `(height, width)`.

    One row of panels per layer; codes from left to right, text tokens from top to bottom, `cell` pixels per text
    token; darker means more attention.
    """
    panels = (maps / maps.amax(2, keepdim=True).amax(3, keepdim=True).clamp(min=1e-9)).transpose(2, 3)
    panels = panels.repeat_interleave(cell, dim=2)
    panels = torch.nn.functional.pad(panels, (1, 1, 1, 1), value=0.5)
    rows = [torch.cat(list(layer), dim=1) for layer in panels]
    return (255 * (1 - torch.cat(rows))).round().to(torch.uint8).numpy()


def measure_cross_attention(
    model, batch: dict[str, torch.Tensor], picture: Path | None = None
) -> tuple[dict[str, float], np.ndarray]:
    """
    Measures the cross-attention of the first row of a batch.

    Args:
        picture (`Path`, *optional*): PNG file to write.

    Returns:
        `(metrics, image)`: metrics has `attention_offset`, the smallest offset of all heads; image is that of
        [`attention_picture`].
    """
    maps = cross_attention(model, batch)
    image = attention_picture(maps)
    if picture is not None:
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(picture)
    return {"attention_offset": attention_offsets(maps).min().item()}, image


__all__ = ["attention_offsets", "attention_picture", "cross_attention", "measure_cross_attention", "with_swapped_texts"]
