"""Runs of ScaledAdam with synthetic gradients."""

import torch
from torch import nn


SHAPES = {
    "a": (4, 6),
    "b": (4, 6),
    "bias": (6,),
    "bias2": (6,),
    "scalar": (),
    "one": (1,),
    "conv": (2, 3, 4),
    "c": (4, 6),
}


def make_parameters(shapes=SHAPES, dtype=torch.float32, seed=0) -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: nn.Parameter((0.3 * torch.randn(shape, generator=generator)).to(dtype)) for name, shape in shapes.items()
    }


def set_gradients(params: dict[str, nn.Parameter], step: int, scale: float = 1.0) -> None:
    """Gradients that depend only on step and name, and are larger in some steps, so that they are clipped."""
    for name, p in params.items():
        generator = torch.Generator().manual_seed(1000 * step + list(SHAPES).index(name))
        spike = 20.0 if step % 7 == 6 else 1.0
        p.grad = (scale * spike * torch.randn(p.shape, generator=generator)).to(p.dtype)


def run(params, optimizer, steps, scheduler=None, scale=1.0) -> None:
    for step in steps:
        set_gradients(params, step, scale)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()


def assert_equal(params: dict, others: dict) -> None:
    for name, p in params.items():
        assert torch.equal(p, others[name]), name
