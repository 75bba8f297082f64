"""`generate`: mixed batches, caches, length limits, stopping rules, errors."""

import pytest
import torch
from tiny import tiny_config, tiny_model
from transformers import GenerationConfig

from t5gemma_tts.model.logits_process import (
    ForcedEndLogitsProcessor,
    MinimumFramesLogitsProcessor,
    SilencePenaltyLogitsProcessor,
    SpeechSamplingWarper,
)


def mixed_samples(config, count: int = 8, seed: int = 1) -> list[dict]:
    """Returns samples with different texts, references (every third has none) and durations."""
    generator = torch.Generator().manual_seed(seed)

    def integers(low, high, size=(1,)):
        return torch.randint(low, high, size, generator=generator)

    samples = []
    for number in range(count):
        text = integers(3, config.backbone.encoder.vocab_size - 1, (int(integers(2, 30)),))
        prompt = torch.tensor([config.decoder_start_token_id])
        if number % 3:
            codes = integers(0, config.codebook_size, (int(integers(3, 25)),))
            prompt = torch.cat([prompt, codes, torch.tensor([config.audio_separator_token_id])])
        samples.append({"text": text, "prompt": prompt, "num_frames": int(integers(5, 60))})
    return samples


def collate(samples: list[dict], config) -> dict:
    width = max(len(sample["text"]) for sample in samples)
    prompt_width = max(len(sample["prompt"]) for sample in samples)
    batch = {
        "input_ids": torch.zeros((len(samples), width), dtype=torch.long),
        "attention_mask": torch.zeros((len(samples), width), dtype=torch.long),
        "decoder_input_ids": torch.full((len(samples), prompt_width), config.pad_token_id),
        "decoder_attention_mask": torch.zeros((len(samples), prompt_width), dtype=torch.long),
        "num_frames": torch.tensor([sample["num_frames"] for sample in samples]),
    }
    for row, sample in enumerate(samples):
        batch["input_ids"][row, : len(sample["text"])] = sample["text"]
        batch["attention_mask"][row, : len(sample["text"])] = 1
        batch["decoder_input_ids"][row, prompt_width - len(sample["prompt"]) :] = sample["prompt"]
        batch["decoder_attention_mask"][row, prompt_width - len(sample["prompt"]) :] = 1
    return batch


def until_end(row: torch.Tensor, config) -> list[int]:
    row = row.tolist()
    return row[: row.index(config.eos_token_id) + 1]


@pytest.mark.parametrize("cache_implementation", [None, "static"])
@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("sliding_window", [4096, 12], ids=["wide", "narrow"])
def test_mixed_batch_equals_single_samples(cache_implementation, attn_implementation, sliding_window):
    config = tiny_config(backbone={"sliding_window": sliding_window}, extra_cutoff_seconds=0.2)
    config._attn_implementation = attn_implementation
    model = tiny_model(config)
    assert model.model.decoder.config._attn_implementation == attn_implementation
    samples = mixed_samples(config)
    together = model.generate(**collate(samples, config), do_sample=False, cache_implementation=cache_implementation)
    lengths = set()
    for sample, row in zip(samples, together, strict=True):
        alone = model.generate(**collate([sample], config), do_sample=False)[0]
        assert until_end(row, config) == until_end(alone, config)
        assert set(row[len(until_end(row, config)) :].tolist()) <= {config.pad_token_id}
        lengths.add(len(until_end(row, config)))
    assert len(lengths) > 3  # limits are per row


def test_without_cache_gives_the_same_tokens():
    config = tiny_config(backbone={"sliding_window": 12}, extra_cutoff_seconds=0.2)
    model = tiny_model(config)
    batch = collate(mixed_samples(config, count=3), config)
    cached = model.generate(**batch, do_sample=False)
    assert model.generate(**batch, do_sample=False, use_cache=False).tolist() == cached.tolist()


def test_num_return_sequences_encodes_the_text_once(monkeypatch):
    config = tiny_config(extra_cutoff_seconds=0.2)
    model = tiny_model(config)
    encoder_batches = []
    encode = model.model.encoder.forward

    def recording_encode(*args, **kwargs):
        output = encode(*args, **kwargs)
        encoder_batches.append(len(output.last_hidden_state))
        return output

    monkeypatch.setattr(model.model.encoder, "forward", recording_encode)
    batch = collate(mixed_samples(config, count=2), config)
    torch.manual_seed(0)
    sequences = model.generate(**batch, num_return_sequences=3)
    assert encoder_batches == [2]
    assert len(sequences) == 6
    assert len({tuple(row.tolist()) for row in sequences}) == 6
    torch.manual_seed(0)
    assert model.generate(**batch, num_return_sequences=3).tolist() == sequences.tolist()


def test_dict_output_holds_new_tokens_only():
    config = tiny_config(extra_cutoff_seconds=0.2)
    model = tiny_model(config)
    batch = collate(mixed_samples(config, count=3), config)
    output = model.generate(**batch, do_sample=False, return_dict_in_generate=True, output_logits=True)
    assert output.sequences.tolist() == model.generate(**batch, do_sample=False).tolist()
    assert len(output.logits) == output.sequences.shape[1]


def test_length_limit_and_max_new_tokens():
    config = tiny_config(extra_cutoff_seconds=0.1)
    model = tiny_model(config)
    model.audio_head.out_proj.bias.data[config.eos_token_id] = -1e4  # no end token is sampled
    batch = collate(mixed_samples(config, count=1), config) | {"num_frames": [20]}
    row = model.generate(**batch, do_sample=False)[0].tolist()
    assert len(row) == 20 + 5 + 1 and row[-1] == config.eos_token_id
    assert len(model.generate(**batch, do_sample=False, max_new_tokens=7)[0]) == 7
    assert len(model.generate(**batch, generation_config=GenerationConfig(max_new_tokens=9))[0]) == 9
    without_target = {name: value for name, value in batch.items() if name != "num_frames"}
    assert len(model.generate(**without_target, do_sample=False, max_new_tokens=30)[0]) == 30


def test_text_guard():
    config = tiny_config(text_guard_frames_per_token=2.5)
    model = tiny_model(config)
    model.audio_head.out_proj.bias.data[config.eos_token_id] = -1e4
    samples = mixed_samples(config, count=2)
    sequences = model.generate(**collate(samples, config) | {"num_frames": [300, 300]}, do_sample=False)
    for sample, row in zip(samples, sequences, strict=True):
        assert len(until_end(row, config)) == int(2.5 * len(sample["text"])) + 2


def test_no_end_token_in_the_first_frames():
    config = tiny_config()
    model = tiny_model(config)
    model.audio_head.out_proj.bias.data[config.eos_token_id] = 1e4
    row = model.generate(torch.tensor([[5, 6, 7]]), num_frames=[40], do_sample=False)[0].tolist()
    assert row.index(config.eos_token_id) == 50 // 5 + 1


def test_rules_are_applied_per_row():
    ids = torch.tensor([[9, 3, 3, 3], [9, 3, 3, 5]])
    scores = torch.tensor([[0.0, 1.0, 2.0, 6.0, 3.0, 4.0], [0.0, 1.0, 2.0, -6.0, 3.0, -4.0]])
    penalized = SilencePenaltyLogitsProcessor([3, 5], max_run=1, prompt_length=1)(ids, scores)
    assert penalized[0].tolist() == [0.0, 1.0, 2.0, 2.0, 3.0, 4.0]  # 6 / (3 - 0)
    assert penalized[1].tolist() == scores[1].tolist()  # a run of length 1
    lower = SilencePenaltyLogitsProcessor([3], max_run=2, prompt_length=1)(ids[:1], -scores[:1])
    assert lower[0, 3] == -12.0  # -6 * (3 - 1)
    blocked = MinimumFramesLogitsProcessor(2, prompt_length=1, min_frames=4)(ids, scores)
    assert blocked[:, 2].tolist() == [-torch.inf] * 2
    ended = ForcedEndLogitsProcessor(3, prompt_length=1, max_frames=torch.tensor([9, 3]))(ids, scores)
    assert ended.argmax(-1).tolist() == [3, 3] and (ended > -torch.inf).sum(-1).tolist() == [1, 1]
    assert torch.equal(ForcedEndLogitsProcessor(5, 1, torch.tensor([9, 9]))(ids, scores), scores)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_frames": [3, 4]}, "`num_frames` must have one entry per text"),
        ({"num_frames": [-1]}, "`num_frames` must not be negative"),
        ({"num_frames": [100_000]}, "more than `max_length`"),
        ({"num_beams": 2, "num_frames": [3]}, "only supports"),
        ({"decoder_input_ids": torch.tensor([[1, 2]]), "num_frames": [3]}, "must begin with the start token"),
        ({"decoder_input_ids": torch.tensor([[64], [64]]), "num_frames": [3]}, "must be of shape"),
        ({"top_p": 1.5, "num_frames": [3]}, "`top_p` must be between 0 and 1"),
        ({"top_k": -3, "num_frames": [3]}, "`top_k`"),
        ({"silence_token_ids": [3], "max_silence_run": 0, "num_frames": [3]}, "`max_silence_run` must be at least 1"),
        ({"num_frame": [3]}, "num_frame"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny_model().generate(torch.tensor([[5, 6, 7]]), **arguments)


def test_error_in_training_mode_and_without_text():
    with pytest.raises(ValueError, match="training mode"):
        tiny_model().train().generate(torch.tensor([[5]]), num_frames=[3])
    with pytest.raises(ValueError, match="needs `input_ids`"):
        tiny_model().generate(num_frames=[3])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"top_k": -1}, "top_k"), ({"top_p": -0.1}, "top_p"), ({"min_p": 1.0}, "min_p"), ({"top_k": 2.5}, "top_k")],
)
def test_sampling_filter_errors(arguments, message):
    with pytest.raises(ValueError, match=f"`{message}` must be"):
        SpeechSamplingWarper(**arguments)
