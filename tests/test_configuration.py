"""`T5GemmaTTSConfig`: derived fields, stored fields, errors."""

import json

import pytest
from huggingface_hub.errors import StrictDataclassError
from tiny import tiny_backbone, tiny_config, tiny_model
from transformers import AutoConfig, AutoModel, T5GemmaConfig, Xcodec2Config

from t5gemma_tts import T5GemmaTTSCodecConfig, T5GemmaTTSConfig, T5GemmaTTSForConditionalGeneration
from t5gemma_tts.model.configuration_t5gemma_tts import AUTO_MAP


def codec_config(**kwargs) -> Xcodec2Config:
    """64 entries, 16 kHz, 320 samples per code."""
    return Xcodec2Config(**{"quantization_levels": [4, 4, 4], **kwargs})


def test_decoder_fields_are_derived_from_the_codebook_size():
    config = tiny_config(codebook_size=64)
    ids = {
        "bos_token_id": 64,
        "decoder_start_token_id": 64,
        "pad_token_id": 66,
        "eos_token_id": 67,
        "audio_separator_token_id": 68,
        "vocab_size": 69,
    }
    assert {name: getattr(config, name) for name in ids} == ids
    decoder, encoder = config.backbone.decoder, config.backbone.encoder
    assert decoder.vocab_size == 69 and encoder.vocab_size == 128
    for module in (config.backbone, decoder):
        assert (module.bos_token_id, module.eos_token_id, module.pad_token_id) == (64, 67, 66)
        assert not module.tie_word_embeddings
    assert not encoder.tie_word_embeddings
    assert encoder.pad_token_id == 0  # unchanged for the text encoder
    assert decoder.final_logit_softcapping is None
    assert config.is_encoder_decoder and not config.tie_word_embeddings
    assert config.sampling_rate == 16000


def test_defaults_are_those_of_the_published_models():
    config = T5GemmaTTSConfig()
    assert (config.codebook_size, config.vocab_size, config.eos_token_id) == (65536, 65541, 65539)
    assert (config.text_separator_token_id, config.frame_rate, config.sampling_rate) == (255999, 50.0, 16000)
    assert (config.progress_scale, config.use_pm_rope, config.extra_cutoff_seconds) == (2000.0, True, 5.0)
    assert config.backbone.encoder.hidden_size == 2304 and config.backbone.encoder.vocab_size == 256000
    for side in (config.backbone.encoder, config.backbone.decoder):
        assert side.attn_logit_softcapping is None


def test_soft_capping_is_kept():
    config = tiny_config(backbone={"attn_logit_softcapping": 50.0})
    assert config.backbone.encoder.attn_logit_softcapping == config.backbone.decoder.attn_logit_softcapping == 50.0


def test_dicts_as_sub_configs():
    backbone, codec = tiny_backbone().to_dict(), codec_config().to_dict()
    config = T5GemmaTTSConfig(backbone=backbone, codec_config=codec, codebook_size=64, text_separator_token_id=5)
    assert isinstance(config.backbone, T5GemmaConfig) and config.backbone.decoder.vocab_size == 69
    assert type(config.codec_config) is Xcodec2Config


@pytest.mark.parametrize(
    "codec",
    [
        None,
        codec_config(),
        T5GemmaTTSCodecConfig(
            quantization_levels=[4, 4, 4], output_sampling_rate=44100, upsample_factors=[3], upsample_kernel_sizes=[7]
        ),
    ],
    ids=["none", "native", "upsampled"],
)
def test_round_trip(tmp_path, codec):
    config = tiny_config(
        codec_config=codec,
        codec_name_or_path="someone/codec",
        use_pm_rope=False,
        progress_scale=123.0,
        progress_lookahead_seconds=1.5,
        no_loss_on_prefix=False,
        eos_loss_weight=3.0,
        text_bos_token_id=2,
        text_eos_token_id=1,
        extra_cutoff_seconds=0.5,
        text_guard_frames_per_token=9.0,
        max_duration_seconds=30.0,
        eos_token_id=65,
        backbone={"sliding_window": 12, "attn_logit_softcapping": 50.0},
    )
    config.save_pretrained(tmp_path)
    for loaded in (T5GemmaTTSConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert isinstance(loaded, T5GemmaTTSConfig)
        before, after = config.to_dict(), loaded.to_dict()
        assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} <= {
            "_name_or_path",
            "transformers_version",
        }
        assert type(loaded.codec_config) is type(codec)
        assert loaded.sampling_rate == (16000 if codec is None else getattr(codec, "output_sampling_rate", 16000))
        assert loaded.backbone.encoder.sliding_window == 12
    # derived fields are not stored
    assert (
        not {"pad_token_id", "bos_token_id", "vocab_size"} & json.loads((tmp_path / "config.json").read_text()).keys()
    )


def test_auto_map_is_always_this_projects(tmp_path):
    foreign = {"AutoConfig": "elsewhere.Config"}
    tiny_config(auto_map=foreign).save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["auto_map"] == AUTO_MAP
    assert set(AUTO_MAP) == {
        "AutoConfig",
        "AutoModel",
        "AutoModelForSeq2SeqLM",
        "AutoModelForTextToWaveform",
        "AutoProcessor",
    }
    (tmp_path / "config.json").write_text(json.dumps(stored | {"auto_map": foreign}))
    loaded = T5GemmaTTSConfig.from_pretrained(tmp_path)
    assert loaded.auto_map == AUTO_MAP
    loaded.auto_map.clear()  # must not change the constant
    assert AUTO_MAP and loaded.to_dict()["auto_map"] == AUTO_MAP


def test_checkpoint_without_code_loads_with_the_installed_classes(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    del stored["auto_map"]
    (tmp_path / "config.json").write_text(json.dumps(stored))
    for code in tmp_path.glob("*.py"):
        code.unlink()
    for trust in (False, True):
        model = AutoModel.from_pretrained(tmp_path, trust_remote_code=trust)
        assert type(model) is T5GemmaTTSForConditionalGeneration


def test_get_text_config():
    config = tiny_config()
    for arguments in ({}, {"decoder": True}, {"decoder": True, "encoder": True}):
        assert config.get_text_config(**arguments) is config.backbone.decoder
    assert config.get_text_config(encoder=True) is config.backbone.encoder
    assert config.initializer_range == config.backbone.decoder.initializer_range


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"codebook_size": 1}, "`codebook_size` must be an integer of at least 2, got 1"),
        ({"codebook_size": 64.0}, "`codebook_size` must be an integer of at least 2, got 64.0"),
        ({"codebook_size": "64"}, "`codebook_size` must be an integer of at least 2, got '64'"),
        ({"codebook_size": True}, "`codebook_size` must be an integer of at least 2, got True"),
        *[
            ({name: value}, f"`{name}` must be a finite number above 0, got {value!r}")
            for name in ("frame_rate", "progress_scale", "max_duration_seconds", "progress_lookahead_seconds")
            for value in (0, -1.0, float("inf"), float("nan"), "5", None)
        ],
        *[
            ({name: value}, f"`{name}` must be a finite number of at least 0, got {value!r}")
            for name in ("eos_loss_weight", "text_guard_frames_per_token")
            for value in (-0.5, float("inf"), float("nan"), "5", None)
        ],
        *[
            ({"extra_cutoff_seconds": value}, f"`extra_cutoff_seconds` must be a finite number, got {value!r}")
            for value in (float("inf"), float("nan"), "5", None)
        ],
        *[
            ({"sampling_rate": value}, f"`sampling_rate` must be an integer of at least 1 Hz, got {value!r}")
            for value in (0, -16000, 16000.5, float("nan"), "16k")
        ],
        ({"eos_token_id": 64}, "`eos_token_id` must be 67 or 65, got 64"),
        ({"eos_token_id": -1}, "`eos_token_id` must be 67 or 65, got -1"),
        ({"eos_token_id": [67]}, r"`eos_token_id` must be 67 or 65, got \[67\]"),
        *[
            ({name: value}, rf"`{name}` must be an integer in \[0, 128\), the text vocabulary .*, got {value!r}")
            for name in ("text_separator_token_id", "text_bos_token_id", "text_eos_token_id")
            for value in (128, -1, 1.5, "5")
        ],
        ({"text_separator_token_id": None}, r"`text_separator_token_id` must be an integer in \[0, 128\).*, got None"),
        *[
            ({name: 3}, f"`{name}` follows from `codebook_size` and must be {value}, got 3")
            for name, value in {
                "bos_token_id": 64,
                "decoder_start_token_id": 64,
                "pad_token_id": 66,
                "audio_separator_token_id": 68,
            }.items()
        ],
        ({"backbone": {"num_key_value_heads": 3}}, "`backbone.encoder.num_key_value_heads` must be a divisor of the 4"),
    ],
)
def test_invalid_values(arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny_config(**arguments)


@pytest.mark.parametrize(
    ("side", "name", "value", "message"),
    [
        ("encoder", "head_dim", 15, "`backbone.encoder.head_dim` must be even, .*, got 15"),
        ("decoder", "head_dim", 15, "`backbone.decoder.head_dim` must be even, .*, got 15"),
        ("decoder", "num_key_value_heads", 3, "`backbone.decoder.num_key_value_heads` must be a divisor of the 4 .* 3"),
        (
            "decoder",
            "cross_attention_hidden_size",
            32,
            "`backbone.decoder.cross_attention_hidden_size` must be the encoder's hidden size, 64, got 32",
        ),
    ],
)
def test_backbones_that_do_not_fit(side, name, value, message):
    backbone = tiny_backbone()
    setattr(getattr(backbone, side), name, value)
    with pytest.raises(ValueError, match=message):
        T5GemmaTTSConfig(backbone=backbone, codebook_size=64, text_separator_token_id=5)


def test_derived_ids_cannot_be_changed():
    config = tiny_config(bos_token_id=64, pad_token_id=66, decoder_start_token_id=64)  # equal to the derived values
    for name in ("bos_token_id", "decoder_start_token_id", "pad_token_id", "audio_separator_token_id"):
        with pytest.raises(ValueError, match=f"`{name}` follows from `codebook_size`"):
            setattr(config, name, 1)
    assert config.pad_token_id == 66


@pytest.mark.parametrize(
    ("arguments", "codec", "message"),
    [
        ({"codebook_size": 65}, {}, "`codebook_size` must be 64, the codec's number of entries, got 65"),
        ({"frame_rate": 25}, {}, "`frame_rate` must be 50.0, the codec's, got 25"),
        ({}, {"sampling_rate": 32000}, "`frame_rate` must be 100.0, the codec's, got 50.0"),
        ({"sampling_rate": 44100}, {}, "`sampling_rate` must be 16000, the codec's, got 44100"),
    ],
)
def test_inconsistent_codec(arguments, codec, message):
    with pytest.raises(ValueError, match=message):
        tiny_config(codec_config=codec_config(**codec), **arguments)


def test_sampling_rate_is_the_codecs():
    assert tiny_config(codec_config=codec_config()).sampling_rate == 16000
    fast = codec_config(sampling_rate=32000)
    assert tiny_config(codec_config=fast, frame_rate=100.0).sampling_rate == 32000
    upsampled = T5GemmaTTSCodecConfig(quantization_levels=[4, 4, 4], output_sampling_rate=44100)
    assert tiny_config(codec_config=upsampled).sampling_rate == 44100
    with pytest.raises(ValueError, match="`sampling_rate` must be 44100, the codec's, got 16000"):
        tiny_config(codec_config=upsampled, sampling_rate=16000)


def test_codec_config_defaults_to_the_ordinary_codec():
    config = T5GemmaTTSCodecConfig(hidden_size=64, sampling_rate=16000)
    assert (config.output_sampling_rate, config.decoder_hop_length) == (16000, config.hop_length)
    assert config.acoustic_hidden_size == 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"upsample_factors": [3, 3], "upsample_kernel_sizes": [7]}, r"the same length, got \[3, 3\] and \[7\]"),
        ({"upsample_factors": [3], "upsample_kernel_sizes": [2]}, "at least its factor, got 2 for 3"),
        ({"upsample_factors": [0], "upsample_kernel_sizes": [2]}, "at least its factor, got 2 for 0"),
        (
            {"upsample_factors": [3, 3], "upsample_kernel_sizes": [7, 7], "hidden_size": 64},
            "`hidden_size` must be a multiple of 128 with 2 upsampling stages, got 64",
        ),
    ],
)
def test_invalid_upsamplers(arguments, message):
    with pytest.raises(ValueError, match=message):
        T5GemmaTTSCodecConfig(**arguments)


def test_folders_of_other_models(tmp_path):
    with pytest.raises(OSError, match="is not a checkpoint: it has no config.json"):
        T5GemmaTTSConfig.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="is not a T5Gemma-TTS checkpoint: its `model_type` is 'bert'"):
        T5GemmaTTSConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("null", "config.json"),
        ("[1]", "config.json"),
        ('"text"', "config.json"),
        ('{"model_type": "t5gemma_tts", "backbone": 5}', "`backbone` must be a configuration, a dict or None, got 5"),
        ('{"model_type": "t5gemma_tts", "backbone": {"encoder": 5}}', "'encoder'"),
        ('{"model_type": "t5gemma_tts", "dtype": 5}', "`dtype` must be a dtype of torch, or None, got 5"),
        ('{"model_type": "t5gemma_voice", "audio_vocab_size": []}', "the original configuration has a value"),
    ],
)
def test_values_of_wrong_types_in_a_file(tmp_path, content, message):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises((ValueError, StrictDataclassError), match=message):
        T5GemmaTTSConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_size", 0),
        ("num_hidden_layers", -1),
        ("hidden_activation", "none"),
        ("layer_types", ["full_attention"]),
        ("pad_token_id", 500),
        ("rope_parameters", {"rope_type": "unknown", "rope_theta": 10000.0}),
        ("rope_parameters", {"rope_type": "default", "rope_theta": None}),
    ],
)
def test_invalid_backbones(name, value):
    backbone = tiny_backbone().to_dict()
    backbone["encoder"][name] = value
    with pytest.raises((ValueError, StrictDataclassError), match=name):
        T5GemmaTTSConfig(backbone=backbone, codebook_size=64, text_separator_token_id=3)
