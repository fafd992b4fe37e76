"""Tells who does something from whom it is done to ("have I paid", "have I been paid"), and who has from who is."""

from collections.abc import Sequence

from services.cache.wording import HAVE

_REACH = 4  # words from a form of "be" to its participle: "is my first card blocked"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BE = _words("am is are be been")
# Past participles that do not end as others do; of verbs that have an object, so that somebody may suffer them;
# without "left", as "is left" is what one has left.
_IRREGULAR = _words(
    "beaten bet bitten blown bought broken brought built burnt caught chosen cut dealt done drawn driven eaten "
    "fed felt fought forbidden forgiven forgotten found freed frozen given guaranteed agreed heard held hidden "
    "hit hurt kept known led lent let lost made met misled overdrawn paid put quit read rung said seen sent set "
    "shaken shot shown shut sold sought spent split spoken spread stolen struck stuck sung sworn taken taught "
    "thought thrown told torn understood upset withdrawn withheld won worn written"
)
_NO_PARTICIPLES = _words("bed hundred naked red sacred shed sled wed wicked")
_BEFORE_ADJECTIVES = _words("a an the my our your his her its their this that these those some any no")
_CLAUSE = _words("to if when while that which who whom and or but because so")
_DOERS = _words("i we")
_PERSONS = _words("i we you he she they")
_SUBJECTS = _PERSONS | {"it"}
_ASKED_FOR = _words("who whom which that")
_IS = _words("am is are")
IN_VOICE = _BE | _IRREGULAR | _DOERS | _PERSONS | _ASKED_FOR | HAVE  # what is looked for here


def passives(lower: Sequence[str], sought: frozenset[str]) -> dict[int, str]:
    """Places of participles, among words in lower case, that a form of "be" makes passive: "be", or "been".

    Here and below, `sought` are those of the words that are of `IN_VOICE`, and any others.
    """
    if _BE.isdisjoint(sought) or (_IRREGULAR.isdisjoint(sought) and "ed " not in " ".join([*lower, ""])):
        return {}
    governed = ((_governed(lower, place), word) for place, word in enumerate(lower) if word in _BE)
    return {at: word if word == "been" else "be" for at, word in governed if at is not None}


def doers(sought: frozenset[str]) -> str:
    """ "I" where the speaker does something, "they" where only what is asked for can ("who paid"), else empty."""
    if not _DOERS.isdisjoint(sought):
        return "I"
    return "" if _ASKED_FOR.isdisjoint(sought) else "they"


def holding(lower: Sequence[str], sought: frozenset[str]) -> str:
    """ "have" where somebody has something, "be" where somebody is something ("whether I have a guest", "whether I am a
    guest"), empty where neither or both are said of a person."""
    if _PERSONS.isdisjoint(sought) or (HAVE.isdisjoint(sought) and _IS.isdisjoint(sought)):
        return ""
    persons = [place for place, word in enumerate(lower) if word in _PERSONS]
    beside = {word for place in persons for word in lower[max(place - 1, 0) : place + 2]}
    has, is_ = not HAVE.isdisjoint(beside), not _IS.isdisjoint(beside)
    return "" if has == is_ else "have" if has else "be"


def _governed(lower: Sequence[str], place: int) -> int | None:
    before = lower[place]
    for at, word in enumerate(lower[place + 1 : place + 1 + _REACH], place + 1):
        if word in _BE or word in _CLAUSE or not word[0].isalpha() or (word in _SUBJECTS and before not in _BE):
            return None
        if before not in _BEFORE_ADJECTIVES and _is_participle(word):
            return at
        before = word
    return None


def _is_participle(word: str) -> bool:
    regular = word.endswith("ed") and not word.endswith("eed") and word not in _NO_PARTICIPLES
    return regular or word in _IRREGULAR
