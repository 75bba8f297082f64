"""Exponential moving average of weights, which is what a run saves."""

import copy

import torch
from torch import nn


class AveragedModel:
    """
    A copy of a model whose trained weights follow `average = decay * average + (1 - decay) * weights`. Early on the
    decay is smaller, (1 + updates) / (10 + updates), so that the first weights are soon forgotten.

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
        """Takes in the present weights; `num_updates` counts those before."""
        decay = min(self.decay, (1 + num_updates) / (10 + num_updates))
        torch._foreach_lerp_(self.averages, self.sources, 1 - decay)


__all__ = ["AveragedModel"]
