"""The fast decode step gives the same tokens as the layers it replaces, with hooks, adapters and changed weights."""

import pytest
import torch
from safetensors.torch import load_file
from test_generation import collate, mixed_samples
from tiny import tiny_config, tiny_model

from t5gemma_tts import T5GemmaTTSForConditionalGeneration
from t5gemma_tts.model.cache import HUGE_PAGES_MIN_TOKENS, PreallocatedLayer, SpeechCache
from t5gemma_tts.model.decode_step import DecodeStep
from t5gemma_tts.model.fused_linear import fuse_linears, supports_fp16_packing, supports_packing
from t5gemma_tts.model.quantization import FusedInt8Linear, Int8Linear


KINDS = {
    "plain": {},
    "window": {"backbone": {"sliding_window": 12}},
    "softcap": {"backbone": {"attn_logit_softcapping": 30.0}},
    "indices": {"use_pm_rope": False},
    "heads": {"backbone": {"num_key_value_heads": 4}},
}


def kind_of_model(kind: str):
    model = tiny_model(tiny_config(**KINDS[kind]))
    model.set_attn_implementation("eager" if kind == "softcap" else "sdpa")
    return model


@pytest.fixture
def counted(monkeypatch):
    """Counts fast steps."""
    steps = []
    call = DecodeStep.__call__
    monkeypatch.setattr(DecodeStep, "__call__", lambda self, *inputs: steps.append(1) or call(self, *inputs))
    return steps


def both_ways(model, batch, **kwargs):
    kwargs = {"do_sample": False, "output_logits": True, "return_dict_in_generate": True} | kwargs
    return model.generate(**batch, **kwargs), model.generate(**batch, cache_implementation="dynamic", **kwargs)


@pytest.mark.parametrize("pack_weights", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_layers(kind, pack_weights, counted):
    model = kind_of_model(kind)
    model.pack_weights = pack_weights
    fast, layers = both_ways(model, collate(mixed_samples(model.config), model.config))
    assert len(counted) == len(fast.logits) - 1  # the prompt uses the layers
    assert fast.sequences.tolist() == layers.sequences.tolist()
    torch.testing.assert_close(torch.stack(fast.logits), torch.stack(layers.logits), rtol=0, atol=1e-4)


def test_in_bfloat16(counted):
    model = tiny_model().to(torch.bfloat16)
    batch = collate(mixed_samples(model.config, count=2), model.config)
    fast, layers = both_ways(model, batch)
    assert counted
    exact = model.float().generate(
        **batch, do_sample=False, output_logits=True, return_dict_in_generate=True, cache_implementation="dynamic"
    )

    def error(output, steps=10):  # later steps may have other tokens
        return (torch.stack(output.logits[:steps]).float() - torch.stack(exact.logits[:steps])).abs().mean()

    assert fast.sequences[:, :3].tolist() == exact.sequences[:, :3].tolist()
    assert error(fast, 3) < 1.5 * error(layers, 3)


def test_changed_weights_are_detected():
    model = tiny_model()
    batch = collate(mixed_samples(model.config, count=2), model.config)
    before = model.generate(**batch, do_sample=False)
    with torch.no_grad():
        for parameter in model.get_decoder().layers.parameters():
            parameter.mul_(-0.5)
    after, layers = both_ways(model, batch)
    assert before.tolist() != after.sequences.tolist() == layers.sequences.tolist()
    model.load_state_dict(tiny_model(model.config, seed=5).state_dict())
    after, layers = both_ways(model, batch)
    assert after.sequences.tolist() == layers.sequences.tolist()


def test_changed_norms_are_detected():
    model = tiny_model()
    batch = collate(mixed_samples(model.config, count=2), model.config)
    model.generate(**batch, do_sample=False)
    with torch.no_grad():
        model.get_decoder().norm.weight.mul_(-3)
    fast, layers = both_ways(model, batch)
    torch.testing.assert_close(fast.logits[1], layers.logits[1])


def test_packing_can_be_disabled_later():
    model = tiny_model()
    batch = collate(mixed_samples(model.config, count=1), model.config)
    model.generate(**batch, do_sample=False)
    packed = model.decode_step()
    assert model.decode_step() is packed
    model.pack_weights = False
    assert model.decode_step() is not packed and not model.decode_step().pack_weights


def test_saving_is_not_affected(tmp_path):
    model = tiny_model()
    model.pack_weights = False
    batch = collate(mixed_samples(model.config, count=2), model.config)
    model.save_pretrained(tmp_path / "before")
    first = model.generate(**batch, do_sample=False)
    layer = model.get_decoder().layers[0].self_attn
    assert layer.q_proj.weight.untyped_storage().data_ptr() == layer.k_proj.weight.untyped_storage().data_ptr()
    model.save_pretrained(tmp_path / "after")
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("before", "after"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    again = T5GemmaTTSForConditionalGeneration.from_pretrained(tmp_path / "after")
    assert again.generate(**batch, do_sample=False).tolist() == first.tolist()


def test_adapters_are_applied(counted):
    from peft import LoraConfig, get_peft_model

    model = tiny_model()
    batch = collate(mixed_samples(model.config, count=2), model.config)
    plain = model.generate(**batch, do_sample=False)
    adapted = get_peft_model(model, LoraConfig(target_modules=["q_proj", "gate_proj"], init_lora_weights=False)).eval()
    counted.clear()
    fast, layers = both_ways(adapted, batch)
    assert counted
    assert plain.tolist() != fast.sequences.tolist() == layers.sequences.tolist()


def test_fast_step_is_used_again_after_attention_output(counted):
    model = tiny_model()
    model.set_attn_implementation("eager")
    batch = collate(mixed_samples(model.config, count=2), model.config)
    expected = model.generate(**batch, do_sample=False)
    output = model.generate(**batch, do_sample=False, output_attentions=True, return_dict_in_generate=True)
    assert torch.equal(output.sequences, expected)
    assert len(output.cross_attentions) and output.cross_attentions[1][0] is not None
    counted.clear()
    assert torch.equal(model.generate(**batch, do_sample=False), expected)
    assert counted


def test_hooks_keep_the_layers(counted):
    model = tiny_model()
    seen = []
    model.get_decoder().layers[0].register_forward_hook(lambda *inputs: seen.append(1))
    batch = collate(mixed_samples(model.config, count=2), model.config)
    output = model.generate(**batch, do_sample=False)
    assert not counted and len(seen) == output.shape[1]


def test_recorded_attentions_keep_the_layers(counted):
    model = tiny_model()
    model.set_attn_implementation("eager")
    batch = collate(mixed_samples(model.config, count=2), model.config)
    output = model.generate(**batch, do_sample=False, output_attentions=True, return_dict_in_generate=True)
    assert not counted and output.cross_attentions[1][0].shape[2] == 1


def test_cache_grows():
    layer = PreallocatedLayer(capacity=2)
    states = torch.randn(2, 1, 7, 4)
    for start, end in ((0, 2), (2, 3), (3, 7)):
        keys, values = layer.update(states[:, :, start:end], -states[:, :, start:end])
    assert torch.equal(keys, states) and torch.equal(values, -states)
    layer.crop(-3)
    assert layer.get_seq_length() == 4
    layer.batch_select_indices(torch.tensor([1]))
    layer.batch_repeat_interleave(3)
    keys, _ = layer.update(states[:1, :, :1].expand(3, -1, -1, -1), states[:1, :, :1].expand(3, -1, -1, -1))
    assert torch.equal(keys[2, :, :4], states[1, :, :4]) and torch.equal(keys[2, :, 4:], states[0, :, :1])


def test_cache_of_long_speech():
    layer = PreallocatedLayer(capacity=HUGE_PAGES_MIN_TOKENS)
    states = torch.randn(2, 3, HUGE_PAGES_MIN_TOKENS + 1, 4)
    keys, values = layer.update(states, -states)
    assert layer.key_buffer.shape[2] == 2 * HUGE_PAGES_MIN_TOKENS
    assert torch.equal(keys, states) and torch.equal(values, -states)
    assert not layer.key_buffer[:, :, HUGE_PAGES_MIN_TOKENS + 1 :].any()


def test_small_cache_grows_during_generation(monkeypatch):
    model = tiny_model()
    batch = collate(mixed_samples(model.config), model.config)
    expected = model.generate(**batch, do_sample=False)
    monkeypatch.setattr("t5gemma_tts.model.generation_t5gemma_tts.MAX_INITIAL_CAPACITY", 3)
    output = model.generate(**batch, do_sample=False, return_dict_in_generate=True)
    assert isinstance(output.past_key_values, SpeechCache)
    assert output.sequences.tolist() == expected.tolist()


@pytest.mark.parametrize("pack_weights", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("num_rows", [1, 3, 5])
@pytest.mark.parametrize("first_width", [16, 4096])  # wide outputs use another kernel for single rows
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16])
def test_fused_linears(pack_weights, bias, num_rows, first_width, stored):
    layers = [torch.nn.Linear(32, width, bias=bias).to(stored).float() for width in (first_width, 8)]
    states = torch.randn(num_rows, 32)
    expected = torch.cat([layer(states) for layer in layers], dim=-1)
    fused = fuse_linears(layers, pack_weights)
    with torch.no_grad():
        torch.testing.assert_close(fused(states), expected.detach())
        torch.testing.assert_close(layers[1](states), expected[:, first_width:].detach())
    assert supports_packing() and supports_fp16_packing()  # with the tested torch version
    if pack_weights:
        assert (fused.fp16_weights is not None) == (stored != torch.float32)


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16])
def test_float16_weights_are_packed_exactly(stored):
    """Integer sums are exact, even for weights of very different sizes."""
    layer = torch.nn.Linear(64, 40, bias=False)
    with torch.no_grad():
        layer.weight.copy_((torch.randint(-255, 256, (40, 64)) * torch.logspace(-20, 0, 64, base=2)).to(stored))
    packed = fuse_linears([layer])
    assert packed.fp16_weights is not None
    assert torch.equal(packed(torch.eye(64)), layer.weight.t())
    states = torch.randn(17, 64)
    assert torch.equal(packed(states), torch.cat([packed(row) for row in states.split(1)]))


@pytest.mark.parametrize(
    ("weight", "fits"),
    [
        (torch.zeros(8, 16), True),
        (torch.full((8, 16), 2.0**-60), True),
        (torch.full((8, 16), 2.0**100), True),
        (torch.cat([torch.full((8, 8), 2.0**-60), torch.ones(8, 8)], dim=1), False),
        (torch.full((8, 16), 1 + 2.0**-12), False),
        (torch.full((8, 16), torch.inf), False),
        (torch.full((8, 16), torch.nan), False),
    ],
)
def test_weights_that_float16_cannot_represent(weight, fits):
    layer = torch.nn.Linear(16, 8, bias=True)
    with torch.no_grad():
        layer.weight.copy_(weight)
    packed = fuse_linears([layer])
    assert (packed.fp16_weights is not None) == fits
    for num_rows in (1, 5):
        states = torch.rand(num_rows, 16)
        torch.testing.assert_close(packed(states), layer(states).detach(), equal_nan=True)


def test_trained_weights_are_repacked():
    model = tiny_model()
    model.to(torch.bfloat16).float()
    assert model.decode_step().out_proj.fp16_weights is not None
    with torch.no_grad():
        model.audio_head.out_proj.weight.add_(1e-5)
    assert model.decode_step().out_proj.fp16_weights is None


@pytest.mark.parametrize("biases", [(True, True), (True, False), (False, False)])
@pytest.mark.parametrize("num_rows", [1, 16])
@pytest.mark.parametrize(("in_features", "folds"), [(7, 4), (96, 4), (768, 2), (1024, 1)])
@pytest.mark.parametrize("widths", [(64, 200), (33,), (5, 2, 1)])
def test_fused_int8_linears_give_the_same_bits(biases, num_rows, in_features, folds, widths):
    layers = [
        Int8Linear.from_linear(torch.nn.Linear(in_features, width, bias=bias))
        for width, bias in zip(widths, biases, strict=False)
    ]
    states = torch.randn(num_rows, in_features) * torch.logspace(-3, 3, num_rows).unsqueeze(-1)
    fused = fuse_linears(layers)
    assert isinstance(fused, FusedInt8Linear) and fused.folds == folds
    expected = torch.cat([layer(states) for layer in layers], dim=-1)
    assert torch.equal(fused(states), expected)
    assert torch.equal(fuse_linears(layers, pack_weights=False)(states), expected)
    nothing = torch.zeros(1, in_features)
    assert torch.equal(fused(nothing), torch.cat([layer(nothing) for layer in layers], dim=-1))


def test_int8_layouts_are_created_on_demand():
    layers = [Int8Linear.from_linear(torch.nn.Linear(96, 8)) for _ in range(2)]
    fused = fuse_linears(layers)
    fused(torch.randn(1, 96))
    assert "folded" in vars(fused) and "packed" not in vars(fused)
    fused(torch.randn(2, 96))
    assert "packed" in vars(fused)
    unpacked = fuse_linears(layers, pack_weights=False)
    unpacked(torch.randn(1, 96))
    assert "folded" not in vars(unpacked)
