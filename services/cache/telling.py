"""Picks the words of a prompt that carry meaning, and writes each of them in one way."""

import re
from collections.abc import Mapping

from services.cache.signs import signs_of
from services.cache.voice import passives
from services.cache.wording import DIRECTIONS, NUMBER_WORDS, QUESTIONS, STOP, SYNONYMS

_SHAPE = r"{letter}+|(?:(?<![{word}.,])\.)?{digit}+(?:[.,]{digit}+)*|[^\w\s]|_"
TOKEN = re.compile(_SHAPE.format(letter=r"[^\W\d_]", digit=r"\d", word=r"\w"))
_ASCII_TOKEN = re.compile(_SHAPE.format(letter="[A-Za-z]", digit="[0-9]", word="A-Za-z0-9_"))  # the same, faster
SILENT = frozenset(".,:!?'\"-()")
_QUOTED = re.compile(r"\"[^\"]+\"|(?<!\w)'[^']+'(?!\w)")
_DROPPED = STOP | SILENT
_UNIT_LENGTH = 3
_NAMELIKE = STOP | DIRECTIONS | QUESTIONS | {"us"}
_SAME = {**NUMBER_WORDS, **SYNONYMS}
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")


def tokens_of(plain: str) -> tuple[list[str], list[str]]:
    """Words, numbers and signs in order, as typed and in lower case."""
    tokens = (_ASCII_TOKEN if plain.isascii() else TOKEN).findall(plain)
    return tokens, [token.lower() for token in tokens]


def quotes_of(plain: str) -> list[re.Match[str]]:
    """What stands in quotation marks."""
    return list(_QUOTED.finditer(plain)) if '"' in plain or "'" in plain else []


def telling(
    plain: str, tokens: list[str], lower: list[str], quotes: list[re.Match[str]], quiet: bool, loud: bool
) -> list[str]:
    """Tokens that carry meaning, as typed: so do all in quotation marks, the last word, and the "be" of a passive."""
    signs, passive = signs_of(plain), passives(lower)
    if quotes or signs or passive or not quiet or "(" in plain or ")" in plain:
        return _weighed(plain, tokens, lower, quotes, signs, passive, loud)
    kept = [token for token, plainly in zip(tokens, lower, strict=True) if plainly not in _DROPPED]
    last = next((place for place in range(len(lower) - 1, -1, -1) if lower[place] not in SILENT), -1)
    if last >= 0 and lower[last] in STOP:
        kept.append(tokens[last])
    return kept


def _weighed(
    plain: str,
    tokens: list[str],
    lower: list[str],
    quotes: list[re.Match[str]],
    signs: set[int],
    passive: Mapping[int, str],
    loud: bool,
) -> list[str]:
    quoted = {at for match in quotes for at in range(*match.span())}
    placed = [match.start() for match in TOKEN.finditer(plain)] if quoted or signs else range(len(tokens))
    others = [word for word in tokens if not word[0].isalnum()]
    last = max([at for word, at in zip(tokens, placed, strict=True) if word not in SILENT], default=-1)
    arithmetic = bool(signs) or not SILENT.issuperset(others)
    kept = []
    for place, (word, plainly, at) in enumerate(zip(tokens, lower, placed, strict=True)):
        if place in passive:
            kept.append(passive[place])
        if word in SILENT:
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


def canonical(plain: str, typed: list[str], loud: bool) -> tuple[str, ...]:
    """The tokens case-folded and without synonyms, units and names as typed where their letter case tells."""
    counted = any(map(str.isdigit, [token[0] for token in typed]))
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
