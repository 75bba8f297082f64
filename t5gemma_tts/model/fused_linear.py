"""Fused linear layers: projections of the same input run as one matrix product.

On the CPU, float32 weights are also packed once instead of at every call. Weights from a half-precision checkpoint,
such as the original project's export, are stored as float16 without loss: products in float32 then read half the
bytes, and one layout serves any number of rows. Other weights get one layout for a single row and one for several. Each
layout is a copy of the weights, created at first use; `pack_weights=False` saves that memory. On other devices and
dtypes, the layers' weights become views of the fused weight, which duplicates no memory and keeps saving unchanged.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import Any

import torch
from torch import nn

from .huge_pages import lazy_zeros
from .quantization import FusedInt8Linear, Int8Linear, unwrap_operator


CHECK_CHUNK_ROWS = 1024  # weight rows checked at a time, to bound the memory of temporary tensors
MAX_FP16_EXPONENT = 15  # the largest power of two in float16 is 2^15


def fuse_linears(layers: Sequence[nn.Module], pack_weights: bool = True) -> Callable[[torch.Tensor], torch.Tensor]:
    """
    Returns a function that applies all `layers` to one input and concatenates the outputs in the last dimension.

    Args:
        layers (sequence of `nn.Module`): plain `nn.Linear`s or `Int8Linear`s are fused. Others (adapters, layers of
            other quantizers) are called one by one.
        pack_weights (`bool`, *optional*, defaults to `True`): on the CPU, keep packed float32 and int8 weights.
    """
    quantized = [layer for layer in layers if type(layer) is Int8Linear]
    if len(quantized) == len(layers):
        return FusedInt8Linear(quantized, pack_weights)
    # torchao keeps the `nn.Linear` and replaces its weight by a tensor subclass
    plain = [layer for layer in layers if type(layer) is nn.Linear and type(layer.weight) is nn.Parameter]
    if len(plain) < len(layers) or len({layer.weight.dtype for layer in plain}) > 1:
        return _ConcatenatedLinears(layers)
    weights = [layer.weight for layer in plain]
    biases = [layer.bias for layer in plain]
    bias = None
    if any(one is not None for one in biases):
        bias = torch.cat(
            [weight.new_zeros(len(weight)) if one is None else one for one, weight in zip(biases, weights, strict=True)]
        ).detach()
    first = weights[0]
    if pack_weights and first.device.type == "cpu" and first.dtype == torch.float32 and supports_packing():
        return _PackedLinear(weights, bias)
    return _SharedLinear(_merge_weights(weights), bias)


class _ConcatenatedLinears:
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
    Packed float32 weights on the CPU: float16 for fbgemm where that is exact, else oneDNN's layout, which
    `torch.compile` uses for frozen models.

    A product with one row is bound by reading the weights. A transposed copy is read up to a third faster than oneDNN's
    layout, unless there are fewer outputs than inputs. Each layout is created at first use.
    """

    TYPICAL_ROWS = 16

    def __init__(self, weights: Sequence[torch.Tensor], bias: torch.Tensor | None):
        self.weights, self.bias = weights, bias
        self.use_transposed = sum(map(len, weights)) >= weights[0].shape[1]
        self.min_rows = 6 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 1

    @cached_property
    def fp16_weights(self) -> tuple[Any, float] | None:
        """
        fbgemm's float16 weights, scaled by a power of two to use the full range of float16, and the inverse factor for
        the inputs. None if float16 cannot represent the weights exactly, or if fbgemm is missing.
        """
        if not supports_fp16_packing():
            return None
        weights = [weight.detach() for weight in self.weights]
        largest = max(float(weight.abs().max()) for weight in weights)
        if not math.isfinite(largest):
            return None
        exponent = torch.tensor(MAX_FP16_EXPONENT - math.frexp(largest)[1] if largest else 0)
        for part in (part for weight in weights for part in weight.split(CHECK_CHUNK_ROWS)):
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
    def transposed(self) -> torch.Tensor:
        """(in_features, out_features)"""
        first = self.weights[0].detach()
        transposed = lazy_zeros((first.shape[1], sum(map(len, self.weights))), first, huge=True)
        for target, weight in zip(
            transposed.split([len(weight) for weight in self.weights], dim=1), self.weights, strict=True
        ):
            target.copy_(weight.detach().t())
        return transposed

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        if (fp16_weights := self.fp16_weights) is not None:
            packed, factor = fp16_weights
            return unwrap_operator(torch.ops.quantized.linear_dynamic_fp16)(states * factor, packed)
        if self.use_transposed and len(states) == 1:
            product = torch.mm(states, self.transposed)
            return product if self.bias is None else product + self.bias
        missing = self.min_rows - len(states)
        if missing <= 0:
            return torch.ops.mkldnn._linear_pointwise(states, self.packed, self.bias, "none", [], "")
        # oneDNN's AVX512 kernel is 20% faster with six rows than with one
        rows = nn.functional.pad(states, (0, 0, 0, missing))
        return torch.ops.mkldnn._linear_pointwise(rows, self.packed, self.bias, "none", [], "")[: len(states)]


def _merge_weights(weights: Sequence[torch.Tensor]) -> torch.Tensor:
    """Concatenates the weights and makes the parameters views of the result, so that no memory is duplicated."""
    if len(weights) == 1:
        return weights[0].detach()
    fused = torch.cat(tuple(weights)).detach()
    for weight, part in zip(weights, fused.split([len(weight) for weight in weights]), strict=True):
        weight.data = part
    return fused


@cache
def supports_packing() -> bool:
    """Whether this torch build has the private oneDNN operators that `_PackedLinear` calls."""
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(torch.eye(16), 16)
        made = torch.ops.mkldnn._linear_pointwise(torch.ones(2, 16), packed, None, "none", [], "")
        return torch.equal(made, torch.ones(2, 16))
    except (AttributeError, NotImplementedError, RuntimeError):  # torch without oneDNN, or with changed operators
        return False


@cache
def supports_fp16_packing() -> bool:
    """Whether this torch build has fbgemm's linear operator for float32 inputs and float16 weights."""
    try:
        packed = torch.ops.quantized.linear_prepack_fp16(torch.eye(16), None)
        made = unwrap_operator(torch.ops.quantized.linear_dynamic_fp16)(torch.ones(2, 16), packed)
        return torch.equal(made, torch.ones(2, 16))
    except (AttributeError, NotImplementedError, RuntimeError):  # not x86, or changed operators
        return False


__all__ = ["fuse_linears", "supports_fp16_packing", "supports_packing"]
