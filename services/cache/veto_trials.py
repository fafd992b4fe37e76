"""Puts each kind of veto on trial within a scope: it stands until the scope's own verdicts speak against it."""

from services.cache.vetoes import Veto

_FADE = 0.99  # of older verdicts with each new one
_LEAST = 26.0  # faded verdicts on candidates that only this veto kept from being served: 30 plain ones
_MOST_WRONG = 0.05


class VetoTrials:
    """Faded counts of right and wrong verdicts by kind of veto."""

    def __init__(self) -> None:
        self.counts: dict[Veto, tuple[float, float]] = {}

    def judged(self, kind: Veto, right: bool) -> None:
        """Takes a verdict on a candidate that only this veto kept, or would have kept, from being served."""
        good, bad = self.counts.get(kind, (0.0, 0.0))
        self.counts[kind] = (_FADE * good + right, _FADE * bad + (not right))

    def lifted(self, kind: Veto) -> bool:
        """Whether the veto has lost: enough verdicts, and of those so few wrong that it only costs hits."""
        good, bad = self.counts.get(kind, (0.0, 0.0))
        total = good + bad
        return total >= _LEAST and bad <= _MOST_WRONG * total
