"""Verbalisation rules for English."""

from .english_amounts import AMOUNTS, MONEY, POWERS, VULGAR_FRACTIONS
from .spoken_characters import BLANKS, COMPOSED, FULL_WIDTH_TO_ASCII, QUOTES, REMOVED, Rule


SEEN = {**FULL_WIDTH_TO_ASCII, **QUOTES, 0x2010: "-", 0x2011: "-"}
KEPT = {**SEEN, **BLANKS}
RULES: dict[str, tuple[Rule, ...]] = {
    "letter": COMPOSED + MONEY,
    "digit": AMOUNTS,
    "symbol": REMOVED + MONEY + POWERS + VULGAR_FRACTIONS,
}


__all__ = ["KEPT", "RULES", "SEEN"]
