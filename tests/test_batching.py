"""Batch plans and reference prompts: deterministic, complete, within the token budget, little padding."""

import numpy as np
import pytest

from t5gemma_tts.training.batching import NO_PROMPT, TokenBatchSampler
from t5gemma_tts.training.prompts import PromptOptions, PromptSampler


def speech_lengths(count: int = 4000, seed: int = 0):
    """Realistic numbers of frames and text tokens: 2 to 20 s, 50 frames and 3 to 5 text tokens per second."""
    generator = np.random.default_rng(seed)
    seconds = np.clip(generator.lognormal(1.8, 0.5, count), 2, 20)
    return (seconds * 50).astype(int), (seconds * generator.uniform(3, 5, count)).astype(int)


def sampler(count: int = 4000, prompts: bool = True, speakers: int = 20, **kwargs) -> TokenBatchSampler:
    num_frames, num_text_tokens = speech_lengths(count)
    prompt_sampler = None
    if prompts:
        numbers = np.random.default_rng(1).integers(0, speakers, count)
        prompt_sampler = PromptSampler(num_frames, numbers, 50.0, PromptOptions())
    return TokenBatchSampler(num_frames, num_text_tokens, kwargs.pop("max_tokens", 16000), prompt_sampler, **kwargs)


@pytest.mark.parametrize("group_size", [1, 2, 3])
@pytest.mark.parametrize("epoch", [0, 1, 7, 20])
def test_every_row_once_within_the_budget(group_size, epoch):
    plan_of = sampler(group_size=group_size)
    plan_of.set_epoch(epoch)
    batches = list(plan_of)
    assert len(batches) == len(plan_of) and len(plan_of) % group_size == 0
    rows = [row for batch in batches for row, _ in batch]
    assert sorted(rows) == list(range(4000))
    for batch in batches:
        audio, text = plan_of._lengths(*np.array(batch).T)
        assert len(batch) * (audio.max() + text.max()) <= 16000


def test_plan_depends_only_on_seed_and_epoch():
    one, other = sampler(seed=3), sampler(seed=3)
    other.set_epoch(5)
    list(other)  # what was seen before does not matter
    one.set_epoch(2)
    other.set_epoch(2)
    assert list(one) == list(other)
    assert list(one) != list(sampler(seed=4))
    other.set_epoch(3)
    assert list(one) != list(other)


@pytest.mark.parametrize("prompts", [False, True])
def test_little_padding(prompts):
    plan_of = sampler(prompts=prompts)
    assert plan_of.padding_share() < 0.05


def test_prompts_are_other_clips_of_the_speaker():
    generator = np.random.default_rng(0)
    num_frames = generator.integers(30, 900, 2000)
    speakers = generator.integers(-1, 10, 2000)
    starts = generator.uniform(0, 3600, 2000)
    options = PromptOptions(
        prompt_probability=0.7, prompt_max_seconds=12, prompt_max_distance_seconds=600, max_total_seconds=20
    )
    prompt_sampler = PromptSampler(num_frames, speakers, 50.0, options, start_seconds=starts)
    rows = np.arange(2000)
    prompts = prompt_sampler.draw(rows, np.random.default_rng(1))
    has = prompts != NO_PROMPT
    assert (prompts[has] != rows[has]).all()
    assert (speakers[prompts[has]] == speakers[rows[has]]).all()
    assert (num_frames[prompts[has]] >= 50).all() and (num_frames[prompts[has]] <= 600).all()
    assert (num_frames[prompts[has]] + num_frames[rows[has]] <= 1000).all()
    assert (np.abs(starts[prompts[has]] - starts[rows[has]]) <= 600).all()
    assert not has[speakers < 0].any()
    assert 0.2 < has.mean() < 0.7
    assert (prompt_sampler.draw(rows, np.random.default_rng(1)) == prompts).all()
    assert (prompt_sampler.draw(rows, np.random.default_rng(2)) != prompts).any()


def test_prompt_share_is_the_probability_where_nothing_limits_it():
    num_frames = np.full(5000, 100)
    for probability in (0.0, 0.5, 1.0):
        options = PromptOptions(prompt_probability=probability)
        prompt_sampler = PromptSampler(num_frames, np.zeros(5000, int), 50.0, options)
        prompts = prompt_sampler.draw(np.arange(5000), np.random.default_rng(0))
        assert (prompts != NO_PROMPT).mean() == pytest.approx(probability, abs=0.03)


def test_a_speaker_with_one_clip_and_unknown_speakers_go_without_prompt():
    options = PromptOptions(prompt_probability=1.0)
    prompt_sampler = PromptSampler([100, 100, 100], [0, 1, -1], 50.0, options)
    assert prompt_sampler.draw(np.arange(3), np.random.default_rng(0)).tolist() == [NO_PROMPT] * 3
    nobody = PromptSampler([100, 100], [-1, -1], 50.0, options)
    assert nobody.draw(np.arange(2), np.random.default_rng(0)).tolist() == [NO_PROMPT] * 2


def test_imported_neighbors_are_honoured():
    options = PromptOptions(prompt_probability=1.0)
    neighbors = [[1, 2], [], None, [0, 3]]
    prompt_sampler = PromptSampler([100, 100, 100, 100], [0, 0, 0, 0], 50.0, options, neighbors=neighbors)
    seen = {row: set() for row in range(4)}
    for seed in range(40):
        for row, prompt in enumerate(prompt_sampler.draw(np.arange(4), np.random.default_rng(seed)).tolist()):
            seen[row].add(prompt)
    assert seen[0] == {1, 2}
    assert seen[1] == {NO_PROMPT}  # an empty list is a list
    assert seen[2] <= {0, 1, 3, NO_PROMPT} and len(seen[2]) > 2  # no list: the speaker's clips
    assert seen[3] == {0}  # itself never


def test_dataset_weights():
    num_frames, num_text_tokens = speech_lengths(300)
    dataset_of_row = np.repeat([0, 1, 2], 100)
    plan_of = TokenBatchSampler(
        num_frames, num_text_tokens, 8000, dataset_of_row=dataset_of_row, dataset_weights=[1.0, 0.25, 2.5]
    )
    counts = np.bincount([row for batch in plan_of for row, _ in batch], minlength=300)
    assert (counts[:100] == 1).all()
    assert counts[100:200].sum() == 25 and counts[100:200].max() == 1
    assert counts[200:].sum() == 250 and set(counts[200:]) == {2, 3}
    first = {row for batch in plan_of for row, _ in batch if 100 <= row < 200}
    plan_of.set_epoch(1)
    assert first != {row for batch in plan_of for row, _ in batch if 100 <= row < 200}


def test_fewer_rows_than_the_plan_needs():
    plan_of = TokenBatchSampler([100] * 5, [10] * 5, 100_000, group_size=2)
    batches = list(plan_of)
    assert len(batches) == 2 and sorted(row for batch in batches for row, _ in batch) == list(range(5))
    with pytest.raises(ValueError, match="cannot fill a group of 8 batches"):
        list(TokenBatchSampler([100] * 5, [10] * 5, 100_000, group_size=8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"num_frames": [10, 500], "num_text_tokens": [3, 3], "max_tokens_per_batch": 200},
            "row b alone has 506 tokens",
        ),
        ({"num_frames": [], "num_text_tokens": [], "max_tokens_per_batch": 200}, "has no rows"),
        (
            {"num_frames": [5], "num_text_tokens": [3], "max_tokens_per_batch": 99, "dataset_weights": [0.0]},
            "`dataset_weights` must be above 0",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        TokenBatchSampler(**arguments, row_names="ab".__getitem__)


@pytest.mark.parametrize(
    "arguments", [{"prompt_probability": 1.5}, {"prompt_min_seconds": -1.0}, {"prompt_max_seconds": 0.5}]
)
def test_bad_prompt_options(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        PromptOptions(**arguments)


def test_only_default_speakers_go_without_a_reference():
    speakers = np.repeat([0, 1, -1], 400)
    options = PromptOptions(prompt_probability=0.25, default_speakers=["anna"])
    prompt_sampler = PromptSampler(np.full(1200, 100), speakers, 50.0, options, speaker_names=["anna", "ben"])
    prompts = prompt_sampler.draw(np.arange(1200), np.random.default_rng(0))
    assert (prompts[:400] >= 0).mean() == pytest.approx(0.25, abs=0.06)
    assert (prompts[400:800] >= 0).all() and (speakers[prompts[400:800]] == 1).all()
    assert (prompts[800:] == -1).all()
    with pytest.raises(ValueError, match=r"`default_speakers` has \['carl'\], the speakers are \['anna', 'ben'\]"):
        PromptSampler([100], [0], 50.0, PromptOptions(default_speakers=["carl"]), speaker_names=["anna", "ben"])
