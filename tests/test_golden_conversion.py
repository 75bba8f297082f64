"""Conversion of bundles, LoRA and exports from the original project's scripts."""

import json
from pathlib import Path

import pytest
import torch
from golden import LOGITS_ATOL, TTS_DIR, our_key
from safetensors.torch import load_file
from test_golden_model import training_batch

from t5gemma_tts import T5GemmaTTSConfig, T5GemmaTTSForConditionalGeneration
from t5gemma_tts.conversion import convert_checkpoint, load_bundle
from t5gemma_tts.training.arguments import ModelArguments
from t5gemma_tts.training.train import add_adapters


pytestmark = pytest.mark.golden

SETS = sorted(path.parent for path in (TTS_DIR / "g_lora_bundles").rglob("case.json"))


def kind_of(path: Path) -> str:
    """`full` of `bundle_full.pth`, `prune0` of `bundle_prune0_step1000.pth`, `lora` of `export_lora_merged`."""
    return path.stem.split("_")[1]


def paths(pattern: str, select=lambda path: True) -> dict:
    found = [path for folder in SETS for path in sorted(folder.glob(pattern)) if select(path)]
    return {"argnames": "path", "argvalues": found, "ids": [f"{path.parent.name}-{path.name}" for path in found]}


def has_lora(path: Path) -> bool:
    return any(".lora_A." in key for key in load_bundle(path)["model"])


def bundle_of(path: Path) -> Path:
    """Returns the bundle from which an export was created."""
    (bundle,) = path.parent.glob(f"bundle_{kind_of(path)}*.pth")
    return bundle


def convert(bundle: Path, output: Path, **kwargs) -> Path:
    return convert_checkpoint(bundle, output, backbone_config=bundle.parent / "backbone_config.json", **kwargs)


def load_as_recorded(folder: Path, recording: Path) -> T5GemmaTTSForConditionalGeneration:
    """Eager attention with the backbone's soft-capping, as in the recording."""
    config = T5GemmaTTSConfig.from_pretrained(folder)
    backbone = json.loads((recording / "backbone_config.json").read_text())
    for side in ("encoder", "decoder"):
        getattr(config.backbone, side).attn_logit_softcapping = backbone[side]["attn_logit_softcapping"]
    return T5GemmaTTSForConditionalGeneration.from_pretrained(folder, config=config, attn_implementation="eager")


def described(model: T5GemmaTTSForConditionalGeneration) -> dict:
    return {k: v for k, v in model.config.to_dict().items() if k not in ("architectures", "_name_or_path")}


def assert_probe(model: torch.nn.Module, recording: Path, kind: str):
    expected = load_file(recording / f"probe_{kind}.safetensors")["logits"]
    inputs = load_file(recording / "probe_inputs.safetensors")
    with torch.no_grad():
        logits = model(**training_batch(inputs, model.config)).logits
    for row, length in enumerate(inputs["y_lens"].tolist()):
        valid = slice(length + 1)
        torch.testing.assert_close(logits[row, valid], expected[row, valid], rtol=0, atol=LOGITS_ATOL)


def test_there_are_recordings():
    assert SETS and all(list(folder.glob("bundle_*.pth")) for folder in SETS)


@pytest.mark.parametrize(**paths("bundle_*.pth"))
def test_converted_bundle_gives_the_recorded_logits(path, tmp_path):
    model = load_as_recorded(convert(path, tmp_path / "converted"), path.parent)
    assert model.dtype == torch.float32
    assert_probe(model, path.parent, kind_of(path))


@pytest.mark.parametrize(**paths("bundle_*.pth", has_lora))
def test_merged_weights(path, tmp_path):
    (recorded,) = path.parent.glob(f"expected_{kind_of(path)}_merged_*.safetensors")
    convert(path, tmp_path / "converted")
    converted = load_file(tmp_path / "converted" / "model.safetensors")
    expected = {our_key(key): value for key, value in load_file(recorded).items()}
    assert converted.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(converted[name], value, rtol=0, atol=1e-6)


@pytest.mark.parametrize(**paths("bundle_*.pth", has_lora))
@pytest.mark.parametrize("source", ["converted", "exported by the original"])
def test_adapter(path, tmp_path, source):
    """The original's own adapter folders need no conversion."""
    peft = pytest.importorskip("peft")
    kind = kind_of(path)
    recorded = json.loads((path.parent / "case.json").read_text())[kind]
    convert(path, tmp_path / "base", merge_lora=False)
    adapter = tmp_path / "base" / "adapter" if source == "converted" else path.parent / f"export_{kind}_adapter"
    base = load_as_recorded(tmp_path / "base", path.parent)
    model = peft.PeftModel.from_pretrained(base, adapter, is_trainable=True).eval()
    assert_probe(model, path.parent, kind)

    settings = model.peft_config["default"]
    assert (settings.r, settings.lora_alpha) == (recorded["r"], recorded["alpha"])
    assert settings.lora_alpha / settings.r == recorded["scaling"]
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == recorded["n_trainable"]
    adapted = {f"backbone.{name}" for name, module in model.named_modules() if hasattr(module, "lora_A")}
    assert adapted == set(recorded["adapted_modules"])


@pytest.mark.parametrize(**paths("bundle_*.pth", has_lora))
def test_adapters_of_training(path, tmp_path):
    """Training adapts the same modules as the original, with the same number of weights by default."""
    recorded = json.loads((path.parent / "case.json").read_text())[kind_of(path)]
    convert(path, tmp_path / "base", merge_lora=False)
    base = T5GemmaTTSForConditionalGeneration.from_pretrained(tmp_path / "base")
    options = ModelArguments(model="base", lora_rank=recorded["r"], lora_alpha=recorded["alpha"])
    model = add_adapters(base, options)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == recorded["n_trainable"]
    adapted = {f"backbone.{name}" for name, module in model.named_modules() if hasattr(module, "lora_A")}
    assert adapted == set(recorded["adapted_modules"])


@pytest.mark.parametrize(**paths("export_*", lambda path: (path / "model.safetensors").is_file()))
def test_export_loads_as_it_is_and_equals_its_bundle(path, tmp_path):
    stored = load_file(path / "model.safetensors")
    dtype = next(iter(stored.values())).dtype
    model = T5GemmaTTSForConditionalGeneration.from_pretrained(path)
    assert model.dtype == dtype
    from_bundle = T5GemmaTTSForConditionalGeneration.from_pretrained(
        convert(bundle_of(path), tmp_path / "bundle", dtype=dtype)
    )
    from_export = T5GemmaTTSForConditionalGeneration.from_pretrained(convert_checkpoint(path, tmp_path / "export"))
    # merging may round differently in the last bit
    rtol = 0.0 if dtype == torch.float32 else torch.finfo(dtype).eps
    for other in (from_bundle, from_export):
        assert other.state_dict().keys() == model.state_dict().keys() == {our_key(key) for key in stored}
        for name, value in model.state_dict().items():
            torch.testing.assert_close(other.state_dict()[name], value, rtol=rtol, atol=1e-6, msg=name)
        # the bundle's arguments and the export's configuration say the same
        assert described(other) == described(model)
    if dtype == torch.float32:
        assert_probe(load_as_recorded(path, path.parent), path.parent, kind_of(path))
