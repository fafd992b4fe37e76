"""Reduces a prompt to what decides its answer, so that two prompts can be compared word by word."""

import re
import unicodedata
from dataclasses import dataclass, field
from itertools import pairwise

from services.cache.signs import signs_of
from services.cache.wording import (
    CONVERSION_WORDS,
    DIRECTIONS,
    HAVE,
    MONTHS,
    NEGATIONS,
    NUMBER_WORDS,
    OPEN,
    POLAR,
    POLITE,
    QUESTIONS,
    RELATIONS,
    REWORDINGS,
    SPELLING,
    STOP,
    SYNONYMS,
    UNITS,
    VERBATIM,
)

_QUOTES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "«": '"', "»": '"'})
_TOKEN = re.compile(r"(?:(?<![\w.,])\.)?\d+(?:[.,]\d+)*|[^\W\d_]+|[^\w\s]|_")
_QUOTED = re.compile(r"\"[^\"]+\"|(?<!\w)'[^']+'(?!\w)")
_CODE = re.compile(r"[{}\[\]<>\\|`;_\n\r\t]|[=!]=|\(\)")
_SILENT = frozenset(".,:!?'\"-()")
_NO_SIGN = _SILENT | {"."}
_UNIT_LENGTH = 3
_NAMELIKE = STOP | DIRECTIONS | QUESTIONS | {"us"}
_SAME = {**NUMBER_WORDS, **SYNONYMS}
_KNOWN = SPELLING | RELATIONS | QUESTIONS
_BESIDE_UNITS = CONVERSION_WORDS | DIRECTIONS | UNITS.keys()
_LONGEST = 4000  # characters; beyond any encoder's window
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Sketch:
    """What must agree between two prompts that share an answer.

    Args:
        question: who, when, where, why, how, "polar" for yes or no, "open" for everything else; with " have" for what
            was ("have I paid", "am I paid").
        words: telling words, numbers and signs in order, case-folded; a relation stands before its argument.
        spelling: `words` as typed where letter case counts, else empty.
        verbatim: the prompt itself where all of it counts (code, a text to translate), else empty.
        names: those of `words` that were typed with a capital, the prompt's first one apart; two prompts may differ in
            that alone.
    """

    question: str
    words: tuple[str, ...]
    spelling: tuple[str, ...] = ()
    verbatim: str = ""
    names: frozenset[str] = field(default=frozenset(), compare=False)

    @property
    def numbers(self) -> list[str]:
        """Numbers in order."""
        return [word for word in self.words if word[0].isdigit()]

    @property
    def negations(self) -> list[str]:
        """Negating words in order."""
        return [word for word in self.words if word in NEGATIONS]


def sketch(text: str) -> Sketch:
    """The sketch of one prompt."""
    text = text.strip()
    if len(text) > _LONGEST or _CODE.search(text):
        return Sketch("open", (), (), text)
    plain = _reworded(text)
    tokens = _TOKEN.findall(plain)
    lower = [token.lower() for token in tokens]
    loud = plain.isupper()
    typed = _telling(plain, tokens, lower, loud)
    counted = any(token[0].isdigit() for token in typed)
    words = tuple([_canonical(token, counted and not plain.startswith(token), loud) for token in typed])
    question = _question(lower)
    if RELATIONS.issuperset(words):
        return Sketch(question, (), (), _all_words(text))
    if not VERBATIM.isdisjoint(words):
        return Sketch(question, words, (), _all_words(plain))
    conversion = _conversion(words)
    if conversion and question in ("open", "how"):
        return Sketch("open", conversion)
    counts = not SPELLING.isdisjoint(words) or _quotes(plain)
    spelling = tuple(t for t, word in zip(typed, words, strict=True) if word not in _KNOWN) if counts else ()
    return Sketch(question, _in_order(words), spelling, names=frozenset() if loud else _names(plain, typed, words))


def _names(plain: str, typed: list[str], words: tuple[str, ...]) -> frozenset[str]:
    if plain[1:].islower():
        return frozenset()
    first = 1 if typed and plain.startswith(typed[0]) else 0
    return frozenset(word for token, word in zip(typed[first:], words[first:], strict=True) if token[0].isupper())


def _quotes(plain: str) -> list[re.Match[str]]:
    return list(_QUOTED.finditer(plain)) if '"' in plain or "'" in plain else []


def _all_words(text: str) -> str:
    return " ".join(token for token in _TOKEN.findall(text.casefold()) if token not in _SILENT)


def _reworded(text: str) -> str:
    plain = text if text.isascii() else unicodedata.normalize("NFC", text).translate(_QUOTES).strip()
    opening = POLITE.match(plain)
    if opening:
        plain = plain[opening.end() :]
    lower = plain.lower()
    for cue, pattern, shorter in REWORDINGS:
        if cue in lower:
            plain = pattern.sub(shorter, plain)
            lower = plain.lower()
    return plain.strip()


def _telling(plain: str, tokens: list[str], lower: list[str], loud: bool) -> list[str]:
    """Tokens that carry meaning, as typed: everything inside quotation marks, and the last word, does."""
    quoted = {at for match in _quotes(plain) for at in range(*match.span())}
    signs = signs_of(plain)
    placed = [match.start() for match in _TOKEN.finditer(plain)] if quoted or signs else range(len(tokens))
    others = [word for word in tokens if not word[0].isalnum()]
    last = max([at for word, at in zip(tokens, placed, strict=True) if word not in _SILENT], default=-1)
    arithmetic = bool(signs) or not _NO_SIGN.issuperset(others)
    kept = []
    for word, plainly, at in zip(tokens, lower, placed, strict=True):
        if word in _SILENT:
            if at in signs or (arithmetic and word in "()"):
                kept.append(word)
        elif (
            plainly not in STOP
            or at == last
            or at in quoted
            or (not loud and at > 0 and word != "I" and word.isupper())
        ):
            kept.append(word)
    return kept


def _canonical(token: str, beside_numbers: bool, loud: bool) -> str:
    word = token.casefold()
    if token.islower():
        return _SAME.get(word, word)
    unit = beside_numbers and len(token) <= _UNIT_LENGTH and not token.islower()  # a megabit is no megabyte
    name = not loud and len(token) > 1 and token.isupper() and word in _NAMELIKE  # "IT", "WHO"
    if unit or name:
        return token
    if word[0] == "." != word:
        return "0" + word
    if "," in word and _THOUSANDS.fullmatch(word):
        return word.replace(",", "")
    return _SAME.get(word, word)


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
