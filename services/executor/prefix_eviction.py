"""Which kept prefix goes first when room is needed."""

import heapq
from collections.abc import Sequence
from itertools import count

from services.executor.prefix_tree import Block


class IdleBlocks:
    """Offered blocks, least recently used first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Block]] = []
        self._numbers = count()
        self._entries: dict[Block, int] = {}  # the number of each block's entry; others of the heap are void

    def add(self, block: Block) -> None:
        """Takes a block that is not here, by its `use`."""
        self._entries[block] = number = next(self._numbers)
        heapq.heappush(self._heap, (block.use, number, block))
        if len(self._heap) > 64 + 2 * len(self._entries):
            self._heap = [entry for entry in self._heap if self._entries.get(entry[2]) == entry[1]]
            heapq.heapify(self._heap)

    def discard(self, block: Block) -> None:
        """Gives a block up, if it is here."""
        self._entries.pop(block, None)

    def oldest(self) -> Block | None:
        """The block used longest ago, if any."""
        while self._heap:
            _, number, block = self._heap[0]
            if self._entries.get(block) == number:
                return block
            heapq.heappop(self._heap)
        return None


class LeastRecentlyUsed:
    """Evicts what was used longest ago, the ends of prefixes first."""

    def __init__(self) -> None:
        self._idle = IdleBlocks()
        self._requests = 0

    def used(self, path: Sequence[Block]) -> None:
        """See Eviction."""
        self._requests += 1
        for block in path:
            block.use = self._requests

    def added(self, path: Sequence[Block], kept: int) -> None:
        """See Eviction."""
        self.used(path)

    def offer(self, block: Block) -> None:
        """See Eviction."""
        self._idle.add(block)

    def withdraw(self, block: Block) -> None:
        """See Eviction."""
        self._idle.discard(block)

    def choose(self) -> Block | None:
        """See Eviction."""
        block = self._idle.oldest()
        if block:
            self._idle.discard(block)
        return block
