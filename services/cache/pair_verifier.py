"""A verifier of pairs: how probable it is that two prompts share an answer, by the words that they do not share."""

import math
import zlib
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.cache.sketch import Sketch
from services.cache.vetoes import Veto

_COLUMNS = 1 << 13  # into which words are hashed
_NUMBERS = 3  # columns after these: one, similarity and its square
_MOST_EXCHANGES = 9  # more would say that the prompts differ, not which word stands for which
_MOST_APART = 8
_LEAST_PAIRS = 200
_MOST_PAIRS = 40_000  # trained on, the latest
_PENALTY = 0.05  # inverse strength; 0.02 to 0.15 differ little
_SCALE, _MOST = 0.25, 2.0  # of an opinion, so that it is of order 1

Weights = NDArray[np.float32]


class Compared(NamedTuple):
    """A prompt and an entry's; `veto` is what speaks against their sharing an answer."""

    asked: Sketch
    entry: Sketch
    similarity: float
    veto: Veto | None


class PairVerifier:
    """A logistic regression on hashed words: shared ones, those of one prompt alone, and which may stand for which.

    Args:
        weights: shape [columns + 3], of the columns, of one, of the similarity and of its square.
    """

    def __init__(self, weights: Weights) -> None:
        if weights.shape != (_COLUMNS + _NUMBERS,):
            raise ValueError(f"weights of shape {weights.shape}")
        self.weights = weights
        self._listed: list[float] = weights.tolist()

    def opinion(self, pair: Compared) -> float:
        """A quarter of the log-odds of the answer being right, within -2 and 2."""
        listed, numbers = self._listed, _numbers(pair.similarity)
        known = math.fsum(map(listed.__getitem__, _columns(pair)))
        known += math.fsum(weight * value for weight, value in zip(listed[_COLUMNS:], numbers, strict=True))
        return max(-_MOST, min(_MOST, _SCALE * known))


def trained(pairs: Sequence[Compared], same: Sequence[bool]) -> PairVerifier | None:
    """What pairs teach whose answers are known to be the same or not; None where they are too few or of one kind."""
    pairs, same = pairs[-_MOST_PAIRS:], same[-_MOST_PAIRS:]
    if len(pairs) < _LEAST_PAIRS or sum(same) in (0, len(same)):
        return None
    from scipy.sparse import csr_matrix, hstack  # here, as only a warm-up is worth their half second and 60 MB
    from sklearn.linear_model import LogisticRegression

    rows = [sorted(_columns(pair)) for pair in pairs]
    starts = np.cumsum([0, *map(len, rows)])
    words = csr_matrix((np.ones(starts[-1]), np.concatenate(rows), starts), (len(rows), _COLUMNS))
    numbers = csr_matrix([_numbers(pair.similarity) for pair in pairs])
    model = LogisticRegression(C=_PENALTY, max_iter=300, fit_intercept=False)
    model.fit(hstack([words, numbers]).tocsr(), np.array(same))
    return PairVerifier(model.coef_[0].astype(np.float32))


def _numbers(similarity: float) -> tuple[float, float, float]:
    return 1.0, 4 * (similarity - 0.75), 16 * (similarity - 0.75) ** 2


def _columns(pair: Compared) -> set[int]:
    asked, entry = pair.asked, pair.entry
    mine, its = set(asked.words), set(entry.words)
    both = mine & its
    mine -= both
    its -= both
    facts = [f"+{word}" for word in both]
    facts += [f"-{word}" for word in mine]
    facts += [f"-{word}" for word in its]
    if len(mine) * len(its) <= _MOST_EXCHANGES:
        facts += [f"{a}|{b}" if a < b else f"{b}|{a}" for a, b in product(mine, its)]
    facts.append(f"veto {pair.veto and pair.veto.name}")
    facts.append(f"apart {min(len(mine) + len(its), _MOST_APART)}")
    if asked.question != entry.question:
        facts.append(f"asks {'|'.join(sorted((asked.question, entry.question)))}")
    return {zlib.crc32(fact.encode(errors="surrogatepass")) % _COLUMNS for fact in facts}
