"""Models of real sizes with random weights: speed does not depend on their values."""

CODEBOOK_SIZE = 65536
HIDDEN_SIZE = 768


def bb_model(layers: int = 12, **kwargs):
    """A model of the shape of t5gemma-b-b (hidden 768, 12 heads of 64), with a small text vocabulary, in training
    mode."""
    import torch
    from transformers import T5GemmaConfig, T5GemmaModuleConfig

    from t5gemma_tts import T5GemmaTTSConfig, T5GemmaTTSForConditionalGeneration

    module = T5GemmaModuleConfig(
        vocab_size=4096,
        hidden_size=HIDDEN_SIZE,
        intermediate_size=2048,
        num_hidden_layers=layers,
        num_attention_heads=12,
        num_key_value_heads=12,
        head_dim=64,
        query_pre_attn_scalar=64,
        attn_logit_softcapping=None,
    ).to_dict()
    config = T5GemmaTTSConfig(
        backbone=T5GemmaConfig(encoder=module, decoder=module),
        codebook_size=CODEBOOK_SIZE,
        text_separator_token_id=4095,
        **kwargs,
    )
    torch.manual_seed(0)
    return T5GemmaTTSForConditionalGeneration(config).train()
