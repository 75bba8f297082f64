"""Rules for English abbreviations and Roman numerals."""

import re

from .english_numbers import cardinal, ordinal
from .spoken_characters import Rule


# with a point, before a capitalised name
_TITLES = {
    "Dr": "Doctor",
    "Mr": "Mister",
    "Mrs": "Missus",
    "Ms": "Ms",
    "Messrs": "Messieurs",
    "Prof": "Professor",
    "St": "Saint",
    "Mt": "Mount",
    "Ft": "Fort",
    "Rev": "Reverend",
    "Hon": "Honorable",
    "Gov": "Governor",
    "Sen": "Senator",
    "Rep": "Representative",
    "Pres": "President",
    "Gen": "General",
    "Col": "Colonel",
    "Maj": "Major",
    "Capt": "Captain",
    "Cpt": "Captain",
    "Lt": "Lieutenant",
    "Sgt": "Sergeant",
    "Cpl": "Corporal",
    "Adm": "Admiral",
    "Cmdr": "Commander",
    "Supt": "Superintendent",
}
# with a point, after a capitalised name
_STREETS = {
    "St": "Street",
    "Dr": "Drive",
    "Rd": "Road",
    "Ave": "Avenue",
    "Blvd": "Boulevard",
    "Ln": "Lane",
    "Hwy": "Highway",
    "Pl": "Place",
    "Sq": "Square",
}
# with a point, before a number
_COUNTED = {
    "no": "number",
    "nos": "numbers",
    "fig": "figure",
    "figs": "figures",
    "p": "page",
    "pp": "pages",
    "vol": "volume",
    "vols": "volumes",
    "ch": "chapter",
    "chap": "chapter",
    "sec": "section",
    "art": "article",
    "op": "opus",
    "ep": "episode",
    "est": "established",
    "ca": "circa",
    "c": "circa",
    "v": "version",
    "ver": "version",
}
# with a point, anywhere
_WORDS = {
    "e.g": "for example",
    "eg": "for example",
    "i.e": "that is",
    "ie": "that is",
    "vs": "versus",
    "etc": "et cetera",
    "Jr": "Junior",
    "Sr": "Senior",
    "Inc": "Incorporated",
    "Corp": "Corporation",
    "Ltd": "Limited",
    "Co": "Company",
    "Bros": "Brothers",
    "approx": "approximately",
    "dept": "department",
    "Dept": "Department",
    "govt": "government",
    "Govt": "Government",
    "Univ": "University",
    "al": "al",
    "misc": "miscellaneous",
    "ext": "extension",
    "tel": "telephone",
    "Tel": "Telephone",
    "cf": "compare",
    "incl": "including",
    "excl": "excluding",
}
_PREPOSITIONS = frozenset(
    "in at to from near by of and the on for with visit visiting around outside is was san saint like old new".split()
)
_PART_NAMES = frozenset(
    "Act Appendix Article Book Bowl Canto Chapter Class Division Episode Figure Grade Group Level Lesson Mark Num Page "
    "Part Phase Round Scene Season Section Stage Step Table Tier Title Type Unit Volume War".split()
)
_RULERS = frozenset(
    "Abdul Adrian Albert Alexander Alfonso Amenhotep Anastasius Baldwin Benedict Boniface Canute Carl Casimir "
    "Catherine Celestine Charles Christian Clement Cleopatra Conrad Constantine Cyrus Darius David Edmund Edward "
    "Elizabeth Emmanuel Eric Eugene Felipe Ferdinand Francis Francois Frederick Friedrich George Gregory Gustav "
    "Haakon Harald Henri Henry Honorius Hugh Innocent Isabella Ivan James Joan John Joseph Juan Julius Justinian "
    "Karl Leo Leopold Louis Ludwig Magnus Manuel Margaret Margrethe Mary Matilda Maximilian Mehmed Michael Murad "
    "Napoleon Nicholas Olaf Otto Paul Pedro Peter Philip Philippe Pius Ptolemy Ramesses Ramses Richard Robert "
    "Rudolf Rudolph Selim Sigismund Sixtus Stephen Suleiman Theodosius Thutmose Umberto Urban Victor Victoria "
    "Vittorio Wilhelm William Xerxes".split()
)
_ROMAN = re.compile("(X{0,3})(IX|IV|V?I{0,3})")
_ROMAN_DIGITS = {"": 0, "I": 1, "II": 2, "III": 3, "IV": 4, "V": 5, "VI": 6, "VII": 7, "VIII": 8, "IX": 9}
_LAST_WORD = re.compile(r"(?:^|[^A-Za-zÀ-ɏ.'])([A-Za-zÀ-ɏ]+|[0-9]+(?:st|nd|rd|th)) $")


def last_word(text: str, end: int) -> str:
    """The word before `end` and its blank; "" if something else comes before."""
    found = _LAST_WORD.search(text[max(0, end - 24) : end])
    return found[1] if found else ""


def final_point(match: re.Match[str]) -> str:
    """
    The point of an abbreviation if it ends the sentence too: nothing or a capital letter comes after it. Otherwise "".
    """
    ends = re.match(r"[\"')\]]*(?:\s*$|\s+[\"'(]*[A-Z]|\n)", match.string[match.end() : match.end() + 8])
    return "." if match[0].endswith(".") and ends else ""


def _title(match: re.Match[str]) -> str | None:
    """Dr. Smith, St. Mary, and Main St. or Mulholland Dr."""
    short = match[1]
    before = last_word(match.string, match.start())
    follows_name = before[:1].isupper() or before[:1].isdigit()
    named = bool(re.match(r" ?[\"']?[A-Z]", match.string[match.end() : match.end() + 3]))
    if short in _STREETS and follows_name and before.lower() not in _PREPOSITIONS:
        return _STREETS[short] + final_point(match)
    if short in _TITLES and (named or short in ("Mr", "Mrs", "Ms", "Prof")):
        return _TITLES[short]
    return None


def _title_without_point(match: re.Match[str]) -> str | None:
    before = last_word(match.string, match.start())
    return None if before[:1].isupper() and before.lower() not in _PREPOSITIONS else _TITLES[match[1]]


def _counted(match: re.Match[str]) -> str:
    words = _COUNTED[match[1].lower()]
    return words.capitalize() if match[1][0].isupper() else words


def _word(match: re.Match[str]) -> str | None:
    words = _WORDS[match[1]]
    if match[1] in ("al", "Co") and not last_word(match.string, match.start()):
        return None
    return words + final_point(match)


def _roman(match: re.Match[str]) -> str | None:
    """Henry VIII, World War II, Chapter IV. A single I is a number only where it cannot be the pronoun."""
    numeral, text = match[0], match.string
    parts = _ROMAN.fullmatch(numeral)
    before = last_word(text, match.start())
    if not parts or not before[:1].isupper() or before.isupper():
        return None
    number = 10 * len(parts[1]) + _ROMAN_DIGITS[parts[2]]
    following = text[match.end() : match.end() + 8]
    is_part, is_ruler = before in _PART_NAMES, before in _RULERS
    if len(numeral) == 1 and not (is_part or is_ruler):
        return None
    if numeral == "I" and not re.match(
        r"\s*$|[,.;:!?)\]'\"-]|\n| (?:of|was|is|and|began|ended|in|by)\b| [A-Z(]", following
    ):
        return None
    return f"the {ordinal(number)}" if is_ruler else cardinal(number)


def _points(names: dict[str, str]) -> str:
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))


ABBREVIATIONS: tuple[Rule, ...] = (
    (re.compile(rf"({_points(_TITLES | _STREETS)})\."), _title),
    (re.compile(r"(Mrs|Mr|Dr|Prof|St)(?= [A-Z][a-z])"), _title_without_point),
    (re.compile(rf"({_points(_COUNTED)})\.(?= ?[0-9])", re.IGNORECASE), _counted),
    (re.compile(rf"({_points(_WORDS)})\."), _word),
    (re.compile(r"(vs)\b"), lambda match: "versus"),
    (re.compile(r"[IVX]{1,7}\b"), _roman),
    (re.compile(r"w/o\b"), lambda match: "without"),
    (re.compile(r"w/(?= ?[A-Za-z])"), lambda match: "with"),
    (re.compile(r"and/or\b"), lambda match: "and or"),
)


__all__ = ["ABBREVIATIONS", "final_point", "last_word"]
