"""`T5GemmaTTSConfig.from_original`: configurations of the original project."""

import json

import pytest
from tiny import tiny_backbone, tiny_config
from transformers import T5GemmaConfig

from t5gemma_tts import T5GemmaTTSConfig


def original_config(**changes) -> dict:
    """A configuration as the original project writes it, in which nothing has our default."""
    module = {
        "model_type": "t5_gemma_module",
        "vocab_size": 128,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "query_pre_attn_scalar": 8,
        "sliding_window": 24,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "rope_theta": 12345.0,
        # fields of old versions, which are not to be carried along
        "num_beams": 4,
        "bad_words_ids": None,
        "tie_encoder_decoder": False,
    }
    config = {
        "model_type": "t5gemma_voice",
        "audio_vocab_size": 64,
        "n_codebooks": 1,
        "empty_token": 64,
        "eog": 65,
        "audio_pad_token": 66,
        "eos": 67,
        "y_sep_token": 68,
        "x_sep_token": 99,
        "add_eos_to_text": 1,
        "add_bos_to_text": 2,
        "xcodec2_model_name": "someone/some-codec",
        "codec_audio_sr": 44100,
        "encodec_sr": 25.0,
        "progress_scale": 500.0,
        "progress_lookahead_secs": 3.5,
        "extra_cutoff": 7,
        "text_guard_frames_per_token": 6,
        "use_pm_rope": 0,
        "no_loss_on_prefix": 0,
        "dtype": "bfloat16",
        "special_first": 0,
        "parallel_pattern": 0,
        "tie_input_output_embeddings": False,
        "t5gemma_model_name": "someone/some-backbone",
        "t5_config_dict": {
            "encoder": dict(module),
            "decoder": dict(module, num_hidden_layers=2),
            "dropout_rate": 0.25,
            "attention_dropout": 0.125,
            "vocab_size": 128,
        },
    }
    return {name: value for name, value in (config | changes).items() if value != "absent"}


def test_from_original():
    config = T5GemmaTTSConfig.from_original(original_config())
    expected = {
        "codebook_size": 64,
        "eos_token_id": 67,
        "text_separator_token_id": 99,
        "text_eos_token_id": 1,
        "text_bos_token_id": 2,
        "codec_name_or_path": "someone/some-codec",
        "sampling_rate": 44100,
        "frame_rate": 25.0,
        "progress_scale": 500.0,
        "progress_lookahead_seconds": 3.5,
        "extra_cutoff_seconds": 7,
        "text_guard_frames_per_token": 6,
        "use_pm_rope": False,
        "no_loss_on_prefix": False,
    }
    assert {name: getattr(config, name) for name in expected} == expected
    assert str(config.dtype).removeprefix("torch.") == "bfloat16"
    encoder, decoder = config.backbone.encoder, config.backbone.decoder
    assert (encoder.num_hidden_layers, decoder.num_hidden_layers) == (3, 2)
    for module in (encoder, decoder):
        assert module.attn_logit_softcapping is None
        assert (module.hidden_size, module.intermediate_size, module.head_dim) == (32, 48, 8)
        assert (module.num_attention_heads, module.num_key_value_heads, module.sliding_window) == (4, 2, 24)
        assert module.rope_parameters["rope_theta"] == 12345.0
        assert module.dropout_rate == 0.25 and module.attention_dropout == 0.125
        assert not {"num_beams", "bad_words_ids", "tie_encoder_decoder"} & module.to_dict().keys()
    assert (encoder.vocab_size, decoder.vocab_size) == (128, 69)


def test_from_original_with_as_little_as_possible():
    few = original_config()
    few = {name: few[name] for name in ("audio_vocab_size", "t5_config_dict", "x_sep_token")}
    config = T5GemmaTTSConfig.from_original(few)
    ours = tiny_config()
    for name in ("frame_rate", "sampling_rate", "use_pm_rope", "no_loss_on_prefix", "extra_cutoff_seconds"):
        assert getattr(config, name) == getattr(ours, name), name
    assert (config.progress_scale, config.progress_lookahead_seconds) == (2000.0, 2.0)
    assert (config.text_eos_token_id, config.text_bos_token_id, config.codec_name_or_path) == (None, None, None)
    assert config.eos_token_id == 67


def _plain(value):
    return str(value).removeprefix("torch.") if "torch" in str(type(value)) else value


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"audio_vocab_size": [64]}, {"codebook_size": 64}),
        ({"audio_vocab_size": "64"}, {"codebook_size": 64}),
        ({"eos": -1}, {"eos_token_id": 65}),  # trained without an end token of its own
        ({"eos": "absent"}, {"eos_token_id": 67}),
        ({"use_pm_rope": "absent"}, {"use_pm_rope": True}),
        ({"no_loss_on_prefix": 1}, {"no_loss_on_prefix": True}),
        ({"add_eos_to_text": 0, "add_bos_to_text": 0}, {"text_eos_token_id": None, "text_bos_token_id": None}),
        ({"dtype": "absent", "torch_dtype": "float16"}, {"dtype": "float16"}),
    ],
)
def test_variants_of_original_configurations(changes, expected):
    config = T5GemmaTTSConfig.from_original(original_config(**changes))
    assert {name: _plain(getattr(config, name)) for name in expected} == expected


@pytest.mark.parametrize("kind", [dict, T5GemmaConfig])
def test_from_original_with_the_backbone_apart(kind):
    parts = original_config()["t5_config_dict"]
    backbone = parts if kind is dict else T5GemmaConfig(**parts)
    apart = T5GemmaTTSConfig.from_original(original_config(t5_config_dict="absent"), backbone=backbone)
    assert apart.backbone.to_dict() == T5GemmaTTSConfig.from_original(original_config()).backbone.to_dict()
    # what the checkpoint says about itself comes first
    other = tiny_backbone()
    kept = T5GemmaTTSConfig.from_original(original_config(), backbone=other)
    assert kept.backbone.encoder.hidden_size == 32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"audio_vocab_size": "absent"}, "the original configuration has no `audio_vocab_size`"),
        (
            {"t5_config_dict": "absent"},
            r"has no `t5_config_dict`; pass .* \(of 'someone/some-backbone'\) as `backbone`",
        ),
        ({"t5_config_dict": {"decoder": {}}}, r"the backbone of the original configuration lacks \['encoder'\]"),
        *[
            ({name: found}, f"`{name}` of the original configuration must be {value}, got {found!r}")
            for name, found, value in [
                ("n_codebooks", 4, 1),
                ("special_first", 1, 0),
                ("parallel_pattern", 1, 0),
                ("tie_input_output_embeddings", True, 0),
                ("empty_token", 65, 64),
                ("eog", 64, 65),
                ("audio_pad_token", 67, 66),
                ("y_sep_token", 69, 68),
                ("eos", 66, 67),
            ]
        ],
        ({"x_sep_token": 255999}, r"`text_separator_token_id` must be an integer in \[0, 128\)"),
    ],
)
def test_invalid_original_configurations(changes, message):
    with pytest.raises(ValueError, match=message):
        T5GemmaTTSConfig.from_original(original_config(**changes))


def test_folders_of_the_original_project(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(original_config()))
    loaded = T5GemmaTTSConfig.from_pretrained(tmp_path)
    assert loaded.codebook_size == 64 and loaded.model_type == "t5gemma_tts" and not loaded.use_pm_rope
