"""Filters for rows that are unsuitable for training."""

import dataclasses
import re
from dataclasses import dataclass

from ..model.language import canonical_language
from .rows import BadRow


LONGEST_REPEATED_UNIT, SHORTEST_REPEATED_STRETCH = 80, 20
_NOT_SPOKEN = re.compile(r"[\W_]+")


def longest_repetition(text: str) -> tuple[str, int]:
    """
    Finds the unit that a text repeats most often in a row, a typical error of speech recognition.

    Ignores case, whitespace and punctuation. A unit has up to 80 characters, and all its repetitions together at least
    20, so that "1 000 000" or "no, no, no" do not count.

    Returns:
        `(unit, count)`; `("", 0)` if nothing is repeated.
    """
    text = _NOT_SPOKEN.sub("", text.casefold())
    best = ("", 0)
    for length in range(1, min(LONGEST_REPEATED_UNIT, len(text) // 2) + 1):
        run = 0  # characters that equal those one unit earlier
        for end in range(length, len(text)):
            run = run + 1 if text[end] == text[end - length] else 0
            count = run // length + 1
            if count > max(best[1], 1) and count * length >= SHORTEST_REPEATED_STRETCH:
                best = (text[end - length + 1 : end + 1], count)
    return best


@dataclass(frozen=True)
class RowFilters:
    """
    Inclusive limits on rows; None for no limit. `max_repetitions` limits the count of `longest_repetition`; `languages`
    are converted to canonical tags.
    """

    min_seconds: float | None = None
    max_seconds: float | None = None
    min_characters: int | None = None
    max_characters: int | None = None
    min_characters_per_second: float | None = None
    max_characters_per_second: float | None = None
    max_repetitions: int | None = None
    languages: tuple[str, ...] | None = None

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if name != "languages" and value is not None and not value >= 0:
                raise ValueError(f"`{name}` must be 0 or more, got {value}.")
        for name in ("seconds", "characters", "characters_per_second"):
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if low is not None and high is not None and low > high:
                raise ValueError(f"`min_{name}` ({low}) must not be above `max_{name}` ({high}).")
        if self.languages is not None:
            object.__setattr__(self, "languages", tuple(canonical_language(language) for language in self.languages))

    def check_text(self, text: str, language: str) -> None:
        """
        Checks the text and language of a row.

        Raises:
            BadRow: with reason "language", "characters" or "repetition".
        """
        if self.languages is not None and language not in self.languages:
            raise BadRow("language", f"the language is {language!r}; accepted: {', '.join(self.languages)}.")
        self._check_range("characters", len(text), "the text has {} characters")
        if self.max_repetitions is not None:
            unit, count = longest_repetition(text)
            if count > self.max_repetitions:
                raise BadRow(
                    "repetition",
                    f"the text repeats {unit!r} {count} times in a row; at most {self.max_repetitions} are accepted.",
                )

    def check_duration(self, seconds: float, text: str) -> None:
        """
        Checks the duration and speaking rate of a row.

        Raises:
            BadRow: with reason "seconds" or "characters_per_second".
        """
        self._check_range("seconds", seconds, "the clip has {:.3f} seconds")
        self._check_range("characters_per_second", len(text) / seconds, "the speech has {:.1f} characters per second")

    def _check_range(self, name: str, value: float, what: str) -> None:
        low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
        if low is not None and value < low:
            raise BadRow(name, f"{what.format(value)}, less than `min_{name}` = {low}.")
        if high is not None and value > high:
            raise BadRow(name, f"{what.format(value)}, more than `max_{name}` = {high}.")


# for audio; imported datasets were filtered when they were created
DEFAULT_FILTERS = RowFilters(
    min_seconds=0.5,
    max_seconds=30.0,
    min_characters=1,
    max_characters=1000,
    min_characters_per_second=1.0,
    max_characters_per_second=40.0,
    max_repetitions=4,
)
