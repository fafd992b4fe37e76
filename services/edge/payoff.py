"""Whether asking a model first pays, by what its answers cost and what those that were kept spared."""

from dataclasses import dataclass

MOST_LOST = 10.0  # answers of the strong model that a pair may cost more than it spares, counted from its best moment
MOST_UNTOLD = 3  # answers in a row without probabilities, which nobody can assess
PAUSE_S = 3600.0
_LOSES = "its answers cost more than those that were kept spared"
_UNTOLD = "nothing tells how sure it was of its answers, so that nobody can assess them"
_TRIED_AGAIN = 1.0  # answers of the strong model that a pair which comes back may lose before it goes again


@dataclass(slots=True)
class Payoff:
    """The books of one pair: a model that is asked first, and the strong model after it. Monotonic seconds.

    A pair that loses more than `MOST_LOST`, or whose first model does not tell how sure it was, is set aside for
    `PAUSE_S`; then it is tried again, and goes sooner. `lost` is counted as by Page's rule (1954): it never falls below
    zero, so that what was spared long ago hides no loss of today.
    """

    answers: int = 0
    kept: int = 0
    expected_kept: float = 0.0
    cost: float = 0.0  # of the first model's answers, in answers of the strong model
    lost: float = 0.0
    untold: int = 0  # in a row
    times_set_aside: int = 0
    because: str = ""  # why it was set aside the last time
    _until: float = 0.0

    def is_set_aside(self, now: float) -> bool:
        """Whether the strong model is asked at once."""
        return now < self._until

    def paid(self, share: float, kept: bool, expected_kept: float, now: float) -> bool:
        """Books an answer that cost such a share of the strong model's; tells whether that sets the pair aside."""
        self.answers, self.kept = self.answers + 1, self.kept + kept
        self.expected_kept, self.cost = self.expected_kept + expected_kept, self.cost + share
        self.lost = max(0.0, self.lost + share - kept)
        return self.lost >= MOST_LOST and self._set_aside(now, _LOSES)

    def told(self, certainty: bool, now: float) -> bool:
        """Books whether probabilities came with an answer; tells whether that sets the pair aside."""
        self.untold = 0 if certainty else self.untold + 1
        return self.untold >= MOST_UNTOLD and self._set_aside(now, _UNTOLD)

    def _set_aside(self, now: float, because: str) -> bool:
        """What was under way when it was set aside changes nothing."""
        if self.is_set_aside(now):
            return False
        self.lost, self.untold = min(self.lost, MOST_LOST - _TRIED_AGAIN), min(self.untold, MOST_UNTOLD - 1)
        self._until, self.times_set_aside, self.because = now + PAUSE_S, self.times_set_aside + 1, because
        return True
