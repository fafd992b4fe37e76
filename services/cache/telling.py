"""Picks the words of a prompt that carry meaning, and writes each of them in one way."""

import re
from collections.abc import Mapping, Sequence, Set
from functools import lru_cache
from typing import Any

from services.cache.signs import SIGNS, signs_of
from services.cache.voice import passives
from services.cache.wording import DIRECTIONS, NUMBER_WORDS, QUESTIONS, STOP, SYNONYMS

TOKEN = re.compile(r"[^\W\d_]+|(?:(?<![\w.,])\.)?\d+(?:[.,]\d+)*|[^\w\s]|_")
SILENT = frozenset(".,:!?'\"-()")
_QUOTED = re.compile(r"\"[^\"]+\"|(?<!\w)'[^']+'(?!\w)")
_BRACKETS = frozenset("()")
_DROPPED = STOP | SILENT
_UNIT_LENGTH = 3
_NAMELIKE = STOP | DIRECTIONS | QUESTIONS | {"us"}
_SAME = {**NUMBER_WORDS, **SYNONYMS}
_NONE: frozenset[Any] = frozenset()
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")


@lru_cache(16)  # a lookup asks for it to tell the language and again for the sketch
def tokens_of(plain: str) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """Words, numbers and signs in order, as typed and in lower case; whether nothing but the first letter, and "I",
    may be a capital."""
    tokens: list[str] = []
    for piece in plain.split():
        if piece.isalpha():
            tokens.append(piece)
        elif piece[-1] in SILENT and piece[:-1].isalpha():
            tokens += (piece[:-1], piece[-1])
        else:
            tokens += TOKEN.findall(piece)
    quiet = plain[1:].replace(" I ", " ").islower()
    if not quiet or not plain.isascii():
        return tuple(tokens), tuple([word.lower() for word in tokens]), quiet
    lower = ["i" if word == "I" else word for word in tokens] if " I " in plain else tokens.copy()
    lower[0] = tokens[0].lower()
    return tuple(tokens), tuple(lower), quiet


def quotes_of(plain: str) -> list[re.Match[str]]:
    """What stands in quotation marks."""
    return list(_QUOTED.finditer(plain)) if '"' in plain or "'" in plain else []


def telling(
    plain: str,
    tokens: Sequence[str],
    lower: Sequence[str],
    sought: frozenset[str],
    quotes: list[re.Match[str]],
    quiet: bool,
    loud: bool,
) -> list[str]:
    """Tokens that carry meaning, as typed: so do all in quotation marks, the last word, and the "be" of a passive."""
    signs = _NONE if SIGNS.isdisjoint(sought) else signs_of(plain)
    passive, last, stressed = passives(lower, sought), _last(tokens), not quiet and not loud
    if quotes or signs or passive or not _BRACKETS.isdisjoint(sought):
        return _weighed(plain, tokens, lower, quotes, signs, passive, last, stressed)
    if stressed:
        return [
            word
            for place, (word, plainly) in enumerate(zip(tokens, lower, strict=True))
            if plainly not in _DROPPED or place == last or (place > 0 and word != "I" and word.isupper())
        ]
    kept = [word for word, plainly in zip(tokens, lower, strict=True) if plainly not in _DROPPED]
    return [*kept, tokens[last]] if last >= 0 and lower[last] in STOP else kept


def _last(tokens: Sequence[str]) -> int:
    """Place of the last that is no mark, -1 where there is none."""
    place = len(tokens) - 1
    while place >= 0 and tokens[place] in SILENT:
        place -= 1
    return place


def _weighed(
    plain: str,
    tokens: Sequence[str],
    lower: Sequence[str],
    quotes: list[re.Match[str]],
    signs: Set[int],
    passive: Mapping[int, str],
    last: int,
    stressed: bool,
) -> list[str]:
    quoted = {at for match in quotes for at in range(*match.span())}
    placed = [match.start() for match in TOKEN.finditer(plain)] if quoted or signs else range(len(tokens))
    brackets = _BRACKETS if signs or not SILENT.issuperset([t for t in tokens if not t[0].isalnum()]) else _NONE
    kept = []
    for place, (word, plainly, at) in enumerate(zip(tokens, lower, placed, strict=True)):
        if place in passive:
            kept.append(passive[place])
        if plainly not in _DROPPED:
            kept.append(word)
        elif word in SILENT:
            if at in signs or word in brackets:
                kept.append(word)
        elif place == last or at in quoted or (stressed and place > 0 and word != "I" and word.isupper()):
            kept.append(word)
    return kept


def canonical(plain: str, typed: list[str], quiet: bool, loud: bool) -> tuple[str, ...]:
    """The tokens case-folded and without synonyms, units and names as typed where their letter case tells."""
    lettered = "".join(typed).isalpha()
    if quiet and lettered:
        return tuple([_SAME.get(word := token.casefold(), word) for token in typed])
    counted = not lettered and any(token[0].isdigit() for token in typed)
    return tuple(
        [
            _SAME.get(word := token.casefold(), word)
            if token.islower()
            else _canonical(token, counted and not plain.startswith(token), loud)
            for token in typed
        ]
    )


def _canonical(token: str, beside_numbers: bool, loud: bool) -> str:
    word = token.casefold()
    unit = beside_numbers and len(token) <= _UNIT_LENGTH  # a megabit is no megabyte
    name = not loud and len(token) > 1 and token.isupper() and word in _NAMELIKE  # "IT", "WHO"
    if unit or name:
        return token
    if word[0] == "." != word:
        return "0" + word
    if "," in word and _THOUSANDS.fullmatch(word):
        return word.replace(",", "")
    return _SAME.get(word, word)
