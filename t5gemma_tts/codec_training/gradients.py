"""Gradient averaging over processes, and clipping."""

import torch
from accelerate import Accelerator


def average_and_clip(parameters: list[torch.Tensor], max_norm: float, accelerator: Accelerator) -> float:
    """
    Averages gradients over processes with one all-reduce and clips them to `max_norm`.

    Replaces DDP, which does not handle discriminators that run several times per step and frozen parts of the codec
    without extra configuration.

    Returns:
        `float`: the gradient norm before clipping.
    """
    if accelerator.num_processes > 1:
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        flat = torch.cat([parameter.grad.flatten() for parameter in parameters])
        flat = accelerator.reduce(flat, "mean")
        pieces = flat.split([parameter.numel() for parameter in parameters])
        for parameter, piece in zip(parameters, pieces, strict=True):
            parameter.grad.copy_(piece.view_as(parameter))
    return float(torch.nn.utils.clip_grad_norm_(parameters, max_norm))


__all__ = ["average_and_clip"]
