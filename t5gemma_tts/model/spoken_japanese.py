"""Verbalisation rules for Japanese: numbers become kanji numerals, which front-ends read with their counters."""

import re
import unicodedata

from .spoken_characters import (
    ADDRESS,
    COMPOSED,
    EAST_ASIAN_KEPT,
    EAST_ASIAN_SEEN,
    FRACTION,
    LIST_MARKS,
    NUMBER,
    REMOVED,
    LanguageRules,
    Rule,
    mark_between,
    one_of,
    spell_address,
    symbol_number,
)


_DIGITS = "零一二三四五六七八九"
_SPOKEN_ZERO = "ゼロ"
_LARGE = ("", "万", "億", "兆")
_UNITS = {
    "km": "キロメートル",
    "m": "メートル",
    "cm": "センチメートル",
    "mm": "ミリメートル",
    "nm": "ナノメートル",
    "kg": "キログラム",
    "g": "グラム",
    "mg": "ミリグラム",
    "t": "トン",
    "L": "リットル",
    "l": "リットル",
    "ℓ": "リットル",
    "ml": "ミリリットル",
    "mL": "ミリリットル",
    "dl": "デシリットル",
    "dL": "デシリットル",
    "cc": "シーシー",
    "km/h": "キロメートル毎時",
    "m/s": "メートル毎秒",
    "km²": "平方キロメートル",
    "km2": "平方キロメートル",
    "m²": "平方メートル",
    "m2": "平方メートル",
    "cm²": "平方センチメートル",
    "m³": "立方メートル",
    "m3": "立方メートル",
    "ha": "ヘクタール",
    "°C": "度",
    "℃": "度",
    "°F": "カ氏度",
    "°": "度",
    "Hz": "ヘルツ",
    "kHz": "キロヘルツ",
    "MHz": "メガヘルツ",
    "GHz": "ギガヘルツ",
    "KB": "キロバイト",
    "kB": "キロバイト",
    "MB": "メガバイト",
    "GB": "ギガバイト",
    "TB": "テラバイト",
    "W": "ワット",
    "kW": "キロワット",
    "kWh": "キロワット時",
    "V": "ボルト",
    "A": "アンペア",
    "dB": "デシベル",
    "hPa": "ヘクトパスカル",
    "kcal": "キロカロリー",
    "cal": "カロリー",
    "px": "ピクセル",
    "%": "パーセント",
    "‰": "パーミル",
}
_CURRENCIES = {"¥": "円", "$": "ドル", "€": "ユーロ", "£": "ポンド", "₩": "ウォン", "US$": "米ドル"}
_ADDRESS_NAMES = {
    ".": "ドット",
    "/": "スラッシュ",
    "@": "アットマーク",
    "-": "ハイフン",
    "_": "アンダーバー",
    "?": "クエスチョン",
    "=": "イコール",
    "&": "アンド",
    "#": "シャープ",
    "%": "パーセント",
    "+": "プラス",
    "~": "チルダ",
    ":": "コロン",
}
_NAMES = {
    "&": "アンド",
    "+": "プラス",
    "=": "イコール",
    "@": "アットマーク",
    "%": "パーセント",
    "#": "シャープ",
    "/": "スラッシュ",
    "*": "アスタリスク",
    "<": "小なり",
    ">": "大なり",
    "≤": "以下",
    "≦": "以下",
    "≥": "以上",
    "≧": "以上",
    "≠": "ノットイコール",
    "≒": "約",
    "≈": "約",
    "±": "プラスマイナス",
    "×": "かける",
    "÷": "割る",
    "\u2212": "マイナス",
    "√": "ルート",
    "∞": "無限大",
    "°": "度",
    "℃": "度",
    "〒": "郵便番号",
    "№": "ナンバー",
    "$": "ドル",
    "¥": "円",
    "€": "ユーロ",
    "£": "ポンド",
    "→": "から",
}


def cardinal(number: int) -> str:
    """A number from 0 to 10**16 - 1 in kanji, such as "二千二十四" or "一億三千万"; zero is "ゼロ"."""
    words, place = "", 0
    while number:
        number, group = divmod(number, 10000)
        if group:
            words = _below_10000(group, large=place > 0) + _LARGE[place] + words
        place += 1
    return words or _SPOKEN_ZERO


def _below_10000(number: int, large: bool) -> str:
    words = ""
    for name, value in (("千", 1000), ("百", 100), ("十", 10), ("", 1)):
        digit = number // value % 10
        if digit:
            silent_one = digit == 1 and (value in (10, 100) or value == 1000 and not large)
            words += ("" if silent_one else _DIGITS[digit]) + name
    return words


def digits(text: str) -> str:
    """The names of the digits in a text, one after another, with "ゼロ" for 0."""
    return "".join(_SPOKEN_ZERO if digit == "0" else _DIGITS[int(digit)] for digit in text if digit in "0123456789")


def integer(text: str) -> str:
    """A string of digits, perhaps with commas; digit by digit after a leading zero and above 16 digits."""
    plain = text.replace(",", "")
    if len(plain) > 16 or len(plain) > 1 and plain[0] == "0":
        return digits(plain)
    return cardinal(int(plain))


def decimal(text: str) -> str:
    """A number such as "1,234" or "12.5"."""
    whole, point, rest = text.partition(".")
    if not rest:
        return integer(whole)
    return f"{'零' if whole == '0' else integer(whole)}点{digits(rest)}"


def _number(match: re.Match[str]) -> str:
    following = match.string[match.end() : match.end() + 1]
    words = decimal(match[0])
    if match[0] == "0" and following in ("時", "度"):
        return "零"
    return f"一{words}" if words[0] == "千" and following in ("万", "億", "兆") else words


def _date(match: re.Match[str]) -> str | None:
    month, day = int(match["month"]), int(match["day"])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return f"{cardinal(int(match['year']))}年{cardinal(month)}月{cardinal(day)}日"


def _month_and_day(match: re.Match[str]) -> str | None:
    """3/5 before a day of the week in brackets."""
    month, day = int(match[1]), int(match[2])
    return f"{cardinal(month)}月{cardinal(day)}日" if 1 <= month <= 12 and 1 <= day <= 31 else None


def _time(match: re.Match[str]) -> str | None:
    hour, minute, second = int(match[1]), int(match[2]), match[3]
    if hour > 30:
        return None
    words = f"{cardinal(hour) if hour else '零'}時" + (f"{cardinal(minute)}分" if minute or second else "")
    return words + (f"{cardinal(int(second))}秒" if second else "")


def _phone(match: re.Match[str]) -> str:
    groups = [digits(group) for group in re.split("[^0-9]+", match[0]) if group]
    return ("プラス" if match[0][0] == "+" else "") + "の".join(groups)


def _score(match: re.Match[str]) -> str:
    return f"{integer(match[1])}対{integer(match[2])}"


def _fraction(match: re.Match[str]) -> str | None:
    return f"{integer(match[2])}分の{integer(match[1])}" if int(match[2]) else None


def _vulgar_fraction(match: re.Match[str]) -> str:
    top, _, bottom = unicodedata.normalize("NFKC", match["fraction"]).partition("\u2044")
    words = f"{cardinal(int(bottom))}分の{cardinal(int(top))}"
    return f"{integer(match['whole'])}と{words}" if match["whole"] else words


def _with_unit(match: re.Match[str]) -> str:
    return decimal(match[1]) + _UNITS[match[2]]


def _with_square_unit(match: re.Match[str]) -> str:
    """A unit in one character, such as ㎏ or ㍍."""
    unit = unicodedata.normalize("NFKC", match[2])
    return decimal(match[1]) + _UNITS.get(unit, unit)


def _money(match: re.Match[str]) -> str:
    return decimal(match["amount"]) + (match["scale"] or "") + _CURRENCIES[match["currency"]]


def _compatible(match: re.Match[str]) -> str:
    return unicodedata.normalize("NFKC", match[0])


def _address(match: re.Match[str]) -> str:
    words = spell_address(match, _ADDRESS_NAMES, lambda part: integer(part) if len(part) < 3 else digits(part))
    return words.replace(" ", "")


_UNIT = f"({one_of(_UNITS)})(?![A-Za-z0-9²³])"
_SIGNS = one_of(_CURRENCIES)
_DIGIT_RULES: tuple[Rule, ...] = (
    (ADDRESS, _address),
    (re.compile(r"0[0-9]{1,4}-[0-9]{1,4}-[0-9]{3,4}(?![0-9-])|[0-9]{3}-[0-9]{4}(?![0-9-])"), _phone),
    (re.compile(r"0[0-9]{1,4}\([0-9]{1,4}\)[0-9]{4}(?![0-9])|0[0-9]{9,10}(?![0-9])"), _phone),
    (
        re.compile(r"(?P<year>[12][0-9]{3})(?P<sign>[-/.])(?P<month>[0-9]{1,2})(?P=sign)(?P<day>[0-9]{1,2})(?![0-9])"),
        _date,
    ),
    (re.compile(r"([0-9]{1,2})/([0-9]{1,2})(?=\([月火水木金土日])"), _month_and_day),
    (re.compile(r"([0-9]{1,2}):([0-5][0-9])(?::([0-5][0-9]))?(?![0-9:])"), _time),
    (re.compile(r"([0-9]{1,4}):([0-9]{1,4})(?![0-9:])"), _score),
    (re.compile(r"([0-9]{1,4})-([0-9]{1,4})(?=で[勝敗負])"), _score),
    (re.compile(r"([0-9]{1,9})[/\u2044]([0-9]{1,9})(?![0-9/])"), _fraction),
    (re.compile(f"(?P<whole>[0-9]{{1,9}})(?P<fraction>{FRACTION})"), _vulgar_fraction),
    (re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,20}){2,}"), lambda match: "点".join(map(integer, match[0].split(".")))),
    (re.compile(r"[0-9]{1,9}(?:-[0-9]{1,9}){2,}"), lambda match: "の".join(map(integer, match[0].split("-")))),
    (re.compile(f"({NUMBER}) ?{_UNIT}"), _with_unit),
    (re.compile(f"({NUMBER}) ?([\u3300-\u3357\u3380-\u33df])"), _with_square_unit),
    (re.compile(f"(?P<amount>{NUMBER})(?P<scale>[万億兆]?)(?P<currency>[$€£₩])"), _money),
    (re.compile(NUMBER), _number),
)
_SYMBOL_RULES: tuple[Rule, ...] = (
    (re.compile(r"\+[0-9]{1,3}(?:[ -][0-9]{1,4}){2,4}(?![0-9])"), _phone),
    (re.compile(f"(?P<currency>{_SIGNS}) ?(?P<amount>{NUMBER})(?P<scale>[万億兆]?)"), _money),
    (re.compile(f"(?P<whole>)(?P<fraction>{FRACTION})"), _vulgar_fraction),
    *LIST_MARKS,
    (re.compile("(?<=[0-9]) ?[-\u2212] ?(?=[0-9.]+ ?=)"), lambda match: "引く"),
    (re.compile("(?<=[0-9年月日時分秒人円回個歳%℃度mgkL]) ?[~\u2013-] ?(?=[¥$約]?[0-9])"), lambda match: "から"),
    (re.compile(r"(?<![A-Za-z0-9)])[-\u2212](?=\.?[0-9]|[¥$])"), lambda match: "マイナス"),
    (re.compile("(?<=[A-Za-z])-(?=[0-9])"), lambda match: ""),
    (re.compile(" ?[\u2014\u2015\u2e3a\u2e3b]+ ?"), lambda match: mark_between(match, "、")),
    (re.compile(r"(?<=[0-9]) ?[*×] ?(?=[0-9])"), lambda match: "かける"),
    (re.compile(r"[*_^|®™¶]+"), lambda match: ""),
    (re.compile("~(?=[0-9])"), lambda match: "約"),
    (re.compile(one_of(_NAMES)), lambda match: _NAMES[match[0]]),
    (re.compile("[\u2160-\u218b\u2460-\u24ff]"), lambda match: symbol_number(match, cardinal)),
    (re.compile("[\uff66-\uff9d][\uff9e\uff9f]?"), _compatible),
    (re.compile("[\u3300-\u33df]|㈱|㈲|㊤|㊥|㊦"), _compatible),
)
_RULES: dict[str, tuple[Rule, ...]] = {
    "letter": (
        *COMPOSED,
        (ADDRESS, _address),
        (re.compile(r"[Nn]o\.(?=[0-9])"), lambda match: "ナンバー"),
        (re.compile(r"vs\.?(?![A-Za-z])"), lambda match: "対"),
        (re.compile(f"(?P<currency>US\\$) ?(?P<amount>{NUMBER})(?P<scale>[万億兆]?)"), _money),
    ),
    "digit": _DIGIT_RULES,
    "symbol": REMOVED + _SYMBOL_RULES,
}
JAPANESE = LanguageRules(EAST_ASIAN_SEEN, EAST_ASIAN_KEPT, _RULES)


__all__ = ["JAPANESE"]
