"""Codec checkpoints: saving, supported layouts, errors."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from codec_sets import assert_same, clip, first_set, load_codec, read_config, write_original
from safetensors.torch import load_file, save_file
from tiny_checkpoint import tiny_codec
from transformers import AutoModel, Xcodec2Model

from t5gemma_tts import T5GemmaTTSCodecConfig
from t5gemma_tts.model.xcodec2 import T5GemmaTTSCodecModel, XCodec2
from t5gemma_tts.model.xcodec2_original import config_from_original, is_original_config


@pytest.fixture(params=[False, True], ids=["plain", "upsampled"])
def codec(request):
    return load_codec(first_set(upsampled=request.param))


def test_save_and_load(codec, tmp_path):
    codec.save_pretrained(tmp_path)
    assert_same(codec, XCodec2.from_pretrained(tmp_path))
    assert_same(codec, XCodec2(AutoModel.from_pretrained(tmp_path)))


def test_save_and_load_in_subfolder_and_shards(codec, tmp_path):
    codec.save_pretrained(tmp_path / "codec", max_shard_size="1MB")
    assert (tmp_path / "codec" / "model.safetensors.index.json").is_file()
    assert_same(codec, XCodec2.from_pretrained(tmp_path, subfolder="codec"))


def test_plain_codec_is_saved_for_transformers(plain, tmp_path):
    plain.save_pretrained(tmp_path)
    assert read_config(tmp_path)["model_type"] == "xcodec2"
    assert not list(tmp_path.glob("*.py"))
    assert_same(plain, XCodec2(Xcodec2Model.from_pretrained(tmp_path)))


def test_without_upsampler_the_model_equals_transformers(plain):
    config = T5GemmaTTSCodecConfig(**{k: v for k, v in plain.model.config.to_dict().items() if k != "model_type"})
    model = T5GemmaTTSCodecModel(config)
    model.load_state_dict(plain.model.state_dict(), strict=True)
    assert_same(plain, XCodec2(model))


@pytest.mark.slow
def test_saved_code_runs_without_the_package(upsampled, tmp_path):
    upsampled.save_pretrained(tmp_path / "codec")
    codes = upsampled.encode(clip(2000), 16000)
    script = (
        "import json, sys, torch\nfrom transformers import AutoModel\n"
        "model = AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True)\n"
        "codes = torch.tensor(json.loads(sys.argv[2]))[None, None]\n"
        "torch.save(model.decode(audio_codes=codes).audio_values.detach(), sys.argv[3])\n"
        "assert 't5gemma_tts' not in sys.modules\n"
    )
    subprocess.run(
        [sys.executable, "-c", script, tmp_path / "codec", str(codes.tolist()), tmp_path / "audio.pt"],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules"), "PYTHONPATH": ""},
    )
    audio = torch.load(tmp_path / "audio.pt", weights_only=True)[0, 0]
    np.testing.assert_allclose(audio.numpy(), upsampled.decode(codes), rtol=0, atol=1e-5)


def sharded(folder, weights):
    keys = sorted(weights)
    names = {key: f"model-0000{1 + index % 2}-of-00002.safetensors" for index, key in enumerate(keys)}
    for name in set(names.values()):
        save_file({key: weights[key] for key in keys if names[key] == name}, folder / name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def old_weight_norm(folder, weights):
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    renamed = {}
    for key, value in weights.items():
        for new, old in names.items():
            key = key.replace(new, old)
        renamed[key] = value
    assert renamed.keys() != weights.keys()
    save_file(renamed, folder / "model.safetensors")


def other_snake_name(folder, weights):
    def other(key):
        end = ".act.bias" if key.endswith(".act.beta") else ".act.beta"
        return key[: -len(end)] + end if key.endswith((".act.bias", ".act.beta")) else key

    save_file({other(key): value for key, value in weights.items()}, folder / "model.safetensors")


def with_training_parts(folder, weights):
    names = ("SemanticDecoder_module.x", "fc_post_s.bias", "discriminator.x", "semantic_model.encoder.layers.20.x")
    save_file({**weights, **{name: torch.ones(1) for name in names}}, folder / "model.safetensors")


@pytest.mark.parametrize(
    "write",
    [
        sharded,
        old_weight_norm,
        other_snake_name,
        with_training_parts,
        lambda folder, weights: torch.save({"state_dict": weights, "epoch": 4}, folder / "epoch=4.ckpt"),
        lambda folder, weights: torch.save(weights, folder / "pytorch_model.bin"),
        lambda folder, weights: torch.save({"model": weights}, folder / "codec.pth"),
    ],
    ids=["sharded", "old_weight_norm", "other_snake_name", "with_training_parts", "ckpt", "bin", "pth"],
)
@pytest.mark.parametrize("is_upsampled", [False, True], ids=["plain", "upsampled"])
def test_original_layouts(tmp_path, write, is_upsampled):
    folder = first_set(is_upsampled)
    shutil.copy(folder / "config.json", tmp_path)
    write(tmp_path, load_file(folder / "model.safetensors"))
    assert_same(load_codec(folder), XCodec2.from_pretrained(tmp_path))


def test_hub_cache(plain, tmp_path):
    repo = tmp_path / "models--someone--codec"
    snapshot = repo / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("0" * 40)
    folder = first_set(upsampled=False)
    shutil.copy(folder / "config.json", snapshot)
    sharded(snapshot, load_file(folder / "model.safetensors"))
    assert_same(plain, XCodec2.from_pretrained("someone/codec", cache_dir=tmp_path, local_files_only=True))
    with pytest.raises(OSError, match="no codec found at 'someone/other'"):
        XCodec2.from_pretrained("someone/other", cache_dir=tmp_path, local_files_only=True)
    with pytest.raises(OSError, match="no codec found at '.*models--someone--codec': it has no config.json"):
        XCodec2.from_pretrained(repo, local_files_only=True)


@pytest.fixture
def original():
    """Returns (config, weights) of a 16 kHz checkpoint, which tests modify."""
    folder = first_set(upsampled=False)
    return read_config(folder), load_file(folder / "model.safetensors")


def test_missing_and_unexpected_weights(original, tmp_path):
    config, weights = original
    missing = {key: value for key, value in weights.items() if key != "fc_prior.weight"}
    with pytest.raises(ValueError, match=r"1 missing weights .*fc_encoder\.weight"):
        XCodec2.from_pretrained(write_original(tmp_path / "missing", config, missing))
    magnitude = "CodecEnc.conv_blocks.0.parametrizations.weight.original0"
    half = {key: value for key, value in weights.items() if key != magnitude}
    with pytest.raises(ValueError, match=r"missing weight .*CodecEnc\.conv_blocks\.0\.parametrizations"):
        XCodec2.from_pretrained(write_original(tmp_path / "half", config, half))
    with pytest.raises(ValueError, match=r"1 unexpected weights .*generator\.surprise"):
        unexpected = {**weights, "generator.surprise": torch.ones(1)}
        XCodec2.from_pretrained(write_original(tmp_path / "unexpected", config, unexpected))
    with pytest.raises(ValueError, match=r"4 unexpected weights .*acoustic_decoder\.prior_net\.2"):
        extra = {**weights, **{f"generator.backbone.prior_net.2.{i}": torch.ones(1) for i in range(4)}}
        XCodec2.from_pretrained(write_original(tmp_path / "extra", config, extra))
    with pytest.raises(ValueError, match=r"1 mismatched weights .*acoustic_decoder\.embed\.bias"):
        reshaped = {**weights, "generator.backbone.embed.bias": torch.ones(3)}
        XCodec2.from_pretrained(write_original(tmp_path / "reshaped", config, reshaped))


def test_missing_weights_of_a_transformers_folder(plain, tmp_path):
    plain.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["fc_encoder.bias"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"1 missing weights .*fc_encoder\.bias"):
        XCodec2.from_pretrained(tmp_path)


class Intruder:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_pickled_code_is_not_run(original, tmp_path):
    config, weights = original
    (tmp_path / "config.json").write_text(json.dumps(config))
    trace = tmp_path / "trace"
    torch.save({"state_dict": weights, "hyper_parameters": Intruder(trace)}, tmp_path / "codec.ckpt")
    with pytest.raises(ValueError, match="codec.ckpt.* is a pickle of other objects than tensors"):
        XCodec2.from_pretrained(tmp_path)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Intruder(trace)))
    assert trace.exists(), "the intruder is harmless, the test shows nothing"


def test_invalid_folders(original, tmp_path):
    config, weights = original
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="must have its weights in model.safetensors.*found none"):
        XCodec2.from_pretrained(tmp_path)
    for name in ("a.ckpt", "b.ckpt"):
        torch.save(weights, tmp_path / name)
    with pytest.raises(ValueError, match=r"found \['a.ckpt', 'b.ckpt'\]"):
        XCodec2.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ValueError, match="model.safetensors' is damaged"):
        XCodec2.from_pretrained(tmp_path)
    torch.save([1, 2], tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="pytorch_model.bin' must hold a dictionary of tensors"):
        XCodec2.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "encodec"}))
    with pytest.raises(ValueError, match="must be an XCodec2 checkpoint.*'encodec'"):
        XCodec2.from_pretrained(tmp_path)
    with pytest.raises(TypeError, match="unexpected arguments: trust_remote_code"):
        XCodec2.from_pretrained(tmp_path, trust_remote_code=True)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"use_vocos": False}, "`use_vocos`"),
        ({"dilations": [1, 2, 4]}, r"`dilations` .* got \[1, 2, 4\]"),
        ({"semantic_model_config": {"model_type": "wavlm"}}, "'wav2vec2-bert', got 'wavlm'"),
        ({"semantic_model_config": {"num_hidden_layers": 12}}, "at least 16, got 12"),
        ({"semantic_hidden_size": 7}, "`semantic_hidden_size` must be .* 1024, got 7"),
        ({"upsample_factors": [3, 3], "upsample_kernel_sizes": [9]}, "must have the same length"),
    ],
)
def test_invalid_original_configurations(change, message):
    with pytest.raises(ValueError, match=message):
        config_from_original({"model_type": "xcodec", **change})


def test_published_sizes():
    """Published configurations omit most sizes, which are constants of the original's code."""
    published = {"semantic_hidden_size": 1024, "codec_encoder_hidden_size": 1024, "codec_decoder_hidden_size": 1024}
    config = config_from_original({"model_type": "xcodec", "use_vocos": True, **published})
    native = type(Xcodec2Model.config_class())()
    assert type(config) is type(native)
    ours, theirs = config.to_dict(), native.to_dict()
    # SpecAugment is only for training the semantic model
    assert ours["semantic_model_config"].pop("mask_time_prob") == 0
    assert theirs["semantic_model_config"].pop("mask_time_prob") > 0
    assert {k: v for k, v in ours.items() if k != "downsampling_ratios"} == {
        k: v for k, v in theirs.items() if k != "downsampling_ratios"
    }
    assert list(ours["downsampling_ratios"]) == list(theirs["downsampling_ratios"])

    upsampled = config_from_original({**published, "sample_rate": 44100, "hop_length": 98, "upsample_factors": [3, 3]})
    assert isinstance(upsampled, T5GemmaTTSCodecConfig)
    assert (upsampled.output_sampling_rate, upsampled.decoder_hop_length) == (44100, 98)
    assert upsampled.upsample_kernel_sizes == [8, 8]
    # transformers' own "xcodec" is the first X-Codec
    assert not is_original_config({"model_type": "xcodec", "acoustic_model_config": {}})


def test_loading_keeps_the_random_state(tmp_path):
    tiny_codec().save_pretrained(tmp_path)
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    XCodec2.from_pretrained(tmp_path)
    assert torch.equal(torch.rand(3), expected)
