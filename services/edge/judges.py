"""Says whether two answers say the same: who cannot tell leaves it to the next."""

from collections import Counter
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from services.edge.chat import Request
from services.edge.ports import Embedding, Encoder
from services.edge.words import NUMBER_WORDS, count, read_over, signs, telling, words, written

_SHORT = 5  # words; two short answers of other words are other answers
_FEW = 4  # words that stand in one of two answers alone, where the answers are else the same


@dataclass(frozen=True, slots=True)
class Comparison:
    """A request, the answer `kept` that the cache would have given to it, and the one that was `made`.

    An `audit` was drawn among requests that else are served: without its verdict it counts as wrong.
    """

    request: Request
    kept: str
    made: str
    audit: bool = False


class Judge(Protocol):
    """Compares two answers to one request."""

    @property
    def name(self) -> str:
        """Names it in the verdict's source."""

    async def same(self, comparison: Comparison) -> bool | None:
        """Whether they say the same; None where it cannot tell."""


class Equality:
<<<<<<< HEAD
    """Compares by words alone; see `equal`."""
=======
    """Answers that are written alike are equal; short ones of other words, other signs, numbers or negations are not.

    Numbers in words are told where else hardly a word differs: "the two of them" may as well be "both". Answers of
    the same words that are written otherwise (`written`) are left open: code, units and marks live by how.
    """
>>>>>>> cacheB

    name = "equality"

    async def same(self, comparison: Comparison) -> bool | None:
<<<<<<< HEAD
        """Whether they say the same; None where words do not tell."""
        return equal(comparison.kept, comparison.made)
=======
        """Compares how they are written, then their words and signs in order, without letter case."""
        one, other = written(comparison.kept), written(comparison.made)
        if one == other:
            return True
        typed = words(comparison.kept), words(comparison.made)
        first, second = ([NUMBER_WORDS.get(word, word) for word in listed] for listed in typed)
        if first == second:
            return None if first and signs(one) == signs(other) else False
        if len(first) <= _SHORT and len(second) <= _SHORT:
            return False
        if telling(typed[0]) != telling(typed[1]) and telling(first) != telling(second):
            return False
        alone = Counter(first) - Counter(second), Counter(second) - Counter(first)
        few = alone[0].total() + alone[1].total() <= _FEW
        return False if few and all(map(count, alone)) else None
>>>>>>> cacheB


class Similarity:
    """Answers whose embeddings are near are the same, far ones are not, and between it cannot tell.

    Nor of near ones that differ in what a vector does not show (`read_over`).
    """

    name = "similarity"

    def __init__(self, encoder: Encoder, same_from: float, different_to: float) -> None:
        self._encoder = encoder
        self._same_from = same_from
        self._different_to = different_to

    async def same(self, comparison: Comparison) -> bool | None:
        """Compares whole answers only: one that the encoder's window cuts off is beyond it."""
        first, second = await self._encoder.embed(comparison.kept), await self._encoder.embed(comparison.made)
        if first.truncated or second.truncated:
            return None
        cosine = float(np.dot(_vector(first), _vector(second)))
        if cosine >= self._same_from:
            return None if read_over(comparison.kept, comparison.made) else True
        return False if cosine <= self._different_to else None


<<<<<<< HEAD
def equal(one: str, other: str) -> bool | None:
    """Compares words without letter case and punctuation, in order; signs tell equal words apart.

    Equal words and signs are equal answers; short answers of other words, other numbers or negations are not. Numbers
    in words are told where else hardly a word differs: "the two of them" may as well be "both". None is for neither.
    """
    typed = _words(one), _words(other)
    first, second = ([_NUMBER_WORDS.get(word, word) for word in words] for words in typed)
    if first == second:
        return one.split() == other.split() or (bool(first) and _SIGN.findall(one) == _SIGN.findall(other))
    if len(first) <= _SHORT and len(second) <= _SHORT:
        return False
    if _telling(typed[0]) != _telling(typed[1]) and _telling(first) != _telling(second):
        return False
    alone = Counter(first) - Counter(second), Counter(second) - Counter(first)
    few = alone[0].total() + alone[1].total() <= _FEW
    return False if few and all(map(_counts, alone)) else None


def _words(text: str) -> list[str]:
    """Words and numbers in order, without letter case; negations apart ("can't", "cannot": can, not)."""
    plain = text.casefold().replace("’", "'")
    return _WORD.findall(_CONTRACTED.sub(lambda found: _WHOLE.get(found[found.lastindex or 0], " not"), plain))


def _counts(words: Iterable[str]) -> bool:
    """Whether one of them is a number."""
    return any(_NUMBER.fullmatch(word) or word in _AMOUNTS for word in words)


def _differ_unseen(one: str, other: str) -> bool:
    """Whether long answers differ in words or signs, which their embeddings may not show."""
    first, second = ([word for word in _words(text) if word not in _FILLERS] for text in (one, other))
    return max(len(first), len(second)) > _LONG and (first != second or _SIGN.findall(one) != _SIGN.findall(other))


def _telling(words: Iterable[str]) -> Counter[str]:
    return Counter(word for word in words if _NUMBER.fullmatch(word) or word in _NEGATIONS)


=======
>>>>>>> cacheB
def _vector(embedding: Embedding) -> np.ndarray:
    return np.frombuffer(embedding.values, "<f4")
