"""Fuzz test of the original project's checkpoints: an error that names the cause, or valid weights."""

import io
import json
import math
import tempfile
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from hypothesis import given
from hypothesis import strategies as st
from originals import lora_weights, original_args, original_weights, small_model, with_aliases, write_export
from safetensors.torch import save
from strategies import cases, changed, damaged, json_values, numbers
from tiny import tiny_backbone
from transformers.utils import logging

from t5gemma_tts import T5GemmaTTSForConditionalGeneration
from t5gemma_tts.conversion.bundle import load_bundle
from t5gemma_tts.conversion.source import read_source
from t5gemma_tts.model.xcodec2_original import convert_original_state_dict, load_original_state_dict


REFUSALS = (ValueError, OSError, StrictDataclassError)
WEIGHTS = {"a.weight": torch.ones(2, 3), "b.bias": torch.zeros(2, dtype=torch.bfloat16), "empty": torch.zeros(0)}
LORA_MODULES = ["backbone.model.encoder.layers.0.self_attn.q_proj", "predict_layer.0.0"]


def torch_file(content, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


BUNDLE = {"model": WEIGHTS, "optimizer": {"state": {}}, "scheduler": {}, "args": Namespace(**original_args())}
FILES = [torch_file(BUNDLE), torch_file(BUNDLE, zipped=False)]


def tensors():
    shapes = st.lists(st.integers(0, 3), max_size=3)
    dtypes = st.sampled_from([torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.bool])
    return st.builds(lambda shape, dtype: torch.ones(shape, dtype=dtype), shapes, dtypes)


def contents():
    leaves = json_values() | tensors()
    return leaves | st.dictionaries(st.sampled_from(["model", "args", "state_dict"]) | st.text(max_size=5), leaves)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoints")


@cases(30)
@given(content=st.sampled_from(FILES).flatmap(damaged) | st.binary(max_size=60) | contents().map(torch_file))
def test_damaged_bundles(folder, content):
    path = folder / "bundle.pth"
    path.write_bytes(content)
    try:
        bundle = load_bundle(path)
    except ValueError as error:
        assert "bundle.pth" in str(error)
        return
    assert isinstance(bundle["args"], Namespace)
    assert bundle["model"] and all(isinstance(value, torch.Tensor) for value in bundle["model"].values())
    for value in bundle["model"].values():
        value.to(torch.float32).sum()  # all of it can be read


@pytest.fixture(scope="module")
def weights():
    return original_weights(small_model())


@pytest.fixture(scope="module")
def backbone(folder):
    path = folder / "backbone.json"
    path.write_text(tiny_backbone().to_json_string())
    return path


@cases(20)
@given(data=st.data())
def test_bundles_of_other_contents(folder, weights, backbone, data):
    """Random changes of arguments and weight names: an error, or a model with all weights."""
    content = dict(weights)
    lora = data.draw(st.booleans())
    if lora:
        content = lora_weights(content, LORA_MODULES, rank=2)
    if data.draw(st.booleans()):
        content = with_aliases(content, "backbone.base_model.model.model." if lora else "backbone.model.")
    for key in data.draw(st.lists(st.sampled_from(sorted(content)), max_size=2, unique=True)):
        value = content.pop(key)
        action = data.draw(st.sampled_from(["remove", "rename", "reshape", "replace"]))
        if action != "remove":
            name = data.draw(st.text(max_size=10)) if action == "rename" else key
            content[name] = {"reshape": value.flatten()[1:], "rename": value}.get(action, torch.ones(()))
    args = data.draw(st.just(original_args()) | changed(original_args(), values=json_values() | numbers()))
    args |= {"lora_r": 2, "lora_alpha": 4} if data.draw(st.booleans()) else {}
    path = folder / "other.pth"
    torch.save({"model": content, "args": Namespace(**args)}, path)
    try:
        source = read_source(path, backbone, data.draw(st.booleans()), None)
        model = source.load_model(None)
    except REFUSALS as error:
        assert str(error)
        return
    assert sum(value.numel() for value in model.state_dict().values()) == sum(v.numel() for v in weights.values())


@pytest.fixture(scope="module")
def export(folder, weights):
    return write_export(folder / "export", weights)


@cases(20)
@given(data=st.data())
def test_exports_with_damaged_weights(export, weights, data):
    """Damaged safetensors files: an error, or weights with the shapes of the header."""
    whole = (export / "model.safetensors").read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    content = data.draw(damaged(whole, most_changed=header) | damaged(whole, most_changed=8) | damaged(whole))
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "config.json").write_bytes((export / "config.json").read_bytes())
        (Path(name) / "model.safetensors").write_bytes(content)
        try:
            model = T5GemmaTTSForConditionalGeneration.from_pretrained(name)
        except REFUSALS as error:
            assert str(error)
            return
    assert sum(value.numel() for value in model.state_dict().values()) == sum(v.numel() for v in weights.values())


@cases(30)
@given(data=st.data())
def test_codec_weights(folder, data):
    """Damaged codec weight files: an error, or named tensors from the file."""
    kind = data.draw(st.sampled_from(["pytorch_model.bin", "model.safetensors", "codec.ckpt", "index"]))
    whole = save(WEIGHTS) if kind in ("model.safetensors", "index") else torch_file({"state_dict": WEIGHTS})
    content = data.draw(st.just(whole) | damaged(whole) | contents().map(torch_file) | st.binary(max_size=40))
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "config.json")
        path.write_text("{}")
        if kind == "index":
            index = {"weight_map": {key: "shard-1.safetensors" for key in WEIGHTS}}
            index = data.draw(st.just(index) | changed(index) | json_values())
            Path(name, "model.safetensors.index.json").write_text(json.dumps(index))
            Path(name, "shard-1.safetensors").write_bytes(content)
        else:
            Path(name, kind).write_bytes(content)
        try:
            state_dict = load_original_state_dict(name)
        except REFUSALS as error:
            assert name in str(error), str(error)
            return
    assert all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state_dict.items())
    try:
        convert_original_state_dict(state_dict)
    except ValueError as error:
        assert "weight" in str(error)


KEYS = st.sampled_from(
    [
        "CodecEnc.conv_blocks.0.weight_g",
        "CodecEnc.conv_blocks.0.weight_v",
        "CodecEnc.conv_blocks.1.block.0.block.0.act.bias",
        "generator.backbone.transformers.0.att.c_attn.weight",
        "generator.backbone.embed.parametrizations.weight.original0",
        "generator.backbone.embed.parametrizations.weight.original1",
        "semantic_model.encoder.layers.17.x",
        "fc_prior.weight",
    ]
)


@cases(30)
@given(state_dict=st.dictionaries(KEYS | st.text(max_size=8), tensors(), max_size=5))
def test_codec_weights_of_any_names(state_dict):
    try:
        converted = convert_original_state_dict(state_dict)
    except ValueError as error:
        assert "weight" in str(error)
        return
    assert all(value.dtype == torch.float32 and math.prod(value.shape) >= 0 for value in converted.values())
