"""Fused linear layers: projections of the same input run as one matrix product.

On the CPU, float32 weights are also laid out once instead of at every call. Those of a checkpoint in half precision, as
the original's export writes it, fit into 16 bits without loss: products in float32 then read half the bytes, in one
layout for any number of rows. Others have a layout for one row and another one for more. Each is a copy of the weights,
made when it is first needed; `pack_weights=False` saves that memory. Elsewhere the weights of the given layers become
views of the fused ones, so that nothing is held twice and saving sees the same tensors as before.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import Any

import torch
from torch import nn

from .huge_pages import untouched_zeros
from .quantization import FusedInt8Linear, Int8Linear, direct


ROWS_AT_A_TIME = 1024  # are looked at, which takes little memory
HALF_EXPONENT = 15  # the largest powers of two in float16 are 2^15 and, for whole parts of it, 2^-24


def fuse_linears(layers: Sequence[nn.Module], pack_weights: bool = True) -> Callable[[torch.Tensor], torch.Tensor]:
    """
    A function of what all `layers` compute from one input, concatenated in the last dimension.

    Args:
        layers (sequence of `nn.Module`): plain `nn.Linear`s are fused, `Int8Linear`s as well; others (adapters, other
            quantisers' layers) are called.
        pack_weights (`bool`, *optional*, defaults to `True`): on the CPU in float32 and int8, keep packed copies.
    """
    quantized = [layer for layer in layers if type(layer) is Int8Linear]
    if len(quantized) == len(layers):
        return FusedInt8Linear(quantized, pack_weights)
    # quantisers such as torchao's leave the layer and replace its weight
    plain = [layer for layer in layers if type(layer) is nn.Linear and type(layer.weight) is nn.Parameter]
    if len(plain) < len(layers) or len({layer.weight.dtype for layer in plain}) > 1:
        return _SideBySide(layers)
    weights = [layer.weight for layer in plain]
    biases = [layer.bias for layer in plain]
    bias = None
    if any(one is not None for one in biases):
        bias = torch.cat(
            [weight.new_zeros(len(weight)) if one is None else one for one, weight in zip(biases, weights, strict=True)]
        ).detach()
    first = weights[0]
    if pack_weights and first.device.type == "cpu" and first.dtype == torch.float32 and packing_works():
        return _PackedLinear(weights, bias)
    return _SharedLinear(_share(weights), bias)


class _SideBySide:
    def __init__(self, layers: Sequence[nn.Module]):
        self.layers = tuple(layers)

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        if len(self.layers) == 1:
            return self.layers[0](states)
        return torch.cat([layer(states) for layer in self.layers], dim=-1)


class _SharedLinear:
    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None):
        self.weight, self.bias = weight, bias

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(states, self.weight, self.bias)


class _PackedLinear:
    """
    Weights in 16 bits where that loses nothing; else what `torch.compile` does with those of a frozen model on the CPU,
    without compiling.

    One row is not enough work for the latter: its time is that of reading the weights, which goes up to a third faster
    from columns side by side, unless there are few of them. Each copy is made when it is first needed.
    """

    TYPICAL_ROWS = 16

    def __init__(self, weights: Sequence[torch.Tensor], bias: torch.Tensor | None):
        self.weights, self.bias = weights, bias
        self.by_columns = sum(map(len, weights)) >= weights[0].shape[1]
        self.least_rows = 6 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 1

    @cached_property
    def halves(self) -> tuple[Any, float] | None:
        """
        The weights for fbgemm, times a power of two that brings the largest to where float16 ends, and what inputs are
        to be multiplied with for it; None if float16 cannot hold them, or fbgemm is not there.
        """
        if not halves_work():
            return None
        weights = [weight.detach() for weight in self.weights]
        largest = max(float(weight.abs().max()) for weight in weights)
        if not math.isfinite(largest):
            return None
        exponent = torch.tensor(HALF_EXPONENT - math.frexp(largest)[1] if largest else 0)
        for part in (part for weight in weights for part in weight.split(ROWS_AT_A_TIME)):
            scaled = torch.ldexp(part, exponent)
            if not torch.equal(scaled.half().float(), scaled):
                return None
        whole = torch.cat(weights) if len(weights) > 1 else weights[0]
        packed = torch.ops.quantized.linear_prepack_fp16(torch.ldexp(whole, exponent), self.bias)
        return packed, 2.0 ** -int(exponent)

    @cached_property
    def packed(self) -> torch.Tensor:
        weights = [weight.detach() for weight in self.weights]
        whole = torch.cat(weights) if len(weights) > 1 else weights[0]
        return torch.ops.mkldnn._reorder_linear_weight(whole, self.TYPICAL_ROWS)

    @cached_property
    def columns(self) -> torch.Tensor:
        """(in_features, out_features)"""
        first = self.weights[0].detach()
        columns = untouched_zeros((first.shape[1], sum(map(len, self.weights))), first, huge=True)
        for place, weight in zip(
            columns.split([len(weight) for weight in self.weights], dim=1), self.weights, strict=True
        ):
            place.copy_(weight.detach().t())
        return columns

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        if (halves := self.halves) is not None:
            packed, factor = halves
            return direct(torch.ops.quantized.linear_dynamic_fp16)(states * factor, packed)
        if self.by_columns and len(states) == 1:
            product = torch.mm(states, self.columns)
            return product if self.bias is None else product + self.bias
        missing = self.least_rows - len(states)
        if missing <= 0:
            return torch.ops.mkldnn._linear_pointwise(states, self.packed, self.bias, "none", [], "")
        # oneDNN's kernel for AVX512 reads the weights a fifth faster for six rows than for one
        rows = nn.functional.pad(states, (0, 0, 0, missing))
        return torch.ops.mkldnn._linear_pointwise(rows, self.packed, self.bias, "none", [], "")[: len(states)]


def _share(weights: Sequence[torch.Tensor]) -> torch.Tensor:
    """One tensor of all rows; the parameters become views of it, unless they are already."""
    if len(weights) == 1:
        return weights[0].detach()
    fused = torch.cat(tuple(weights)).detach()
    for weight, part in zip(weights, fused.split([len(weight) for weight in weights]), strict=True):
        weight.data = part
    return fused


@cache
def packing_works() -> bool:
    """Whether this torch has oneDNN's operators as `_PackedLinear` calls them: they are no public interface."""
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(torch.eye(16), 16)
        made = torch.ops.mkldnn._linear_pointwise(torch.ones(2, 16), packed, None, "none", [], "")
        return torch.equal(made, torch.ones(2, 16))
    except (AttributeError, NotImplementedError, RuntimeError):  # torch without oneDNN, or whose operators changed
        return False


@cache
def halves_work() -> bool:
    """Whether this torch has fbgemm's products of float32 inputs and float16 weights."""
    try:
        packed = torch.ops.quantized.linear_prepack_fp16(torch.eye(16), None)
        made = direct(torch.ops.quantized.linear_dynamic_fp16)(torch.ones(2, 16), packed)
        return torch.equal(made, torch.ones(2, 16))
    except (AttributeError, NotImplementedError, RuntimeError):  # not an x86 processor, or operators that changed
        return False


__all__ = ["fuse_linears", "halves_work", "packing_works"]
