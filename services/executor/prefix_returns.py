"""How often kept prefixes come back, learned as requests come: what a block earns from now on, by its kind and age."""

from bisect import bisect_right
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

AGES = 24  # classes of age, from 1/32 of the capacity on, each wider than the last by a factor of the root of two
_HISTORY = 4  # capacities
_MOST_ENTRIES = 32_768
_FADING = 0.98  # of all counts, each time that they are weighed
_PRIOR = 20.0  # blocks of a kind that say as much as all kinds together
_LEAST_NEWS = 256


class Seen(NamedTuple):
    """A block's last use: when, as what kind, and how many turns its conversation had when it was new."""

    use: float
    kind: int
    turn: int


class Returns:
    """Follows a sample of blocks, kept or not, from one use to the next.

    A block's worth is the most hits for a unit of capacity and time that any length of further keeping promises (the
    Gittins index; hit density in LHD, Beckmann et al., NSDI 2018), by hazards of return that are estimated from uses
    that came back, that did not within the history, and that are still open.

    Args:
        kinds: blocks are of the kinds [0, kinds).
        capacity: blocks that are kept; ages are in blocks that were asked for.
    """

    def __init__(self, kinds: int, capacity: int) -> None:
        first = max(capacity / 32, 1.0)
        self._edges = [first * 2 ** (step / 2) for step in range(AGES - 1)]
        self._widths = np.diff([0.0, *self._edges, self._edges[-1] * 2**0.5])
        sample = 2
        while _HISTORY * 2 * capacity > sample * _MOST_ENTRIES:
            sample *= 2
        self._mask = sample - 1
        self._limit = max(_HISTORY * 2 * capacity // sample, 64)
        self._history: OrderedDict[int, Seen] = OrderedDict()
        self._returned = np.zeros((kinds, AGES))
        self._lost = np.zeros((kinds, AGES))
        self._worth: list[list[float]] = np.zeros((kinds, AGES)).tolist()
        self._news = 0

    def seen(self, identity: int) -> Seen | None:
        """The last use of a block; None where it is not followed."""
        return None if identity & self._mask else self._history.get(identity)

    def use(self, identity: int, now: Seen, grown: bool) -> None:
        """A block is used; `grown`: by a request that used it before, so that it did not come back."""
        if identity & self._mask:
            return
        before = self._history.pop(identity, None)
        if before and not grown:
            self._returned[before.kind, self._age(now.use - before.use)] += 1
        if len(self._history) == self._limit:
            _, lost = self._history.popitem(last=False)
            self._lost[lost.kind, self._age(now.use - lost.use)] += 1
        self._history[identity] = now
        self._news += 1
        if self._news >= max(len(self._history) // 8, _LEAST_NEWS):
            self._weigh(now.use)

    def worth(self, kind: int, age: float) -> float:
        """Hits for a unit of capacity and time; 0 before anything was learned."""
        return self._worth[kind][self._age(age)]

    def _age(self, age: float) -> int:
        return bisect_right(self._edges, age)

    def _weigh(self, now: float) -> None:
        self._news = 0
        self._returned *= _FADING
        self._lost *= _FADING
        kinds = [seen.kind for seen in self._history.values()]
        ages = np.searchsorted(self._edges, now - np.array([seen.use for seen in self._history.values()]), "right")
        still = np.bincount(np.array(kinds) * AGES + ages, minlength=self._lost.size).reshape(self._lost.shape)
        self._worth = _densities(_hazards(self._returned, self._lost + still), self._widths).tolist()


def _hazards(returned: NDArray[np.float64], ended: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability `[kind, age]` to return within an age of those who reach it; `ended` did not, so far as is known."""
    passed = returned + ended
    reached = np.cumsum(passed[:, ::-1], axis=1)[:, ::-1] - passed / 2
    common = returned.sum(axis=0) / (reached.sum(axis=0) + 1)
    hazards: NDArray[np.float64] = np.minimum((returned + _PRIOR * common) / (reached + _PRIOR), 1.0)
    return hazards


def _densities(hazards: NDArray[np.float64], widths: NDArray[np.float64]) -> NDArray[np.float64]:
    """The best hits over time `[kind, age]` of those who reach an age, over all ages to keep them to."""
    alive, hits, spent = np.ones_like(hazards), np.zeros_like(hazards), np.zeros_like(hazards)
    best = np.zeros_like(hazards)
    for ahead in range(AGES):
        begin = slice(AGES - ahead)  # those ages that have one so far ahead
        hazard, left = hazards[:, ahead:], alive[:, begin]
        hits[:, begin] += left * hazard
        spent[:, begin] += left * (1 - hazard / 2) * widths[ahead:]
        best[:, begin] = np.maximum(best[:, begin], hits[:, begin] / spent[:, begin])
        alive[:, begin] = left * (1 - hazard)
    return best
