"""LoRA adapters as models: they load, speak and merge with all that their base model has."""

import json
import shutil

import pytest
import torch

from t5gemma_tts import T5GemmaTTSForConditionalGeneration
from t5gemma_tts.adapters import base_of_adapter
from t5gemma_tts.checkpoint_info import describe_checkpoint
from t5gemma_tts.cli.main import main
from t5gemma_tts.loading import load_codec, load_model, load_processor
from t5gemma_tts.training.merge_lora import merge_adapter


@pytest.fixture(scope="module")
def base(tiny_checkpoint, tmp_path_factory):
    return shutil.copytree(tiny_checkpoint, tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory):
    """An adapter that changes the model, as peft saves it."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    options = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    folder = tmp_path_factory.mktemp("adapter") / "anna"
    get_peft_model(T5GemmaTTSForConditionalGeneration.from_pretrained(base), options).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def batch(base):
    processor = load_processor(str(base))
    inputs = processor(text="hello", language="en", duration=0.5)
    codes = torch.arange(5)[None] % load_model(str(base)).config.codebook_size
    keys = ("input_ids", "attention_mask")
    return {key: inputs[key] for key in keys} | {
        "decoder_input_ids": codes,
        "decoder_attention_mask": torch.ones_like(codes),
    }


def test_base_of_an_adapter(base, adapter, tmp_path):
    assert base_of_adapter(str(adapter)) == str(base)
    assert base_of_adapter(str(base)) is None
    nameless = shutil.copytree(adapter, tmp_path / "nameless")
    stored = json.loads((nameless / "adapter_config.json").read_text())
    (nameless / "adapter_config.json").write_text(json.dumps(stored | {"base_model_name_or_path": None}))
    with pytest.raises(ValueError, match="nameless' names no base model"):
        base_of_adapter(str(nameless))


def test_model_has_the_logits_of_the_adapter(base, adapter, batch):
    from peft import PeftModel

    with torch.no_grad():
        plain = load_model(str(base))(**batch).logits
        expected = PeftModel.from_pretrained(load_model(str(base)), adapter).eval()(**batch).logits
        logits = load_model(str(adapter))(**batch).logits
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)
    assert (logits - plain).abs().max() > 1e-2


def test_processor_and_codec_are_the_base_models(base, adapter):
    assert load_processor(str(adapter)).codec.codebook_size == load_processor(str(base)).codec.codebook_size
    assert load_codec(str(adapter)).codebook_size == load_codec(str(base)).codebook_size
    facts = describe_checkpoint(str(adapter))
    assert facts["adapter"] == str(adapter) and facts["base model"] == str(base)


def test_adapter_speaks_as_its_merged_model(adapter, tmp_path):
    options = ["speak", "Hello there.", "--seed", "1", "--duration", "0.6", "--language", "en"]
    assert main([*options, "--model", str(adapter), "-o", str(tmp_path / "adapter.wav")]) == 0
    merge_adapter(str(adapter), str(tmp_path / "merged"))
    assert (tmp_path / "merged" / "codec" / "model.safetensors").is_file()
    assert main([*options, "--model", str(tmp_path / "merged"), "-o", str(tmp_path / "merged.wav")]) == 0
    assert (tmp_path / "adapter.wav").read_bytes() == (tmp_path / "merged.wav").read_bytes()


def test_quantization_needs_a_merged_model(adapter, capsys, tmp_path):
    options = ["speak", "Hello.", "--model", str(adapter), "--quantization", "int8", "-o", str(tmp_path / "a.wav")]
    assert main(options) == 1
    assert "run `t5gemma-tts merge` first" in capsys.readouterr().err


def test_damaged_adapter(adapter, tmp_path, capsys):
    damaged = shutil.copytree(adapter, tmp_path / "damaged")
    (damaged / "adapter_model.safetensors").write_bytes(b"not weights")
    assert main(["speak", "Hello.", "--model", str(damaged), "-o", str(tmp_path / "a.wav")]) == 1
    assert "t5gemma-tts speak: " in capsys.readouterr().err
