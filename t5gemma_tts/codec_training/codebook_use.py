"""Perplexity of codebook use."""

from collections import Counter

import torch


def perplexity(counts: Counter) -> float:
    """Returns exp(entropy) of the code distribution: the effective number of codes in use."""
    shares = torch.tensor(list(counts.values()), dtype=torch.float64)
    shares /= shares.sum()
    return float(torch.exp(-(shares * shares.log()).sum()))


__all__ = ["perplexity"]
