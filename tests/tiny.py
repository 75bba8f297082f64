"""Small random models that behave like trained ones: confident, and with different outputs for each input."""

import torch
from transformers import T5GemmaConfig, T5GemmaModuleConfig

from t5gemma_tts import T5GemmaTTSConfig, T5GemmaTTSForConditionalGeneration


def tiny_backbone(text_vocab_size: int = 128, sliding_window: int = 4096, **kwargs) -> T5GemmaConfig:
    module = {
        "vocab_size": text_vocab_size,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "sliding_window": sliding_window,
        "attn_logit_softcapping": None,
        **kwargs,
    }
    return T5GemmaConfig(encoder=T5GemmaModuleConfig(**module), decoder=T5GemmaModuleConfig(**module))


def tiny_config(codebook_size: int = 64, backbone: dict | None = None, **kwargs) -> T5GemmaTTSConfig:
    backbone = tiny_backbone(**(backbone or {}))
    kwargs.setdefault("text_separator_token_id", backbone.encoder.vocab_size - 1)
    kwargs.setdefault("progress_scale", 50.0)
    return T5GemmaTTSConfig(backbone=backbone, codebook_size=codebook_size, **kwargs)


def tiny_model(config: T5GemmaTTSConfig | None = None, seed: int = 0, **kwargs) -> T5GemmaTTSForConditionalGeneration:
    """Weights have a standard deviation of 0.2, so that greedy choices have clear margins."""
    model = T5GemmaTTSForConditionalGeneration(config or tiny_config(**kwargs)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.2, generator=generator)
    return model
