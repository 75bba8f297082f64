"""Detection of failed speech: empty, without an end token, or repeating itself."""

import numpy as np

from .text_errors import comparable, counts_characters


LONGEST_PHRASE = 8  # words, or characters in languages without spaces
LONGEST_PERIOD_SECONDS = 0.5
SHORTEST_LOOP_SECONDS = 1.5
FAILURES = {"empty": "no speech", "endless": "no end token", "loop": "repetition"}


def find_failures(codes: list[int], ended: bool, frame_rate: float, text: str, transcript: str | None, language: str):
    """
    Detects failures of one utterance.

    Args:
        codes (`list[int]`): audio tokens.
        ended (`bool`): whether the model generated an end token.
        frame_rate (`float`): codes per second.
        text (`str`): text that was synthesized.
        transcript (`str`, *optional*): transcript of the speech.
        language (`str`): language of the text.

    Returns:
        `list[str]`: keys of [`FAILURES`].
    """
    looping = has_repeated_codes(codes, frame_rate) or (
        transcript is not None and has_repeated_phrase(text, transcript, language)
    )
    found = {"empty": not codes, "endless": not ended, "loop": looping}
    return [name for name, failed in found.items() if failed]


def has_repeated_codes(codes: list[int], frame_rate: float) -> bool:
    """Returns whether a sequence of codes of at most 0.5 seconds repeats for 1.5 seconds or more."""
    array = np.asarray(codes)
    for period in range(1, int(LONGEST_PERIOD_SECONDS * frame_rate) + 1):
        again = array[period:] == array[:-period]
        if longest_run(again) + period >= SHORTEST_LOOP_SECONDS * frame_rate:
            return True
    return False


def longest_run(flags: np.ndarray) -> int:
    """Returns the length of the longest run of True in a boolean array `(length,)`."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def has_repeated_phrase(text: str, transcript: str, language: str) -> bool:
    """Returns whether the transcript repeats a phrase 3 times in a row, or a word 4 times, and the text does not."""

    def units(words: str) -> np.ndarray:
        words = comparable(words, language)
        return np.array(list(words) if counts_characters(language) else words.split())

    text_units, transcript_units = units(text), units(transcript)
    for length in range(1, LONGEST_PHRASE + 1):
        times = 3 if length > 1 else 4
        enough = (times - 1) * length
        runs = [
            longest_run(one[length:] == one[:-length]) for one in (text_units, transcript_units) if len(one) > length
        ]
        if len(transcript_units) > length and runs[-1] >= enough and not (len(runs) == 2 and runs[0] >= runs[1]):
            return True
    return False


__all__ = ["FAILURES", "find_failures"]
