"""Reads the input of a conversion: a training bundle or a model that the original project's scripts exported."""

import os
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedConfig

from ..model.configuration_t5gemma_tts import T5GemmaTTSConfig
from ..model.modeling_t5gemma_tts import T5GemmaTTSForConditionalGeneration
from ..model.weights import default_generation_config
from ..model.xcodec2_original import shorten
from .bundle import load_bundle, remove_aliases
from .lora import LoraWeights, merge_lora_weights, split_lora


ORIGINAL_MODEL_TYPE = "t5gemma_voice"
# `model_type` of a config.json: field with the backbone's configuration (None: the whole file)
BACKBONE_FIELDS = {"t5gemma": None, ORIGINAL_MODEL_TYPE: "t5_config_dict", T5GemmaTTSConfig.model_type: "backbone"}


@dataclass
class SourceCheckpoint:
    """
    Input of a conversion.

    Args:
        path (`str`): File, folder or Hub name.
        original (`dict`): The original's configuration, or the arguments of its trainer.
        config (`T5GemmaTTSConfig`): Converted configuration.
        state_dict (`dict`, *optional*): Weights of a bundle with the original's names; None for an exported model.
        lora (`LoraWeights`, *optional*): LoRA weights that are not merged into `state_dict`.
    """

    path: str
    original: dict[str, Any]
    config: T5GemmaTTSConfig
    state_dict: dict[str, torch.Tensor] | None = None
    lora: LoraWeights | None = None

    def load_model(self, dtype: torch.dtype | None) -> T5GemmaTTSForConditionalGeneration:
        """
        Loads the model on the CPU, in `dtype` (default: the stored dtype).

        Raises:
            ValueError: if weights are missing, unexpected or of another shape.
        """
        model_class = T5GemmaTTSForConditionalGeneration
        if self.state_dict is None:
            model = model_class.from_pretrained(self.path, config=self.config, dtype=dtype or "auto")
        else:
            if dtype is None:
                dtype = next((value.dtype for value in self.state_dict.values() if value.is_floating_point()), None)
            loaded: Any = model_class.from_pretrained(
                None,
                config=self.config,
                state_dict=self.state_dict,
                dtype=dtype,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
            model, info = loaded
            for problem in ("missing", "unexpected", "mismatched"):
                if names := info[f"{problem}_keys"]:
                    raise ValueError(f"{len(names)} {problem} weights in {self.path!r}: {shorten(names)}.")
        model.generation_config = default_generation_config(model.config)
        return model


def read_source(
    source: str | os.PathLike[str],
    backbone_config: str | os.PathLike[str] | None,
    merge_lora: bool,
    dtype: torch.dtype | None,
) -> SourceCheckpoint:
    """Reads a checkpoint; arguments and errors as in [`convert_checkpoint`], `dtype` applies to merged weights."""
    path = os.fspath(source)
    if os.path.isfile(path):
        return _read_bundle(path, backbone_config, merge_lora, dtype)
    if path.endswith((".pth", ".pt")):
        raise FileNotFoundError(f"`source` {path!r} does not exist.")
    if not merge_lora:
        raise ValueError(f"`merge_lora` must be true: {path!r} is not a training bundle with LoRA.")
    return _read_export(path, backbone_config)


def read_config(name_or_path: str) -> dict[str, Any]:
    """Reads a `config.json`, given as a file, a folder or a Hub name; raises OSError if there is none."""
    try:
        config, _ = PreTrainedConfig.get_config_dict(name_or_path)
    except OSError as error:
        raise OSError(f"{name_or_path!r} has no readable config.json: {error}") from error
    if not config:
        raise OSError(f"{name_or_path!r} has no config.json.")
    return config


def _read_backbone(name_or_path: str) -> dict[str, Any]:
    config = read_config(name_or_path)
    model_type = config.get("model_type")
    if model_type not in BACKBONE_FIELDS:
        raise ValueError(
            f"`backbone_config` must be the configuration of a T5Gemma (`model_type` {' or '.join(BACKBONE_FIELDS)}), "
            f"got {model_type!r} in {name_or_path!r}."
        )
    field = BACKBONE_FIELDS[model_type]
    backbone = config if field is None else config.get(field)
    if not isinstance(backbone, dict) or not {"encoder", "decoder"} <= backbone.keys():
        raise ValueError(f"`backbone_config` {name_or_path!r} must have `encoder` and `decoder`.")
    return backbone


def _read_bundle(
    path: str, backbone_config: str | os.PathLike[str] | None, merge_lora: bool, dtype: torch.dtype | None
) -> SourceCheckpoint:
    bundle = load_bundle(path)
    original = vars(bundle["args"])
    if "audio_vocab_size" not in original:
        raise ValueError(f"'args' in {path!r} must have `audio_vocab_size`, as those of the original trainer do.")
    name = original.get("t5gemma_model_name") if backbone_config is None else os.fspath(backbone_config)
    if not name:
        raise ValueError(f"`backbone_config` is needed: {path!r} does not name its text backbone.")
    try:
        config = T5GemmaTTSConfig.from_original(original, _read_backbone(name))
    except OSError as error:
        if backbone_config is not None:
            raise
        raise OSError(
            f"{name!r}, the text backbone that {path!r} names, cannot be read; pass its configuration as "
            "`backbone_config` (a config.json, a folder or a Hub name)."
        ) from error

    try:
        state_dict, lora = split_lora(remove_aliases(bundle["model"]), bundle["args"])
    except ValueError as error:
        raise ValueError(f"{path!r}: {error}") from error
    if lora is None and not merge_lora:
        raise ValueError(f"`merge_lora` must be true: {path!r} has no LoRA weights.")
    if lora is not None and merge_lora:
        state_dict, lora = merge_lora_weights(state_dict, lora, dtype), None
    return SourceCheckpoint(path, original, config, state_dict, lora)


def _read_export(path: str, backbone_config: str | os.PathLike[str] | None) -> SourceCheckpoint:
    original = read_config(path)
    if (model_type := original.get("model_type")) != ORIGINAL_MODEL_TYPE:
        hint = ", which is this project's own" if model_type == T5GemmaTTSConfig.model_type else ""
        raise ValueError(
            f"`source` must be a training bundle, or a checkpoint of `model_type` {ORIGINAL_MODEL_TYPE!r}; "
            f"{path!r} has {model_type!r}{hint}."
        )
    if backbone_config is not None and original.get("t5_config_dict"):
        raise ValueError(f"`backbone_config` must be unset: {path!r} describes its own backbone.")
    backbone = None if backbone_config is None else _read_backbone(os.fspath(backbone_config))
    return SourceCheckpoint(path, original, T5GemmaTTSConfig.from_original(original, backbone))
