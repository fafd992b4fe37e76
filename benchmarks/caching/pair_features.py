"""What two prompts have in common and what they do not, as numbers for a verifier of pairs."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from services.cache.sketch import sketch
from services.cache.vetoes import Veto, veto
from services.cache.wording import NEGATIONS

_TOKEN = re.compile(r"\w+|[^\w\s]")
_NAME = re.compile(r"(?<=\s)[A-Z]\w+")
_KINDS = (*Veto, None)


class PairFeatures:
    """Features of pairs; how telling a word is comes of the texts given at first."""

    def __init__(self, texts: Sequence[str]) -> None:
        counts = Counter(word for text in texts for word in set(_words(text)))
        self._rarity = {word: math.log(len(texts) / (1 + count)) for word, count in counts.items()}
        self._rarest = math.log(max(len(texts), 2))

    def matrix(self, pairs: Sequence[tuple[str, str]], cosines: NDArray[np.float32]) -> NDArray[np.float64]:
        """Shape [pairs, features]; the cosine of the pair's embeddings is the first."""
        rows = [self._row(one, other) for one, other in pairs]
        return np.column_stack([cosines, np.array(rows, float)])

    def _row(self, one: str, other: str) -> list[float]:
        first, second = _words(one), _words(other)
        a, b = set(first), set(second)
        apart = sorted((self._weight(word) for word in a ^ b), reverse=True)
        left, right, both = (sum(map(self._weight, words)) for words in (a - b, b - a, a & b))
        numbers = [{word for word in words if word[0].isdigit()} for words in (a, b)]
        names = [set(_NAME.findall(text)) for text in (one, other)]
        pairs = set(pairwise(first)) & set(pairwise(second))
        against = veto(sketch(one), sketch(other))
        return [
            *(left + right, abs(left - right), both, both / ((left + right + both) or 1.0)),
            *[*apart, 0.0, 0.0][:2],
            *(len(a ^ b), len(a & b), abs(len(first) - len(second))),
            *(min(len(first), len(second)), max(len(first), len(second))),
            *(len(numbers[0] ^ numbers[1]), len(numbers[0] & numbers[1])),
            *(len(names[0] ^ names[1]), len(names[0] & names[1])),
            len((a ^ b) & NEGATIONS),
            *(first[:1] == second[:1], first[:2] == second[:2], first[-3:] == second[-3:]),
            _overlap(_grams(one), _grams(other)),
            2 * len(pairs) / max(len(first) + len(second) - 2, 1),
            *(against is kind for kind in _KINDS),
        ]

    def _weight(self, word: str) -> float:
        return self._rarity.get(word, self._rarest)


def _words(text: str) -> list[str]:
    return _TOKEN.findall(text.lower())


def _grams(text: str) -> Counter[str]:
    lower = text.lower()
    return Counter(lower[start : start + 3] for start in range(len(lower) - 2))


def _overlap(one: Counter[str], other: Counter[str]) -> float:
    product = sum(count * other[gram] for gram, count in one.items())
    length = math.sqrt(sum(c * c for c in one.values()) * sum(c * c for c in other.values()))
    return product / length if length else 0.0
