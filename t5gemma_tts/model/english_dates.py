"""Rules for English dates, times of day and telephone numbers."""

import re

from .english_abbreviations import final_point
from .english_numbers import cardinal, decimal, digits, ordinal, two_digits, year
from .spoken_characters import Rule


_MONTHS = ("January February March April May June July August September October November December").split()
_SHORT = {name[:3]: name for name in _MONTHS} | {"Sept": "September"}
_MONTH = "(?P<month>" + "|".join(_MONTHS) + r"|(?:Sept|" + "|".join(name[:3] for name in _MONTHS) + r")\b\.?)"
_DAY = r"(?P<day>0?[1-9]|[12][0-9]|3[01])"
_YEAR = r"(?P<year>1[0-9]{3}|20[0-9]{2}|2100)(?![0-9]|[.,][0-9])"
_HALF = r"(?P<half>[ap]\.?m\b\.?|[AP]\.?M\b\.?)"


def _month(name: str) -> str:
    return _SHORT.get(name.rstrip("."), name)


def _date(month: str, day: str, of_year: str | None) -> str:
    words = f"{month} {ordinal(int(day))}"
    return f"{words}, {year(int(of_year))}" if of_year else words


def _numeric_date(match: re.Match[str]) -> str | None:
    """2024-03-05 and 3/5/2024. A first number above 12 of the latter is the day."""
    groups = match.groupdict()
    month, day = int(groups["a"]), int(groups["b"])
    if month > 12 and groups["separator"] != "-":
        month, day = day, month
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    of_year = groups["year"]
    if len(of_year) == 2:
        of_year = ("20" if int(of_year) < 70 else "19") + of_year
    return _date(_MONTHS[month - 1], str(day), of_year)


def _short_date(match: re.Match[str]) -> str | None:
    """3/5, where "on" comes before."""
    month, day = int(match[1]), int(match[2])
    on = re.search(r"\b[Oo]n $", match.string[max(0, match.start() - 4) : match.start()])
    return _date(_MONTHS[month - 1], str(day), None) if on and 1 <= month <= 12 and 1 <= day <= 31 else None


def _month_first(match: re.Match[str]) -> str | None:
    words = _date(_month(match["month"]), match["day"], None)
    if match["last"]:
        words += f" to {ordinal(int(match['last']))}"
    return f"{words}, {year(int(match['year']))}" if match["year"] else words


def _day_first(match: re.Match[str]) -> str:
    text, start = match.string, match.start()
    article = "" if text[max(0, start - 4) : start].lower().endswith("the ") else "the "
    first = f"{ordinal(int(match['first']))} to " if match["first"] else ""
    words = f"{article}{first}{ordinal(int(match['day']))} of {_month(match['month'])}"
    return f"{words}, {year(int(match['year']))}" if match["year"] else words


def _month_and_year(match: re.Match[str]) -> str:
    return f"{_month(match['month'])} {year(int(match['year']))}"


def _short_month(match: re.Match[str]) -> str | None:
    """Jan. and so on, where it is not the end of a sentence, or after a word that comes before months."""
    text, start = match.string, match.start()
    before = re.search(r"\b(?:[Ii]n|[Ss]ince|[Bb]y|[Uu]ntil|[Oo]f|[Ll]ast|[Nn]ext) $", text[max(0, start - 8) : start])
    if not before and not re.match(r" ?[a-z0-9,–-]", text[match.end() : match.end() + 2]):
        return None
    return _SHORT[match[1]] + final_point(match)


def _time(match: re.Match[str]) -> str | None:
    hour, minute = int(match["hour"]), int(match["minute"] or 0)
    half = match["half"]
    if hour > 24 or minute > 59 or half and not 1 <= hour <= 12:
        return None
    if half:
        clock = f"{cardinal(hour)} {two_digits(minute)}" if minute else cardinal(hour)
        return f"{clock} {half[0].upper()}M{final_point(match)}"
    seconds = match["second"]
    if minute:
        words = f"{cardinal(hour)} {two_digits(minute)}"
    elif hour in (0, 24):
        words = "midnight"
    else:
        words = f"{cardinal(hour)} o'clock" if hour <= 12 else f"{cardinal(hour)} hundred"
    if seconds:
        words += f" and {cardinal(int(seconds))} second" + ("" if int(seconds) == 1 else "s")
    return words


def _time_range(match: re.Match[str]) -> str:
    """The first time of two, with the half of the day left out, and "to"."""
    minute = match["minute"]
    words = cardinal(int(match["hour"])) + (f" {two_digits(int(minute))}" if minute and int(minute) else "")
    return f"{words} to "


def _ratio(match: re.Match[str]) -> str:
    return " to ".join(map(decimal, match[0].split(":")))


def _phone(match: re.Match[str]) -> str:
    groups = re.split("[^0-9]+", match[0].strip("()+"))
    plus = "plus " if match[0].startswith("+") else ""
    return plus + ", ".join(digits(group) for group in groups if group)


def _local_phone(match: re.Match[str]) -> str | None:
    """555-0123, but 100-1000 is a range."""
    return None if match[0][2] == "0" and match[0][-2:] == "00" else _phone(match)


_GAP = "[ .-]?"
_INTERNATIONAL = re.compile(r"\+[0-9]{1,3}(?:[ .-]?(?:\([0-9]{1,4}\)|[0-9]{2,5})){2,5}(?![0-9])")
_AREA = re.compile(rf"\([0-9]{{3}}\){_GAP}[0-9]{{3}}{_GAP}[0-9]{{4}}(?![0-9])")
DATES: tuple[Rule, ...] = (
    (re.compile(r"(?:1[ .-])?\(?[0-9]{3}\)?[ .-][0-9]{3}[ .-][0-9]{4}(?![0-9]|[.,-][0-9])"), _phone),
    (re.compile(r"[0-9]{3}-[0-9]{4}(?![0-9]|[.,-][0-9])"), _local_phone),
    (
        re.compile(r"(?P<year>[12][0-9]{3})(?P<separator>[/-])(?P<a>[0-9]{2})(?P=separator)(?P<b>[0-9]{2})(?![0-9-])"),
        _numeric_date,
    ),
    (
        re.compile(
            r"(?P<a>[0-9]{1,2})(?P<separator>[/.-])(?P<b>[0-9]{1,2})(?P=separator)(?P<year>[12][0-9]{3})(?![0-9])"
        ),
        _numeric_date,
    ),
    (re.compile(r"(?P<a>[0-9]{1,2})(?P<separator>/)(?P<b>[0-9]{1,2})/(?P<year>[0-9]{2})(?![0-9/])"), _numeric_date),
    (re.compile(r"([0-9]{1,2})/([0-9]{1,2})(?![0-9/])"), _short_date),
    (
        re.compile(rf"(?:(?P<first>[0-9]{{1,2}})[-–])?{_DAY}(?:st|nd|rd|th)? (?:of )?{_MONTH}(?![a-z])(?:,? {_YEAR})?"),
        _day_first,
    ),
    (
        re.compile(
            rf"(?P<hour>[0-9]{{1,2}})(?::(?P<minute>[0-5][0-9]))? ?[-–] ?(?=[0-9]{{1,2}}(?::[0-5][0-9])? ?{_HALF})"
        ),
        _time_range,
    ),
    (re.compile(rf"(?P<hour>[0-9]{{1,2}})(?:[:.](?P<minute>[0-5][0-9]))? ?{_HALF}"), _time),
    (
        re.compile(
            r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-5][0-9])(?::(?P<second>[0-5][0-9]))?(?![0-9]|[:.][0-9])(?P<half>)"
        ),
        _time,
    ),
    (re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,4})?(?::[0-9]{1,4}(?:\.[0-9]{1,4})?)+(?![0-9]|[:.][0-9])"), _ratio),
)
MONTHS: tuple[Rule, ...] = (
    (
        re.compile(
            rf"{_MONTH} {_DAY}(?:st|nd|rd|th)?(?:[-–](?P<last>[12]?[0-9]|3[01]))?(?![0-9:]|[.,/-][0-9])(?:,? {_YEAR})?"
        ),
        _month_first,
    ),
    (re.compile(rf"{_MONTH},? {_YEAR}"), _month_and_year),
    (re.compile(r"(Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec)\."), _short_month),
)
PHONES: tuple[Rule, ...] = ((_INTERNATIONAL, _phone), (_AREA, _phone))


__all__ = ["DATES", "MONTHS", "PHONES"]
