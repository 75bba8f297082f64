"""Roles of English words in their sentence, guessed from the words around them, to pronounce "read" or "live".

A tagger would be right more often; these rules need no data, and decide what most sentences with such words show.
"""

from collections.abc import Collection, Sequence


_BEFORE_VERBS = frozenset(
    "to will would can could should shall may might must cannot can't won't don't doesn't didn't wouldn't couldn't "
    "shouldn't let's please i you we they who i'll you'll we'll they'll he'll she'll i'd you'd we'd they'd never "
    "always often usually also not and".split()
)
_THIRD_PERSONS = frozenset("he she it who that nobody everyone everybody somebody someone".split())
_BEFORE_NOUNS = frozenset(
    "the a an this that these those my your his her its our their some any no every each another of in on with at "
    "from for by into about new old good bad first last next own".split()
)
_BEFORE_PARTICIPLES = frozenset(
    "have has had haven't hasn't hadn't having be been being was were is are am wasn't weren't isn't aren't get got "
    "i've you've we've they've he's she's it's".split()
)
_PAST_TIMES = frozenset("yesterday ago last earlier once".split())
_AFTER_VERBS = frozenset(
    "the a an this that these those my your his her its our their me him them us it in at on near with here there "
    "alone together up down out about from through".split()
)
_DETERMINERS = frozenset("the a an this that my your his her its our their".split())
_AFTER_NOUNS = _AFTER_VERBS | frozenset(
    "of to for and or but is was are were has had will would can could should by as when while if because that".split()
)


def guess_role(words: Sequence[str], index: int, roles: Collection[str]) -> str:
    """
    The role of a word that has several pronunciations.

    Args:
        words (`Sequence[str]`): the words of the sentence, in lower case.
        index (`int`): which of them.
        roles (`Collection[str]`): roles that have pronunciations of their own (VERB, NOUN, ADJ, VBD, VBN...).

    Returns:
        `str`: one of `roles`, or "" for the usual pronunciation.
    """
    before = words[index - 1] if index else ""
    after = words[index + 1] if index + 1 < len(words) else ""
    if "VBN" in roles and (before in _BEFORE_PARTICIPLES or _has_before(words, index)):
        return "VBN"
    if "VBD" in roles:
        past = before in _THIRD_PERSONS or (before not in ("to", "will", "can") and _PAST_TIMES & set(words))
        return "VBD" if past else ""
    if before in _BEFORE_NOUNS and before not in ("that",):
        # with verb and noun told apart, the usual pronunciation is the adjective's: "a close friend"
        adjective = "VERB" in roles and after and after not in _AFTER_NOUNS
        return "NOUN" if "NOUN" in roles and not adjective else ""
    if before in _BEFORE_VERBS or before in _THIRD_PERSONS or (before == "" and after in _AFTER_VERBS):
        return "VERB" if "VERB" in roles else ""
    if before in _BEFORE_PARTICIPLES:
        return "ADJ" if "ADJ" in roles else ""
    if index > 1 and words[index - 2] in _DETERMINERS and _agrees_with_noun(before, words[index]):
        return "NOUN" if "NOUN" in roles else ""
    return "VERB" if "VERB" in roles and after in _AFTER_VERBS else ""


def _agrees_with_noun(before: str, word: str) -> bool:
    """Whether a word cannot be the verb of the noun before: "my favorite subject", but "the people live"."""
    plural = before.endswith("s") or before in ("people", "children", "men", "women")
    return not plural and not word.endswith("s")


def _has_before(words: Sequence[str], index: int) -> bool:
    """Whether "have" stands before with one word between, as in "I have never read"."""
    return (
        index > 1
        and words[index - 2] in _BEFORE_PARTICIPLES
        and words[index - 1] in ("never", "always", "already", "just", "not")
    )
