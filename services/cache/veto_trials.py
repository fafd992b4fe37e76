"""Puts each kind of veto on trial within a partition: it stands until the partition's own verdicts speak against it."""

from services.cache.vetoes import Veto

_FADE = 0.99  # of older verdicts with each new one
_LEAST = 26.0  # faded verdicts on candidates that only this veto kept from being served: 30 plain ones
_MOST_WRONG = 0.05
_MOST_PARTITIONS = 256  # the one judged longest ago is forgotten first, and its vetoes stand again


class VetoTrials:
    """Faded counts of right and wrong verdicts by kind of veto, apart for each fingerprint of a partition."""

    def __init__(self) -> None:
        self.counts: dict[bytes, dict[Veto, tuple[float, float]]] = {}

    def judged(self, fingerprint: bytes, kind: Veto, right: bool) -> None:
        """Takes a verdict on a candidate that only this veto kept, or would have kept, from being served."""
        known = self.counts[fingerprint] = self.counts.pop(fingerprint, {})
        good, bad = known.get(kind, (0.0, 0.0))
        known[kind] = (_FADE * good + right, _FADE * bad + (not right))
        if len(self.counts) > _MOST_PARTITIONS:
            del self.counts[next(iter(self.counts))]

    def lifted(self, fingerprint: bytes, kind: Veto) -> bool:
        """Whether the veto has lost: enough verdicts, and of those so few wrong that it only costs hits."""
        good, bad = self.counts.get(fingerprint, {}).get(kind, (0.0, 0.0))
        total = good + bad
        return total >= _LEAST and bad <= _MOST_WRONG * total
