"""Weights in eight bits on the CPU, as a quantisation method of transformers: `Int8Config()` or `quantization="int8"`.

Weights have one scale per output, fixed at loading; what goes in has one scale per token, found at every call, so that
a row's result does not depend on its batch, to the bit. Products are fbgemm's, which take integers up to 128 from the
left (255 could overflow where the processor adds pairs in 16 bits). Less than half of float32's time per token.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING, AUTO_QUANTIZER_MAPPING
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import BitsAndBytesConfig, QuantizationConfigMixin, TorchAoConfig


METHOD = "t5gemma_tts_int8"
LARGEST_WEIGHT = 127
SMALLEST = torch.finfo(torch.float32).tiny
# 0 to 128 of an unsigned byte: 128 * 127 twice is below 2^15; a power of two leaves bits as they are
LARGEST_INPUT, INPUT_ZERO_POINT = 64, 64
BLOCK, MOST_FOLDS = 512, 4  # inputs in a block of fbgemm's weights, the last of which is padded


class Int8Linear(nn.Module):
    """
    A linear layer of int8 weights for float32 inputs on the CPU.

    Args:
        in_features, out_features (`int`)
        bias (`bool`)
    """

    def __init__(self, in_features: int, out_features: int, bias: bool, device: str | torch.device | None = None):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        weight = torch.zeros((out_features, in_features), dtype=torch.int8, device=device)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.weight_scale = nn.Parameter(torch.ones(out_features, device=device), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(out_features, device=device), requires_grad=False) if bias else None
        self._packed: tuple[tuple[int, int], Any] | None = None  # of which weights, and the weights for fbgemm

    @classmethod
    def from_linear(cls, layer: nn.Linear) -> "Int8Linear":
        """Rounds the weights of a float layer on the CPU to the nearest of 255 values per output."""
        quantized = cls(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        weight = layer.weight.detach().float()
        scale = weight.abs().amax(-1).clamp(min=SMALLEST) / LARGEST_WEIGHT
        rounded = (weight / scale.unsqueeze(-1)).round_().to(torch.int8)
        quantized.weight = nn.Parameter(rounded, requires_grad=False)
        quantized.weight_scale = nn.Parameter(scale, requires_grad=False)
        if layer.bias is not None:
            quantized.bias = nn.Parameter(layer.bias.detach().float(), requires_grad=False)
        return quantized

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(..., in_features) -> (..., out_features), of the same dtype."""
        product = _product(states.reshape(-1, self.in_features), self.packed(), self.bias)
        return product.view(*states.shape[:-1], self.out_features)

    def packed(self) -> Any:
        """The weights for fbgemm, kept until others take their place."""
        version = self.weight.data_ptr(), self.weight_scale.data_ptr()
        if self._packed is None or self._packed[0] != version:
            self._packed = version, _pack(self.weight.detach(), self.weight_scale.detach())
        return self._packed[1]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_packed": None}  # copies and pickles pack anew

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class FusedInt8Linear:
    """
    What several layers make of one input, concatenated, as one product: the same bits.

    The time of a product with one row is that of reading the weights, padding included: a quarter of it for 768 inputs.
    So for one row, two or four outputs stand side by side as one, and the row comes once for each of them, with zeros
    around it. Each layout is made when it is first needed, a copy of the weights unless it is that of a single layer.

    Args:
        layers (sequence of `Int8Linear`)
        pack_weights (`bool`, *optional*, defaults to `True`): have a layout for one row.
    """

    def __init__(self, layers: Sequence[Int8Linear], pack_weights: bool = True):
        self.layers = tuple(layers)
        biases = [
            layer.weight_scale.new_zeros(layer.out_features) if layer.bias is None else layer.bias for layer in layers
        ]
        self.bias = torch.cat(biases).detach() if any(layer.bias is not None for layer in layers) else None
        self.in_features, self.out_features = layers[0].in_features, sum(layer.out_features for layer in layers)
        self.folds = min(BLOCK // math.gcd(self.in_features, BLOCK), MOST_FOLDS) if pack_weights else 1
        self.nothing = torch.zeros(1, self.folds * self.in_features)

    @cached_property
    def packed(self) -> Any:
        if len(self.layers) == 1:
            return self.layers[0].packed()
        return _pack(torch.cat([layer.weight.detach() for layer in self.layers]), self.scale)

    @cached_property
    def folded(self) -> Any:
        """Output `i` of `out_features` is the part `i // count` of the folded output `i % count`."""
        weight = torch.cat([layer.weight.detach() for layer in self.layers])
        weight = nn.functional.pad(weight, (0, 0, 0, -self.out_features % self.folds))
        weight = weight.unflatten(0, (self.folds, -1)).transpose(0, 1).flatten(1)  # (count, folds * in_features)
        return _pack(weight, torch.ones(len(weight)))

    @cached_property
    def scale(self) -> torch.Tensor:
        return torch.cat([layer.weight_scale.detach() for layer in self.layers])

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """(num_rows, in_features) -> (num_rows, sum of out_features)"""
        if len(states) > 1 or self.folds == 1 or torch.compiler.is_compiling():
            return _product(states, self.packed, self.bias)
        row, largest = _normalised(states)
        diagonal = torch.cat([row, self.nothing] * (self.folds - 1) + [row], dim=1).view(self.folds, -1)
        product = _fbgemm(diagonal, self.folded).view(1, -1)
        if product.shape[1] > self.out_features:
            product = product[:, : self.out_features]
        return _scaled(product.mul_(self.scale), largest, self.bias, states.dtype)


def _pack(weight: torch.Tensor, scale: torch.Tensor) -> Any:
    """Weights for fbgemm, of integers (out_features, in_features) and the scale of each output."""
    zero_points = torch.zeros(len(weight), dtype=torch.long)
    return torch.ops.quantized.linear_prepack(
        torch._make_per_channel_quantized_tensor(weight, scale.double(), zero_points, 0), None
    )


def direct(operator: Any) -> Callable[..., torch.Tensor]:
    """The same without the look that `torch.ops` takes at every argument for tracers: microseconds saved."""
    return getattr(operator, "_op", operator)  # no public name: where torch has another one, the look it is


def _product(states: torch.Tensor, packed: Any, bias: torch.Tensor | None) -> torch.Tensor:
    """(num_rows, in_features) -> (num_rows, out_features), of the same dtype."""
    rows, largest = _normalised(states)
    return _scaled(_fbgemm(rows, packed), largest, bias, states.dtype)


def _fbgemm(rows: torch.Tensor, packed: Any) -> torch.Tensor:
    """Of rows from -1 to 1."""
    linear: Any = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
    if not torch.compiler.is_compiling():
        linear = direct(linear)
    return linear(rows, 1 / LARGEST_INPUT, INPUT_ZERO_POINT, packed)


def _normalised(states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows from -1 to 1 in float32, and the largest value of each; where it is 0, what 0 / 0 becomes is times 0."""
    rows = states if states.dtype == torch.float32 else states.float()
    largest = rows.abs().amax(-1, keepdim=True)
    return rows / largest, largest


def _scaled(
    product: torch.Tensor, largest: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype
) -> torch.Tensor:
    product = product.mul_(largest) if bias is None else torch.addcmul(bias, product, largest)
    return product if product.dtype == dtype else product.to(dtype)


@dataclass
class Int8Config(QuantizationConfigMixin):
    """All linear layers in int8; embeddings and norms stay as they are."""

    quant_method: str = METHOD  # type: ignore[assignment]  # transformers' enumeration has its own ones only

    def __post_init__(self) -> None:
        if self.quant_method != METHOD:
            raise ValueError(f"`quant_method` must be {METHOD!r}, got {self.quant_method!r}.")


class Int8Quantizer(HfQuantizer):
    """Quantises float checkpoints after loading, and loads what was saved quantised."""

    def validate_environment(self, *args: Any, **kwargs: Any) -> None:
        if "fbgemm" not in torch.backends.quantized.supported_engines:
            raise ImportError(
                f"`{METHOD}` needs a torch with fbgemm, which this one has not; it is for x86 processors."
            )
        device_map = kwargs.get("device_map") or {}
        devices = {str(device) for device in (device_map.values() if isinstance(device_map, dict) else [device_map])}
        if devices - {"cpu"}:
            raise ValueError(f"`{METHOD}` runs on the CPU alone, got `device_map` {device_map!r}.")

    def update_dtype(self, dtype: torch.dtype) -> torch.dtype:
        return torch.float32

    def _process_model_before_weight_loading(self, model: nn.Module, **kwargs: Any) -> None:
        if self.pre_quantized:
            _replace_linears(
                model,
                lambda layer: Int8Linear(layer.in_features, layer.out_features, layer.bias is not None, device="meta"),
            )

    def _process_model_after_weight_loading(self, model: nn.Module, **kwargs: Any) -> nn.Module:
        if not self.pre_quantized:
            quantize_linears(model)
        return model

    def get_new_dtype(self, converter: object, param: Any, dtype: torch.dtype | None) -> torch.dtype | None:
        return None if str(getattr(param, "dtype", None) or param.get_dtype()) in ("torch.int8", "I8") else dtype

    def is_serializable(self) -> bool:
        return True

    @property
    def is_trainable(self) -> bool:
        return False


def quantize_linears(model: nn.Module) -> None:
    """Puts an `Int8Linear` in the place of every linear layer of a float model on the CPU."""
    _replace_linears(model, Int8Linear.from_linear)


def _replace_linears(model: nn.Module, replacement: Callable[[nn.Linear], nn.Module]) -> None:
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                setattr(module, name, replacement(child))


# remote code may bring this module a second time
AUTO_QUANTIZATION_CONFIG_MAPPING.setdefault(METHOD, Int8Config)
AUTO_QUANTIZER_MAPPING.setdefault(METHOD, Int8Quantizer)


def _torchao_int8() -> QuantizationConfigMixin:
    try:
        from torchao.quantization import Int8WeightOnlyConfig
    except ImportError as error:
        raise ImportError("`quantization` 'torchao-int8' needs torchao: pip install torchao.") from error
    return TorchAoConfig(Int8WeightOnlyConfig())


DECODER_PARTS = ["model.decoder", "audio_head"]
QUANTIZATIONS: dict[str, Callable[[], QuantizationConfigMixin]] = {
    "int8": Int8Config,
    "torchao-int8": _torchao_int8,
    "bnb-8bit": lambda: BitsAndBytesConfig(load_in_8bit=True),
    "bnb-4bit": lambda: BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.bfloat16),
    # the original's way: what reads the text in few bits, what speaks as it is
    "bnb-8bit-encoder": lambda: BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=DECODER_PARTS),
    "bnb-4bit-encoder": lambda: BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_compute_dtype=torch.bfloat16, llm_int8_skip_modules=DECODER_PARTS
    ),
}


def quantization_config(name: str) -> QuantizationConfigMixin:
    """
    The configuration called `name`: "int8" is ours for the CPU, "torchao-int8" (weights alone) runs wherever torchao
    does, on the CPU slowly, "bnb-..." are those of bitsandbytes for CUDA.

    Raises:
        ValueError: for another name.
        ImportError: for torchao's, if it is not installed.
    """
    if name not in QUANTIZATIONS:
        raise ValueError(f"`quantization` must be one of {', '.join(QUANTIZATIONS)}, got {name!r}.")
    return QUANTIZATIONS[name]()


__all__ = [
    "QUANTIZATIONS",
    "FusedInt8Linear",
    "Int8Config",
    "Int8Linear",
    "direct",
    "quantization_config",
    "quantize_linears",
]
