"""Decides whether a similar prompt's answer may be served: the place of the risk controller."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Protocol

from services.cache.entry import Entry
from services.cache.sketch import sketch
from services.cache.vetoes import veto

# Measured by benchmarks/cache_rule.py at similarity 0.8 with all-MiniLM-L6-v2 in fp32.
# Wrong of all requests when development traffic is replayed in random order, the same intent counting as right: 7 of
# 10,003 (banking77, train part) and 7 of 18,200 (CLINC150, half); this is the upper end of the first one's 95 %
# interval, rounded up. A caller who allows less gets no semantic hit.
MEASURED_WRONG_SHARE = 0.0015
# (similarity from, share that was right) of unvetoed nearest neighbours: isotonic regression with equal weight for 665
# Quora question pairs (half of QQP), 360 banking77 and 1,343 CLINC150 neighbours, rounded down, and steps of fewer than
# 20 neighbours left out.
MEASURED_PRECISION = ((0.0, 0.0), (0.8, 0.95), (0.924, 0.98))

_SKETCHES = 4096


class MissReason(Enum):
    """Why nothing was served."""

    EMPTY = "empty"
    NOT_EXACT = "not exact"
    NOT_NEAR = "not near"
    VETOED = "vetoed"
    TRUNCATED = "truncated"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An entry near a prompt; `similarity` is the cosine of their embeddings."""

    entry: Entry
    similarity: float


@dataclass(frozen=True, slots=True)
class Serve:
    """Serve this neighbour, which is right with this estimated probability."""

    neighbour: Neighbour
    probability: float


@dataclass(frozen=True, slots=True)
class Decline:
    """Serve nothing, and why."""

    reason: MissReason
    explanation: str


class Decision(Protocol):
    """What turns neighbours into an outcome."""

    def decide(self, text: str, neighbours: Sequence[Neighbour], max_wrong_share: float) -> Serve | Decline:
        """Serves one neighbour or none, wrong in at most `max_wrong_share` of all requests; nearest come first."""
        ...


class FixedRule:
    """Serves the nearest entry from a similarity on, unless a veto speaks against it."""

    def __init__(self, min_similarity: float) -> None:
        self._min_similarity = min_similarity
        self._sketch = lru_cache(_SKETCHES)(sketch)

    def decide(self, text: str, neighbours: Sequence[Neighbour], max_wrong_share: float) -> Serve | Decline:
        """The first near neighbour without a veto."""
        if max_wrong_share < MEASURED_WRONG_SHARE:
            explanation = f"similar prompts are served from a bound of {MEASURED_WRONG_SHARE} on"
            return Decline(MissReason.NOT_NEAR, explanation)
        if not neighbours:
            return Decline(MissReason.NOT_NEAR, "no entry has an embedding to compare with")
        nearest = neighbours[0].similarity
        if nearest < self._min_similarity:
            explanation = f"nearest {nearest:.3f}, served from {self._min_similarity:.3f}"
            return Decline(MissReason.NOT_NEAR, explanation)
        asked, first = self._sketch(text), None
        for neighbour in neighbours:
            if neighbour.similarity < self._min_similarity:
                break
            against = veto(asked, self._sketch(neighbour.entry.text))
            if against is None:
                return Serve(neighbour, precision(neighbour.similarity))
            first = first or against
        return Decline(MissReason.VETOED, f"nearest {nearest:.3f}, but {first.value if first else ''}")


def precision(similarity: float) -> float:
    """The measured share of right answers at a similarity."""
    place = bisect_right(MEASURED_PRECISION, (similarity, 1.0)) - 1
    return MEASURED_PRECISION[max(place, 0)][1]
