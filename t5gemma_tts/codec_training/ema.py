"""Exponential moving average of the weights; training saves the averaged weights."""

import copy

import torch
from torch import nn


class AveragedModel:
    """
    A copy of a model whose trainable weights are updated by `average = decay * average + (1 - decay) * weights`. The
    decay is at most (1 + updates) / (10 + updates), so that the initial weights have little influence.

    Args:
        model (`nn.Module`)
        decay (`float`): In [0, 1).
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        own = dict(self.model.named_parameters())
        pairs = [(own[name], source) for name, source in model.named_parameters() if source.requires_grad]
        self.averages, self.sources = [list(side) for side in zip(*pairs, strict=True)]

    @torch.no_grad()
    def update(self, num_updates: int) -> None:
        """Updates the averages with the current weights; `num_updates` is the number of previous updates."""
        decay = min(self.decay, (1 + num_updates) / (10 + num_updates))
        torch._foreach_lerp_(self.averages, self.sources, 1 - decay)


__all__ = ["AveragedModel"]
