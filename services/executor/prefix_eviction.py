"""Which kept block goes when room is needed: of those above their share, the one that promises the fewest hits."""

from collections.abc import Sequence

from services.executor.idle_blocks import IdleBlocks
from services.executor.prefix_returns import Returns, Seen
from services.executor.prefix_shares import giving_way
from services.executor.prefix_tree import Block

_TURNS = 5  # the last stands for all above
_LENGTHS = 8  # of what is new of a prompt, in blocks: each twice the last
_KINDS = _TURNS * _LENGTHS * 4
_LAST, _CAME_BACK = 1, 2  # bits of a kind


class LeastWorth:
    """Learns which kinds of prompts come back, and when, from those that did; until then it is LRU.

    A kind is: the turns of the conversation, how much of the prompt was new, whether the block came back already, and
    whether it was the prompt's last. Among the kinds, the block used longest ago stands for the others of its kind.
    Kinds are learned across tenants; whose blocks are compared is said by `giving_way`.

    Args:
        capacity: of the tree, in blocks.
    """

    def __init__(self, capacity: int) -> None:
        self._returns = Returns(_KINDS, capacity)
        self._capacity = capacity
        self._tenants: dict[Block, dict[int, IdleBlocks]] = {}  # by root, and then by kind
        self._now = 0.0  # blocks that were asked for
        # The rest of what was chosen is worth as little, down to what its tenant keeps.
        self._going: tuple[IdleBlocks, float, float] | None = None

    def used(self, path: Sequence[Block]) -> None:
        """See Eviction. A use counts once it is over."""

    def added(self, path: Sequence[Block], kept: int, grown: bool) -> None:
        """See Eviction."""
        self._now += len(path)
        self._going = None
        if path:
            path[0].root.last_use = self._now
        known, turn = self._identify(path, kept)
        if known < len(path) and not grown:
            turn += 1
        prompt = (min(turn, _TURNS - 1) * _LENGTHS + _length(len(path) - known)) * 4
        if grown and kept:
            prompt = path[kept - 1].kind & ~(_LAST | _CAME_BACK)
        for index, block in enumerate(path):
            came_back = block.kind & _CAME_BACK if grown else _CAME_BACK * (index < known)
            if index >= kept:
                block.turn = turn
            block.kind = prompt + came_back + _LAST * (index == len(path) - 1)
            block.last_use = self._now
            self._returns.use(block.identity, Seen(self._now, block.kind, block.turn), grown)

    def offer(self, block: Block) -> None:
        """See Eviction."""
        self._tenants.setdefault(block.root, {}).setdefault(block.kind, IdleBlocks()).add(block)

    def withdraw(self, block: Block) -> None:
        """See Eviction."""
        idle = self._tenants.get(block.root, {}).get(block.kind)
        if idle:
            idle.discard(block)

    def choose(self, asking: Block) -> Block | None:
        """See Eviction."""
        if self._going:
            idle, last_use, keeps = self._going
            block = idle.oldest()
            if block and block.last_use == last_use and block.root.size > keeps:
                idle.discard(block)
                return block
        self._going = None
        self._tenants = {root: kinds for root, kinds in self._tenants.items() if root.size}
        rivals = giving_way(self._tenants, asking, self._now, self._capacity)
        kinds = (idle for tenant in rivals for idle in self._tenants.get(tenant, {}).values())
        chosen = min((block for idle in kinds if (block := idle.oldest())), key=self._worth, default=None)
        if chosen:
            self._going = self._tenants[chosen.root][chosen.kind], chosen.last_use, rivals[chosen.root]
            self.withdraw(chosen)
        return chosen

    def _worth(self, block: Block) -> tuple[float, float]:
        return self._returns.worth(block.kind, self._now - block.last_use), block.last_use

    def _identify(self, path: Sequence[Block], kept: int) -> tuple[int, int]:
        """Names new blocks; returns how many of the path were used before, kept or not, and the last one's turn."""
        known, turn = kept, path[kept - 1].turn if kept else 0
        for index in range(kept, len(path)):
            block = path[index]
            block.identity = hash((block.parent.identity if block.parent else 0, block.key))
            seen = self._returns.seen(block.identity)
            if seen:
                known, turn = index + 1, max(turn, seen.turn)
        return known, turn


def _length(blocks: int) -> int:
    return min(blocks.bit_length(), _LENGTHS - 1)
