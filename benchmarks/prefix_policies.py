"""What the executor's eviction is measured against, on the same tree: LRU, S3-FIFO and Belady's rule."""

import heapq
from bisect import bisect_right
from collections import OrderedDict, defaultdict
from collections.abc import Sequence

from services.executor.idle_blocks import IdleBlocks
from services.executor.prefix_tree import Block


class LeastRecentlyUsed:
    """Evicts what was used longest ago, the ends of prefixes first."""

    def __init__(self) -> None:
        self._idle = IdleBlocks()
        self._requests = 0

    def used(self, path: Sequence[Block]) -> None:
        self._requests += 1
        for block in path:
            block.last_use = self._requests

    def added(self, path: Sequence[Block], kept: int, grown: bool) -> None:
        self.used(path)

    def offer(self, block: Block) -> None:
        self._idle.add(block)

    def withdraw(self, block: Block) -> None:
        self._idle.discard(block)

    def choose(self, asking: Block) -> Block | None:
        block = self._idle.oldest()
        if block:
            self._idle.discard(block)
        return block


class S3Fifo:
    """Yang et al., SOSP 2023: new blocks stand in a small queue; those used there, or missed soon, go to the main.

    `kind` is a block's queue, `turn` its uses (at most 3) and `last_use` its place in the queue. Keys must name whole
    prefixes, as those of a trace do. A queue's order is among the blocks that may go.
    """

    SMALL, MAIN = 0, 1

    def __init__(self, capacity: int) -> None:
        self._small_share = capacity // 10
        self._ghosts: OrderedDict[object, None] = OrderedDict()
        self._ghost_limit = capacity - self._small_share
        self._idle = (IdleBlocks(), IdleBlocks())
        self._sizes = [0, 0]
        self._entered = 0

    def used(self, path: Sequence[Block]) -> None:
        for block in path:
            block.turn = min(block.turn + 1, 3)

    def added(self, path: Sequence[Block], kept: int, grown: bool) -> None:
        for block in path[kept:]:
            ghost = block.key in self._ghosts
            self._ghosts.pop(block.key, None)
            self._enter(block, self.MAIN if ghost else self.SMALL)

    def offer(self, block: Block) -> None:
        self._idle[block.kind].add(block)

    def withdraw(self, block: Block) -> None:
        self._idle[block.kind].discard(block)

    def choose(self, asking: Block) -> Block | None:
        while True:
            small, main = (idle.oldest() for idle in self._idle)
            from_small = small and (self._sizes[self.SMALL] > self._small_share or not main)
            block = small if from_small else main
            if block is None:
                return None
            self._idle[block.kind].discard(block)
            self._sizes[block.kind] -= 1
            if from_small and block.turn > 1:
                block.turn = 0
            elif not from_small and block.turn:
                block.turn -= 1
            else:
                if from_small:
                    self._remember(block)
                return block
            self._enter(block, self.MAIN)
            self._idle[self.MAIN].add(block)

    def _enter(self, block: Block, queue: int) -> None:
        block.kind = queue
        self._entered += 1
        block.last_use = self._entered
        self._sizes[queue] += 1

    def _remember(self, block: Block) -> None:
        self._ghosts[block.key] = None
        if len(self._ghosts) > self._ghost_limit:
            self._ghosts.popitem(last=False)


class Belady:
    """Evicts what is needed again last, by looking at the requests to come; the bound that nobody can reach."""

    def __init__(self, requests: Sequence[Sequence[int]]) -> None:
        self._uses: dict[object, list[int]] = defaultdict(list)
        for number, keys in enumerate(requests):
            for key in keys:
                self._uses[key].append(number)
        self._now = -1
        self._heap: list[tuple[float, int, Block]] = []
        self._entries: dict[Block, int] = {}
        self._offers = 0

    def used(self, path: Sequence[Block]) -> None:
        self._now += 1

    def added(self, path: Sequence[Block], kept: int, grown: bool) -> None:
        pass

    def offer(self, block: Block) -> None:
        uses = self._uses[block.key]
        after = bisect_right(uses, self._now)
        self._offers += 1
        self._entries[block] = self._offers
        heapq.heappush(self._heap, (-uses[after] if after < len(uses) else -float("inf"), self._offers, block))

    def withdraw(self, block: Block) -> None:
        self._entries.pop(block, None)

    def choose(self, asking: Block) -> Block | None:
        while self._heap:
            _, number, block = heapq.heappop(self._heap)
            if self._entries.get(block) == number:
                del self._entries[block]
                return block
        return None
