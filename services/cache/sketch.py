"""Reduces a prompt to what decides its answer, so that two prompts can be compared word by word."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby, pairwise
from typing import NamedTuple

from services.cache.signs import SIGNS
from services.cache.telling import SILENT, TOKEN, canonical, quotes_of, telling, tokens_of
from services.cache.voice import IN_VOICE, doers, holding
from services.cache.wording import (
    ALONE,
    BESIDE_CUES,
    CONVERSION_WORDS,
    COURTEOUS,
    CUES,
    DIRECTIONS,
    HAVE,
    MONTHS,
    NEGATIONS,
    OPEN,
    POLAR,
    POLITE,
    QUESTIONS,
    RELATIONS,
    REWORDINGS,
    SPELLING,
    TO_SOMEBODY,
    TOGETHER,
    UNITS,
    VERBATIM,
)

_QUOTES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "«": '"', "»": '"'})
_CODE = re.compile(r"[{}\[\]<>\\|`;_\n\r\t]|[=!]=|\(\)")
_IN_CODE = frozenset("{}[]<>\\|`;_=(")  # or what is not printed
_CUES = frozenset(CUES)
_KNOWN = SPELLING | RELATIONS | QUESTIONS
_BESIDE_UNITS = CONVERSION_WORDS | DIRECTIONS | UNITS.keys()
_MARKED = VERBATIM | SPELLING | RELATIONS | MONTHS | UNITS.keys()  # without them words stand for themselves
_POSSESSIVES = frozenset({"my", "our"})
# What any step looks for in a prompt, so that it looks among the few that are there.
_SOUGHT = _CUES | BESIDE_CUES | SIGNS | _IN_CODE | IN_VOICE | HAVE | QUESTIONS | _POSSESSIVES | TO_SOMEBODY | {"(", ")"}
_NONE: frozenset[str] = frozenset()
_LONGEST = 4000  # characters; beyond any encoder's window


class Sketch(NamedTuple):
    """What must agree between two prompts that share an answer.

    Args:
        question: who, when, where, why, how, "polar" for yes or no, "open" for everything else; with " have" for what
            was ("have I paid", "am I paid").
        words: telling words, numbers and signs in order, case-folded; a relation stands before its argument.
        spelling: `words` as typed where letter case counts, else empty.
        verbatim: the prompt itself where all of it counts (code, a text to translate), else empty.
        names: those of `words` that were typed with a capital, the prompt's first one apart; two prompts may differ in
            that alone.
        numbers: those of `words`.
        negations: those of `words`.
        speaker: "I", "we" or "Iwe", by whom it is asked, the last with "my" and "our" in their order where it has both;
            empty where it does not say.
        doers: "I" where the speaker does something ("who have I paid"), "they" where others must ("who has paid"), else
            empty.
        holding: "have" or "be", whether somebody has something or is something; empty where it does not say.
    """

    question: str
    words: tuple[str, ...]
    spelling: tuple[str, ...] = ()
    verbatim: str = ""
    names: frozenset[str] = _NONE
    numbers: tuple[str, ...] = ()
    negations: tuple[str, ...] = ()
    speaker: str = ""
    doers: str = ""
    holding: str = ""


@lru_cache(16)  # a request asks for it when it looks up, when it has a lease and when it stores
def sketch(text: str) -> Sketch:
    """The sketch of one prompt."""
    text = text.strip()
    if len(text) > _LONGEST:
        return Sketch("open", (), (), text)
    plain, (tokens, lower, quiet) = text, tokens_of(text)
    sought = _SOUGHT.intersection(lower)
    if (not _IN_CODE.isdisjoint(sought) or not text.isprintable()) and _CODE.search(text):
        return Sketch("open", (), (), text)
    if not (text.isascii() and COURTEOUS.isdisjoint(lower[:1]) and TO_SOMEBODY.isdisjoint(sought)):
        plain = _bare(text)
    if not sought.isdisjoint(_CUES):
        plain = _reworded(plain, sought)
    if plain != text:
        tokens, lower, quiet = tokens_of(plain)
        sought = _SOUGHT.intersection(lower)
    loud = not quiet and plain.isupper()
    quotes = quotes_of(plain)
    typed = telling(plain, tokens, lower, sought, quotes, quiet, loud)
    words = canonical(plain, typed, quiet, loud)
    question = _question(lower, sought)
    if RELATIONS.issuperset(words):
        return Sketch(question, (), (), _all_words(text))
    names = _NONE if quiet or loud else _names(plain, typed, words)
    if _MARKED.isdisjoint(words):
        return _sketch(question, words, _spelling(typed, words) if quotes else (), "", names, lower, sought)
    if not VERBATIM.isdisjoint(words):
        return _sketch(question, words, verbatim=_all_words(plain))
    conversion = _conversion(words)
    if conversion and question in ("open", "how"):
        return _sketch("open", conversion)
    counts = quotes or not SPELLING.isdisjoint(words)
    spelling = _spelling(typed, words) if counts else ()
    return _sketch(question, _in_order(words), spelling, "", names, lower, sought)


def _sketch(
    question: str,
    words: tuple[str, ...],
    spelling: tuple[str, ...] = (),
    verbatim: str = "",
    names: frozenset[str] = _NONE,
    lower: Sequence[str] | None = None,
    sought: frozenset[str] = _NONE,
) -> Sketch:
    numbers = () if "".join(words).isalpha() else tuple([word for word in words if word[0].isdigit()])
    negations = () if NEGATIONS.isdisjoint(words) else tuple([word for word in words if word in NEGATIONS])
    if not lower:
        return Sketch(question, words, spelling, verbatim, names, numbers, negations)
    speaker, does = _speaker(lower, sought), doers(sought) if len(words) > 1 else ""
    return Sketch(question, words, spelling, verbatim, names, numbers, negations, speaker, does, holding(lower, sought))


def _speaker(lower: Sequence[str], sought: frozenset[str]) -> str:
    who = ("" if ALONE.isdisjoint(sought) else "I") + ("" if TOGETHER.isdisjoint(sought) else "we")
    if who == "Iwe" and _POSSESSIVES.issubset(sought):  # from my card to our account, or the other way round
        return " ".join([who, *(owner for owner, _ in groupby(word for word in lower if word in _POSSESSIVES))])
    return who


def _spelling(typed: list[str], words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(token for token, word in zip(typed, words, strict=True) if word not in _KNOWN)


def _names(plain: str, typed: list[str], words: tuple[str, ...]) -> frozenset[str]:
    first = 1 if typed and plain.startswith(typed[0]) else 0
    return frozenset(word for token, word in zip(typed[first:], words[first:], strict=True) if token[0].isupper())


def _all_words(text: str) -> str:
    return " ".join(token for token in TOKEN.findall(text.casefold()) if token not in SILENT)


def _bare(text: str) -> str:
    """Without courtesies, and with plain quotation marks."""
    plain = text if text.isascii() else unicodedata.normalize("NFC", text).translate(_QUOTES).strip()
    opening = POLITE.match(plain)
    return plain[opening.end() :].strip() if opening else plain


def _reworded(plain: str, sought: frozenset[str]) -> str:
    rows = {row for cue in _CUES & sought for row, beside in CUES[cue] if not beside or beside in sought}
    for row in sorted(rows):
        pattern, shorter = REWORDINGS[row]
        plain = pattern.sub(shorter, plain)
    return plain.strip()


def _question(lower: Sequence[str], sought: frozenset[str]) -> str:
    for first in lower:
        if first[0].isalpha():
            break
    else:
        first = ""
    if first in POLAR:
        return "polar have" if first in HAVE else "polar"
    kind = "open" if QUESTIONS.isdisjoint(sought) else next(word for word in lower if word in QUESTIONS)
    if HAVE.isdisjoint(sought):
        return kind
    before = [first for first, second in pairwise(lower) if second in HAVE]
    return kind if QUESTIONS.isdisjoint(before) and OPEN.isdisjoint(before) else f"{kind} have"


def _in_order(words: tuple[str, ...]) -> tuple[str, ...]:
    """A relation before its argument, a day before its month; everything else as it stands."""
    if RELATIONS.isdisjoint(words) and MONTHS.isdisjoint(words):
        return words
    relations = [word for word in words if word in RELATIONS]
    rest = [word for word in words if word not in RELATIONS]
    for i, (first, second) in enumerate(pairwise(rest)):
        if first in MONTHS and second[0].isdigit():
            rest[i : i + 2] = second, first
    return (*relations, *rest)


def _conversion(words: tuple[str, ...]) -> tuple[str, ...] | None:
    """("convert", number, unit, target unit) where the prompt is nothing else."""
    numbers = [i for i, word in enumerate(words) if word[0].isdigit()]
    if len(numbers) != 1 or words[numbers[0] + 1 : numbers[0] + 2] == ():
        return None
    source = words[numbers[0] + 1]
    rest = [word for i, word in enumerate(words) if i not in (numbers[0], numbers[0] + 1)]
    targets = [word for word in rest if word in UNITS]
    if source not in UNITS or len(targets) != 1 or not _BESIDE_UNITS.issuperset(rest):
        return None
    return ("convert", words[numbers[0]], UNITS[source], UNITS[targets[0]])
