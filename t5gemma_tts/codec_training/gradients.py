"""Gradients of several processes, and of one step, brought to size."""

import torch
from accelerate import Accelerator


def average_and_clip(parameters: list[torch.Tensor], max_norm: float, accelerator: Accelerator) -> float:
    """
    Averages gradients over processes and scales them down to `max_norm`.

    In one piece and by hand instead of by DDP: discriminators run several times a step, and parts of the codec may be
    frozen, which DDP would have to be told about.

    Returns:
        `float`: the norm before.
    """
    if accelerator.num_processes > 1:
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        together = torch.cat([parameter.grad.flatten() for parameter in parameters])
        together = accelerator.reduce(together, "mean")
        pieces = together.split([parameter.numel() for parameter in parameters])
        for parameter, piece in zip(parameters, pieces, strict=True):
            parameter.grad.copy_(piece.view_as(parameter))
    return float(torch.nn.utils.clip_grad_norm_(parameters, max_norm))


__all__ = ["average_and_clip"]
