"""Text conditioning checks: the loss increase with wrong texts, and the pattern of cross-attention.

A model can learn to babble: the loss falls, the words stay wrong. The text gap shows it from the first minute.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..model.loss import IGNORE_INDEX


def with_wrong_texts(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor] | None:
    """The batch with every row's text moved to the next row; None for a batch of one row."""
    if len(batch["input_ids"]) < 2:
        return None
    return {**batch, **{name: batch[name].roll(1, dims=0) for name in ("input_ids", "attention_mask")}}


@torch.no_grad()
def cross_attention(model, batch: dict[str, torch.Tensor], row: int = 0) -> torch.Tensor:
    """
    Cross-attention of one row's target part, float32 of shape `(num_layers, num_heads, num_targets, text_length)`.

    Args:
        model (`T5GemmaTTSForConditionalGeneration`): in eval mode; its decoder runs once with eager attention.
        batch: as the collator makes it, without reference prompts.
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
    How far each head looks from where it should, `(num_layers, num_heads)`: the mean distance between the centre of
    its attention and the token's own progress, both from 0 at the start to 1 at the end. Even attention has 0.25.
    """
    num_targets, text_length = maps.shape[2:]
    centres = maps @ torch.linspace(0, 1, text_length)  # (layers, heads, audio)
    return (centres - torch.linspace(0, 1, num_targets)).abs().mean(-1)


def attention_picture(maps: torch.Tensor, cell: int = 4) -> np.ndarray:
    """
    Grey picture of all heads, uint8 of shape `(height, width)`: a row of panels per layer, audio from left to right,
    text from top to bottom, dark where a head looks; `cell` pixels per text token.
    """
    panels = (maps / maps.amax(2, keepdim=True).amax(3, keepdim=True).clamp(min=1e-9)).transpose(2, 3)
    panels = panels.repeat_interleave(cell, dim=2)
    panels = torch.nn.functional.pad(panels, (1, 1, 1, 1), value=0.5)
    rows = [torch.cat(list(layer), dim=1) for layer in panels]
    return (255 * (1 - torch.cat(rows))).round().to(torch.uint8).numpy()


def look(model, batch: dict[str, torch.Tensor], picture: Path | None = None) -> tuple[dict[str, float], np.ndarray]:
    """
    Where cross-attention looks in the batch's first row.

    Args:
        picture (`Path`, *optional*): PNG file to write.

    Returns:
        `(metrics, picture)`: `attention_offset`, that of the head which follows the text best, and the grey picture.
    """
    maps = cross_attention(model, batch)
    image = attention_picture(maps)
    if picture is not None:
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(picture)
    return {"attention_offset": attention_offsets(maps).min().item()}, image


__all__ = ["attention_offsets", "attention_picture", "cross_attention", "look", "with_wrong_texts"]
