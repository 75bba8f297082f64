"""Sampling of the next token of every row, by the rules and filters of `logits_process`.

Rows bring their own settings and their own random numbers, so what one draws does not depend on the others. Nothing is
sorted or normalised but the `top_k` best, which gives the distribution of the filter that sees the whole vocabulary. A
few of them are quicker looked at as plain numbers than by the thirty small operations that it takes with tensors, each
of which finds the processor's caches full of weights.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .logits_process import SpeechSamplingWarper


FEW = 128  # candidates


@dataclass
class SamplingOptions:
    """
    How one row is sampled.

    Args:
        do_sample (`bool`): False takes the best token.
        temperature (`float`): above 0.
        top_k, top_p, min_p: as in [`SpeechSamplingWarper`].
        silence_token_ids (`list[int]`, *optional*) and max_silence_run (`int`): as in `generate`.
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
        """Candidates that are looked at, of those who look at few."""
        return self.top_k if self.do_sample else 1

    @property
    def takes_few(self) -> bool:
        return not self.do_sample or (0 < self.top_k <= FEW and not self.min_p)


class RowSampler:
    """
    Args:
        options (`list[SamplingOptions]`): of each row.
        device (`torch.device`): of the scores.
    """

    def __init__(self, options: list[SamplingOptions], device: torch.device):
        self.options = options
        self.all_greedy = not any(one.do_sample for one in options)
        self.few = [row for row, one in enumerate(options) if one.takes_few]
        self.many = [row for row, one in enumerate(options) if not one.takes_few]
        self.width = max((options[row].width for row in self.few), default=0)
        self.filter = CandidateFilter([options[row] for row in self.many], device)

    def __call__(self, scores: torch.Tensor, noise: list[float]) -> tuple[list[int], list[int]]:
        """
        Args:
            scores (`torch.FloatTensor` of shape `(batch_size, vocab_size)`): float32, after the rules.
            noise (`list[float]`): of each row, from 0 to below 1.

        Returns:
            the best token and the chosen one of each row.
        """
        if self.all_greedy:
            best = scores.argmax(-1).tolist()
            return best, best
        best, chosen = [0] * len(scores), [0] * len(scores)
        if self.few:
            found = scores.topk(min(self.width + 1, scores.shape[-1]))
            lists = found.values.tolist(), found.indices.tolist()
            for row in self.few:
                candidates = best_of(scores, row, lists[0][row], lists[1][row], self.options[row].width)
                best[row] = candidates[0][1]
                chosen[row] = draw(candidates, self.options[row], noise[row])
        if self.many:
            drawn = self.filter.draw(scores[self.many], [noise[row] for row in self.many])
            for row, one_best, one in zip(self.many, *drawn, strict=True):
                best[row], chosen[row] = one_best, one
        return best, chosen


def best_of(
    scores: torch.Tensor, row: int, values: list[float], indices: list[int], width: int
) -> list[tuple[float, int]]:
    """
    The `width` best values and their indices, equal ones by index, and those that equal the last one.

    Args:
        scores (`torch.FloatTensor` of shape `(batch_size, vocab_size)`)
        values, indices (`list`): the best of `row`, one more than `width` unless that is all.
    """
    width = min(width, len(values))
    if width < len(values) and values[width] == values[width - 1]:
        width = int((scores[row] >= values[width - 1]).sum())
        found = scores[row].topk(width)
        values, indices = found.values.tolist(), found.indices.tolist()
    candidates = list(zip(values[:width], indices[:width], strict=True))
    candidates.sort(key=lambda candidate: (-candidate[0], candidate[1]))
    return candidates


def draw(candidates: list[tuple[float, int]], options: SamplingOptions, noise: float) -> int:
    """One of the best candidates, best first, as `top_p` leaves them."""
    if not options.do_sample:
        return candidates[0][1]
    shares = shares_of(candidates, options)
    rest = noise * sum(shares)
    for share, (_, index) in zip(shares, candidates, strict=False):
        rest -= share
        if rest < 0:
            return index
    # rounding left nothing for the noise: the last one that has a share
    return [index for share, (_, index) in zip(shares, candidates, strict=False) if share][-1]


def shares_of(candidates: list[tuple[float, int]], options: SamplingOptions) -> list[float]:
    """How likely the candidates are, best first, to a factor; those that `top_p` removes have none."""
    highest = candidates[0][0]
    shares = [math.exp((value - highest) / options.temperature) for value, _ in candidates]
    mass, limit = 0.0, options.top_p * sum(shares) if options.top_p < 1 else math.inf
    for place, share in enumerate(shares):
        if mass > limit:
            return shares[:place]
        mass += share
    return shares


class CandidateFilter:
    """
    Rows of many candidates, or whose number is not known beforehand.

    Args:
        options (`list[SamplingOptions]`): of each row; all of them draw.
        device (`torch.device`): of the scores.
    """

    def __init__(self, options: list[SamplingOptions], device: torch.device):
        def column(values: Sequence[float]) -> torch.Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device).unsqueeze(-1)

        self.temperature = column([one.temperature for one in options])
        self.top_k = column([one.top_k or torch.inf for one in options])
        self.top_p = column([one.top_p if one.top_p < 1 else torch.inf for one in options])
        self.min_p = column([one.min_p for one in options])
        self.any_min_p = any(one.min_p for one in options)
        # candidates that any row may need: at most one over `min_p` tokens are that likely
        needs = [max(one.top_k, math.ceil(1 / one.min_p) if one.min_p else 0) for one in options]
        self.width = None if any(not one.top_k for one in options) else max(needs, default=1)
        self.all_take_width = all(one.top_k == self.width for one in options)

    def draw(self, scores: torch.Tensor, noise: list[float]) -> tuple[list[int], list[int]]:
        """As `RowSampler`."""
        probabilities, candidates = self.distribution(scores)
        total = probabilities.double().cumsum(-1)
        points = torch.tensor(noise, dtype=torch.float64, device=total.device).unsqueeze(-1) * total[:, -1:]
        place = torch.searchsorted(total, points, right=True)
        # the last candidate that has a share is the last resort against rounding
        last = (probabilities > 0).sum(-1, keepdim=True) - 1
        drawn = candidates.gather(1, torch.minimum(place, last)).squeeze(1)
        return candidates[:, 0].tolist(), drawn.tolist()

    def distribution(self, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Probabilities of the candidates of each row, best first, and which these are: `(batch_size, width)` each."""
        vocab_size = scores.shape[-1]
        width = vocab_size if self.width is None else min(self.width, vocab_size)
        values, candidates = scores.topk(min(width + 1, vocab_size))
        if (values[:, 1:] == values[:, :-1]).any():
            if width < vocab_size:  # ties with the last one stay
                width = int((scores >= values[:, width - 1 : width]).sum(-1).max())
                values, candidates = scores.topk(width)
            candidates, order = candidates.sort(-1)  # equal ones by index
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
