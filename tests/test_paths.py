"""All generation paths give the same greedy tokens: attention kernels, caches, compilation, engine, streaming."""

import pytest
import torch
from test_engine import spoken
from test_generation import collate, mixed_samples, until_end
from tiny import tiny_config, tiny_model
from transformers import GenerationConfig


@pytest.fixture(scope="module")
def model():
    return tiny_model(tiny_config(backbone={"sliding_window": 40}))


@pytest.fixture(scope="module")
def batch(model):
    return collate(mixed_samples(model.config, count=4), model.config)


@pytest.fixture(scope="module")
def expected(model, batch):
    model.set_attn_implementation("eager")
    sequences = model.generate(**batch, do_sample=False, cache_implementation="dynamic")
    return [until_end(row, model.config) for row in sequences]


WAYS = {
    "own cache": {},
    "dynamic": {"cache_implementation": "dynamic"},
    "static": {"cache_implementation": "static"},
    "static by a configuration": {
        "generation_config": GenerationConfig(
            cache_implementation="static",
            do_sample=False,
            eos_token_id=67,
            pad_token_id=66,
            decoder_start_token_id=64,
            max_length=8192,
        )
    },
    "no cache": {"use_cache": False},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
def test_generate(model, batch, expected, attn_implementation, way):
    model.set_attn_implementation(attn_implementation)
    options = {"do_sample": False} | WAYS[way]
    assert [until_end(row, model.config) for row in model.generate(**batch, **options)] == expected


@pytest.mark.slow
def test_generate_with_flex_attention(model, batch, expected):
    """flex_attention processes texts and prompts; torch 2.13 cannot compile it for single tokens on CPUs."""
    model.set_attn_implementation("flex_attention")
    assert [until_end(row, model.config) for row in model.generate(**batch, do_sample=False)] == expected


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
def test_engine_and_stream(model, batch, expected, attn_implementation):
    model.set_attn_implementation(attn_implementation)
    assert spoken(model, batch, do_sample=False) == expected
    tokens = torch.stack(list(model.stream(**batch, do_sample=False)), dim=1)
    assert [until_end(row, model.config) for row in tokens] == expected


@pytest.mark.slow
def test_compiled():
    from torch._dynamo.utils import counters

    model = tiny_model()
    batches = [collate(mixed_samples(model.config, count=4, seed=seed), model.config) for seed in (1, 9)]
    plain = [model.generate(**batch, do_sample=False, cache_implementation="dynamic") for batch in batches]
    model.compile_decoder()
    counters.clear()
    for batch, expected in zip(batches, plain, strict=True):  # other lengths of speech and text, the same graph
        assert model.generate(**batch, do_sample=False).tolist() == expected.tolist()
        assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]
