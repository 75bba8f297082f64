"""English words for numbers: cardinals, ordinals, years, digits, decimals and fractions, in American usage."""

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()
_SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_MOST_DIGITS = 15  # larger numbers are read digit by digit


def cardinal(number: int) -> str:
    """The words of a number from 0 to 10**15 - 1, such as "one thousand two hundred thirty-four"."""
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens] + (f"-{_ONES[ones]}" if ones else "")
    scale, name = next(pair for pair in _SCALES if number >= pair[0])
    count, rest = divmod(number, scale)
    return f"{cardinal(count)} {name}" + (f" {cardinal(rest)}" if rest else "")


def ordinal(number: int) -> str:
    """The ordinal of a number from 0 to 10**15 - 1, such as "twenty-first"."""
    words = cardinal(number)
    start = max(words.rfind(" "), words.rfind("-")) + 1
    last = words[start:]
    if last in _ORDINALS:
        return words[:start] + _ORDINALS[last]
    return words[:-1] + "ieth" if last.endswith("y") else words + "th"


def plural(words: str) -> str:
    """The plural of a number's words, such as "nineteen nineties", "sixes" or "two thousands"."""
    if words.endswith("y"):
        return words[:-1] + "ies"
    return words + ("es" if words.endswith("x") else "s")


def year(number: int) -> str:
    """The words of a year from 0 to 9999, such as "nineteen oh five", "two thousand five" or "twenty twenty-four"."""
    century, rest = divmod(number, 100)
    if number < 1000 or century % 10 == 0 and rest < 10:
        return cardinal(number)
    if rest == 0:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {two_digits(rest)}"


def two_digits(number: int) -> str:
    """The words of the minutes of a time or the last two digits of a year: "oh five", "thirty"."""
    return f"oh {_ONES[number]}" if number < 10 else cardinal(number)


def digits(text: str) -> str:
    """The names of the digits "0" to "9" in a text, one after another; other characters are left out."""
    return " ".join(_ONES[int(digit)] for digit in text if digit in "0123456789")


def integer(text: str) -> str:
    """
    The words of a string of digits, which may have commas. Digits are read one by one after a leading zero and where
    they are an identifier rather than an amount: 10 or more without a comma which do not end in 000, or more than 15.
    """
    plain = text.replace(",", "")
    code = len(plain) > 9 and "," not in text and not plain.endswith("000")
    if len(plain) > _MOST_DIGITS or code or (len(plain) > 1 and plain[0] == "0"):
        return digits(plain)
    return cardinal(int(plain))


def decimal(text: str) -> str:
    """The words of a number such as "1,234", "3.14", ".5" or "-5": the digits after the point are read one by one."""
    sign = "minus " if text[:1] in ("-", "\u2212") else ""
    whole, point, rest = text.lstrip("-\u2212").partition(".")
    words = [integer(whole)] if whole else []
    if point and rest:
        words += ["point", digits(rest)]
    return sign + " ".join(words)


def fraction(numerator: int, denominator: int, article: str = "one") -> str:
    """
    The words of a fraction, such as "one half" or "three quarters"; "five over thirty-one" where the denominator has
    no common name. `article` is the word for a numerator of 1.
    """
    if denominator < 2 or denominator > 20 and denominator not in (100, 1000):
        return f"{cardinal(numerator)} over {cardinal(denominator)}"
    name = {2: "half", 4: "quarter"}.get(denominator) or ordinal(denominator)
    if denominator in (100, 1000):
        name = name.removeprefix("one ")
    if numerator == 1:
        return f"{article} {name}"
    return f"{cardinal(numerator)} " + ("halves" if denominator == 2 else f"{name}s")


__all__ = [
    "cardinal",
    "decimal",
    "digits",
    "fraction",
    "integer",
    "ordinal",
    "plural",
    "two_digits",
    "year",
]
