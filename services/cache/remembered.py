"""What lookups left behind for the verdicts that follow: so much in all, of which each tenant has a share."""

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """The last `capacity` values by tenant and id. A tenant beyond an equal share of them forgets its own oldest;
    for one within its share, whoever has the most does."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._count = 0
        self._by_tenant: dict[str, OrderedDict[str, T]] = {}

    def put(self, tenant: str, key: str, value: T) -> None:
        """Adds a value under a new key, or replaces the one that is there."""
        known = self._by_tenant.get(tenant)
        if known is None:
            known = self._by_tenant[tenant] = OrderedDict()
        self._count += key not in known
        known[key] = value
        if self._count > self.capacity:
            self._forget(tenant, known)

    def get(self, tenant: str, key: str) -> T | None:
        """A value of this tenant's; None where it is forgotten, or another's."""
        known = self._by_tenant.get(tenant)
        return None if known is None else known.get(key)

    def pop(self, tenant: str, key: str) -> T:
        """Takes out a value that is there."""
        known = self._by_tenant[tenant]
        self._count -= 1
        value = known.pop(key)
        if not known:
            del self._by_tenant[tenant]
        return value

    def drop(self, tenant: str) -> None:
        """Forgets all of a tenant's."""
        self._count -= len(self._by_tenant.pop(tenant, ()))

    def _forget(self, tenant: str, known: OrderedDict[str, T]) -> None:
        if len(known) * len(self._by_tenant) <= self.capacity:
            tenant, known = max(self._by_tenant.items(), key=lambda item: len(item[1]))
        self.pop(tenant, next(iter(known)))
