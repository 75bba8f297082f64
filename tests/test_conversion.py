"""Conversion: weights of bundles and exports, LoRA, unsafe and damaged files."""

import builtins
import json
import os
import pickle
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from originals import (
    assert_same_weights,
    letter_tokenizer,
    load,
    lora_weights,
    original_args,
    original_weights,
    small_model,
    with_aliases,
    write_bundle,
    write_export,
)
from safetensors.torch import load_file
from test_modeling import training_inputs

from t5gemma_tts import T5GemmaTTSProcessor
from t5gemma_tts.conversion import convert_checkpoint, load_bundle


MAPS = Path("/proc/self/maps")


def self_attention(weights: dict, names=("q_proj", "k_proj", "v_proj", "o_proj")) -> list[str]:
    modules = [key.removesuffix(".weight") for key in weights if "self_attn" in key]
    return [module for module in modules if module.rsplit(".", 1)[-1] in names]


def adapted(weights: dict, modules: list[str], rank: int) -> dict:
    return with_aliases(lora_weights(weights, modules, rank), "backbone.base_model.model.model.")


@pytest.mark.parametrize("prune_text_modules", [0, 1, 2])
def test_bundle(tmp_path, backbone, output, prune_text_modules):
    model = small_model()
    weights = with_aliases(original_weights(model, prune_text_modules))
    bundle = write_bundle(tmp_path / "bundle.pth", weights, prune_text_modules=prune_text_modules)
    assert convert_checkpoint(bundle, output, backbone_config=backbone) == output
    converted = load(output)
    assert_same_weights(converted, model)
    batch = training_inputs(model.config)
    with torch.no_grad():
        torch.testing.assert_close(converted(**batch).logits, model(**batch).logits, rtol=0, atol=0)

    assert [path.name for path in output.parent.iterdir()] == [output.name]
    config = json.loads((output / "config.json").read_text())
    assert config["model_type"] == "t5gemma_tts"
    assert config["codec_name_or_path"] == "nobody/no-codec"
    assert config["backbone"]["encoder"]["attn_logit_softcapping"] is None
    assert str(tmp_path) not in json.dumps(config)
    for name in ("AutoConfig", "AutoModel"):
        assert (output / f"{config['auto_map'][name].split('.')[0]}.py").is_file()
    generation = json.loads((output / "generation_config.json").read_text())
    assert (generation["temperature"], generation["top_k"], generation["top_p"]) == (0.8, 30, 0.9)
    stored = set()
    for path in output.glob("*.safetensors"):
        stored |= load_file(path).keys()
    assert stored == model.state_dict().keys()


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_wrapper_prefixes_are_removed(tmp_path, backbone, output, prefix):
    model = small_model()
    weights = {prefix + key: value for key, value in with_aliases(original_weights(model)).items()}
    convert_checkpoint(write_bundle(tmp_path / "bundle.pth", weights), output, backbone_config=backbone)
    assert_same_weights(load(output), model)


def test_bundle_in_the_legacy_file_format(tmp_path, backbone, output):
    model = small_model()
    content = {"model": with_aliases(original_weights(model)), "args": Namespace(**original_args())}
    torch.save(content, tmp_path / "bundle.pth", _use_new_zipfile_serialization=False)
    convert_checkpoint(tmp_path / "bundle.pth", output, backbone_config=backbone)
    assert_same_weights(load(output), model)


@pytest.mark.parametrize("dtype", ["bfloat16", torch.float16])
def test_dtype(tmp_path, backbone, output, dtype):
    model = small_model()
    bundle = write_bundle(tmp_path / "bundle.pth", original_weights(model))
    convert_checkpoint(bundle, output, backbone_config=backbone, dtype=dtype)
    assert_same_weights(load(output), model.to(getattr(torch, dtype) if isinstance(dtype, str) else dtype))


@pytest.mark.parametrize("kind", ["file", "t5gemma_voice", "t5gemma_tts"])
def test_backbone_configurations(tmp_path, backbone, output, kind):
    model = small_model()
    source = backbone / "config.json"
    if kind == "t5gemma_voice":
        source = write_export(tmp_path / "export", original_weights(model))
    elif kind == "t5gemma_tts":
        model.save_pretrained(tmp_path / "ours")
        source = tmp_path / "ours"
    bundle = write_bundle(tmp_path / "bundle.pth", original_weights(model))
    convert_checkpoint(bundle, output, backbone_config=source)
    for side in ("encoder", "decoder"):
        found = getattr(load(output).config.backbone, side).to_dict()
        assert found == getattr(model.config.backbone, side).to_dict()


def test_backbone_named_in_the_bundle(tmp_path, backbone, output):
    bundle = write_bundle(tmp_path / "bundle.pth", original_weights(small_model()), t5gemma_model_name=str(backbone))
    convert_checkpoint(bundle, output)
    assert_same_weights(load(output), small_model())


def test_lora_is_merged_in_float32(tmp_path, backbone, output):
    weights = original_weights(small_model())
    modules = self_attention(weights)
    wrapped = adapted(weights, modules, rank=4)
    bundle = write_bundle(tmp_path / "bundle.pth", wrapped, lora_r=4, lora_alpha=10)
    convert_checkpoint(bundle, output, backbone_config=backbone)
    converted = original_weights(load(output))
    assert converted.keys() == weights.keys()
    for key, value in weights.items():
        if (module := key.removesuffix(".weight")) in modules:
            name = module.replace("backbone.", "backbone.base_model.model.", 1)
            a, b = (wrapped[f"{name}.lora_{side}.default.weight"].double() for side in "AB")
            value = (value.double() + 10 / 4 * b @ a).float()
            assert (value - weights[key]).abs().max() > 0.01
        torch.testing.assert_close(converted[key], value, rtol=0, atol=1e-6)
    assert not (output / "adapter").exists()

    # smaller dtypes are rounded only once, after the sum
    convert_checkpoint(bundle, output, backbone_config=backbone, dtype="bfloat16", overwrite=True)
    for key, value in original_weights(load(output)).items():
        assert torch.equal(value, converted[key].bfloat16())


@pytest.mark.parametrize("targets", ["everywhere", "some layers"])
def test_lora_as_peft_adapter(tmp_path, backbone, output, targets):
    peft = pytest.importorskip("peft")
    weights = original_weights(small_model(), prune_text_modules=0)
    modules = [key.removesuffix(".weight") for key in weights if "_proj.weight" in key and "lm_head" not in key]
    if targets == "some layers":
        modules = [module for module in self_attention(weights, ("q_proj", "v_proj")) if "layers.1" in module]
    wrapped = adapted(weights, [*modules, "backbone.lm_head.out_proj"], rank=3)
    bundle = write_bundle(tmp_path / "bundle.pth", wrapped, lora_r=3, lora_alpha=6, lora_dropout=0.1)
    merged_folder = output.with_name("merged")
    convert_checkpoint(bundle, merged_folder, backbone_config=backbone)
    convert_checkpoint(bundle, output, backbone_config=backbone, merge_lora=False)
    base = load(output)
    assert_same_weights(base, small_model())

    model = peft.PeftModel.from_pretrained(base, output / "adapter").eval()
    found = {name.removeprefix("base_model.model.") for name, part in model.named_modules() if hasattr(part, "lora_A")}
    assert found == {module.removeprefix("backbone.") for module in modules}
    settings = model.peft_config["default"]
    assert (settings.r, settings.lora_alpha, settings.lora_dropout) == (3, 6, 0.1)
    batch = training_inputs(base.config)
    with torch.no_grad():
        expected = load(merged_folder)(**batch).logits
        torch.testing.assert_close(model(**batch).logits, expected, rtol=0, atol=1e-4)
        with model.disable_adapter():
            assert (model(**batch).logits - expected).abs().max() > 0.1


def break_lora(weights: dict, how: str) -> dict:
    a = next(key for key in weights if ".lora_A." in key)
    if how == "missing B":
        del weights[a.replace("lora_A", "lora_B")]
    elif how == "missing base":
        del weights[a.replace("lora_A.default", "base_layer")]
    elif how == "flat base":
        base = a.replace("lora_A.default", "base_layer")
        weights[base] = weights[base].flatten()
    elif how == "rank":
        weights[a] = weights[a][:2]
    elif how == "DoRA":
        weights[a.replace("lora_A.default", "lora_magnitude_vector.default")] = torch.ones(3)
    elif how == "other adapter":
        weights[a.replace("default", "mine")] = weights[a]
    return weights


@pytest.mark.parametrize(
    "how, args, message",
    [
        ("missing B", {}, "q_proj must have lora_A, lora_B and base_layer, got only lora_A, base_layer"),
        ("missing base", {}, "q_proj must have lora_A, lora_B and base_layer, got only lora_A, lora_B"),
        ("flat base", {}, r"base_layer of .*q_proj must have two dimensions, got shape \(4096,\)"),
        ("rank", {}, r"must have shapes \(4, 64\) and \(64, 4\) at `lora_r` 4, got \(2, 64\)"),
        ("DoRA", {}, "1 unexpected weights in .*lora_magnitude_vector"),
        ("other adapter", {}, "1 unexpected weights in .*lora_A.mine"),
        (None, {"lora_alpha": None}, "`lora_alpha` in the bundle's 'args' must be a number above 0, got None"),
        (None, {"lora_r": 8}, r"must have shapes \(8, 64\)"),
        (None, {"lora_r": 0}, "`lora_r` in the bundle's 'args' must be a number above 0, got 0"),
    ],
)
def test_invalid_lora(tmp_path, backbone, output, how, args, message):
    weights = original_weights(small_model())
    wrapped = break_lora(lora_weights(weights, self_attention(weights), rank=4), how)
    bundle = write_bundle(tmp_path / "bundle.pth", wrapped, **{"lora_r": 4, "lora_alpha": 8, **args})
    with pytest.raises(ValueError, match=message):
        convert_checkpoint(bundle, output, backbone_config=backbone)
    assert not any(output.parent.iterdir())


def test_error_without_an_adapter(tmp_path, backbone, output):
    weights = original_weights(small_model())
    for source in (write_bundle(tmp_path / "bundle.pth", weights), write_export(tmp_path / "export", weights)):
        with pytest.raises(ValueError, match="`merge_lora` must be true"):
            convert_checkpoint(source, output, backbone_config=backbone, merge_lora=False)


class Malicious:
    """Unpickling it creates a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("place", ["args", "optimizer", "model", "top"])
@pytest.mark.parametrize("file_format", ["zip", "older", "plain pickle"])
def test_malicious_bundle_is_an_error_and_not_executed(tmp_path, backbone, output, place, file_format):
    proof, path = tmp_path / "executed", tmp_path / "bundle.pth"
    content = {
        "model": with_aliases(original_weights(small_model())),
        "optimizer": {},
        "args": Namespace(**original_args()),
    }
    if place == "args":
        content["args"].exp_dir = Malicious(proof)
    elif place == "top":
        content = Malicious(proof)
    else:
        content[place]["extra"] = Malicious(proof)
    if file_format == "plain pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=file_format == "zip")
    expected = "is not loaded for safety: it refers to posix.mkdir" if os.name == "posix" else "bundle"
    if file_format == "plain pickle" and place != "top":
        expected = "bundle.pth"  # outside a file of `torch.save`, tensors are also an error
    for function in (load_bundle, lambda path: convert_checkpoint(path, output, backbone_config=backbone)):
        with pytest.raises(ValueError, match=expected):
            function(path)
    assert not proof.exists()
    assert not any(output.parent.iterdir())
    # unsafe loading does execute the code
    torch.load(path, weights_only=False) if file_format != "plain pickle" else pickle.loads(path.read_bytes())
    assert proof.is_dir()


def test_damaged_files_and_other_content(tmp_path):
    path = write_bundle(tmp_path / "bundle.pth", original_weights(small_model()))
    whole = path.read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="bundle.pth' must be a training bundle written by `torch.save`"):
            load_bundle(path)
    tensors = {"weight": torch.zeros(1)}
    for content, message in [
        (tensors, r"with 'model' and 'args'; found \['weight'\]"),
        (torch.zeros(1), "with 'model' and 'args'; found Tensor"),
        ({"model": tensors, "args": {"eos": 1}}, "'args' .* must be an argparse.Namespace, got dict"),
        ({"model": {}, "args": Namespace()}, "'model' .* must be a non-empty dictionary of tensors"),
        ({"model": {"weight": 1.0}, "args": Namespace()}, "'model' .* must be a non-empty dictionary of tensors"),
    ]:
        torch.save(content, path)
        with pytest.raises(ValueError, match=message):
            load_bundle(path)
    with pytest.raises(FileNotFoundError):
        load_bundle(tmp_path / "absent.pth")


@pytest.mark.skipif(not MAPS.exists(), reason="needs /proc")
def test_bundle_is_memory_mapped(tmp_path):
    path = write_bundle(tmp_path / "bundle.pth", with_aliases(original_weights(small_model())))
    bundle = load_bundle(path)
    assert str(path) in MAPS.read_text()
    one = bundle["model"]["backbone.model.encoder.embed_tokens.weight"]
    assert one.data_ptr() == bundle["model"]["encoder_module.embed_tokens.weight"].data_ptr()


def test_weights_that_do_not_fit(tmp_path, backbone, output):
    def change(**changes):
        weights = with_aliases(original_weights(small_model()))
        for key, value in changes.items():
            for name in [name for name in weights if name.endswith(key.replace("__", "."))]:
                if value is None:
                    del weights[name]
                else:
                    weights[name] = value
        return weights

    stranger = {"backbone.model.encoder.stranger.weight": torch.zeros(1)}
    twice = with_aliases(original_weights(small_model()))
    twice["decoder_module.norm.weight"] = twice["decoder_module.norm.weight"] + 1
    for weights, message in [
        (change(layers__0__mlp__up_proj__weight=None), "2 missing weights in .*model.decoder.layers.0.mlp.up_proj"),
        (change(predict_layer__0__2__bias=None), "1 missing weights in .*audio_head.out_proj.bias"),
        ({**change(), **stranger}, "1 unexpected weights in .*stranger"),
        ({**change(), "encoder_module.stranger": torch.zeros(1)}, "1 unexpected weights in .*encoder_module.stranger"),
        (change(audio_embedding__0__weight=torch.zeros(8, 64)), "1 mismatched weights in .*embed_tokens"),
        (twice, "1 weights are stored twice and differ: decoder_module.norm.weight"),
    ]:
        with pytest.raises(ValueError, match=message):
            convert_checkpoint(write_bundle(tmp_path / "b.pth", weights), output, backbone_config=backbone)
        assert not any(output.parent.iterdir())


@pytest.mark.parametrize("num_shards", [1, 3])
def test_export(tmp_path, output, num_shards):
    model = small_model().bfloat16()
    source = write_export(tmp_path / "export", original_weights(model, 0), num_shards, dtype="bfloat16")
    convert_checkpoint(source, output)
    assert_same_weights(load(output), model)
    convert_checkpoint(source, output, dtype="float32", overwrite=True)
    assert_same_weights(load(output), model.float())
    assert {path.name for path in output.parent.iterdir()} == {output.name}


def test_export_with_missing_weights_or_shards(tmp_path, output):
    weights = original_weights(small_model())
    del weights["predict_layer.0.2.bias"]
    source = write_export(tmp_path / "export", weights)
    with pytest.raises(ValueError, match="do not fit the model: 1 missing keys such as audio_head.out_proj.bias"):
        convert_checkpoint(source, output)
    source = write_export(tmp_path / "sharded", original_weights(small_model()), num_shards=2)
    (source / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(OSError, match="model-00002-of-00002.safetensors"):
        convert_checkpoint(source, output)
    assert not any(output.parent.iterdir())


def test_export_without_backbone(tmp_path, backbone, output):
    weights = original_weights(small_model())
    source = write_export(tmp_path / "export", weights, t5_config_dict=None)
    with pytest.raises(ValueError, match="has no `t5_config_dict`"):
        convert_checkpoint(source, output)
    convert_checkpoint(source, output, backbone_config=backbone)
    assert_same_weights(load(output), small_model())
    complete = write_export(tmp_path / "complete", weights)
    with pytest.raises(ValueError, match="`backbone_config` must be unset"):
        convert_checkpoint(complete, output, backbone_config=backbone, overwrite=True)


def test_code_in_an_export_is_never_executed(tmp_path, output, monkeypatch):
    proof = tmp_path / "executed"
    source = write_export(
        tmp_path / "export",
        original_weights(small_model()),
        auto_map={"AutoConfig": "configuration_t5gemma_voice.T5GemmaVoiceConfig"},
    )
    (source / "configuration_t5gemma_voice.py").write_text(
        f"from pathlib import Path\nfrom transformers import PreTrainedConfig\nPath({str(proof)!r}).touch()\n"
        "class T5GemmaVoiceConfig(PreTrainedConfig):\n    model_type = 't5gemma_voice'\n"
    )
    letter_tokenizer().save_pretrained(source)
    monkeypatch.setattr(builtins, "input", lambda prompt: "y")  # a user who accepts remote code
    convert_checkpoint(source, output)
    assert (output / "tokenizer.json").is_file()
    assert T5GemmaTTSProcessor.from_pretrained(source).tokenizer("ab").input_ids == [2, 3]
    assert not proof.exists()
