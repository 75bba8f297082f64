"""Perplexity of codebook use."""

from collections import Counter

import torch


def perplexity(counts: Counter) -> float:
    """exp of the entropy of a distribution of codes: how many equally frequent ones would be as varied."""
    shares = torch.tensor(list(counts.values()), dtype=torch.float64)
    shares /= shares.sum()
    return float(torch.exp(-(shares * shares.log()).sum()))


__all__ = ["perplexity"]
