"""Token-budget batches: groups rows of similar length, with the same plan on every rank and a new plan per epoch.

The plan depends only on seed, epoch and lengths, so checkpoints need no sampler state: a resumed run computes the same
batches with the same prompts and skips those it has already used.
"""

import logging

import numpy as np
from torch.utils.data import Sampler

from .prompts import PromptSampler


logger = logging.getLogger(__name__)

NO_PROMPT = -1
# the number of batches depends on the prompts drawn: use the maximum over these epochs, plus a margin
PLANNED_EPOCHS = 4
SPARE_FRACTION, SPARE_BATCHES = 0.01, 2


class TokenBatchSampler(Sampler):
    """
    Yields batches of `(row, prompt_row)`, with prompt_row -1 for no prompt. Accelerate distributes them over ranks.

    A batch of n samples costs n * (longest text + longest audio) tokens. The number of batches is the same in every
    epoch and a multiple of `group_size`. Batches of a group have similar lengths, so that ranks which process a group
    together finish at the same time. Runs with the same group size get the same batches for any number of ranks.

    Args:
        num_frames (`np.ndarray` of shape `(num_rows,)`): audio tokens per row, without special tokens.
        num_text_tokens (`np.ndarray` of shape `(num_rows,)`): text tokens per row, without special tokens.
        max_tokens_per_batch (`int`): token budget of a batch on one rank, including padding.
        prompts (`PromptSampler`, *optional*): draws reference prompts; without it no row gets one.
        dataset_of_row (`np.ndarray` of shape `(num_rows,)`, *optional*): dataset index of each row.
        dataset_weights (`list[float]`, *optional*): repetitions of each dataset per epoch: 1 uses each row once, 0.5 a
            random half of the rows, 2 each row twice.
        row_names (callable, *optional*): maps a row index to a name for error messages.
        seed (`int`, *optional*, defaults to 0)
        group_size (`int`, *optional*, defaults to 1): consecutive batches of similar length; multiple of the ranks.

    Raises:
        ValueError: if a single row exceeds the budget, or there are no rows.
    """

    def __init__(
        self,
        num_frames,
        num_text_tokens,
        max_tokens_per_batch: int,
        prompts: PromptSampler | None = None,
        dataset_of_row=None,
        dataset_weights: list[float] | None = None,
        row_names=str,
        seed: int = 0,
        group_size: int = 1,
    ):
        self.num_frames, self.num_text_tokens = np.asarray(num_frames), np.asarray(num_text_tokens)
        if not len(self.num_frames):
            raise ValueError("the training dataset has no rows.")
        self.max_tokens = max_tokens_per_batch
        self.prompts = prompts
        self.dataset_of_row = np.zeros(len(self.num_frames), int) if dataset_of_row is None else dataset_of_row
        self.dataset_weights = (
            [1.0] * (int(self.dataset_of_row.max()) + 1) if dataset_weights is None else dataset_weights
        )
        if any(not weight > 0 for weight in self.dataset_weights):
            raise ValueError(f"`dataset_weights` must be above 0, got {self.dataset_weights}.")
        self.seed, self.group_size, self.epoch = seed, group_size, 0
        sample_tokens = self.num_frames + 1 + self.num_text_tokens + 2  # including start, BOS and EOS tokens
        if (sample_tokens > self.max_tokens).any():
            worst = int(sample_tokens.argmax())
            raise ValueError(
                f"`max_tokens_per_batch` is {self.max_tokens}, but row {row_names(worst)} alone has "
                f"{sample_tokens[worst]} tokens; raise it, or filter long rows."
            )
        max_batches = max(
            len(self._make_batches(*self._draw_rows(epoch))) for epoch in range(PLANNED_EPOCHS if prompts else 1)
        )
        self.num_batches = self._round_up(
            max_batches + (int(SPARE_FRACTION * max_batches) + SPARE_BATCHES if prompts else 0)
        )
        self.num_batches = min(self.num_batches, max(group_size, self._rows_per_epoch() // group_size * group_size))

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self):
        for rows, prompts in self.plan(self.epoch):
            yield list(zip(rows.tolist(), prompts.tolist(), strict=True))

    def plan(self, epoch: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Returns the batches of an epoch for all ranks, as `(rows, prompt_rows)`, int64 arrays of equal length."""
        generator = self._generator(epoch, "order")
        rows, prompts = self._draw_rows(epoch)
        batches = self._make_batches(rows, prompts)
        while len(batches) < self.num_batches:  # split the largest batch in place
            largest = max(range(len(batches)), key=lambda number: len(batches[number]))
            batch = batches[largest]
            if len(batch) < 2:
                raise ValueError(
                    f"{len(rows)} rows cannot fill a group of {self.group_size} batches; use fewer processes."
                )
            batches[largest : largest + 1] = [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
        if len(batches) > self.num_batches:
            surplus = generator.permutation(len(batches))[: len(batches) - self.num_batches]
            logger.warning("epoch %d leaves out %d of %d batches.", epoch, len(surplus), len(batches))
            batches = [batch for number, batch in enumerate(batches) if number not in set(surplus.tolist())]
        # shuffle groups, not batches: a group keeps batches of similar length together
        groups = [batches[start : start + self.group_size] for start in range(0, len(batches), self.group_size)]
        ordered = [batch for number in generator.permutation(len(groups)) for batch in groups[number]]
        return [(rows[batch], prompts[batch]) for batch in ordered]

    def padding_share(self, epoch: int = 0) -> float:
        """Returns the fraction of padding among all tokens of an epoch, text and audio."""
        padded = real = 0
        for rows, prompts in self.plan(epoch):
            for lengths in self._lengths(rows, prompts):
                padded += len(lengths) * int(lengths.max())
                real += int(lengths.sum())
        return 1 - real / padded

    def _generator(self, epoch: int, purpose: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, sum(purpose.encode())])

    def _rows_per_epoch(self) -> int:
        sizes = np.bincount(self.dataset_of_row, minlength=len(self.dataset_weights))
        return sum(
            max(1, round(weight * size)) for weight, size in zip(self.dataset_weights, sizes, strict=True) if size
        )

    def _round_up(self, count: int) -> int:
        return -(-count // self.group_size) * self.group_size

    def _draw_rows(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Draws the rows of an epoch and their prompts, in random order."""
        generator = self._generator(epoch, "rows")
        chosen = []
        for number, weight in enumerate(self.dataset_weights):
            own = np.flatnonzero(self.dataset_of_row == number)
            if not len(own):
                continue
            count = max(1, round(weight * len(own)))
            chosen += [generator.permutation(own) for _ in range(count // len(own))]
            chosen.append(generator.permutation(own)[: count % len(own)])
        rows = generator.permutation(np.concatenate(chosen))
        prompts = np.full(len(rows), NO_PROMPT) if self.prompts is None else self.prompts.draw(rows, generator)
        too_long = sum(self._lengths(rows, prompts)) > self.max_tokens
        return rows, np.where(too_long, NO_PROMPT, prompts)

    def _lengths(self, rows: np.ndarray, prompts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the decoder and encoder tokens of each sample, including special tokens."""
        has_prompt = prompts != NO_PROMPT
        audio = self.num_frames[rows] + 1 + np.where(has_prompt, self.num_frames[prompts] + 1, 0)
        text = self.num_text_tokens[rows] + 2 + np.where(has_prompt, self.num_text_tokens[prompts] + 1, 0)
        return audio, text

    def _make_batches(self, rows: np.ndarray, prompts: np.ndarray) -> list[np.ndarray]:
        """Sorts samples by length and cuts them into batches within the budget, as index arrays into `rows`."""
        audio, text = self._lengths(rows, prompts)
        order = np.lexsort((text, audio))
        batches, current, max_audio, max_text = [], [], 0, 0
        for index in order.tolist():
            audio_after, text_after = max(max_audio, audio[index]), max(max_text, text[index])
            if current and (len(current) + 1) * (audio_after + text_after) > self.max_tokens:
                batches.append(np.array(current))
                current, audio_after, text_after = [], audio[index], text[index]
            current.append(index)
            max_audio, max_text = audio_after, text_after
        batches.append(np.array(current))
        return batches


__all__ = ["NO_PROMPT", "TokenBatchSampler"]
