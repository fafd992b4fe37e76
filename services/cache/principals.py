"""What each principal of a tenant has earned and used up: standing by confirmed entries, inserts by the hour."""

from collections import Counter

from services.cache.entry import Standing
from services.cache.record import Record

_HOUR_NS = 3600 * 10**9


class Principals:
    """Counts by tenant and principal over the entries that are there, and inserts of the hour under way."""

    def __init__(self) -> None:
        self._confirmed: Counter[tuple[str, str]] = Counter()
        self._inserts: Counter[tuple[str, str]] = Counter()
        self._hour = -1

    def confirmed(self, tenant: str, principal: str) -> int:
        """Entries of the principal that were confirmed."""
        return self._confirmed[tenant, principal]

    def inserts(self, tenant: str, principal: str, now_ns: int) -> int:
        """Entries that the principal caused in the hour, by the clock, that `now_ns` lies in."""
        return self._inserts[tenant, principal] if now_ns // _HOUR_NS == self._hour else 0

    def added(self, record: Record) -> None:
        """Counts an entry taken in."""
        who = record.partition.tenant, record.principal
        if record.standing is Standing.CONFIRMED:
            self._confirmed[who] += 1
        hour = record.create_ns // _HOUR_NS
        if hour > self._hour:
            self._inserts.clear()
            self._hour = hour
        if hour == self._hour:
            self._inserts[who] += 1

    def confirm(self, record: Record) -> None:
        """Counts an entry that was confirmed just now."""
        self._confirmed[record.partition.tenant, record.principal] += 1

    def removed(self, record: Record) -> None:
        """Counts an entry that is gone; it stays an insert."""
        if record.standing is Standing.CONFIRMED:
            who = record.partition.tenant, record.principal
            self._confirmed[who] -= 1
            if not self._confirmed[who]:
                del self._confirmed[who]
