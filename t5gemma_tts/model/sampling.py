"""Samples the next token of every row, with the filters of `logits_process`.

Each row has its own options and random numbers, so its token does not depend on the other rows. Only the `top_k`
candidates are sorted and normalized; the resulting distribution equals filtering the whole vocabulary. Up to
`MAX_LIST_CANDIDATES` candidates are processed as Python lists, which is faster than about thirty small tensor
operations on the CPU.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .logits_process import SpeechSamplingWarper


MAX_LIST_CANDIDATES = 128


@dataclass
class SamplingOptions:
    """
    Sampling options of one row.

    Args:
        do_sample (`bool`): False takes the most likely token.
        temperature (`float`): above 0.
        top_k, top_p, min_p: as in [`SpeechSamplingWarper`].
        silence_token_ids (`tuple[int, ...]`), max_silence_run (`int`): as in `generate`.

    Raises:
        ValueError: for an option out of range.
    """

    do_sample: bool = True
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    silence_token_ids: tuple[int, ...] = ()
    max_silence_run: int = 3

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"`temperature` must be above 0, got {self.temperature}.")
        if self.max_silence_run < 1:
            raise ValueError(f"`max_silence_run` must be at least 1, got {self.max_silence_run}.")
        warper = SpeechSamplingWarper(self.top_k, self.top_p, self.min_p)
        self.top_k, self.top_p, self.min_p = warper.top_k, warper.top_p, warper.min_p

    @property
    def width(self) -> int:
        """Number of candidates, for rows that sample from a list."""
        return self.top_k if self.do_sample else 1

    @property
    def samples_from_list(self) -> bool:
        """Whether the candidates are known to be few enough for Python lists."""
        return not self.do_sample or (0 < self.top_k <= MAX_LIST_CANDIDATES and not self.min_p)


class RowSampler:
    """
    Samples one token per row.

    Args:
        options (`list[SamplingOptions]`): one per row.
        device (`torch.device`): device of the scores.
    """

    def __init__(self, options: list[SamplingOptions], device: torch.device):
        self.options = options
        self.all_greedy = not any(one.do_sample for one in options)
        self.list_rows = [row for row, one in enumerate(options) if one.samples_from_list]
        self.tensor_rows = [row for row, one in enumerate(options) if not one.samples_from_list]
        self.width = max((options[row].width for row in self.list_rows), default=0)
        self.tensor_sampler = TensorSampler([options[row] for row in self.tensor_rows], device)

    def __call__(self, scores: torch.Tensor, uniforms: list[float]) -> tuple[list[int], list[int]]:
        """
        Args:
            scores (`torch.FloatTensor` of shape `(batch_size, vocab_size)`): float32 logits after the stopping and
                silence rules.
            uniforms (`list[float]`): one random number in [0, 1) per row.

        Returns:
            `(best, chosen)`: the most likely token and the sampled token of each row, as lists.
        """
        if self.all_greedy:
            best = scores.argmax(-1).tolist()
            return best, best
        best, chosen = [0] * len(scores), [0] * len(scores)
        if self.list_rows:
            found = scores.topk(min(self.width + 1, scores.shape[-1]))
            lists = found.values.tolist(), found.indices.tolist()
            for row in self.list_rows:
                candidates = top_candidates(scores, row, lists[0][row], lists[1][row], self.options[row].width)
                best[row] = candidates[0][1]
                chosen[row] = sample(candidates, self.options[row], uniforms[row])
        if self.tensor_rows:
            sampled = self.tensor_sampler.sample(scores[self.tensor_rows], [uniforms[row] for row in self.tensor_rows])
            for row, one_best, one in zip(self.tensor_rows, *sampled, strict=True):
                best[row], chosen[row] = one_best, one
        return best, chosen


def top_candidates(
    scores: torch.Tensor, row: int, values: list[float], indices: list[int], width: int
) -> list[tuple[float, int]]:
    """
    The `width` best `(value, index)` pairs of a row, best first, including all ties with the last one. Equal values are
    ordered by index.

    Args:
        scores (`torch.FloatTensor` of shape `(batch_size, vocab_size)`)
        row (`int`)
        values, indices (`list`): the top-k of `row` with k = `width` + 1, or the whole vocabulary if it is smaller.
        width (`int`)
    """
    width = min(width, len(values))
    if width < len(values) and values[width] == values[width - 1]:
        width = int((scores[row] >= values[width - 1]).sum())
        found = scores[row].topk(width)
        values, indices = found.values.tolist(), found.indices.tolist()
    candidates = list(zip(values[:width], indices[:width], strict=True))
    candidates.sort(key=lambda candidate: (-candidate[0], candidate[1]))
    return candidates


def sample(candidates: list[tuple[float, int]], options: SamplingOptions, uniform: float) -> int:
    """Samples an index by inverse transform from `uniform` in [0, 1). Candidates are sorted, best first."""
    if not options.do_sample:
        return candidates[0][1]
    weights = candidate_weights(candidates, options)
    rest = uniform * sum(weights)
    for weight, (_, index) in zip(weights, candidates, strict=False):
        rest -= weight
        if rest < 0:
            return index
    # only after rounding errors: the last candidate with probability above 0
    return [index for weight, (_, index) in zip(weights, candidates, strict=False) if weight][-1]


def candidate_weights(candidates: list[tuple[float, int]], options: SamplingOptions) -> list[float]:
    """Unnormalized probabilities of the sorted candidates; shorter than the input if `top_p` removes some."""
    highest = candidates[0][0]
    weights = [math.exp((value - highest) / options.temperature) for value, _ in candidates]
    mass, limit = 0.0, options.top_p * sum(weights) if options.top_p < 1 else math.inf
    for place, weight in enumerate(weights):
        if mass > limit:
            return weights[:place]
        mass += weight
    return weights


class TensorSampler:
    """
    Samples rows that have more than `MAX_LIST_CANDIDATES` candidates, or an unknown number of them.

    Args:
        options (`list[SamplingOptions]`): one per row, all with `do_sample`.
        device (`torch.device`): device of the scores.
    """

    def __init__(self, options: list[SamplingOptions], device: torch.device):
        def column(values: Sequence[float]) -> torch.Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device).unsqueeze(-1)

        self.temperature = column([one.temperature for one in options])
        self.top_k = column([one.top_k or torch.inf for one in options])
        self.top_p = column([one.top_p if one.top_p < 1 else torch.inf for one in options])
        self.min_p = column([one.min_p for one in options])
        self.any_min_p = any(one.min_p for one in options)
        # at most 1 / min_p tokens have a probability of at least min_p
        num_candidates = [max(one.top_k, math.ceil(1 / one.min_p) if one.min_p else 0) for one in options]
        self.width = None if any(not one.top_k for one in options) else max(num_candidates, default=1)
        self.all_take_width = all(one.top_k == self.width for one in options)

    def sample(self, scores: torch.Tensor, uniforms: list[float]) -> tuple[list[int], list[int]]:
        """As `RowSampler.__call__`, for the rows of this sampler."""
        probabilities, candidates = self.distribution(scores)
        total = probabilities.double().cumsum(-1)
        points = torch.tensor(uniforms, dtype=torch.float64, device=total.device).unsqueeze(-1) * total[:, -1:]
        place = torch.searchsorted(total, points, right=True)
        # rounding errors can point past the last candidate with probability above 0
        last = (probabilities > 0).sum(-1, keepdim=True) - 1
        sampled = candidates.gather(1, torch.minimum(place, last)).squeeze(1)
        return candidates[:, 0].tolist(), sampled.tolist()

    def distribution(self, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Probabilities and token ids of each row's candidates, best first: `(batch_size, width)` each."""
        vocab_size = scores.shape[-1]
        width = vocab_size if self.width is None else min(self.width, vocab_size)
        values, candidates = scores.topk(min(width + 1, vocab_size))
        if (values[:, 1:] == values[:, :-1]).any():
            if width < vocab_size:  # keep ties with the last candidate
                width = int((scores >= values[:, width - 1 : width]).sum(-1).max())
                values, candidates = scores.topk(width)
            candidates, order = candidates.sort(-1)  # order ties by index
            values, order = values.gather(1, order).sort(dim=-1, descending=True, stable=True)
            candidates = candidates.gather(1, order)
        values, candidates = values[:, :width] / self.temperature, candidates[:, :width]
        filtered = values
        if width != self.width or not self.all_take_width:
            kth_best = values.gather(1, (self.top_k.clamp(max=width) - 1).long())
            filtered = values.masked_fill(values < kth_best, -torch.inf)
        mass_before = torch.nn.functional.pad(filtered.softmax(-1).cumsum(-1)[:, :-1], (1, 0))
        filtered = filtered.masked_fill(mass_before > self.top_p, -torch.inf)
        if self.any_min_p:
            total = (scores / self.temperature).logsumexp(-1, keepdim=True)
            likely = (values - total).exp() >= self.min_p
            applies = (self.min_p > 0) & likely.any(-1, keepdim=True)
            filtered = torch.where(applies, values.masked_fill(~likely, -torch.inf), filtered)
        return filtered.softmax(-1), candidates


__all__ = ["RowSampler", "SamplingOptions"]
