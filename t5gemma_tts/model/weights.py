"""Loads weights from this project's checkpoints, the original project's, or a text backbone to train from."""

import os
from typing import Any, TypeVar

import torch
from transformers import GenerationConfig, T5GemmaConfig

from .configuration_checks import explain_weight_errors
from .configuration_t5gemma_tts import T5GemmaTTSConfig
from .quantization import quantization_config


Model = TypeVar("Model")
# key names of the original project's checkpoints -> ours
ORIGINAL_KEY_MAPPING = {
    r"^backbone\.model\.encoder\.": "model.encoder.",
    r"^backbone\.model\.decoder\.(?!embed_tokens)": "model.decoder.",
    r"^audio_embedding\.0\.": "model.decoder.embed_tokens.",
    r"^predict_layer\.0\.0\.": "audio_head.dense.",
    r"^predict_layer\.0\.2\.": "audio_head.out_proj.",
}
# the text decoder's own embedding and head, which some original checkpoints contain
UNUSED_ORIGINAL_KEYS = [r"^backbone\.model\.decoder\.embed_tokens\.", r"^backbone\.lm_head\."]


def default_generation_config(config: T5GemmaTTSConfig) -> GenerationConfig:
    """The original's sampling defaults. `max_length` is only an upper limit; `num_frames` sets a call's budget."""
    return GenerationConfig(
        do_sample=True,
        temperature=0.8,
        top_k=30,
        top_p=0.9,
        max_length=config.get_text_config(decoder=True).max_position_embeddings,
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        decoder_start_token_id=config.decoder_start_token_id,
    )


class T5GemmaTTSWeightsMixin:
    """`from_pretrained` and `from_backbone` of [`T5GemmaTTSForConditionalGeneration`]."""

    @classmethod
    def from_pretrained(
        cls: type[Model],
        pretrained_model_name_or_path: str | os.PathLike[str] | None,
        *model_args: Any,
        quantization: str | None = None,
        output_loading_info: bool = False,
        **kwargs: Any,
    ) -> Model:
        """
        As in transformers, but missing, unexpected or mismatched weights raise an error, because a model with randomly
        initialized parts would still produce sound. Also loads checkpoints in the original project's layout.

        Args:
            quantization (`str`, *optional*): name of a quantization configuration, see [`quantization_config`].

        Raises:
            ValueError: if the weights are damaged or do not fit the model.
        """
        if quantization is not None:
            if kwargs.get("quantization_config") is not None:
                raise ValueError("give either `quantization` or `quantization_config`, not both.")
            kwargs["quantization_config"] = quantization_config(quantization)
        kwargs.setdefault("key_mapping", ORIGINAL_KEY_MAPPING)
        lenient = kwargs.get("ignore_mismatched_sizes", False)
        with explain_weight_errors(pretrained_model_name_or_path):
            model, info = super().from_pretrained(  # type: ignore[misc]  # defined by the model class
                pretrained_model_name_or_path, *model_args, output_loading_info=True, **kwargs
            )
        problems = {name: sorted(map(str, info.get(name) or [])) for name in ("missing_keys", "unexpected_keys")}
        problems["mismatched_keys"] = sorted(map(str, info.get("mismatched_keys") or []))
        if any(problems.values()) and not lenient:
            listed = "; ".join(
                f"{len(keys)} {name.replace('_', ' ')} such as {keys[0]}" for name, keys in problems.items() if keys
            )
            raise ValueError(f"the weights in {pretrained_model_name_or_path!r} do not fit the model: {listed}.")
        # drop the renaming of original keys, so that saving writes this project's key names
        model._weight_conversions = [
            conversion
            for conversion in getattr(model, "_weight_conversions", None) or []
            if not set(conversion._original_source_patterns) & set(ORIGINAL_KEY_MAPPING)
        ]
        if model.generation_config._from_model_config:  # derived from a config.json, not chosen by a user
            model.generation_config = default_generation_config(model.config)
        result: Any = (model, info) if output_loading_info else model
        return result

    @classmethod
    def from_backbone(
        cls: type[Model], backbone: str | os.PathLike[str], config_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> Model:
        """
        Creates a model for training from the encoder and decoder of a text T5Gemma. The audio embedding and head are
        newly initialized; the text decoder's embedding and head are dropped.

        Args:
            backbone (`str` or `os.PathLike`): Hub name or folder of a `T5GemmaForConditionalGeneration`.
            config_kwargs (`dict`, *optional*): fields of [`T5GemmaTTSConfig`]. Soft-capping is off unless
                `attn_logit_softcapping` is given.
            kwargs: passed to `from_pretrained` (`dtype`, `device_map`, `attn_implementation`, ...).

        Raises:
            ValueError: if `backbone` is not a complete T5Gemma.
        """
        config_kwargs = dict(config_kwargs or {})
        softcapping = config_kwargs.pop("attn_logit_softcapping", None)
        backbone_config: Any = T5GemmaConfig.from_pretrained(backbone)
        backbone_config.encoder.attn_logit_softcapping = softcapping
        backbone_config.decoder.attn_logit_softcapping = softcapping
        config = T5GemmaTTSConfig(backbone=backbone_config, **config_kwargs)
        kwargs.update(config=config, ignore_mismatched_sizes=True)
        model_class: Any = cls
        model, info = model_class.from_pretrained(backbone, output_loading_info=True, **kwargs)
        embedding = model.get_decoder().embed_tokens
        audio_keys = ("model.decoder.embed_tokens.", "audio_head.")
        missing = sorted(key for key in info["missing_keys"] if not key.startswith(audio_keys))
        mismatched = sorted(str(key) for key in info["mismatched_keys"] if not str(key[0]).startswith(audio_keys))
        if missing or mismatched:
            raise ValueError(
                f"{str(backbone)!r} is not a complete T5Gemma: {len(missing)} weights are missing and "
                f"{len(mismatched)} have another shape, such as {(missing + mismatched)[0]}."
            )
        with torch.no_grad():  # if both vocabularies have the same size, the text embedding was loaded
            embedding.weight.normal_(std=config.initializer_range)
            embedding.weight[embedding.padding_idx].zero_()
        return model


__all__ = ["ORIGINAL_KEY_MAPPING", "UNUSED_ORIGINAL_KEYS", "T5GemmaTTSWeightsMixin", "default_generation_config"]
