"""Says whether two answers say the same: who cannot tell leaves it to the next."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from services.edge.chat import Request
from services.edge.ports import Embedding, Encoder

_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
# Signs that change what is said: of amounts and comparisons, before and between operands, behind a word ("C++", "A-").
_SIGN = re.compile(
    r"[$€£¥%<>=≤≥≠^&|~\\]|!(?=[\w=(])|(?<![^\W\d_]{2})[-−+*/×÷](?=\s*\.?\d)|(?<=\w)(?:\+\+?|#|-)(?![\w-])"
    r"|(?<=\w)[/*]+(?=\w)|[′″]"
)
_NEGATIONS = frozenset({"no", "not", "never", "none", "cannot", "without"})
_SHORT = 5  # words; two short answers of other words are other answers


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
    """Equal words and signs are equal answers; short answers of other words, other numbers or negations are not."""

    name = "equality"

    async def same(self, comparison: Comparison) -> bool | None:
        """Compares words without letter case and punctuation, in order; signs tell equal words apart."""
        one, other = comparison.kept, comparison.made
        first, second = _WORD.findall(one.casefold()), _WORD.findall(other.casefold())
        if first == second:
            return one.split() == other.split() or (bool(first) and _SIGN.findall(one) == _SIGN.findall(other))
        if len(first) <= _SHORT and len(second) <= _SHORT:
            return False
        return False if _telling(first) != _telling(second) else None


class Similarity:
    """Answers whose embeddings are near are the same, far ones are not, and between it cannot tell."""

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
            return True
        return False if cosine <= self._different_to else None


def _telling(words: list[str]) -> Counter[str]:
    return Counter(word for word in words if _NUMBER.fullmatch(word) or word in _NEGATIONS)


def _vector(embedding: Embedding) -> np.ndarray:
    return np.frombuffer(embedding.values, "<f4")
