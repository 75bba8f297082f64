"""Int8 quantization for the CPU, as a quantization method of transformers: `Int8Config()` or `quantization="int8"`.

Weights have one static scale per output channel. Activations have one dynamic scale per token, so a row's result is
bit-identical in any batch. The products are fbgemm's, with activations limited to [0, 128]: larger values could
overflow the processor's 16-bit accumulation of pairs. A token takes less than half the time of float32.
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


QUANT_METHOD = "t5gemma_tts_int8"
MAX_INT8_WEIGHT = 127
TINY = torch.finfo(torch.float32).tiny
# activations use [0, 128] of uint8: 2 * 128 * 127 < 2^15, and scaling by a power of two is exact
MAX_INT8_INPUT, INPUT_ZERO_POINT = 64, 64
FBGEMM_BLOCK, MAX_FOLDS = 512, 4  # fbgemm pads the input dimension of weights to multiples of 512


class Int8Linear(nn.Module):
    """
    A linear layer with int8 weights for float inputs on the CPU.

    Args:
        in_features, out_features (`int`)
        bias (`bool`)
        device (`str` or `torch.device`, *optional*): device of the parameters.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool, device: str | torch.device | None = None):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        weight = torch.zeros((out_features, in_features), dtype=torch.int8, device=device)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.weight_scale = nn.Parameter(torch.ones(out_features, device=device), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(out_features, device=device), requires_grad=False) if bias else None
        self._packed: tuple[tuple[int, int], Any] | None = None  # data pointers of the weights, and their packed form

    @classmethod
    def from_linear(cls, layer: nn.Linear) -> "Int8Linear":
        """Rounds the weights of a float layer on the CPU to the nearest of 255 values per output."""
        quantized = cls(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        weight = layer.weight.detach().float()
        scale = weight.abs().amax(-1).clamp(min=TINY) / MAX_INT8_WEIGHT
        rounded = (weight / scale.unsqueeze(-1)).round_().to(torch.int8)
        quantized.weight = nn.Parameter(rounded, requires_grad=False)
        quantized.weight_scale = nn.Parameter(scale, requires_grad=False)
        if layer.bias is not None:
            quantized.bias = nn.Parameter(layer.bias.detach().float(), requires_grad=False)
        return quantized

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(..., in_features) -> (..., out_features), in the dtype of `states`."""
        product = _int8_linear(states.reshape(-1, self.in_features), self.packed(), self.bias)
        return product.view(*states.shape[:-1], self.out_features)

    def packed(self) -> Any:
        """The weights in fbgemm's layout, cached until the parameters are replaced."""
        version = self.weight.data_ptr(), self.weight_scale.data_ptr()
        if self._packed is None or self._packed[0] != version:
            self._packed = version, _pack(self.weight.detach(), self.weight_scale.detach())
        return self._packed[1]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_packed": None}  # packed weights cannot be copied; copies pack them again

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class FusedInt8Linear:
    """
    Several layers on one input as a single product, bit-identical to calling them one by one and concatenating.

    A product with one row is bound by reading the weights, including fbgemm's padding of the input dimension (a quarter
    of the weights at 768 inputs). For one row, the weights of two or four outputs are therefore folded into one padded
    row, and the input becomes a block-diagonal matrix with one copy per fold. Each layout is created at first use; it
    is a copy of the weights, except for the plain layout of a single layer.

    Args:
        layers (sequence of `Int8Linear`)
        pack_weights (`bool`, *optional*, defaults to `True`): use the folded layout for one row.
    """

    def __init__(self, layers: Sequence[Int8Linear], pack_weights: bool = True):
        self.layers = tuple(layers)
        biases = [
            layer.weight_scale.new_zeros(layer.out_features) if layer.bias is None else layer.bias for layer in layers
        ]
        self.bias = torch.cat(biases).detach() if any(layer.bias is not None for layer in layers) else None
        self.in_features, self.out_features = layers[0].in_features, sum(layer.out_features for layer in layers)
        self.folds = min(FBGEMM_BLOCK // math.gcd(self.in_features, FBGEMM_BLOCK), MAX_FOLDS) if pack_weights else 1
        self.zero_block = torch.zeros(1, self.folds * self.in_features)

    @cached_property
    def packed(self) -> Any:
        if len(self.layers) == 1:
            return self.layers[0].packed()
        return _pack(torch.cat([layer.weight.detach() for layer in self.layers]), self.scale)

    @cached_property
    def folded(self) -> Any:
        """Weights in which output `i` is fold `i // count` of row `i % count`, with `count` the number of rows."""
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
            return _int8_linear(states, self.packed, self.bias)
        row, largest = _normalize_rows(states)
        diagonal = torch.cat([row, self.zero_block] * (self.folds - 1) + [row], dim=1).view(self.folds, -1)
        product = _fbgemm_linear(diagonal, self.folded).view(1, -1)
        if product.shape[1] > self.out_features:
            product = product[:, : self.out_features]
        return _rescale(product.mul_(self.scale), largest, self.bias, states.dtype)


def _pack(weight: torch.Tensor, scale: torch.Tensor) -> Any:
    """Packs int8 weights (out_features, in_features) with scales (out_features,) into fbgemm's layout."""
    zero_points = torch.zeros(len(weight), dtype=torch.long)
    return torch.ops.quantized.linear_prepack(
        torch._make_per_channel_quantized_tensor(weight, scale.double(), zero_points, 0), None
    )


def unwrap_operator(operator: Any) -> Callable[..., torch.Tensor]:
    """The C++ function of a `torch.ops` operator: skips the Python dispatch, which takes microseconds per call."""
    return getattr(operator, "_op", operator)  # private attribute: fall back to the operator itself


def _int8_linear(states: torch.Tensor, packed: Any, bias: torch.Tensor | None) -> torch.Tensor:
    """(num_rows, in_features) -> (num_rows, out_features), in the dtype of `states`."""
    rows, largest = _normalize_rows(states)
    return _rescale(_fbgemm_linear(rows, packed), largest, bias, states.dtype)


def _fbgemm_linear(rows: torch.Tensor, packed: Any) -> torch.Tensor:
    """fbgemm's product of `rows` with values in [-1, 1]; float32 output."""
    linear: Any = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
    if not torch.compiler.is_compiling():
        linear = unwrap_operator(linear)
    return linear(rows, 1 / MAX_INT8_INPUT, INPUT_ZERO_POINT, packed)


def _normalize_rows(states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Float32 rows scaled to [-1, 1], and the largest absolute value of each. In an all-zero row, 0 / 0 becomes an
    arbitrary integer, which `_rescale` multiplies by 0.
    """
    rows = states if states.dtype == torch.float32 else states.float()
    largest = rows.abs().amax(-1, keepdim=True)
    return rows / largest, largest


def _rescale(
    product: torch.Tensor, largest: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype
) -> torch.Tensor:
    product = product.mul_(largest) if bias is None else torch.addcmul(bias, product, largest)
    return product if product.dtype == dtype else product.to(dtype)


@dataclass
class Int8Config(QuantizationConfigMixin):
    """Quantizes all linear layers to int8; embeddings and norms keep their dtype."""

    quant_method: str = QUANT_METHOD  # type: ignore[assignment]  # transformers' enumeration has its own ones only

    def __post_init__(self) -> None:
        if self.quant_method != QUANT_METHOD:
            raise ValueError(f"`quant_method` must be {QUANT_METHOD!r}, got {self.quant_method!r}.")


class Int8Quantizer(HfQuantizer):
    """Quantizes float checkpoints after loading, and loads checkpoints that were saved quantized."""

    def validate_environment(self, *args: Any, **kwargs: Any) -> None:
        if "fbgemm" not in torch.backends.quantized.supported_engines:
            raise ImportError(
                f"`{QUANT_METHOD}` needs a torch build with fbgemm, which is available on x86 processors."
            )
        device_map = kwargs.get("device_map") or {}
        devices = {str(device) for device in (device_map.values() if isinstance(device_map, dict) else [device_map])}
        if devices - {"cpu"}:
            raise ValueError(f"`{QUANT_METHOD}` runs on the CPU only, got `device_map` {device_map!r}.")

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
    """Replaces every linear layer of a float model on the CPU by an `Int8Linear`, in place."""
    _replace_linears(model, Int8Linear.from_linear)


def _replace_linears(model: nn.Module, replacement: Callable[[nn.Linear], nn.Module]) -> None:
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                setattr(module, name, replacement(child))


# setdefault: remote code may import this module a second time
AUTO_QUANTIZATION_CONFIG_MAPPING.setdefault(QUANT_METHOD, Int8Config)
AUTO_QUANTIZER_MAPPING.setdefault(QUANT_METHOD, Int8Quantizer)


def _torchao_int8() -> QuantizationConfigMixin:
    try:
        from torchao.quantization import Int8WeightOnlyConfig
    except ImportError as error:
        raise ImportError("`quantization` 'torchao-int8' needs torchao: pip install torchao.") from error
    return TorchAoConfig(Int8WeightOnlyConfig())


DECODER_MODULES = ["model.decoder", "audio_head"]
QUANTIZATIONS: dict[str, Callable[[], QuantizationConfigMixin]] = {
    "int8": Int8Config,
    "torchao-int8": _torchao_int8,
    "bnb-8bit": lambda: BitsAndBytesConfig(load_in_8bit=True),
    "bnb-4bit": lambda: BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.bfloat16),
    # as in the original project: quantize only the encoder
    "bnb-8bit-encoder": lambda: BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=DECODER_MODULES),
    "bnb-4bit-encoder": lambda: BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_compute_dtype=torch.bfloat16, llm_int8_skip_modules=DECODER_MODULES
    ),
}


def quantization_config(name: str) -> QuantizationConfigMixin:
    """
    Returns the quantization configuration called `name`: "int8" (this project's, CPU only), "torchao-int8" (weight
    only; slow on the CPU), or a bitsandbytes one for CUDA: "bnb-8bit", "bnb-4bit", "bnb-8bit-encoder",
    "bnb-4bit-encoder".

    Raises:
        ValueError: for an unknown name.
        ImportError: for "torchao-int8" if torchao is not installed.
    """
    if name not in QUANTIZATIONS:
        raise ValueError(f"`quantization` must be one of {', '.join(QUANTIZATIONS)}, got {name!r}.")
    return QUANTIZATIONS[name]()


__all__ = [
    "QUANTIZATIONS",
    "FusedInt8Linear",
    "Int8Config",
    "Int8Linear",
    "unwrap_operator",
    "quantization_config",
    "quantize_linears",
]
