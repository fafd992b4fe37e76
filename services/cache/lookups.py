"""The lookups made lately, so that a verdict can find the entry it is about."""

import os

from services.cache.remembered import Remembered
from services.chassis.errors import NotFound

_NONE = -1  # no entry: nothing was served, or nothing is stored yet


class Lookups:
    """The last `capacity` lookups by id; all of them are forgotten when the process ends."""

    def __init__(self, capacity: int) -> None:
        self._made = Remembered[int](capacity)

    def remember(self, tenant: str, sequence: int | None) -> str:
        """The id of a new lookup that served the entry `sequence`, or none."""
        lookup_id = os.urandom(12).hex()  # not to be guessed: who knows it may judge the answer
        self._made.put(tenant, lookup_id, _NONE if sequence is None else sequence)
        return lookup_id

    def entry_of(self, tenant: str, lookup_id: str) -> int | None:
        """The entry served or stored under a lookup of this tenant; None where there was none.

        Raises:
            NotFound: the tenant made no such lookup, or it is forgotten.
        """
        known = self._made.get(tenant, lookup_id)
        if known is None:
            raise NotFound("lookup_id", lookup_id, f"an id from one of the last {self._made.capacity} of Lookup")
        return None if known == _NONE else known

    def stored(self, tenant: str, lookup_id: str, sequence: int) -> None:
        """Notes which entry was stored after a miss; a lookup that is unknown or another tenant's is let be."""
        if self._made.get(tenant, lookup_id) is not None:
            self._made.put(tenant, lookup_id, sequence)
