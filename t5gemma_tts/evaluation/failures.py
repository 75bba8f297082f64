"""Detection of failed speech: empty, endless, or repeating."""

import numpy as np

from .text_errors import comparable, counts_characters


LONGEST_PHRASE = 8  # words, or characters in languages without spaces, that may be said again and again
LONGEST_PERIOD_SECONDS = 0.5
SHORTEST_LOOP_SECONDS = 1.5
FAILURES = {"empty": "nothing was said", "endless": "had to be stopped", "loop": "repeats itself"}


def find_failures(codes: list[int], ended: bool, frame_rate: float, text: str, heard: str | None, language: str):
    """
    Args:
        codes (`list[int]`): audio tokens.
        ended (`bool`): whether the model ended them itself.
        frame_rate (`float`): codes per second.
        text (`str`), heard (`str`, *optional*), language (`str`): what should be said, and what was heard.

    Returns:
        `list[str]`: names of [`FAILURES`].
    """
    looping = codes_loop(codes, frame_rate) or (heard is not None and phrases_loop(text, heard, language))
    found = {"empty": not codes, "endless": not ended, "loop": looping}
    return [name for name, failed in found.items() if failed]


def codes_loop(codes: list[int], frame_rate: float) -> bool:
    """Whether codes of up to half a second come again and again, or one is held, for 1.5 seconds or more."""
    array = np.asarray(codes)
    for period in range(1, int(LONGEST_PERIOD_SECONDS * frame_rate) + 1):
        again = array[period:] == array[:-period]
        if longest_run(again) + period >= SHORTEST_LOOP_SECONDS * frame_rate:
            return True
    return False


def longest_run(flags: np.ndarray) -> int:
    """Of True in a boolean array `(length,)`."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def phrases_loop(text: str, heard: str, language: str) -> bool:
    """Whether a phrase is heard three times in a row, or a single word (or character) four times, but not in `text`."""

    def units(words: str) -> np.ndarray:
        words = comparable(words, language)
        return np.array(list(words) if counts_characters(language) else words.split())

    wanted, said = units(text), units(heard)
    for length in range(1, LONGEST_PHRASE + 1):
        times = 3 if length > 1 else 4
        enough = (times - 1) * length
        runs = [longest_run(one[length:] == one[:-length]) for one in (wanted, said) if len(one) > length]
        if len(said) > length and runs[-1] >= enough and not (len(runs) == 2 and runs[0] >= runs[1]):
            return True
    return False


__all__ = ["FAILURES", "find_failures"]
