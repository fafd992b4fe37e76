"""What may be decided about a similar prompt's answer, and what the rule for new scopes was measured to get right."""

from bisect import bisect_right
from enum import Enum
from typing import NamedTuple

from services.cache.entry import Entry

# Measured by benchmarks/cache_rule.py at similarity 0.8 with all-MiniLM-L6-v2 in fp32.
# Wrong of all requests when development traffic is replayed in random order, the same intent counting as right: 7 of
# 10,003 (banking77, train part) and 7 of 18,200 (CLINC150, half); this is the upper end of the first one's 95 %
# interval, rounded up. A caller who allows less gets no semantic hit.
MEASURED_WRONG_SHARE = 0.0015
# (similarity from, share that was right) of unvetoed nearest neighbours: isotonic regression with equal weight for 665
# Quora question pairs (half of QQP), 360 banking77 and 1,343 CLINC150 neighbours, rounded down, and steps of fewer than
# 20 neighbours left out.
MEASURED_PRECISION = ((0.0, 0.0), (0.8, 0.95), (0.924, 0.98))


class MissReason(Enum):
    """Why nothing was served."""

    EMPTY = "empty"
    NOT_EXACT = "not exact"
    NOT_NEAR = "not near"
    VETOED = "vetoed"
    BRAKED = "braked"
    TRUNCATED = "truncated"
    LANGUAGE = "language"


class Neighbour(NamedTuple):
    """An entry near a prompt; `similarity` is the cosine of their embeddings."""

    entry: Entry
    similarity: float


class Serve(NamedTuple):
    """Serve this neighbour, which is right with this estimated probability."""

    neighbour: Neighbour
    probability: float
    explanation: str


class Check(NamedTuple):
    """Serve nothing; once the request is executed, a verdict on this neighbour's answer is wanted.

    `propensity` is the probability with which the request was to be executed: 1 for a near miss, and for a would-be hit
    where all of them are executed.
    """

    neighbour: Neighbour
    propensity: float
    would_be_hit: bool
    explanation: str


class Decline(NamedTuple):
    """Serve nothing, and why."""

    reason: MissReason
    explanation: str


def precision(similarity: float) -> float:
    """The measured share of right answers at a similarity."""
    place = bisect_right(MEASURED_PRECISION, (similarity, 1.0)) - 1
    return MEASURED_PRECISION[max(place, 0)][1]
