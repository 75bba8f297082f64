"""Describes a checkpoint from its configuration and the headers of its weight files, without reading weights."""

import math
from pathlib import Path

from huggingface_hub import get_safetensors_metadata
from safetensors import safe_open
from transformers.configuration_utils import PreTrainedConfig

from .adapters import base_of_adapter
from .checkpoints import resolve_checkpoint
from .model.configuration_t5gemma_tts import T5GemmaTTSConfig


def describe_checkpoint(model: str) -> dict[str, str | int]:
    """
    Facts about a checkpoint for display, by name.

    Args:
        model (`str`): Hub name, folder, or "nano".

    Raises:
        OSError: if there is no such checkpoint.
        ValueError: if its configuration is not valid for this model.
    """
    model = resolve_checkpoint(model)
    if (base := base_of_adapter(model)) is not None:
        return {"adapter": model, "base model": base, **describe_checkpoint(base)}
    stored, _ = PreTrainedConfig.get_config_dict(model)
    config = T5GemmaTTSConfig.from_pretrained(model)
    facts: dict[str, str | int] = {
        "model": model,
        "layout": "original project" if stored.get("model_type") == "t5gemma_voice" else "Hugging Face",
    }
    encoder, decoder = config.get_text_config(encoder=True), config.get_text_config(decoder=True)
    for side, module in (("encoder", encoder), ("decoder", decoder)):
        facts[side] = (
            f"{module.num_hidden_layers} layers, hidden {module.hidden_size}, {module.num_attention_heads} heads, "
            f"vocabulary {module.vocab_size}, soft-capping {module.attn_logit_softcapping or 'off'}"
        )
    parameters, dtypes = count_parameters(model)
    facts |= {
        "parameters": parameters,
        "dtype": ", ".join(sorted(dtypes)),
        "position": f"PM-RoPE, scale {config.progress_scale:g}" if config.use_pm_rope else "plain RoPE",
        "codebook_size": config.codebook_size,
        "frame_rate": f"{config.frame_rate:g} tokens per second",
        "sampling_rate": f"{config.sampling_rate} Hz",
        "codec": config.codec_name_or_path or f"{model}/codec",
        "longest_speech": f"{config.max_duration_seconds:g} s",
        "longest_text": f"{encoder.max_position_embeddings} tokens",
    }
    return facts


def count_parameters(model: str) -> tuple[int, set[str]]:
    """
    Number of stored parameters and their dtypes, from the headers of the safetensors files.

    Raises:
        OSError: if there are no safetensors files.
    """
    if not Path(model).is_dir():
        counts = get_safetensors_metadata(model).parameter_count
        return sum(counts.values()), set(counts)
    total, dtypes = 0, set()
    for path in sorted(Path(model).glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for key in file.keys():  # noqa: SIM118 (a file, not a dict)
                tensor = file.get_slice(key)
                total += math.prod(tensor.get_shape())
                dtypes.add(tensor.get_dtype())
    if not total:
        raise OSError(f"{model!r} holds no .safetensors weights.")
    return total, dtypes


__all__ = ["count_parameters", "describe_checkpoint"]
