"""The original project's stopping rules and sampling filter as logits processors, applied per row."""

import torch
from transformers import LogitsProcessor


class MinimumFramesLogitsProcessor(LogitsProcessor):
    """Forbids the end token for the first `min_frames` new tokens (original: a fifth of a second plus one token)."""

    def __init__(self, eos_token_id: int, prompt_length: int, min_frames: int):
        self.eos_token_id = eos_token_id
        self.prompt_length = prompt_length
        self.min_frames = min_frames

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if input_ids.shape[1] - self.prompt_length < self.min_frames:
            scores = scores.clone()
            scores[:, self.eos_token_id] = -torch.inf
        return scores


class SilencePenaltyLogitsProcessor(LogitsProcessor):
    """
    Penalizes repetitions of a silence token, increasingly with their number.

    If the last `count` new tokens are the same silence token and `count > max_run`, its logit is divided by
    `count - (max_run - 1)` if positive and multiplied by it if negative. The original does the same for one silence
    token; with several, its counter is always reset, so that it never penalizes. This class fixes that.
    """

    def __init__(self, silence_token_ids: list[int], max_run: int, prompt_length: int):
        self.silence_token_ids = torch.tensor(sorted(silence_token_ids))
        self.max_run = max_run
        self.prompt_length = prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        new = input_ids[:, self.prompt_length :]
        if new.shape[1] <= self.max_run:
            return scores
        last = new[:, -1:]
        count = (new == last).flip(-1).cumprod(-1).sum(-1, keepdim=True)
        count = torch.where(torch.isin(last, self.silence_token_ids.to(last.device)), count, 0)
        return self.penalize(scores, last, count, self.max_run)

    @staticmethod
    def penalize(
        scores: torch.Tensor, last: torch.Tensor, count: torch.Tensor, max_run: int | torch.Tensor
    ) -> torch.Tensor:
        """
        Applies the penalty.

        Args:
            scores (`torch.Tensor` of shape `(batch_size, vocab_size)`)
            last (`torch.LongTensor` of shape `(batch_size, 1)`): last token of each row.
            count (`torch.LongTensor` of shape `(batch_size, 1)`): its repetitions; 0 if it is not a silence token.
            max_run (`int` or `torch.Tensor` of shape `(batch_size, 1)`)
        """
        factor = (count - (max_run - 1)).clamp(min=1).to(scores.dtype)
        logit = scores.gather(1, last)
        penalized = torch.where(logit < 0, logit * factor, logit / factor)
        return scores.scatter(1, last, torch.where(count > max_run, penalized, logit))


class ForcedEndLogitsProcessor(LogitsProcessor):
    """Allows only the end token in rows where it is the argmax, or where `max_frames` tokens have been generated."""

    def __init__(self, eos_token_id: int, prompt_length: int, max_frames: torch.Tensor):
        self.eos_token_id = eos_token_id
        self.prompt_length = prompt_length
        self.max_frames = max_frames

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        ends = scores.argmax(-1) == self.eos_token_id
        ends |= input_ids.shape[1] - self.prompt_length >= self.max_frames.to(scores.device)
        only_end = torch.full_like(scores, -torch.inf)
        only_end[:, self.eos_token_id] = 0.0
        return torch.where(ends.unsqueeze(-1), only_end, scores)


class SpeechSamplingWarper(LogitsProcessor):
    """
    The original's sampling filter: `min_p`, or else `top_k` followed by `top_p`, per row.

    Differences from transformers' warpers: `min_p` is an absolute probability, and `top_k` and `top_p` apply only to
    rows in which no token reaches it (the original decides this for the whole batch). Ties are ordered by token id.
    With `top_k`, only the remaining candidates are sorted for `top_p`.

    Args:
        top_k (`int`, *optional*): keep tokens at least as likely as the k-th best, including ties; 0 or None is off.
        top_p (`float`, *optional*):
            keep a token if the total probability of more likely tokens is at most this; 1 or None is off.
        min_p (`float`, *optional*): remove tokens of lower probability; 0 or None is off.

    Raises:
        ValueError: for a value out of range.
    """

    def __init__(self, top_k: int | None = None, top_p: float | None = None, min_p: float | None = None):
        self.top_k, self.top_p, self.min_p = top_k or 0, 1.0 if top_p is None else top_p, min_p or 0.0
        if self.top_k < 0 or self.top_k != int(self.top_k):
            raise ValueError(f"`top_k` must be a whole number of at least 0 (0: off), got {top_k}.")
        if not 0 <= self.top_p <= 1:
            raise ValueError(f"`top_p` must be between 0 and 1 (1: off), got {top_p}.")
        if not 0 <= self.min_p < 1:
            raise ValueError(f"`min_p` must be at least 0 and below 1 (0: off), got {min_p}.")

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        filtered = scores
        if self.top_k:
            kth_best = scores.topk(min(self.top_k, scores.shape[-1])).values[:, -1:]
            filtered = scores.masked_fill(scores < kth_best, -torch.inf)
        if self.top_p < 1:
            filtered = self._keep_mass(filtered)
        if self.min_p:
            removed = scores.softmax(-1) < self.min_p
            filtered = torch.where(removed.all(-1, keepdim=True), filtered, scores.masked_fill(removed, -torch.inf))
        return filtered

    def _keep_mass(self, scores: torch.Tensor) -> torch.Tensor:
        width = int((scores > -torch.inf).sum(-1).max())
        candidates = scores.topk(width).indices.sort(-1).values  # (batch_size, width), sorted by id to order ties
        values, order = scores.gather(1, candidates).sort(descending=True, stable=True)
        mass_before = torch.nn.functional.pad(values.softmax(-1).cumsum(-1)[:, :-1], (1, 0))
        return scores.scatter(1, candidates.gather(1, order), values.masked_fill(mass_before > self.top_p, -torch.inf))


__all__ = [
    "ForcedEndLogitsProcessor",
    "MinimumFramesLogitsProcessor",
    "SilencePenaltyLogitsProcessor",
    "SpeechSamplingWarper",
]
