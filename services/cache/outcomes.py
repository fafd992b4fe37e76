"""What lookups ended with: counted since start, and remembered by id for the verdicts that follow."""

from collections import Counter

from services.cache.decision import Decline
from services.cache.entry import Entry
from services.cache.lookups import Lookups
from services.cache.query import Audit, Hit, MatchKind, Miss, Query


class Outcomes:
    """Makes and counts outcomes; the last `remembered` are known by the id of their lookup."""

    def __init__(self, remembered: int) -> None:
        self.lookups = Lookups(remembered)
        self.counts: Counter[MatchKind | None] = Counter()
        self.saved_nano_usd = 0
        self.audits = 0

    def hit(
        self, query: Query, entry: Entry, now_ns: int, kind: MatchKind, probability: float, similarity: float, why: str
    ) -> Hit:
        """An answer served."""
        self.counts[kind] += 1
        self.saved_nano_usd += entry.answer.cost_nano_usd or 0
        lookup_id = self.lookups.remember(query.partition.tenant, entry.sequence)
        return Hit(lookup_id, entry, kind, probability, similarity, now_ns - entry.create_ns, why)

    def audit(self, query: Query, entry: Entry, propensity: float, would_be_hit: bool, why: str) -> Audit:
        """An answer to be compared; one that would have been served counts as an audit."""
        self.counts[None] += 1
        self.audits += would_be_hit
        lookup_id = self.lookups.remember(query.partition.tenant, None)
        return Audit(lookup_id, entry, propensity, would_be_hit, why)

    def miss(self, query: Query, declined: Decline) -> Miss:
        """Nothing served."""
        self.counts[None] += 1
        lookup_id = self.lookups.remember(query.partition.tenant, None)
        return Miss(lookup_id, declined.reason, declined.explanation)
