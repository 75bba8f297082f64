"""Rules for English amounts: money, percentages, units, ranges, fractions, ordinals and plain numbers."""

import re

from .english_numbers import cardinal, decimal, digits, fraction, integer, ordinal, plural, two_digits, year
from .english_units import CURRENCIES, PER, SCALES, UNITS
from .spoken_characters import NUMBER, Rule, one_of


_TO = " ?[-\u2013\u2014~\uff5e\u301c] ?"
_SIGNS = one_of(symbol for symbol in CURRENCIES if not symbol[-1].isalpha())
_CODES = one_of(symbol for symbol in CURRENCIES if symbol.isalpha())
_SCALE = f"(?:[ \u00a0-]?(?P<scale>{one_of(SCALES)})(?![A-Za-z]))?"
_UNIT = f"(?P<unit>{one_of(UNITS)})(?:/(?P<per>{one_of(PER)}))?(?![A-Za-z0-9])"
_OPTIONAL_UNIT = f"(?: ?{_UNIT})?"
_POINT = r"(?:\.(?= [a-z]))?"  # of an abbreviated unit within a sentence
_VULGAR = {"½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5), "⅗": (3, 5)} | {
    "⅘": (4, 5),
    "⅙": (1, 6),
    "⅚": (5, 6),
    "⅛": (1, 8),
    "⅜": (3, 8),
    "⅝": (5, 8),
    "⅞": (7, 8),
}
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_BEFORE_YEAR = re.compile(
    r"(?:^|[^A-Za-z])(?:in|since|by|of|from|until|till|before|after|during|circa|year|spring|summer|autumn|fall|winter"
    r"|early|late|mid|January|February|March|April|May|June|July|August|September|October|November|December),? $",
    re.IGNORECASE,
)
_COUNTED = re.compile(r" (?:(?:people|men|women|children|percent|feet|times|million|of)\b|[a-z]{3,}[a-rt-z]s\b)")
_NOT_COUNTED = re.compile(r" (?:was|has|does|this|its|plus|always|as|is|brings|marks|sees|saw|looks|seems)\b")


def _is_adjective(match: re.Match[str]) -> bool:
    """Whether an amount describes the noun that follows, as in "a $20 bill", so that its unit is singular."""
    text, start, end = match.string, match.start(), match.end()
    return bool(re.search(r"\b[Aa]n? $", text[max(0, start - 4) : start]) and re.match(" [a-z]", text[end : end + 2]))


def money(match: re.Match[str]) -> str:
    """A currency and an amount in either order, such as $12.50, £3m, 1.2 billion euros or USD 50."""
    amount, scale = match["amount"], match["scale"]
    one, many, cent, cents = CURRENCIES[match["currency"]]
    many = one if _is_adjective(match) else many
    whole, _, rest = amount.partition(".")
    if scale:
        words = f"{decimal(amount)} {SCALES[scale]} {many}"
    elif len(rest) != 2:
        words = f"{decimal(amount)} {one if amount == '1' else many}"
    else:
        parts = (
            [f"{integer(whole)} {one if whole == '1' else many}"]
            if whole and (int(rest) == 0 or whole.strip("0,"))
            else []
        )
        if int(rest):
            parts.append(f"{cardinal(int(rest))} {cent if int(rest) == 1 else cents}")
        words = " and ".join(parts)
    per = match.groupdict().get("per")
    return f"{words} per {PER[per]}" if per else words


def money_range(match: re.Match[str]) -> str:
    """Two amounts of a currency: $5-10, $5-$10, £3-5m."""
    scale = f" {SCALES[match['scale']]}" if match["scale"] else ""
    many = CURRENCIES[match["currency"]][1]
    return f"{decimal(match['first'])} to {decimal(match['last'])}{scale} {many}"


def _cents(match: re.Match[str]) -> str:
    return f"{decimal(match['amount'])} {'cent' if match['amount'] == '1' else 'cents'}"


def _unit(symbol: str, per: str | None, single: bool) -> str:
    words = UNITS[symbol][0 if single else 1]
    return f"{words} per {PER[per]}" if per else words


def _with_unit(match: re.Match[str]) -> str | None:
    amount, unit, joint = match["amount"], match["unit"], match["joint"]
    if joint == "-":
        return f"{decimal(amount)}-{_unit(unit, match['per'], single=True)}"
    return f"{decimal(amount)} {_unit(unit, match['per'], single=amount == '1' or _is_adjective(match))}"


def _range(match: re.Match[str]) -> str:
    first, last = match["first"], match["last"]
    if match["unit"]:
        return f"{decimal(first)} to {decimal(last)} {_unit(match['unit'], match['per'], single=False)}"
    if re.fullmatch("1[1-9][0-9]{2}|20[0-9]{2}", first):
        if re.fullmatch("1[1-9][0-9]{2}|20[0-9]{2}", last):
            return f"{year(int(first))} to {year(int(last))}"
        if len(last) == 2:
            return f"{year(int(first))} to {two_digits(int(last))}"
    return f"{decimal(first)} to {decimal(last)}"


def _fraction(match: re.Match[str]) -> str | None:
    top, bottom = int(match["top"]), int(match["bottom"])
    if bottom == 0:
        return None
    if match["whole"] or match["unit"]:
        return _fraction_with_unit(match, top, bottom)
    if (top, bottom) == (24, 7):
        return "twenty-four seven"
    if (top, bottom) == (9, 11):
        return "nine eleven"
    if top == bottom:
        return f"{cardinal(top)} out of {cardinal(bottom)}"
    return fraction(top, bottom)


def _vulgar_fraction(match: re.Match[str]) -> str:
    pair = _VULGAR[match["fraction"]]
    return _fraction_with_unit(match, *pair)


def _fraction_with_unit(match: re.Match[str], top: int, bottom: int) -> str:
    whole, unit = match["whole"], match["unit"]
    words = f"{integer(whole)} and {fraction(top, bottom, 'a')}" if whole else fraction(top, bottom)
    return f"{words} {_unit(unit, match['per'], single=not whole)}" if unit else words


def _out_of(match: re.Match[str]) -> str:
    return f"{decimal(match[1])} out of {decimal(match[2])}"


def _ordinal(match: re.Match[str]) -> str | None:
    number = int(match[1].replace(",", ""))
    expected = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return ordinal(number) if match[2].lower() == expected else None


def _plural(match: re.Match[str]) -> str:
    number = int(match[1] or match[2])
    return plural(year(number) if 1100 <= number <= 2099 else cardinal(number))


def _groups(match: re.Match[str]) -> str:
    """Version numbers, addresses and identifiers: groups of digits joined by points or hyphens."""
    groups = re.split("[. -]", match[0])
    long = any(len(group) > 2 for group in groups)
    names = [digits(group) if long else integer(group) for group in groups]
    return (" point " if "." in match[0] and not long else " dot " if "." in match[0] else ", ").join(names)


def _scientific(match: re.Match[str]) -> str:
    return f"{decimal(match[1])} times ten to the power of {decimal(match[2].lstrip('+'))}"


def _power(match: re.Match[str]) -> str | None:
    exponent = (match[1] or match[2]).translate(_SUPERSCRIPTS)
    if len(exponent) > 4 or not exponent.lstrip("-"):
        return None
    return {"2": "squared", "3": "cubed"}.get(exponent, f"to the power of {decimal(exponent)}")


def _year(match: re.Match[str]) -> str | None:
    text, start, end = match.string, match.start(), match.end()
    if not _BEFORE_YEAR.search(text[max(0, start - 12) : start]):
        following = text[end : end + 24]
        if int(match[0]) < 1100 or _COUNTED.match(following) and not _NOT_COUNTED.match(following):
            return None
    return year(int(match[0]))


def _inches(match: re.Match[str]) -> str:
    inches = f" {cardinal(int(match[2]))}" if match[2] else ""
    return f"{cardinal(int(match[1]))} {'foot' if inches or match[1] == '1' else 'feet'}{inches}"


def _number(match: re.Match[str]) -> str:
    return decimal(match[0])


_PER = f"(?:/(?P<per>{one_of(PER)})(?![A-Za-z]))?"
_END = "(?![0-9])"
AMOUNTS: tuple[Rule, ...] = (
    (re.compile(r"([0-9]{1,2})'([0-9]{1,2})(?:\"|'')"), _inches),
    (re.compile(r"([0-9]{1,3}(?:,[0-9]{3})*|[0-9]{1,9})(st|nd|rd|th)\b", re.IGNORECASE), _ordinal),
    (re.compile(r"([0-9]{1,4})s\b|([0-9]{0,3}0)'s\b"), _plural),
    (
        re.compile(
            "(?:(?P<whole>[0-9]{1,9})[ -])?(?P<top>[0-9]{1,4})[/\u2044](?P<bottom>[0-9]{1,4})(?![0-9/])"
            + _OPTIONAL_UNIT
        ),
        _fraction,
    ),
    (re.compile(f"(?P<whole>[0-9]{{1,9}}) ?(?P<fraction>{one_of(_VULGAR)}){_OPTIONAL_UNIT}"), _vulgar_fraction),
    (re.compile(r"([0-9]{1,9}\.[0-9]{1,9})/([0-9]{1,4})(?![0-9/])"), _out_of),
    (re.compile(r"50-50(?![0-9-])"), lambda match: "fifty-fifty"),
    (re.compile(r"[0-9]{4}(?: [0-9]{4}){2,4}(?![0-9])"), _groups),
    (re.compile(rf"({NUMBER})(?: ?x ?|×)(?=[0-9])"), lambda match: f"{decimal(match[1])} by "),
    (re.compile(rf"[0-9]{{1,20}}(?:(?:\.[0-9]{{1,20}}){{2,}}|(?:-[0-9]{{1,20}}){{2,}}){_END}"), _groups),
    (re.compile(rf"(?P<first>{NUMBER})(?: ?(?:{one_of(UNITS)}))?{_TO}(?P<last>{NUMBER})(?: ?{_UNIT})(?! ?=)"), _range),
    (
        re.compile(rf"(?P<first>{NUMBER})(?:{_TO})(?P<last>{NUMBER})(?![0-9]|\.[0-9])(?! ?[=/:])(?P<unit>)(?P<per>)"),
        _range,
    ),
    (re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)[eE]([+-]?[0-9]{1,4})\b"), _scientific),
    (re.compile(rf"(?P<amount>{NUMBER}){_SCALE} ?(?P<currency>{_SIGNS}|(?:{_CODES})(?![A-Za-z]))(?![0-9])"), money),
    (re.compile(rf"(?P<amount>{NUMBER}) ?¢"), _cents),
    (re.compile(rf"(?P<amount>{NUMBER})(?P<joint>[ \u00a0-]?){_UNIT}{_POINT}"), _with_unit),
    (re.compile(r"(?:1[0-9]{3}|20[0-9]{2})(?![0-9]|,[0-9]{3}|\.[0-9])"), _year),
    (re.compile(NUMBER), _number),
)
MONEY: tuple[Rule, ...] = (
    (
        re.compile(
            rf"(?P<currency>{_SIGNS}|(?:{_CODES})(?= ?[0-9])) ?(?P<first>{NUMBER}){_TO}(?:{_SIGNS})?(?P<last>{NUMBER})"
            f"{_SCALE}"
        ),
        money_range,
    ),
    (
        re.compile(rf"(?P<currency>{_SIGNS}|(?:{_CODES})(?= ?[0-9])) ?(?P<amount>{NUMBER}|\.[0-9]+){_SCALE}{_PER}"),
        money,
    ),
)
POWERS: tuple[Rule, ...] = ((re.compile(r"\^(-?[0-9]{1,4})|([⁰¹²³⁴⁵⁶⁷⁸⁹⁻]{1,4})"), _power),)
VULGAR_FRACTIONS: tuple[Rule, ...] = (
    (re.compile(f"(?P<whole>)(?P<fraction>{one_of(_VULGAR)}){_OPTIONAL_UNIT}"), _vulgar_fraction),
    (re.compile(r"\.[0-9]+"), _number),
)


__all__ = ["AMOUNTS", "MONEY", "POWERS", "VULGAR_FRACTIONS"]
