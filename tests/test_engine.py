"""The engine: the tokens of `generate`, requests that join and leave, and independence of other requests."""

import pytest
import torch
from test_generation import collate, mixed_samples, until_end
from tiny import tiny_config, tiny_model

from t5gemma_tts.model.engine import SpeechEngine, SpeechRequest, speech_requests
from t5gemma_tts.model.logits_process import SpeechSamplingWarper
from t5gemma_tts.model.quantization import quantize_linears
from t5gemma_tts.model.sampling import (
    MAX_LIST_CANDIDATES,
    RowSampler,
    SamplingOptions,
    TensorSampler,
    candidate_weights,
    top_candidates,
)


def spoken(model, batch, max_batch_size=16, **kwargs) -> list[list[int]]:
    requests = speech_requests(model, **batch, **kwargs)
    engine = SpeechEngine(model, max_batch_size)
    ended = list(engine.run(requests))
    assert set(ended) == set(requests) and not engine.busy
    return [request.token_ids for request in requests]


@pytest.mark.parametrize("max_batch_size", [1, 3, 16])
@pytest.mark.parametrize("sliding_window", [4096, 12], ids=["wide", "narrow"])
def test_greedy_tokens_equal_generate(sliding_window, max_batch_size):
    model = tiny_model(tiny_config(backbone={"sliding_window": sliding_window}))
    batch = collate(mixed_samples(model.config), model.config)
    expected = [until_end(row, model.config) for row in model.generate(**batch, do_sample=False)]
    assert spoken(model, batch, max_batch_size, do_sample=False) == expected


def test_without_lengths_and_with_few_tokens():
    model = tiny_model()
    batch = collate(mixed_samples(model.config, count=3), model.config)
    del batch["num_frames"]
    sequences = model.generate(**batch, do_sample=False, max_new_tokens=15)
    assert spoken(model, batch, do_sample=False, max_new_tokens=15) == [
        until_end(row, model.config) if model.config.eos_token_id in row else row.tolist() for row in sequences
    ]


def test_silence_penalty_equals_generate():
    model = tiny_model()
    batch = collate(mixed_samples(model.config, count=4), model.config)
    plain = spoken(model, batch, do_sample=False)
    for silence in ([plain[0][5]], sorted(set(plain[1]))):
        rule = {"silence_token_ids": silence, "max_silence_run": 1}
        sequences = model.generate(**batch, do_sample=False, **rule)
        assert spoken(model, batch, do_sample=False, **rule) == [until_end(row, model.config) for row in sequences]


def test_seeded_tokens_do_not_depend_on_the_batch():
    model = tiny_model()
    samples = mixed_samples(model.config)
    options = {"temperature": 1.5, "top_k": 20, "top_p": 0.95, "do_sample": True}
    together = spoken(model, collate(samples, model.config), seed=7, **options)
    for max_batch_size in (2, 5):
        assert spoken(model, collate(samples, model.config), max_batch_size, seed=7, **options) == together
    for sample, tokens in zip(samples, together, strict=True):
        assert spoken(model, collate([sample], model.config), seed=7, **options) == [tokens]
    assert spoken(model, collate(samples, model.config), seed=8, **options) != together
    torch.manual_seed(0)
    one = spoken(model, collate(samples, model.config), **options)
    torch.manual_seed(0)
    assert spoken(model, collate(samples, model.config), **options) == one


def test_samples_of_a_row_have_consecutive_seeds():
    model = tiny_model()
    batch = collate(mixed_samples(model.config, count=2), model.config)
    rows = spoken(model, batch, seed=[3, 30], num_return_sequences=2, temperature=1.5)
    for number, seeds in enumerate(([3, 30], [4, 31])):
        assert spoken(model, batch, seed=seeds, temperature=1.5) == rows[number::2]


def test_finished_requests_free_their_slots():
    model = tiny_model(tiny_config(extra_cutoff_seconds=0.0))
    samples = mixed_samples(model.config, count=6)
    for sample, num_frames in zip(samples, (80, 12, 12, 80, 12, 12), strict=True):
        sample["num_frames"] = num_frames
    requests = speech_requests(model, **collate(samples, model.config), do_sample=False)
    engine = SpeechEngine(model, max_batch_size=3)
    for request in requests:
        engine.submit(request)
    ended, sizes = [], []
    while engine.busy:
        served = engine.step()
        sizes.append(len(served))
        ended += [requests.index(request) for request in served if request.finished]
    assert max(sizes) == 3 and ended.index(4) < ended.index(0)
    assert sum(sizes) == sum(len(request.token_ids) for request in requests)


def test_cancelled_requests_are_removed():
    model = tiny_model()
    batch = collate(mixed_samples(model.config, count=4), model.config)
    expected = spoken(model, batch, do_sample=False)
    requests = speech_requests(model, **batch, do_sample=False)
    engine = SpeechEngine(model, max_batch_size=2)
    for request in requests:
        engine.submit(request)
    for _ in range(5):
        engine.step()
    engine.cancel(requests[0])  # active
    engine.cancel(requests[2])  # waiting
    engine.cancel(requests[2])
    while engine.busy:
        engine.step()
    assert [request.finished for request in requests] == [False, True, False, True]
    assert len(requests[0].token_ids) == 5 and not requests[2].token_ids
    assert [requests[1].token_ids, requests[3].token_ids] == [expected[1], expected[3]]


def test_closed_stream_stops_generation():
    model = tiny_model()
    batch = collate(mixed_samples(model.config, count=4), model.config)
    engine = SpeechEngine(model, max_batch_size=2)
    listening = engine.run(speech_requests(model, **batch))
    next(listening)
    assert engine.busy
    listening.close()
    assert not engine.busy
    requests = speech_requests(model, **batch)
    requests[2].num_frames = 10**6
    with pytest.raises(ValueError, match="`num_frames` requires"):
        next(engine.run(requests))
    assert not engine.busy


@pytest.mark.parametrize("batch_size", [1, 3])
def test_stream_yields_the_tokens(batch_size):
    model = tiny_model()
    batch = collate(mixed_samples(model.config, count=batch_size), model.config)
    expected = model.generate(**batch, do_sample=False)
    stream = model.stream(**batch, do_sample=False)
    assert next(stream).tolist() == expected[:, 0].tolist()
    assert torch.stack(list(stream), dim=1).tolist() == expected[:, 1:].tolist()


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 5, "top_p": 1.0},
        {"top_k": 5, "top_p": 0.8},
        {"top_k": 0, "top_p": 0.8},
        {"top_k": 0, "top_p": 1.0},
        {"top_k": 500, "top_p": 0.5},
        {"top_k": 2, "min_p": 0.05},
        {"top_k": 3, "min_p": 0.9},
        {"top_k": 1},
    ],
)
def test_distribution_equals_the_filter(options):
    scores = torch.randn(6, 40, generator=torch.Generator().manual_seed(0)) * 2
    scores[1] = scores[1].round()  # ties
    scores[2, :] = 1.0
    scores[3, 5:] = -torch.inf
    expected = SpeechSamplingWarper(**options)(None, scores / 0.7).softmax(-1)
    # in a batch with other sampling options
    rows = [SamplingOptions(temperature=0.7, **options)] * 6 + [SamplingOptions(top_k=3), SamplingOptions(top_k=11)]
    probabilities, candidates = TensorSampler(rows, scores.device).distribution(torch.cat([scores, scores[:2]]))
    found = torch.zeros(8, 40).scatter(1, candidates, probabilities)
    torch.testing.assert_close(found[:6], expected)
    torch.testing.assert_close(
        found[6:],
        torch.stack(
            [
                SpeechSamplingWarper(3)(None, scores[:1]).softmax(-1)[0],
                SpeechSamplingWarper(11)(None, scores[1:2]).softmax(-1)[0],
            ]
        ),
    )
    if rows[0].samples_from_list:
        assert not options.get("min_p")
        torch.testing.assert_close(torch.stack([shares_in(row, rows[0]) for row in scores]), expected)


def shares_in(scores: torch.Tensor, options: SamplingOptions) -> torch.Tensor:
    """Returns the probabilities of all tokens when sampling from few candidates."""
    found = scores.topk(min(options.width + 1, len(scores)))
    candidates = top_candidates(scores.unsqueeze(0), 0, found.values.tolist(), found.indices.tolist(), options.width)
    shares = torch.zeros(len(scores))
    for share, (value, index) in zip(candidate_weights(candidates, options), candidates, strict=False):
        assert value == scores[index]
        shares[index] = share
    return shares / shares.sum()


@pytest.mark.parametrize(
    "options", [{"top_k": 3}, {"top_k": MAX_LIST_CANDIDATES + 1}, {"top_k": 0}, {"top_k": 0, "top_p": 0.9}]
)
def test_uniforms_sample_by_probability(options):
    scores = torch.tensor([[0.0, 1.0, 2.0, -1.0, -torch.inf]]).log_softmax(-1)
    noise = ((torch.arange(1000, dtype=torch.float64) + 0.5) / 1000).tolist()
    sampler = RowSampler([SamplingOptions(**options)] * 1000, scores.device)
    best, drawn = sampler(scores.expand(1000, -1), noise)
    assert set(best) == {2}
    expected = SpeechSamplingWarper(**options)(None, scores).softmax(-1)[0]
    found = torch.tensor(drawn).bincount(minlength=5) / 1000
    torch.testing.assert_close(found, expected, rtol=0, atol=1.1e-3)
    assert not found[expected == 0].any()
    edges = RowSampler([SamplingOptions(**options)] * 2, scores.device)
    assert edges(scores.expand(2, -1), [0.0, 1 - 2**-53])[1] == [2, 3 if expected[3] else 0]


def test_mixed_sampling_options_equal_single_rows():
    scores = torch.randn(6, 300, generator=torch.Generator().manual_seed(0))
    scores[3] = (scores[3] * 2).round()  # ties
    options = [
        SamplingOptions(top_k=4, top_p=0.8),
        SamplingOptions(top_k=0),
        SamplingOptions(do_sample=False),
        SamplingOptions(top_k=20, temperature=2.0),
        SamplingOptions(top_k=3, min_p=0.01),
        SamplingOptions(do_sample=False, top_k=0),
    ]
    noise = [0.1, 0.3, 0.5, 0.7, 0.8, 0.9]
    best, chosen = RowSampler(options, scores.device)(scores, noise)
    for row, one in enumerate(options):
        alone = RowSampler([one], scores.device)(scores[row : row + 1], noise[row : row + 1])
        assert alone == ([best[row]], [chosen[row]])
        assert scores[row, best[row]] == scores[row].max() and (one.do_sample or best[row] == chosen[row])


def test_invalid_requests():
    model = tiny_model()
    batch = collate(mixed_samples(model.config, count=2), model.config)
    text, prompt = torch.tensor([4]), torch.tensor([model.config.decoder_start_token_id])
    with pytest.raises(ValueError, match="`seed` must have one entry per text, 2, got 3"):
        speech_requests(model, **batch, seed=[1, 2, 3])
    with pytest.raises(TypeError, match="unknown argument 'num_beams'"):
        speech_requests(model, **batch, num_beams=2)
    with pytest.raises(ValueError, match="`temperature` must be above 0, got 0"):
        speech_requests(model, **batch, temperature=0)
    with pytest.raises(ValueError, match="`top_p` must be between"):
        speech_requests(model, **batch, top_p=2.0)
    with pytest.raises(ValueError, match="`max_silence_run` must be at least 1, got 0"):
        speech_requests(model, **batch, max_silence_run=0)
    with pytest.raises(ValueError, match="`input_ids` must be of shape"):
        SpeechRequest(torch.tensor([]), prompt)
    with pytest.raises(ValueError, match="`max_batch_size` must be at least 1, got 0"):
        SpeechEngine(model, 0)
    with pytest.raises(ValueError, match="`num_frames` requires up to"):
        SpeechEngine(model).submit(SpeechRequest(text, prompt, num_frames=10**6))
    with pytest.raises(ValueError, match="`num_frames` must not be negative"):
        SpeechEngine(model).submit(SpeechRequest(text, prompt, num_frames=-1))
    with pytest.raises(ValueError, match="training mode"):
        SpeechEngine(model.train())
    model.eval().get_decoder().layers[0].register_forward_hook(lambda *inputs: None)
    engine = SpeechEngine(model)
    engine.submit(SpeechRequest(text, prompt, num_frames=5))
    with pytest.raises(ValueError, match="hooks on the model's decoder"):
        engine.step()


@pytest.mark.parametrize("quantization", [None, "int8"])
def test_shortest_first_gives_the_same_tokens_and_ends_short_requests_sooner(quantization):
    config = tiny_config(extra_cutoff_seconds=0.0)
    model = tiny_model(config)
    if quantization:
        quantize_linears(model)
    samples = mixed_samples(config, count=7)
    lengths = (60, 9, 300, 12, 70, 10, 280)
    for sample, num_frames in zip(samples, lengths, strict=True):
        sample["num_frames"] = num_frames
    batch = collate(samples, config)
    ends = {}
    for shortest_first in (False, True):
        requests = speech_requests(model, **batch, seed=5, temperature=1.5)
        engine = SpeechEngine(model, max_batch_size=5)
        for request in requests:
            engine.submit(request)
        rows = 0
        while engine.busy:
            served = engine.step(shortest_first)
            rows += len(served)
            for request in served:
                if request.finished:
                    ends[requests.index(request), shortest_first] = rows
        assert rows == sum(len(request.token_ids) for request in requests)
        ends[shortest_first] = [request.token_ids for request in requests]
    assert ends[True] == ends[False] == spoken(model, batch, seed=5, temperature=1.5)
    short = [number for number, length in enumerate(lengths) if length < 20]
    assert all(ends[number, True] < ends[number, False] for number in short)


@pytest.mark.parametrize("pack_weights", [True, False])
def test_training_after_generation(pack_weights):
    """Generation runs in inference mode and may replace weight tensors; neither must affect training."""
    model = tiny_model()
    model.pack_weights = pack_weights
    batch = collate(mixed_samples(model.config, count=2), model.config)
    expected = spoken(model, batch, do_sample=False)
    assert not any(parameter.is_inference() for parameter in model.parameters())
    del batch["num_frames"]
    model(**batch).logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.audio_head.parameters())
    assert spoken(model, collate(mixed_samples(model.config, count=2), model.config), do_sample=False) == expected
