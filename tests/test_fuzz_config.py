"""Fuzz test of configurations: an error that names the field, or a model that can be built and saved."""

import json

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from hypothesis import given
from hypothesis import strategies as st
from originals import original_args
from strategies import HUGE, cases, changed, damaged, json_values, numbers
from tiny import tiny_backbone, tiny_config
from tiny_checkpoint import tiny_codec

from t5gemma_tts import T5GemmaTTSConfig, T5GemmaTTSForConditionalGeneration
from t5gemma_tts.model.configuration_t5gemma_tts import T5GemmaTTSCodecConfig
from t5gemma_tts.model.xcodec2_original import config_from_original


REFUSALS = (ValueError, StrictDataclassError)
FIELDS = tuple(name for name in T5GemmaTTSConfig.__annotations__ if name not in ("model_type", "backbone"))
SMALL_NUMBERS = st.integers(-2, 70) | st.floats(-1, 70) | st.sampled_from([0, 1, 2, 64, 0.5])
ORIGINAL = {"model_type": "t5gemma_voice", "t5_config_dict": tiny_backbone().to_dict(), **original_args()}
ORIGINAL_CODEC = {
    "model_type": "xcodec",
    "semantic_hidden_size": 1024,
    "codec_encoder_hidden_size": 1024,
    "codec_decoder_hidden_size": 1024,
    "use_vocos": True,
    "dilations": [1, 3, 9],
    "ngf": 48,
    "up_ratios": [2, 2, 4, 4, 5],
    "decoder_heads": 16,
    "decoder_depth": 12,
    "sample_rate": 44100,
    "hop_length": 98,
    "upsample_factors": [3, 3],
    "upsample_kernel_sizes": [9, 9],
    "semantic_model_config": {"model_type": "wav2vec2-bert", "num_hidden_layers": 24, "hidden_size": 1024},
}


def check_config(config: T5GemmaTTSConfig) -> None:
    """Checks that the configuration is consistent and unchanged after saving and loading."""
    assert config.vocab_size == config.codebook_size + 5 == config.backbone.decoder.vocab_size
    assert 0 <= config.text_separator_token_id < config.backbone.encoder.vocab_size
    assert T5GemmaTTSConfig.from_dict(config.to_dict()).to_dict() == config.to_dict()
    T5GemmaTTSConfig.from_dict(json.loads(config.to_json_string(use_diff=False)))


def small_enough(config: T5GemmaTTSConfig) -> bool:
    """Whether the model is small enough to build quickly."""
    sides = (config.backbone.encoder, config.backbone.decoder)
    return all(side.num_hidden_layers <= 4 and len(side.layer_types or ()) <= 8 for side in sides)


def check_model(config: T5GemmaTTSConfig) -> None:
    with torch.device("meta"):
        model = T5GemmaTTSForConditionalGeneration(config)
    assert model.get_decoder().embed_tokens.weight.shape[0] == config.vocab_size


@cases(30)
@given(
    fields=st.dictionaries(st.sampled_from(FIELDS), numbers() | json_values() | SMALL_NUMBERS, max_size=3),
    codebook_size=st.just(64) | st.integers(-1, 300) | numbers(),
)
def test_fields(fields, codebook_size):
    arguments = {"backbone": tiny_backbone(), "text_separator_token_id": 3, "codebook_size": codebook_size} | fields
    try:
        config = T5GemmaTTSConfig(**arguments)
    except REFUSALS as error:
        assert any(name in str(error) for name in FIELDS), str(error)
        return
    check_config(config)


@cases(30)
@given(data=st.data())
def test_changed_files(tmp_path_factory, data):
    """A `config.json` with random edits, also in the backbone."""
    folder = tmp_path_factory.getbasetemp() / "changed_files"
    folder.mkdir(exist_ok=True)
    fields = data.draw(changed(tiny_config().to_dict(), values=SMALL_NUMBERS | json_values()))
    (folder / "config.json").write_text(json.dumps(fields))
    try:
        config = T5GemmaTTSConfig.from_pretrained(folder)
    except REFUSALS:
        return
    except OSError as error:
        assert "config.json" in str(error)
        return
    check_config(config)
    if small_enough(config):
        check_model(config)


@cases(40)
@given(content=damaged(json.dumps(tiny_config().to_dict(), indent=1).encode()) | json_values().map(json.dumps))
def test_damaged_files(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp() / "damaged_files"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        check_config(T5GemmaTTSConfig.from_pretrained(folder))
    except (*REFUSALS, OSError):
        pass


@cases(30)
@given(original=changed(ORIGINAL))
def test_originals(original):
    try:
        config = T5GemmaTTSConfig.from_original(original)
    except REFUSALS:
        return
    check_config(config)


@pytest.fixture(scope="module")
def codec_fields():
    return tiny_codec().model.config.to_dict()


@cases(30)
@given(data=st.data())
def test_codecs(codec_fields, data):
    """Codec configurations, alone and in the configuration of a model."""
    extra = {"upsample_factors": [3], "upsample_kernel_sizes": [9], "decoder_hop_length": 98}
    fields = data.draw(changed({**codec_fields, **extra}))
    try:
        codec = T5GemmaTTSCodecConfig.from_dict(fields)
        assert T5GemmaTTSCodecConfig.from_dict(codec.to_dict()).to_dict() == codec.to_dict()
        check_config(tiny_config(codebook_size=256, codec_config=fields))
    except REFUSALS:
        pass


@cases(30)
@given(original=changed(ORIGINAL_CODEC))
def test_original_codecs(original):
    try:
        config = config_from_original(original)
    except REFUSALS:
        return
    assert config.hop_length > 0 and config.sampling_rate == 16000


def test_no_float_holds_it():
    with pytest.raises(OverflowError):
        float(HUGE)
