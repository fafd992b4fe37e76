"""Reduces a prompt to what decides its answer, so that two prompts can be compared word by word."""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from itertools import groupby, pairwise
from typing import NamedTuple

from services.cache.telling import SILENT, TOKEN, canonical, quotes_of, telling, tokens_of
from services.cache.voice import doers, holding
from services.cache.wording import (
    ALONE,
    CONVERSION_WORDS,
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
    TOGETHER,
    UNITS,
    VERBATIM,
)

_QUOTES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "«": '"', "»": '"'})
_CODE = re.compile(r"[{}\[\]<>\\|`;_\n\r\t]|[=!]=|\(\)")
_CUES = frozenset(CUES)
_KNOWN = SPELLING | RELATIONS | QUESTIONS
_BESIDE_UNITS = CONVERSION_WORDS | DIRECTIONS | UNITS.keys()
_MARKED = VERBATIM | SPELLING | RELATIONS | MONTHS | UNITS.keys()  # without them words stand for themselves
_POSSESSIVES = frozenset({"my", "our"})
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
    if len(text) > _LONGEST or _CODE.search(text):
        return Sketch("open", (), (), text)
    plain = _bare(text)
    tokens, lower = tokens_of(plain)
    cues = _CUES.intersection(lower)
    if cues and (reworded := _reworded(plain, cues)) != plain:
        plain = reworded
        tokens, lower = tokens_of(plain)
    quiet = plain[1:].replace(" I ", " ").islower()  # beside that, nothing but the first letter may be a capital
    loud = not quiet and plain.isupper()
    quotes = quotes_of(plain)
    typed = telling(plain, tokens, lower, quotes, quiet, loud)
    words = canonical(plain, typed, loud)
    question = _question(lower)
    if RELATIONS.issuperset(words):
        return Sketch(question, (), (), _all_words(text))
    names = _NONE if quiet or loud else _names(plain, typed, words)
    if _MARKED.isdisjoint(words):
        return _sketch(question, words, _spelling(typed, words) if quotes else (), "", names, lower)
    if not VERBATIM.isdisjoint(words):
        return _sketch(question, words, verbatim=_all_words(plain))
    conversion = _conversion(words)
    if conversion and question in ("open", "how"):
        return _sketch("open", conversion)
    counts = quotes or not SPELLING.isdisjoint(words)
    spelling = _spelling(typed, words) if counts else ()
    return _sketch(question, _in_order(words), spelling, "", names, lower)


def _sketch(
    question: str,
    words: tuple[str, ...],
    spelling: tuple[str, ...] = (),
    verbatim: str = "",
    names: frozenset[str] = _NONE,
    lower: list[str] | None = None,
) -> Sketch:
    numbers = tuple([word for word in words if word[0].isdigit()])
    negations = () if NEGATIONS.isdisjoint(words) else tuple([word for word in words if word in NEGATIONS])
    if not lower:
        return Sketch(question, words, spelling, verbatim, names, numbers, negations)
    does = doers(lower) if len(words) > 1 else ""
    return Sketch(question, words, spelling, verbatim, names, numbers, negations, _speaker(lower), does, holding(lower))


def _speaker(lower: list[str]) -> str:
    who = ("" if ALONE.isdisjoint(lower) else "I") + ("" if TOGETHER.isdisjoint(lower) else "we")
    if who == "Iwe" and _POSSESSIVES.issubset(lower):  # from my card to our account, or the other way round
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


def _reworded(plain: str, cues: Iterable[str]) -> str:
    for row in sorted({row for cue in cues for row in CUES[cue]}):
        pattern, shorter = REWORDINGS[row]
        plain = pattern.sub(shorter, plain)
    return plain.strip()


def _question(lower: list[str]) -> str:
    first = next((word for word in lower if word[0].isalpha()), "")
    if first in POLAR:
        return "polar have" if first in HAVE else "polar"
    kind = "open" if QUESTIONS.isdisjoint(lower) else next(word for word in lower if word in QUESTIONS)
    if HAVE.isdisjoint(lower):
        return kind
    perfect = any(second in HAVE and (first in QUESTIONS or first in OPEN) for first, second in pairwise(lower))
    return f"{kind} have" if perfect else kind


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
