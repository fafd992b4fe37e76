"""The lookups made lately, so that a verdict can find the entry it is about."""

import secrets
from collections import OrderedDict

from services.chassis.errors import NotFound


class Lookups:
    """The last `capacity` lookups by id; the oldest is forgotten first, all of them when the process ends."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._made: OrderedDict[str, tuple[str, int | None]] = OrderedDict()

    def remember(self, tenant: str, sequence: int | None) -> str:
        """The id of a new lookup that served the entry `sequence`, or none."""
        lookup_id = secrets.token_hex(12)  # not to be guessed: who knows it may judge the answer
        self._made[lookup_id] = (tenant, sequence)
        if len(self._made) > self._capacity:
            self._made.popitem(last=False)
        return lookup_id

    def entry_of(self, tenant: str, lookup_id: str) -> int | None:
        """The entry served or stored under a lookup of this tenant; None where there was none.

        Raises:
            NotFound: the tenant made no such lookup, or it is forgotten.
        """
        known = self._made.get(lookup_id)
        if known is None or known[0] != tenant:
            raise NotFound("lookup_id", lookup_id, f"an id from one of the last {self._capacity} of Lookup")
        return known[1]

    def stored(self, tenant: str, lookup_id: str, sequence: int) -> None:
        """Notes which entry was stored after a miss; a lookup that is unknown or another tenant's is let be."""
        known = self._made.get(lookup_id)
        if known is not None and known[0] == tenant:
            self._made[lookup_id] = (tenant, sequence)
