"""Batches by token budget: rows of similar length together, the same plan on every rank, a new one every epoch.

The plan is a function of seed, epoch and lengths alone. Nothing about it has to be saved: a resumed run plans the same
batches with the same prompts and skips those it has seen.
"""

import logging

import numpy as np
from torch.utils.data import Sampler

from .prompts import PromptDrawer


logger = logging.getLogger(__name__)

NO_PROMPT = -1
# how many batches an epoch needs depends on its prompts: the most of these epochs, and some room
TRIED_EPOCHS = 4
SPARE_SHARE, SPARE_BATCHES = 0.01, 2


class TokenBatchSampler(Sampler):
    """
    Yields batches of `(row, prompt_row)`, prompt_row -1 for none; ranks take turns, as Accelerate deals them out.

    A batch of n samples costs n times its longest text and longest audio, in tokens. The number of batches is the same
    in every epoch and a multiple of `group_size`. Batches of a group are of similar length, so that ranks which share
    it need not wait for each other; runs of one group size see the same batches, on however many ranks.

    Args:
        num_frames (`np.ndarray` of shape `(num_rows,)`): audio tokens of each row, without specials.
        num_text_tokens (`np.ndarray` of shape `(num_rows,)`): text tokens of each row, without specials.
        max_tokens_per_batch (`int`): budget of a batch on one rank, padding included.
        prompts (`PromptDrawer`, *optional*): draws references; none without it.
        dataset_of_row (`np.ndarray` of shape `(num_rows,)`, *optional*): dataset number of each row.
        dataset_weights (`list[float]`, *optional*): how often each dataset's rows are seen per epoch: 1 is once each,
            0.5 a random half, 2 twice.
        row_names (callable, *optional*): row number to a name for messages.
        seed (`int`, *optional*, defaults to 0)
        group_size (`int`, *optional*, defaults to 1): batches that stand together; a multiple of the number of ranks.

    Raises:
        ValueError: if a row alone exceeds the budget, or there are no rows.
    """

    def __init__(
        self,
        num_frames,
        num_text_tokens,
        max_tokens_per_batch: int,
        prompts: PromptDrawer | None = None,
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
        alone = self.num_frames + 1 + self.num_text_tokens + 2  # with start, BOS and EOS tokens
        if (alone > self.max_tokens).any():
            worst = int(alone.argmax())
            raise ValueError(
                f"`max_tokens_per_batch` is {self.max_tokens}, but row {row_names(worst)} alone has {alone[worst]} "
                "tokens; raise it, or filter long rows."
            )
        most = max(len(self._cut(*self._draw(epoch))) for epoch in range(TRIED_EPOCHS if prompts else 1))
        self.num_batches = self._round_up(most + (int(SPARE_SHARE * most) + SPARE_BATCHES if prompts else 0))
        self.num_batches = min(self.num_batches, max(group_size, self._rows_per_epoch() // group_size * group_size))

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self):
        for rows, prompts in self.plan(self.epoch):
            yield list(zip(rows.tolist(), prompts.tolist(), strict=True))

    def plan(self, epoch: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """The epoch's batches for all ranks, as (rows, prompt rows)."""
        generator = self._generator(epoch, "order")
        rows, prompts = self._draw(epoch)
        batches = self._cut(rows, prompts)
        while len(batches) < self.num_batches:  # split the fullest, which stays in place beside its half
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
        # groups of similar length, in random order
        groups = [batches[start : start + self.group_size] for start in range(0, len(batches), self.group_size)]
        ordered = [batch for number in generator.permutation(len(groups)) for batch in groups[number]]
        return [(rows[batch], prompts[batch]) for batch in ordered]

    def padding_share(self, epoch: int = 0) -> float:
        """Share of padding among all tokens of an epoch's padded batches, text and audio together."""
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

    def _draw(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The epoch's rows and their prompts, shuffled."""
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
        """Decoder and encoder tokens of each sample, specials included."""
        has_prompt = prompts != NO_PROMPT
        audio = self.num_frames[rows] + 1 + np.where(has_prompt, self.num_frames[prompts] + 1, 0)
        text = self.num_text_tokens[rows] + 2 + np.where(has_prompt, self.num_text_tokens[prompts] + 1, 0)
        return audio, text

    def _cut(self, rows: np.ndarray, prompts: np.ndarray) -> list[np.ndarray]:
        """Index arrays into `rows`, each within the budget, by length."""
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
