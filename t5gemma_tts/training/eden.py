"""Eden, the learning-rate schedule that the original T5Gemma-TTS was trained with."""

import math
from numbers import Real

import torch
from torch.optim.lr_scheduler import LRScheduler


def _is_number(value) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


class Eden(LRScheduler):
    """lr = base * ((batch^2 + B^2) / B^2)^-0.25 * ((epoch^2 + E^2) / E^2)^-0.25 * warm, counted as in the original.

    Before the n-th optimizer step (from 1), batch = n - 1 and epoch = n // pseudo_epoch_size + 1; warm rises linearly
    from 0.5 to 1 while batch < W. Step it once after each optimizer step, as transformers' Trainer does; base is the
    initial learning rate of each parameter group.

    Args:
        optimizer: optimizer whose parameter groups are scheduled.
        warmup_batches: W in optimizer steps, 0 for no warmup. May be fractional; the original uses 2% of all steps.
        lr_batches: B in optimizer steps; beyond about B, lr falls as 1 / sqrt(batch).
        lr_epochs: E in pseudo epochs; beyond about E, lr also falls as 1 / sqrt(epoch).
        pseudo_epoch_size: optimizer steps per pseudo epoch, independent of the dataset size.
        last_epoch: number of completed optimizer steps minus 1, as in every torch scheduler.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        warmup_batches: float,
        lr_batches: float = 5000,
        lr_epochs: float = 6,
        pseudo_epoch_size: int = 5000,
        last_epoch: int = -1,
    ):
        if not _is_number(warmup_batches) or warmup_batches < 0:
            raise ValueError(f"warmup_batches must be a finite number >= 0, got {warmup_batches!r}")
        for name, value in {"lr_batches": lr_batches, "lr_epochs": lr_epochs}.items():
            if not _is_number(value) or value <= 0:
                raise ValueError(f"{name} must be a finite number > 0, got {value!r}")
        if not _is_number(pseudo_epoch_size) or pseudo_epoch_size < 1 or pseudo_epoch_size % 1:
            raise ValueError(f"pseudo_epoch_size must be an integer >= 1, got {pseudo_epoch_size!r}")
        self.warmup_batches = warmup_batches
        self.lr_batches = lr_batches
        self.lr_epochs = lr_epochs
        self.pseudo_epoch_size = pseudo_epoch_size
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Returns the learning rate of each parameter group for the next optimizer step."""
        # parameter groups added to the optimizer after the scheduler was created
        for group in self.optimizer.param_groups[len(self.base_lrs) :]:
            self.base_lrs.append(group.setdefault("initial_lr", group["lr"]))
        batch = self.last_epoch
        epoch = (batch + 1) // self.pseudo_epoch_size + 1
        factor = (1 + (batch / self.lr_batches) ** 2) ** -0.25 * (1 + (epoch / self.lr_epochs) ** 2) ** -0.25
        if batch < self.warmup_batches:
            factor *= 0.5 + 0.5 * batch / self.warmup_batches
        return [base_lr * factor for base_lr in self.base_lrs]
