"""Kept blocks that may be evicted, least recently used first."""

import heapq
from itertools import count

from services.executor.prefix_tree import Block

_VOID_ENTRIES = 64


class IdleBlocks:
    """Everything here takes logarithmic time at most, one call with another."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Block]] = []
        self._numbers = count()
        self._entries: dict[Block, int] = {}  # the number of each block's entry; others of the heap are void

    def add(self, block: Block) -> None:
        """Takes a block that is not here, by its `last_use`."""
        self._entries[block] = number = next(self._numbers)
        heapq.heappush(self._heap, (block.last_use, number, block))
        if len(self._heap) > _VOID_ENTRIES + 2 * len(self._entries):
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
