"""Tells whether the file's indexes have the entries that its rows have, at which SQLite's quick check does not look."""

from collections import Counter

from services.cache.session import Session
from services.chassis.errors import Unavailable

_ONE = 1 << 70  # beyond every sum of sequences
_SUMS = "count(*), coalesce(sum(sequence), 0) FROM entries INDEXED BY"
_BY_PARTITION = f"SELECT tenant, fingerprint, {_SUMS} entries_by_partition GROUP BY tenant, fingerprint"
_BY_AGE = f"SELECT tenant, {_SUMS} entries_by_age GROUP BY tenant"


class Tally:
    """Counts rows, and sums their sequences, by tenant and fingerprint."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, bytes], int] = {}

    def saw(self, where: tuple[str, bytes], sequence: int) -> None:
        """Takes in a row of a tenant and fingerprint."""
        self._rows[where] = self._rows.get(where, 0) + _ONE + sequence

    def agrees(self, session: Session) -> bool:
        """Whether the indexes by which entries are listed, purged and searched hold these rows and no others."""
        tenants: Counter[str] = Counter()
        for (tenant, _), number in self._rows.items():
            tenants[tenant] += number
        try:
            by_partition = {(*where,): count * _ONE + total for *where, count, total in session.rows(_BY_PARTITION)}
            by_age = {tenant: count * _ONE + total for tenant, count, total in session.rows(_BY_AGE)}
        except Unavailable:  # they cannot even be read
            return False
        return by_partition == self._rows and by_age == tenants
