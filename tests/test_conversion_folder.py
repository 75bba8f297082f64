"""Conversion: tokenizer, codec, arguments and the output folder."""

import logging
from argparse import Namespace

import numpy as np
import pytest
import torch
from originals import (
    assert_same_weights,
    letter_tokenizer,
    load,
    original_weights,
    small_model,
    write_bundle,
    write_export,
)
from transformers import AutoProcessor, Wav2Vec2BertConfig, Xcodec2Config, Xcodec2Model

from t5gemma_tts import T5GemmaTTSConfig, T5GemmaTTSProcessor, XCodec2
from t5gemma_tts.conversion import checkpoint, convert_checkpoint


def tiny_codec(levels=(4, 4, 4)) -> XCodec2:
    torch.manual_seed(0)
    config = Xcodec2Config(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        encoder_hidden_size=2,
        quantization_dim=64,
        quantization_levels=list(levels),
        semantic_model_config=Wav2Vec2BertConfig(
            hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
        ).to_dict(),
    )
    return XCodec2(Xcodec2Model(config))


@pytest.mark.parametrize("where", ["argument", "folder", "export", "named"])
def test_tokenizer(tmp_path, backbone, output, where):
    weights = original_weights(small_model())
    tokenizer, kwargs = letter_tokenizer(), {"backbone_config": backbone}
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    source = write_bundle(tmp_path / "bundle.pth", weights, add_eos_to_text=1)
    if where == "argument":
        kwargs["tokenizer"] = tokenizer
    elif where == "folder":
        kwargs["tokenizer"] = tmp_path / "tokenizer"
    elif where == "export":
        source, kwargs = write_export(tmp_path / "export", weights, add_eos_to_text=1), {}
        tokenizer.save_pretrained(source)
    else:
        source = write_bundle(
            tmp_path / "bundle.pth", weights, add_eos_to_text=1, text_tokenizer_name=str(tmp_path / "tokenizer")
        )
    convert_checkpoint(source, output, **kwargs)
    processor = T5GemmaTTSProcessor.from_pretrained(output)
    inputs = processor("abc", language="en", duration=1.0)
    assert inputs["input_ids"].tolist() == [[2, 3, 4, 1]]
    assert processor.text_separator_token_id == 127
    assert processor.codec_name_or_path == "nobody/no-codec"
    for path in output.glob("*.json"):
        assert str(tmp_path) not in path.read_text()


def test_warning_without_a_tokenizer(tmp_path, backbone, output, caplog):
    bundle = write_bundle(tmp_path / "bundle.pth", original_weights(small_model()))
    with caplog.at_level(logging.WARNING):
        convert_checkpoint(bundle, output, backbone_config=backbone)
    messages = [record.getMessage() for record in caplog.records]
    assert any("No tokenizer found (tried nobody/no-tokenizer, nobody/no-backbone)" in text for text in messages)
    assert any("Keeping the codec and sampling rate (44100 Hz) of the checkpoint" in text for text in messages)
    assert not (output / "processor_config.json").exists()


def test_codec_folder_is_copied(tmp_path, backbone, output):
    codec = tiny_codec()
    codec.save_pretrained(tmp_path / "xcodec2")
    bundle = write_bundle(tmp_path / "bundle.pth", original_weights(small_model()))
    convert_checkpoint(
        bundle, output, backbone_config=backbone, tokenizer=letter_tokenizer(), codec=tmp_path / "xcodec2"
    )
    config = T5GemmaTTSConfig.from_pretrained(output)
    assert config.codec_name_or_path is None
    assert config.sampling_rate == config.codec_config.sampling_rate == 16000  # the bundle has 44 100

    output.rename(output.with_name("moved"))
    processor = AutoProcessor.from_pretrained(output.with_name("moved"))
    assert processor.sampling_rate == 16000
    codes = [5, 60, 7, 33]
    expected = codec.decode(codes)
    np.testing.assert_array_equal(processor.batch_decode([[*codes, config.eos_token_id]])[0], expected)
    model = load(output.with_name("moved"))
    inputs = processor("abc", language="en", duration=0.1)
    tokens = model.generate(**inputs, do_sample=True, max_new_tokens=8)
    assert processor.batch_decode(tokens)[0].shape == (320 * len(processor.speech_codes(tokens[0])),)


def test_codec_by_name(tmp_path, backbone, output, monkeypatch):
    """The configuration is read, and the weights are not copied."""
    codec_config = tiny_codec().model.config.to_dict()
    monkeypatch.setattr(checkpoint, "read_config", {"someone/codec": codec_config}.__getitem__)
    bundle = write_bundle(tmp_path / "bundle.pth", original_weights(small_model()), xcodec2_model_name="someone/codec")
    convert_checkpoint(bundle, output, backbone_config=backbone)
    named = T5GemmaTTSConfig.from_pretrained(output)
    write_bundle(bundle, original_weights(small_model()))
    convert_checkpoint(bundle, output, backbone_config=backbone, codec="someone/codec", overwrite=True)
    given = T5GemmaTTSConfig.from_pretrained(output)
    for config in (named, given):
        assert (config.codec_name_or_path, config.sampling_rate) == ("someone/codec", 16000)
    assert not (output / "codec").exists()


def test_codec_that_does_not_fit(tmp_path, backbone, output):
    bundle = write_bundle(tmp_path / "bundle.pth", original_weights(small_model()))
    tiny_codec(levels=(4, 4)).save_pretrained(tmp_path / "xcodec2")
    with pytest.raises(ValueError, match="`codec` .* does not fit this model: `codebook_size` must be 16, .* got 64"):
        convert_checkpoint(bundle, output, backbone_config=backbone, codec=tmp_path / "xcodec2")
    with pytest.raises(ValueError, match="`codec` must be an XCodec2, got `model_type` 't5gemma'"):
        convert_checkpoint(bundle, output, backbone_config=backbone, codec=backbone / "config.json")
    with pytest.raises(OSError, match="someone/nothing"):
        convert_checkpoint(bundle, output, backbone_config=backbone, codec="someone/nothing")
    assert not any(output.parent.iterdir())


def test_bad_arguments(tmp_path, backbone, output):
    weights = original_weights(small_model())
    bundle = write_bundle(tmp_path / "bundle.pth", weights)
    small_model().save_pretrained(tmp_path / "ours")
    (tmp_path / "empty").mkdir()
    codec = tmp_path / "codec"
    tiny_codec().save_pretrained(codec)
    nameless = write_bundle(tmp_path / "nameless.pth", weights, t5gemma_model_name=None)
    other = tmp_path / "other.pth"
    torch.save({"model": weights, "args": Namespace(lr=1.0)}, other)
    tokenizer = letter_tokenizer()
    tokenizer.add_tokens([f"<{number}>" for number in range(100)])
    given = {"backbone_config": backbone}
    for source, kwargs, error, message in [
        (tmp_path / "absent.pth", given, FileNotFoundError, "`source` .*absent.pth' does not exist"),
        (tmp_path / "empty", {}, OSError, "empty"),
        ("nobody/nothing", {}, OSError, "nobody/nothing"),
        (tmp_path / "ours", {}, ValueError, "`source` must be a training bundle, .* 't5gemma_tts', which is this"),
        (codec, {}, ValueError, "`source` must be a training bundle"),
        (bundle, {}, OSError, "'nobody/no-backbone', the text backbone that .* pass its config.* `backbone_config`"),
        (nameless, {}, ValueError, "`backbone_config` is needed"),
        (other, given, ValueError, "must have `audio_vocab_size`"),
        (bundle, {"backbone_config": codec}, ValueError, "`backbone_config` must be .* got 'xcodec2'"),
        (bundle, {"backbone_config": tmp_path / "nowhere"}, OSError, "nowhere"),
        (bundle, {**given, "dtype": "int8"}, ValueError, "`dtype` must be one of float32, .* got 'int8'"),
        (bundle, {**given, "dtype": torch.int8}, ValueError, "`dtype` must be one of float32"),
        (bundle, {**given, "tokenizer": tokenizer}, ValueError, "`tokenizer` must have at most 128 entries, .* 130"),
        (bundle, {**given, "tokenizer": "nobody/nothing"}, OSError, "nobody/nothing"),
    ]:
        with pytest.raises(error, match=message):
            convert_checkpoint(source, output, **kwargs)
        assert not any(output.parent.iterdir())


def test_existing_output(tmp_path, backbone, output):
    bundle = write_bundle(tmp_path / "bundle.pth", original_weights(small_model()))

    def convert(**kwargs):
        return convert_checkpoint(bundle, output, **{"backbone_config": backbone, **kwargs})

    output.touch()
    with pytest.raises(FileExistsError, match="must be a folder, but is a file"):
        convert(overwrite=True)
    output.unlink()
    output.mkdir()
    convert()  # an empty folder is accepted
    with pytest.raises(FileExistsError, match="is not empty; pass `overwrite=True`"):
        convert()
    (output / "old.txt").touch()
    write_bundle(bundle, original_weights(small_model(seed=1)))
    convert(overwrite=True)
    assert not (output / "old.txt").exists()
    assert_same_weights(load(output), small_model(seed=1))
    assert [path.name for path in output.parent.iterdir()] == [output.name]

    with pytest.raises(FileExistsError, match="is not replaced: the input .*config.json' is in it"):
        convert(overwrite=True, backbone_config=output / "config.json")
    export = write_export(tmp_path / "export", original_weights(small_model()))
    with pytest.raises(FileExistsError, match="is not replaced: the input .* is in it"):
        convert_checkpoint(export, export, overwrite=True)
    (output / "config.json").unlink()
    with pytest.raises(FileExistsError, match="it is not a checkpoint"):
        convert(overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_failed_write_changes_nothing(tmp_path, backbone, output, monkeypatch, overwrite):
    bundle = write_bundle(tmp_path / "bundle.pth", original_weights(small_model()))
    if overwrite:
        convert_checkpoint(bundle, output, backbone_config=backbone)
        write_bundle(bundle, original_weights(small_model(seed=1)))
    seen = []

    def fail(self, folder, **kwargs):
        seen.extend(path.name for path in folder.iterdir())
        raise OSError("no space left on device")

    monkeypatch.setattr(T5GemmaTTSProcessor, "save_pretrained", fail)
    with pytest.raises(OSError, match="no space left"):
        convert_checkpoint(bundle, output, backbone_config=backbone, tokenizer=letter_tokenizer(), overwrite=overwrite)
    assert "model.safetensors" in seen  # the output was partially written
    assert [path.name for path in output.parent.iterdir()] == ([output.name] if overwrite else [])
    if overwrite:
        assert_same_weights(load(output), small_model())
