"""Validation of configuration fields, run when a configuration is created so that errors surface early."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any, NoReturn, TypeGuard

import torch
from safetensors import SafetensorError
from transformers.activations import ACT2FN
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from .validation import is_finite_number


LAYER_TYPES = ("full_attention", "sliding_attention")
BACKBONE_SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "query_pre_attn_scalar",
)


@contextlib.contextmanager
def explain_config_errors(what: str) -> Iterator[None]:
    """Re-raises errors caused by values of wrong types as a `ValueError` about `what`."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError) as error:
        raise ValueError(f"{what} has a value of a wrong type: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def explain_weight_errors(name_or_path: object) -> Iterator[None]:
    """Re-raises a `SafetensorError` as a `ValueError` that names the checkpoint."""
    try:
        yield
    except SafetensorError as error:
        raise ValueError(f"the weights in {str(name_or_path)!r} are damaged: {error}.") from error


def check_configuration(config: Any) -> None:
    """
    Checks all fields of a `T5GemmaTTSConfig`.

    Raises:
        ValueError: if a field is out of range or inconsistent with another field.
    """
    _check_own_fields(config)
    encoder, decoder = config.get_text_config(encoder=True), config.get_text_config(decoder=True)
    backbone: Any = config.backbone  # a `T5GemmaConfig` by now
    for part in (config, backbone, encoder, decoder):
        if not isinstance(part.dtype, torch.dtype | None):
            _raise_invalid("dtype", part.dtype, "a dtype of torch, or None")
    _check_text_ids(config, encoder.vocab_size)
    if encoder.hidden_size != decoder.cross_attention_hidden_size:
        _raise_invalid(
            "backbone.decoder.cross_attention_hidden_size",
            decoder.cross_attention_hidden_size,
            f"the encoder's hidden size, {encoder.hidden_size}",
        )
    for side, module in (("encoder", encoder), ("decoder", decoder)):
        _check_backbone(f"backbone.{side}", module)
    if config.codec_config is not None:
        _check_codec(config, config.codec_config)


def output_sampling_rate(codec: Any) -> int:
    """Sampling rate in Hz of the waveforms that a codec with this configuration decodes."""
    return getattr(codec, "output_sampling_rate", None) or codec.sampling_rate


def _check_own_fields(config: Any) -> None:
    for name in ("frame_rate", "progress_scale", "max_duration_seconds", "progress_lookahead_seconds"):
        value = getattr(config, name)
        if not _is_number(value) or value <= 0:
            _raise_invalid(name, value, "a finite number above 0")
    for name in ("eos_loss_weight", "text_guard_frames_per_token"):
        value = getattr(config, name)
        if not _is_number(value) or value < 0:
            _raise_invalid(name, value, "a finite number of at least 0")
    if not _is_number(config.extra_cutoff_seconds):
        _raise_invalid("extra_cutoff_seconds", config.extra_cutoff_seconds, "a finite number")
    for name in ("use_pm_rope", "no_loss_on_prefix", "is_encoder_decoder", "tie_word_embeddings"):
        if not isinstance(value := getattr(config, name), bool):
            _raise_invalid(name, value, "True or False")
    if not isinstance(config.codec_name_or_path, str | None):
        _raise_invalid("codec_name_or_path", config.codec_name_or_path, "a string or None")
    if type(config.sampling_rate) is not int or config.sampling_rate < 1:
        _raise_invalid("sampling_rate", config.sampling_rate, "an integer of at least 1 Hz")
    if config.eos_token_id not in (config.codebook_size + 1, config.codebook_size + 3):
        _raise_invalid("eos_token_id", config.eos_token_id, f"{config.codebook_size + 3} or {config.codebook_size + 1}")


def _check_text_ids(config: Any, text_vocab_size: int) -> None:
    for name in ("text_separator_token_id", "text_bos_token_id", "text_eos_token_id"):
        value = getattr(config, name)
        if value is None and name != "text_separator_token_id":
            continue
        if type(value) is not int or not 0 <= value < text_vocab_size:
            _raise_invalid(
                name, value, f"an integer in [0, {text_vocab_size}), the text vocabulary of `backbone.encoder`"
            )


def _check_backbone(prefix: str, module: Any) -> None:
    for name in BACKBONE_SIZES:
        if not (_is_number(value := getattr(module, name)) and value > 0):
            _raise_invalid(f"{prefix}.{name}", value, "a number above 0")
    for name in ("dropout_rate", "attention_dropout"):
        if not (_is_number(value := getattr(module, name)) and 0 <= value <= 1):
            _raise_invalid(f"{prefix}.{name}", value, "from 0 to 1")
    if module.hidden_activation not in ACT2FN:
        _raise_invalid(f"{prefix}.hidden_activation", module.hidden_activation, "an activation of transformers")
    types = module.layer_types or []
    if len(types) != module.num_hidden_layers or not set(types) <= set(LAYER_TYPES):
        _raise_invalid(f"{prefix}.layer_types", types, f"{' or '.join(LAYER_TYPES)} for each layer")
    if module.pad_token_id is not None and not 0 <= module.pad_token_id < module.vocab_size:
        _raise_invalid(f"{prefix}.pad_token_id", module.pad_token_id, f"in [0, {module.vocab_size}), or None")
    rope_parameters: Any = module.rope_parameters
    rope_type = rope_parameters["rope_type"]
    if rope_type != "default" and rope_type not in ROPE_INIT_FUNCTIONS:
        _raise_invalid(f"{prefix}.rope_parameters", rope_type, "of a `rope_type` that transformers knows")
    theta = rope_parameters.get("rope_theta")
    if not (_is_number(theta) and theta > 0):
        _raise_invalid(f"{prefix}.rope_parameters", theta, "of a `rope_theta` above 0")
    if module.head_dim % 2:
        _raise_invalid(f"{prefix}.head_dim", module.head_dim, "even, because RoPE rotates pairs of dimensions")
    if module.num_attention_heads % module.num_key_value_heads:
        _raise_invalid(
            f"{prefix}.num_key_value_heads",
            module.num_key_value_heads,
            f"a divisor of the {module.num_attention_heads} attention heads",
        )


def _check_codec(config: Any, codec: Any) -> None:
    codec_entries = math.prod(codec.quantization_levels)
    if codec_entries != config.codebook_size:
        _raise_invalid("codebook_size", config.codebook_size, f"{codec_entries}, the codec's number of entries")
    if not math.isclose(codec.sampling_rate / codec.hop_length, config.frame_rate):
        _raise_invalid("frame_rate", config.frame_rate, f"{codec.sampling_rate / codec.hop_length}, the codec's")
    if config.sampling_rate != output_sampling_rate(codec):
        _raise_invalid("sampling_rate", config.sampling_rate, f"{output_sampling_rate(codec)}, the codec's")


def _is_number(value: object) -> TypeGuard[float]:
    """Whether `value` is a finite int or float, which JSON stores exactly."""
    return isinstance(value, int | float) and is_finite_number(value)


def _raise_invalid(argument: str, value: object, accepted: str) -> NoReturn:
    raise ValueError(f"`{argument}` must be {accepted}, got {value!r}.")


__all__ = ["check_configuration", "output_sampling_rate", "explain_config_errors", "explain_weight_errors"]
