"""int8 weights: close to the float model, bit-identical in any batch, saved and loaded."""

import copy
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from test_engine import spoken
from test_generation import collate, mixed_samples
from tiny import tiny_model

from t5gemma_tts import T5GemmaTTSForConditionalGeneration
from t5gemma_tts.loading import load_model
from t5gemma_tts.model.quantization import Int8Config, Int8Linear, quantization_config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_model().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("bias", [True, False])
def test_linear_is_close(bias):
    torch.manual_seed(0)
    layer = torch.nn.Linear(256, 40, bias=bias)
    with torch.no_grad():
        layer.weight[3] = 0
        layer.weight[4] *= 100
    quantized = Int8Linear.from_linear(layer)
    states = torch.randn(2, 5, 256) * torch.tensor([[1e-3], [1.0], [1e3], [0.0], [10.0]])
    expected = layer(states).detach()
    assert quantized(states).shape == expected.shape
    bound = layer.weight.norm(dim=-1) * states.norm(dim=-1, keepdim=True)  # upper bound of the products
    assert ((quantized(states) - expected).abs() <= 0.005 * bound + 1e-6).all()  # inputs have 7 bits
    assert quantized(states.double()).dtype == torch.float64


@pytest.mark.parametrize("width", [1, 7, 33, 256])  # multiples of the vector size and others
@pytest.mark.parametrize("bias", [True, False])
def test_rows_of_zeros(width, bias):
    layer = Int8Linear.from_linear(torch.nn.Linear(width, 40, bias=bias))
    states = torch.zeros(3, width)
    states[1] = 1.0
    expected = layer.bias.detach() if bias else torch.zeros(40)
    made = layer(states)
    assert torch.equal(made[0], expected) and torch.equal(made[2], expected)
    assert torch.equal(made[1:2], layer(states[1:2])) and made.isfinite().all()


def test_rows_do_not_depend_on_other_rows():
    layer = Int8Linear.from_linear(torch.nn.Linear(96, 50))
    states = torch.randn(17, 96) * torch.logspace(-3, 3, 17).unsqueeze(-1)
    assert torch.equal(layer(states), torch.cat([layer(row) for row in states.split(1)]))


def test_copies_are_independent():
    layer = Int8Linear.from_linear(torch.nn.Linear(8, 4))
    states = torch.randn(3, 8)
    before = layer(states)
    other = copy.deepcopy(layer)
    other.weight_scale.data = other.weight_scale.data * 2
    other.bias.data.zero_()
    assert torch.equal(layer(states), before)
    torch.testing.assert_close(other(states), 2 * (before - layer.bias))


def test_quantized_on_loading_and_from_its_own_checkpoint(folder, tmp_path):
    model = load_model(folder, "cpu", quantization="int8")
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Linear | Int8Linear)]
    assert layers and all(type(layer) is Int8Linear for layer in layers)
    assert model.get_decoder().embed_tokens.weight.dtype == torch.float32
    batch = collate(mixed_samples(model.config, count=3), model.config)
    tokens = model.generate(**batch, do_sample=False)
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert stored["audio_head.out_proj.weight"].dtype == torch.int8
    again = T5GemmaTTSForConditionalGeneration.from_pretrained(tmp_path)
    assert isinstance(again.config.quantization_config, Int8Config)
    assert again.generate(**batch, do_sample=False).tolist() == tokens.tolist()


def test_logits_are_close_to_those_of_the_float_model(folder):
    model, quantized = (load_model(folder, "cpu", quantization=name) for name in (None, "int8"))
    batch = collate(mixed_samples(model.config), model.config)
    del batch["num_frames"]
    with torch.no_grad():
        logits, rounded = (one(**batch).logits[:, -1] for one in (model, quantized))
    assert (rounded - logits).std() < 0.1 * logits.std()
    assert torch.corrcoef(torch.stack([rounded.flatten(), logits.flatten()]))[0, 1] > 0.99


def test_sampled_tokens_do_not_depend_on_the_batch(folder):
    model = load_model(folder, "cpu", quantization="int8")
    samples = mixed_samples(model.config)
    options = {"seed": 3, "do_sample": True, "temperature": 2.0}
    together = spoken(model, collate(samples, model.config), **options)
    assert together == [spoken(model, collate([sample], model.config), **options)[0] for sample in samples]


@pytest.mark.slow
def test_torchao(folder, tmp_path):
    """torchao replaces weights by tensor subclasses; the fast step calls the layers and gives the same result."""
    pytest.importorskip("torchao")
    model = load_model(folder, "cpu", quantization="torchao-int8")
    assert type(model.audio_head.out_proj) is torch.nn.Linear
    assert type(model.audio_head.out_proj.weight).__module__.startswith("torchao")
    batch = collate(mixed_samples(model.config, count=3), model.config)
    tokens = model.generate(**batch, do_sample=False)
    assert tokens.tolist() == model.generate(**batch, do_sample=False, output_attentions=True).tolist()
    model.save_pretrained(tmp_path)
    again = T5GemmaTTSForConditionalGeneration.from_pretrained(tmp_path)
    assert again.generate(**batch, do_sample=False).tolist() == tokens.tolist()
    del batch["num_frames"]
    with torch.no_grad():
        logits, rounded = (one(**batch).logits[:, -1] for one in (load_model(folder, "cpu"), model))
    assert 0 < (rounded - logits).std() < 0.05 * logits.std()


def test_missing_torchao(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(ImportError, match="'torchao-int8' needs torchao"):
        quantization_config("torchao-int8")


@pytest.mark.parametrize(
    ("name", "bits", "skipped"),
    [
        ("bnb-8bit", 8, None),
        ("bnb-4bit", 4, None),
        ("bnb-8bit-encoder", 8, ["model.decoder", "audio_head"]),
        ("bnb-4bit-encoder", 4, ["model.decoder", "audio_head"]),
    ],
)
def test_names_of_bitsandbytes(name, bits, skipped):
    config = quantization_config(name)
    assert (config.load_in_8bit, config.load_in_4bit) == (bits == 8, bits == 4)
    assert config.llm_int8_skip_modules == skipped


def test_invalid_names_and_devices(folder, monkeypatch):
    with pytest.raises(ValueError, match="`quantization` must be one of int8, torchao-int8, bnb-8bit.*, got 'int4'"):
        load_model(folder, "cpu", quantization="int4")
    with pytest.raises(ValueError, match="either `quantization` or `quantization_config`"):
        T5GemmaTTSForConditionalGeneration.from_pretrained(
            folder, quantization="int8", quantization_config=Int8Config()
        )
    with pytest.raises(ValueError, match="runs on the CPU only"):
        T5GemmaTTSForConditionalGeneration.from_pretrained(folder, quantization="int8", device_map={"": "meta"})
    with pytest.raises(ValueError, match="`quant_method` must be"):
        Int8Config("other")
    monkeypatch.setattr(torch.backends, "quantized", SimpleNamespace(supported_engines=["qnnpack"]))
    with pytest.raises(ImportError, match="needs a torch build with fbgemm"):
        load_model(folder, "cpu", quantization="int8")
