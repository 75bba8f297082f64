"""Validation helpers for numeric arguments."""

import math
import numbers
from typing import TypeGuard


def is_finite_number(value: object) -> TypeGuard[float]:
    """Whether `value` is a finite real number within float range; False for bool."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


__all__ = ["is_finite_number"]
