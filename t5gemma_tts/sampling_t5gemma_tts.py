"""The next token of every row: the rules and the filter of `logits_process_t5gemma_tts`, for rows at different places.

Rows bring their own settings and their own random numbers, so what one draws does not depend on the others. Nothing is
sorted or normalised but the `top_k` best, which gives the distribution of the filter that sees the whole vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .logits_process_t5gemma_tts import SpeechSamplingWarper


BLOCK = 64


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


class RowSampler:
    """
    Args:
        options (`list[SamplingOptions]`): of each row.
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
        self.greedy = torch.tensor([not one.do_sample for one in options], device=device)
        self.all_greedy = not any(one.do_sample for one in options)
        # candidates that any row may need: at most one over `min_p` tokens are that likely
        needs = [max(one.top_k, math.ceil(1 / one.min_p) if one.min_p else 0) for one in options if one.do_sample]
        unfiltered = any(one.do_sample and not one.top_k for one in options)
        self.width = None if unfiltered else max(needs, default=1)
        self.all_take_width = all(one.top_k == self.width for one in options)

    def __call__(self, scores: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            scores (`torch.FloatTensor` of shape `(batch_size, vocab_size)`): float32, after the rules.
            noise (`torch.DoubleTensor` of shape `(batch_size,)`): from 0 to below 1.

        Returns:
            the best token and the chosen one, each `torch.LongTensor` of shape `(batch_size,)`
        """
        if self.all_greedy:
            best = scores.argmax(-1)
            return best, best
        probabilities, candidates = self.distribution(scores)
        best = candidates[:, 0]
        total = probabilities.double().cumsum(-1)
        # the last candidate that has a share is the last resort against rounding
        place = torch.searchsorted(total, noise.to(total.device).unsqueeze(-1) * total[:, -1:], right=True)
        last = (probabilities > 0).sum(-1, keepdim=True) - 1
        drawn = candidates.gather(1, torch.minimum(place, last)).squeeze(1)
        return best, torch.where(self.greedy, best, drawn)

    def distribution(self, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Probabilities of the candidates of each row, best first, and which these are: `(batch_size, width)` each."""
        vocab_size = scores.shape[-1]
        width = vocab_size if self.width is None else min(self.width, vocab_size)
        values, candidates = best_of_blocks(scores, min(width + 1, vocab_size))
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


def best_of_blocks(scores: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """
    As `scores.topk(count)`, in half the time for large vocabularies: the best are in the blocks of the best maxima.
    Which of several equal ones are found may differ.
    """
    num_rows, vocab_size = scores.shape
    num_blocks = vocab_size // BLOCK
    if num_blocks < 8 * count:
        values, indices = scores.topk(count)
        return values, indices
    in_blocks = num_blocks * BLOCK
    blocks = scores[:, :in_blocks].view(num_rows, num_blocks, BLOCK)
    chosen = blocks.amax(-1).topk(count, sorted=False).indices  # (num_rows, count)
    found = blocks.gather(1, chosen.unsqueeze(-1).expand(-1, -1, BLOCK)).flatten(1)
    values, places = torch.cat([found, scores[:, in_blocks:]], dim=1).topk(count)
    block = chosen.gather(1, (places // BLOCK).clamp(max=count - 1))
    in_block = block * BLOCK + places % BLOCK
    return values, torch.where(places < count * BLOCK, in_block, places + (in_blocks - count * BLOCK))


__all__ = ["RowSampler", "SamplingOptions", "best_of_blocks"]
