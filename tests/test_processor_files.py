"""Saving and loading of the processor and its codec."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tiny_checkpoint import tiny_codec, tiny_tokenizer
from transformers import AutoProcessor
from voices import voice

from t5gemma_tts import T5GemmaTTSProcessor, XCodec2


FIELDS = (
    "codec_name_or_path",
    "sampling_rate",
    "codebook_size",
    "frame_rate",
    "text_separator_token_id",
    "text_bos_token_id",
    "text_eos_token_id",
    "max_text_tokens",
    "max_duration_seconds",
)


def saved_copy(tiny_checkpoint, folder: Path, **changes) -> Path:
    """Copies the checkpoint's processor and codec, with changes in `processor_config.json`."""
    shutil.copytree(tiny_checkpoint, folder, ignore=shutil.ignore_patterns("config.json", "*.safetensors", "*.py"))
    shutil.copytree(tiny_checkpoint / "codec", folder / "codec", dirs_exist_ok=True)
    path = folder / "processor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


@pytest.mark.parametrize("codec_is_loaded", [True, False])
def test_save_and_load(tiny_checkpoint, tmp_path, codec_is_loaded):
    ours = T5GemmaTTSProcessor.from_pretrained(
        saved_copy(tiny_checkpoint, tmp_path / "first", max_text_tokens=99, text_bos_token_id=2)
    )
    ours.codec_device = torch.device("cpu")
    options = {"reference_audio": voice(), "sampling_rate": 16000, "reference_text": "Ref", "duration": 1.0}
    if codec_is_loaded:
        before = ours("Text", **options)
        codec = ours.codec
    ours.save_pretrained(tmp_path / "second")
    if codec_is_loaded:
        assert ours.codec is codec  # not lost by saving
    loaded = AutoProcessor.from_pretrained(tmp_path / "second")
    assert type(loaded).__name__ == "T5GemmaTTSProcessor"
    assert {name: getattr(loaded, name) for name in FIELDS} == {name: getattr(ours, name) for name in FIELDS}
    assert loaded.max_text_tokens == 99 and loaded.text_bos_token_id == 2
    shutil.rmtree(tmp_path / "first")
    before = before if codec_is_loaded else ours("Text", **options)
    after = loaded("Text", **options)
    assert {name: value.tolist() for name, value in after.items()} == {n: v.tolist() for n, v in before.items()}
    np.testing.assert_array_equal(loaded.codec.decode([1, 2, 3]), ours.codec.decode([1, 2, 3]))


def test_a_codec_of_its_own_name_is_not_copied(processor, tmp_path):
    processor.codec.save_pretrained(tmp_path / "codec")
    ours = T5GemmaTTSProcessor(tiny_tokenizer(), codec_name_or_path=str(tmp_path / "codec"), codebook_size=256)
    assert ours.codec is not None  # in use
    ours.save_pretrained(tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint" / "codec").exists()
    loaded = T5GemmaTTSProcessor.from_pretrained(tmp_path / "checkpoint")
    np.testing.assert_array_equal(loaded.codec.decode([1, 2, 3]), processor.codec.decode([1, 2, 3]))


def test_saving_without_the_codec(tiny_checkpoint, tmp_path):
    ours = T5GemmaTTSProcessor.from_pretrained(tiny_checkpoint)
    ours.save_pretrained(tmp_path, save_codec=False)
    assert not (tmp_path / "codec").exists()
    assert T5GemmaTTSProcessor.from_pretrained(tmp_path).codebook_size == 256


def test_sampling_rate_may_be_left_to_the_codec(processor, tmp_path):
    ours = T5GemmaTTSProcessor(tiny_tokenizer(), codebook_size=256)
    assert ours.sampling_rate is None
    ours.codec = processor.codec
    assert ours.sampling_rate == 16000
    ours.save_audio(ours.batch_decode([[1, 2, 3]]), tmp_path / "out.wav")
    assert soundfile.info(tmp_path / "out.wav").samplerate == 16000


def test_codec_of_another_checkpoint_layout(tmp_path):
    """`codec_name_or_path` may be a separately saved codec."""
    codec = tiny_codec(seed=3)
    codec.save_pretrained(tmp_path)
    ours = T5GemmaTTSProcessor(tiny_tokenizer(), codec_name_or_path=str(tmp_path), codebook_size=256)
    assert isinstance(ours.codec, XCodec2)
    np.testing.assert_array_equal(ours.codec.decode([1, 2]), codec.decode([1, 2]))


def test_loaded_codec_is_no_part_of_the_configuration(processor):
    codec = processor.codec
    assert sorted(set(processor.to_dict()) & set(FIELDS)) == sorted(FIELDS)
    json.loads(processor.to_json_string())
    assert processor.codec is codec


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [("codebook_size", 64, 256), ("sampling_rate", 44100, 16000), ("frame_rate", 25.0, 50.0)],
)
def test_codec_that_does_not_fit(processor, tiny_checkpoint, tmp_path, name, value, found):
    message = f"the codec's `{name}` is {found}, but this checkpoint was made for {value}"
    with pytest.raises(ValueError, match=message):
        T5GemmaTTSProcessor(tiny_tokenizer(), **{"codebook_size": 256, name: value}).codec = processor.codec
    loaded = T5GemmaTTSProcessor.from_pretrained(saved_copy(tiny_checkpoint, tmp_path / "copy", **{name: value}))
    with pytest.raises(ValueError, match=message):
        loaded.batch_decode([[1, 2, 3]])


def test_missing_codec(tiny_checkpoint, tmp_path):
    without = T5GemmaTTSProcessor(tiny_tokenizer(), codebook_size=256)
    with pytest.raises(OSError, match="this processor has no codec: set `codec_name_or_path`"):
        without.batch_decode([[1, 2, 3]])
    assert without("Text", duration=1.0)["num_frames"].tolist() == [50]  # a text alone needs none

    folder = saved_copy(tiny_checkpoint, tmp_path / "copy")
    shutil.rmtree(folder / "codec")
    with pytest.raises(OSError, match="no codec found at .*copy"):
        T5GemmaTTSProcessor.from_pretrained(folder).batch_decode([[1, 2, 3]])
    named = T5GemmaTTSProcessor(tiny_tokenizer(), codec_name_or_path=str(tmp_path / "none"), codebook_size=256)
    with pytest.raises(OSError, match="no codec found at .*none"):
        named("Text", reference_audio=voice(), sampling_rate=16000, reference_text="Ref", duration=1.0)


def test_folder_without_a_tokenizer(tiny_checkpoint, tmp_path):
    original = {"model_type": "t5gemma_voice", "audio_vocab_size": 256, "x_sep_token": 3}
    backbone = json.loads((tiny_checkpoint / "config.json").read_text())["backbone"]
    (tmp_path / "config.json").write_text(json.dumps(original | {"t5_config_dict": backbone}))
    with pytest.raises(OSError, match="neither holds nor names a tokenizer"):
        T5GemmaTTSProcessor.from_pretrained(tmp_path)
