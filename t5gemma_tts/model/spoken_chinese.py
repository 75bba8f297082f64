"""Verbalisation rules for Chinese: numbers are written in Chinese numerals, years and codes digit by digit."""

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
_YEAR_DIGITS = "〇一二三四五六七八九"
_PHONE_DIGITS = "零幺二三四五六七八九"
_LARGE = ("", "万", "亿", "万亿")
# a 2 before these is 两, unless 第 comes before it
_COUNTERS = one_of(
    "个 只 本 张 條 条 位 次 天 年 周 小时 分钟 秒 岁 人 件 杯 瓶 块 元 公里 米 厘米 毫米 公斤 斤 克 升 倍 名 种 家 辆 "
    "台 部 座 双 对 套 份 点 间 把 颗 支 朵 头 匹 棵 首 句 步 口 碗 袋 箱 包 盒 美元 欧元 英镑 百 千 万 亿".split()
)
_UNITS = {
    "km": "公里",
    "m": "米",
    "cm": "厘米",
    "mm": "毫米",
    "nm": "纳米",
    "kg": "公斤",
    "g": "克",
    "mg": "毫克",
    "t": "吨",
    "L": "升",
    "l": "升",
    "ml": "毫升",
    "mL": "毫升",
    "km²": "平方公里",
    "km2": "平方公里",
    "m²": "平方米",
    "m2": "平方米",
    "cm²": "平方厘米",
    "m³": "立方米",
    "m3": "立方米",
    "ha": "公顷",
    "°C": "摄氏度",
    "℃": "摄氏度",
    "°F": "华氏度",
    "℉": "华氏度",
    "°": "度",
    "Hz": "赫兹",
    "kHz": "千赫兹",
    "MHz": "兆赫兹",
    "GHz": "吉赫兹",
    "W": "瓦",
    "kW": "千瓦",
    "kWh": "千瓦时",
    "V": "伏",
    "A": "安",
    "dB": "分贝",
    "kcal": "千卡",
    "h": "小时",
    "min": "分钟",
    "s": "秒",
    "px": "像素",
}
_SPEEDS = {"km/h": ("每小时", "公里"), "m/s": ("每秒", "米")}
_CURRENCIES = {"¥": "元", "$": "美元", "€": "欧元", "£": "英镑", "₩": "韩元", "US$": "美元", "HK$": "港元"}
_ADDRESS_NAMES = {
    ".": "点",
    "/": "斜杠",
    "@": "艾特",
    "-": "横杠",
    "_": "下划线",
    "?": "问号",
    "=": "等于",
    "&": "和",
    "#": "井号",
    "%": "百分号",
    "+": "加",
    "~": "波浪号",
    ":": "冒号",
}
_NAMES = {
    "&": "和",
    "+": "加",
    "=": "等于",
    "@": "艾特",
    "%": "百分号",
    "#": "井号",
    "/": "斜杠",
    "*": "星号",
    "<": "小于",
    ">": "大于",
    "≤": "小于等于",
    "≥": "大于等于",
    "≠": "不等于",
    "≈": "约等于",
    "±": "正负",
    "×": "乘",
    "÷": "除以",
    "\u2212": "减",
    "√": "根号",
    "∞": "无穷大",
    "°": "度",
    "℃": "摄氏度",
    "№": "号",
    "$": "美元",
    "¥": "元",
    "€": "欧元",
    "£": "英镑",
    "→": "到",
}


def cardinal(number: int) -> str:
    """A number from 0 to 10**16 - 1, such as "两千零二十四", "十二" or "一百一十"; 2 itself is "二"."""
    if number == 0:
        return "零"
    words, place, gap = "", 0, False
    while number:
        number, group = divmod(number, 10000)
        if group:
            words = _below_10000(group) + _LARGE[place] + ("零" if gap and words else "") + words
        gap = bool(words) and group < 1000
        place += 1
    if words.startswith("一十"):
        words = words[1:]
    return f"两{words[1:]}" if re.match("二[百千万亿]", words) else words


def _below_10000(number: int) -> str:
    words, gap = "", False
    for name, value in (("千", 1000), ("百", 100), ("十", 10), ("", 1)):
        digit = number // value % 10
        if digit:
            words += ("零" if gap and words else "") + _DIGITS[digit] + name
        gap = not digit
    return words


def digits(text: str, names: str = _DIGITS) -> str:
    """The names of the digits in a text, one after another."""
    return "".join(names[int(digit)] for digit in text if digit in "0123456789")


def integer(text: str) -> str:
    """A string of digits, perhaps with commas; digit by digit after a leading zero and above 16 digits."""
    plain = text.replace(",", "")
    if len(plain) > 16 or len(plain) > 1 and plain[0] == "0":
        return digits(plain)
    return cardinal(int(plain))


def decimal(text: str) -> str:
    """A number such as "1,234" or "12.5"."""
    whole, point, rest = text.partition(".")
    return f"{integer(whole)}点{digits(rest)}" if point and rest else integer(whole)


def _counted(text: str) -> str:
    """A number before a counter: 2 is "两"."""
    return "两" if text == "2" else decimal(text)


def _number(match: re.Match[str]) -> str:
    text, start = match.string, match.start()
    ordinal = text[max(0, start - 1) : start] == "第"
    if match[0] == "2" and not ordinal and re.match(rf" ?(?:{_COUNTERS})(?!级)", text[match.end() : match.end() + 4]):
        return "两"
    if ordinal and match[0].isdigit() and match[0][0] == "2":
        return decimal(match[0]).replace("两", "二", 1)
    return decimal(match[0])


def _year(match: re.Match[str]) -> str | None:
    """The digits of a year; None for a number of years, such as 3000年 or 1000年前."""
    number = match[0]
    following = match.string[match.end() + 1 : match.end() + 4]
    if number.endswith("00") and re.match("以?[前来]|的?历史", following):
        return None
    return digits(number, _YEAR_DIGITS)


def _years(match: re.Match[str]) -> str:
    return f"{digits(match[1], _YEAR_DIGITS)}到{digits(match[2], _YEAR_DIGITS)}"


def _date(match: re.Match[str]) -> str | None:
    month, day = int(match["month"]), int(match["day"])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return f"{digits(match['year'], _YEAR_DIGITS)}年{cardinal(month)}月{cardinal(day)}日"


def _time(match: re.Match[str]) -> str | None:
    hour, minute, second = int(match[1]), int(match[2]), match[3]
    if hour > 24:
        return None
    words = f"{_counted(str(hour))}点"
    if minute or second:
        words += ("零" if 0 < minute < 10 else "") + f"{cardinal(minute)}分"
    return words + (f"{cardinal(int(second))}秒" if second else "")


def _phone(match: re.Match[str]) -> str:
    text = re.sub("[^0-9]", "", match[0])
    return ("加" if match[0][0] == "+" else "") + digits(text, _PHONE_DIGITS)


def _score(match: re.Match[str]) -> str:
    return f"{integer(match[1])}比{integer(match[2])}"


def _hyphenated(match: re.Match[str]) -> str | None:
    """3-2 after a word about a score; None elsewhere, where it is a range."""
    before = match.string[max(0, match.start() - 3) : match.start()]
    return _score(match) if re.search("以|比分|[胜负赢输平]", before) else None


def _fraction(match: re.Match[str]) -> str | None:
    return f"{integer(match[2])}分之{integer(match[1])}" if int(match[2]) else None


def _vulgar_fraction(match: re.Match[str]) -> str:
    top, _, bottom = unicodedata.normalize("NFKC", match["fraction"]).partition("\u2044")
    words = f"{cardinal(int(bottom))}分之{cardinal(int(top))}"
    return f"{integer(match['whole'])}又{words}" if match["whole"] else words


def _percent(match: re.Match[str]) -> str:
    before = "千分之" if match["sign"] == "‰" else "百分之"
    words = before + decimal(match["first"])
    return f"{words}到{before}{decimal(match['last'])}" if match["last"] else words


def _with_unit(match: re.Match[str]) -> str:
    return _counted(match[1]) + _UNITS[match[2]]


def _temperature(match: re.Match[str]) -> str:
    return f"零下{decimal(match[1])}{_UNITS[match[2]]}"


def _speed(match: re.Match[str]) -> str:
    per, unit = _SPEEDS[match[2]]
    return f"{per}{_counted(match[1])}{unit}"


def _with_square_unit(match: re.Match[str]) -> str:
    """A unit in one character, such as ㎏."""
    unit = unicodedata.normalize("NFKC", match[2])
    return _counted(match[1]) + _UNITS.get(unit, unit)


def _money(match: re.Match[str]) -> str:
    amount, scale = match["amount"], match["scale"] or ""
    if "." in amount:
        amount = amount.rstrip("0").rstrip(".")
    return _counted(amount) + scale + _CURRENCIES[match["currency"]]


def _compatible(match: re.Match[str]) -> str:
    return unicodedata.normalize("NFKC", match[0])


def _address(match: re.Match[str]) -> str:
    words = spell_address(match, _ADDRESS_NAMES, lambda part: integer(part) if len(part) < 3 else digits(part))
    return words.replace(" ", "")


_UNIT = f"({one_of(_UNITS)})(?![A-Za-z0-9²³])"
_SIGNS = one_of(_CURRENCIES)
_YEAR = "[12][0-9]{3}"
_DIGIT_RULES: tuple[Rule, ...] = (
    (ADDRESS, _address),
    (re.compile("1[3-9][0-9]([ -]?)[0-9]{4}\\1[0-9]{4}(?![0-9])|0[0-9]{2,3}-?[0-9]{7,8}(?![0-9])"), _phone),
    (re.compile("[48]00-?[0-9]{3}-?[0-9]{4}(?![0-9])"), _phone),
    (
        re.compile(rf"(?P<year>{_YEAR})(?P<sign>[-/.])(?P<month>[0-9]{{1,2}})(?P=sign)(?P<day>[0-9]{{1,2}})(?![0-9])"),
        _date,
    ),
    (re.compile(f"({_YEAR})年?(?:[-~\u2013]|至|到)({_YEAR})(?=年)"), _years),
    (re.compile(f"{_YEAR}(?=年)"), _year),
    (re.compile(r"([0-9]{1,2}):([0-5][0-9])(?::([0-5][0-9]))?(?![0-9:])"), _time),
    (re.compile(r"([0-9]{1,4}):([0-9]{1,4})(?![0-9:])"), _score),
    (re.compile(r"([0-9]{1,4})-([0-9]{1,4})(?![0-9-])"), _hyphenated),
    (re.compile(r"([0-9]{1,9})[/\u2044]([0-9]{1,9})(?![0-9/])"), _fraction),
    (re.compile(f"(?P<whole>[0-9]{{1,9}})(?P<fraction>{FRACTION})"), _vulgar_fraction),
    (re.compile(f"(?P<first>{NUMBER})(?:[%‰]?[-~\u2013](?P<last>{NUMBER}))? ?(?P<sign>[%‰])"), _percent),
    (re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,20}){2,}"), lambda match: "点".join(map(integer, match[0].split(".")))),
    (re.compile(r"[0-9]{1,9}(?:-[0-9]{1,9}){2,}"), lambda match: "杠".join(map(integer, match[0].split("-")))),
    (re.compile(f"({NUMBER}) ?({one_of(_SPEEDS)})(?![A-Za-z0-9])"), _speed),
    (re.compile(f"({NUMBER}) ?{_UNIT}"), _with_unit),
    (re.compile(f"({NUMBER}) ?([\u3380-\u33df])"), _with_square_unit),
    (re.compile(f"(?P<amount>{NUMBER})(?P<scale>[万亿]?)(?P<currency>[$€£₩])"), _money),
    (re.compile(NUMBER), _number),
)
_SYMBOL_RULES: tuple[Rule, ...] = (
    (re.compile(r"\+[0-9]{1,3}(?:[ -]?[0-9]{2,11}){1,4}(?![0-9])(?! ?=)"), _phone),
    (re.compile(f"(?P<currency>{_SIGNS}) ?(?P<amount>{NUMBER})(?P<scale>[万亿]?)"), _money),
    (re.compile(f"(?P<whole>)(?P<fraction>{FRACTION})"), _vulgar_fraction),
    *LIST_MARKS,
    (re.compile("(?<=[0-9]) ?[-\u2212] ?(?=[0-9.]+ ?=)"), lambda match: "减"),
    (re.compile("(?<=[0-9年月日号时点分秒人元岁个天℃度mgkL]) ?[~\u2013-] ?(?=[¥$约]?[0-9])"), lambda match: "到"),
    (re.compile(rf"(?<![A-Za-z0-9)])[-\u2212]({NUMBER}) ?(°C|℃)"), _temperature),
    (re.compile(r"(?<![A-Za-z0-9)])[-\u2212](?=\.?[0-9]|[¥$])"), lambda match: "负"),
    (re.compile("(?<=[A-Za-z])-(?=[0-9])"), lambda match: ""),
    (re.compile(" ?[\u2014\u2015\u2e3a\u2e3b]+ ?"), lambda match: mark_between(match, "，")),
    (re.compile(r"(?<=[0-9]) ?[*×] ?(?=[0-9])"), lambda match: "乘"),
    (re.compile(r" ?[♡♥♪]+"), lambda match: ""),
    (re.compile(r"[*_^|®™¶]+"), lambda match: ""),
    (re.compile("~(?=[0-9])"), lambda match: "约"),
    (re.compile("~+"), lambda match: ""),
    (re.compile(one_of(_NAMES)), lambda match: _NAMES[match[0]]),
    (re.compile("[\u2160-\u218b\u2460-\u24ff]"), lambda match: symbol_number(match, cardinal)),
    (re.compile("[\u3380-\u33df]"), _compatible),
)
_RULES: dict[str, tuple[Rule, ...]] = {
    "letter": (
        *COMPOSED,
        (ADDRESS, _address),
        (re.compile(r"[Nn]o\.(?=[0-9])"), lambda match: "第"),
        (re.compile(r"(?:vs|VS)\.?(?![A-Za-z])"), lambda match: "对"),
        (re.compile(f"(?P<currency>(?:US|HK)\\$) ?(?P<amount>{NUMBER})(?P<scale>[万亿]?)"), _money),
    ),
    "digit": _DIGIT_RULES,
    "symbol": REMOVED + _SYMBOL_RULES,
}
CHINESE = LanguageRules(EAST_ASIAN_SEEN, EAST_ASIAN_KEPT, _RULES)


__all__ = ["CHINESE"]
