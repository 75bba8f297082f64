"""Hypothesis strategies for valid and invalid input, and the number of examples of fuzz tests."""

import copy
import os
from decimal import Decimal
from fractions import Fraction

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st


PHRASES = (
    "Hello there.",
    "Dr. Smith paid $3.50 (or so); “why?” she asked… Nobody—not one—knew.",
    "こんにちは。",
    "今日は、いい天気ですね！「そう？」と彼は言った。",
    "ｶﾀｶﾅと①②〜ＡＢＣ",
    "你好，世界。今天天气很好！",
    "https://example.org/?q=1#x",
    "e\u0301\u200d\u202e\ufeff👩‍👩‍👧",
)
HUGE = 10**400  # no float holds it


def cases(count: int) -> settings:
    """
    `count` cases, the same in every run; or as many as the environment variable FUZZ_EXAMPLES says, drawn anew.

    A case that fails is printed, and as it is drawn without a database of earlier ones, belongs into a test of its own.
    """
    asked = os.environ.get("FUZZ_EXAMPLES")
    return settings(
        max_examples=int(asked or count),
        deadline=None,
        derandomize=asked is None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


def texts(max_size: int = 40):
    """Words of several languages, and any characters there are, halves of surrogate pairs and controls among them."""
    anything = st.text(st.characters(), max_size=max_size)
    parts = st.lists(st.sampled_from(PHRASES) | anything, min_size=1, max_size=3)
    return st.one_of(st.sampled_from(PHRASES), anything, parts.map("".join), parts.map(" ".join))


def numbers():
    """All kinds of numbers that Python has, and what may be taken for one."""
    return st.one_of(
        st.floats(),
        st.floats(0.05, 3),
        st.integers(-5, 200),
        st.integers(),
        st.sampled_from([0, HUGE, -HUGE, 5e-324, 1e308, Fraction(1, 3), Fraction(HUGE), Decimal("1.5"), 1 + 2j]),
        st.floats(width=16).map(np.float16),
        st.floats(width=32).map(np.float32),
        st.integers(-(2**31), 2**31 - 1).map(np.int32),
        st.booleans(),
        st.sampled_from([np.True_, np.array(1.0), np.array([1.0])]),
    )


def json_values(max_leaves: int = 5):
    leaves = st.one_of(
        st.none(), st.booleans(), st.integers(), st.integers(-3, 70), st.floats(), st.text(max_size=8), st.just(HUGE)
    )

    def inside(values):
        return st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=6), values, max_size=3)

    return st.recursive(leaves, inside, max_leaves=max_leaves)


@st.composite
def changed(draw, value, values=None, max_changes: int = 3):
    """A JSON-like `value` of dicts and lists with some of its entries replaced by `values`, removed, or added."""
    value, values = copy.deepcopy(value), json_values() if values is None else values
    for _ in range(draw(st.integers(1, max_changes))):
        places = list(_places(value))
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        action = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add"]))
        if action == "remove":
            del holder[key]
        elif action == "add" and isinstance(holder, dict):
            holder[draw(st.text(max_size=8))] = draw(values)
        else:
            holder[key] = draw(values)
    return value


def _places(value):
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


@st.composite
def damaged(draw, whole: bytes, max_changes: int = 4, most_changed: int | None = None):
    """
    The bytes of a file after an accident or two: cut short, overwritten, with something too many or missing. Changes
    fall into the first `most_changed` bytes only, if given: into a header.
    """
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, max_changes))):
        end = min(len(data), most_changed or len(data))
        start = draw(st.integers(0, max(end - 1, 0)))
        length = draw(st.integers(1, 16))
        action = draw(st.sampled_from(["overwrite", "overwrite", "flip", "cut", "insert", "remove"]))
        if action == "overwrite":
            data[start : start + length] = draw(st.binary(min_size=length, max_size=length) | st.just(b"\xff" * length))
        elif action == "flip" and data:
            data[start] ^= 1 << draw(st.integers(0, 7))
        elif action == "cut":
            del data[start:]
        elif action == "insert":
            data[start:start] = draw(st.binary(min_size=1, max_size=16))
        else:
            del data[start : start + length]
    return bytes(data)
