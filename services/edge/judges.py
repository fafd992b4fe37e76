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
    """Compares by words and how they are written alone; see `equal`."""

    name = "equality"

    async def same(self, comparison: Comparison) -> bool | None:
        """Whether they say the same; None where words do not tell."""
        return equal(comparison.kept, comparison.made)


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


def equal(one: str, other: str) -> bool | None:
    """Answers that are written alike are equal; short ones of other words, other signs, numbers or negations are not.

    Numbers in words are told where else hardly a word differs: "the two of them" may as well be "both". Answers of
    the same words that are written otherwise (`written`) are left open: code, units and marks live by how.
    """
    plain = written(one), written(other)
    if plain[0] == plain[1]:
        return True
    typed = words(one), words(other)
    first, second = ([NUMBER_WORDS.get(word, word) for word in listed] for listed in typed)
    if first == second:
        return None if first and signs(plain[0]) == signs(plain[1]) else False
    if len(first) <= _SHORT and len(second) <= _SHORT:
        return False
    if telling(typed[0]) != telling(typed[1]) and telling(first) != telling(second):
        return False
    alone = Counter(first) - Counter(second), Counter(second) - Counter(first)
    few = alone[0].total() + alone[1].total() <= _FEW
    return False if few and all(map(count, alone)) else None


def _vector(embedding: Embedding) -> np.ndarray:
    return np.frombuffer(embedding.values, "<f4")
