"""Which slots of the KV memory are free."""

import heapq


class Slots:
    """Numbers below `count`, each held by one conversation at most; the lowest free one goes first, so that passes over
    the first slots stay short."""

    def __init__(self, count: int) -> None:
        self._free = list(range(count))
        self.count = count

    @property
    def free(self) -> int:
        """How many are free."""
        return len(self._free)

    def take(self) -> int:
        """A free one; there must be one."""
        return heapq.heappop(self._free)

    def give(self, slot: int) -> None:
        """Frees one that was taken."""
        heapq.heappush(self._free, slot)
