"""A scope's challenger: its scorer with a verifier's opinion beside the evidence, in charge once it has won there."""

from collections.abc import Sequence
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from services.cache.contest import Contest
from services.cache.pair_verifier import Compared, PairVerifier
from services.cache.scorer import Scorer

_HOPELESS = 0.9  # doubt of the scope's own scorer from which no opinion is asked for
_UNKNOWN = 0.0  # the opinion on verdicts from before there was a verifier


class VerifierStanding(Enum):
    """Where a scope's verifier of pairs stands."""

    NONE = "none"
    CHALLENGES = "challenges"
    DECIDES = "decides"


class Challenger:
    """Learns from the verdicts that `own`, the scope's scorer, learns from, with one feature more.

    Its opinions are worked out as verdicts come; a lookup asks for one only where the challenger leads. While it
    does, a `successor` challenges it in its turn.

    Args:
        verifier: whose opinions they are.
        own: the scope's scorer, whose verdicts it starts with.
        opinions: of these verdicts, oldest first; not known where None.

    Raises ValueError for another number of opinions.
    """

    def __init__(self, verifier: PairVerifier, own: Scorer, opinions: NDArray[np.float32] | None = None) -> None:
        known = own.arrays()
        beside = np.full(len(known["rows"]), _UNKNOWN, np.float32) if opinions is None else opinions
        rows = np.column_stack([known["rows"], beside])
        self.verifier = verifier
        self.contest = Contest()
        self.successor: Challenger | None = None
        self._scorer = Scorer(rows.shape[1])
        self._scorer.restore(own.count, rows, known["right"], known["weights"])

    def doubt(self, own: float, features: Sequence[float], pair: Compared) -> float:
        """The estimate of a candidate being wrong, which the scope's scorer doubts by `own`."""
        return self._doubt(own, features, self.verifier.opinion(pair)) if own < _HOPELESS else own

    def learn(
        self, own: float | None, features: Sequence[float], pair: Compared | None, right: bool, weight: float
    ) -> None:
        """Takes a verdict; where the scope's scorer doubts by `own`, it counts in the contest too.

        A candidate from before there was a verifier has no `pair`.
        """
        opinion = _UNKNOWN if pair is None else self.verifier.opinion(pair)
        mine = None if own is None else self._doubt(own, features, opinion)
        if self.successor:
            self.successor.learn(mine, features, pair, right, weight)
        if own is not None and mine is not None:
            self.contest.judged(own, mine, right, weight)
        self._scorer.learn((*features, opinion), right, weight)

    @property
    def foremost(self) -> "Challenger":
        """Who has its place from now on: a successor that has won, or that has the scope's scorer alone before it."""
        if self.successor is None or (self.contest.leads and not self.successor.contest.leads):
            return self
        if not self.successor.contest.leads:
            self.successor.contest = Contest()
        return self.successor

    @property
    def opinions(self) -> NDArray[np.float32]:
        """Of the verdicts that it knows, oldest first."""
        return self._scorer.arrays()["rows"][:, -1]

    def _doubt(self, own: float, features: Sequence[float], opinion: float) -> float:
        return 1 - self._scorer.probability((*features, opinion)) if own < _HOPELESS else own
