"""Which prompt prefixes are kept and where: a radix tree over blocks of tokens, one for each tenant, in bounded memory.

It keeps books only: who owns the KV rows copies them in and out of the places that it names. Not safe across threads.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol


class Block:
    """One kept block, which stands for its whole prefix; a root for the empty one."""

    __slots__ = (
        "children",
        "identity",
        "key",
        "kind",
        "last_use",
        "leases",
        "parent",
        "place",
        "ready",
        "removed",
        "root",
        "size",
        "turn",
    )

    def __init__(self, key: Hashable, parent: "Block | None", place: int) -> None:
        self.key = key
        self.parent = parent
        self.place = place
        self.root: Block = parent.root if parent else self
        self.size = 0  # of a root: blocks kept or being filled below it
        self.children: dict[Hashable, Block] = {}
        self.leases = 0  # of those that end here
        self.ready = False
        self.removed = False
        # The eviction's own: when it was last used, as what, in which turn it was new, and a name of its whole prefix.
        self.last_use = 0.0
        self.kind = 0
        self.turn = 0
        self.identity = hash(key) if parent is None else 0

    @property
    def idle(self) -> bool:
        """Whether neither a lease nor a longer prefix holds it."""
        return not self.leases and not self.children


class Eviction(Protocol):
    """Decides which block goes when room is needed."""

    def used(self, path: Sequence[Block]) -> None:
        """A request begins with these kept blocks, in order from the first."""

    def added(self, path: Sequence[Block], kept: int, grown: bool) -> None:
        """A request's blocks in order, of which the first `kept` were there and the others are new; see `insert`."""

    def offer(self, block: Block) -> None:
        """A block became idle: it may go."""

    def withdraw(self, block: Block) -> None:
        """A block may not go, whether or not it was offered."""

    def choose(self, asking: Block) -> Block | None:
        """Which of the offered blocks goes, as it does at once, for one more below the root `asking`; None where none
        may go for it."""


@dataclass(frozen=True, slots=True, eq=False)
class Lease:
    """A sequence's first blocks in order, none of which is evicted or refilled before the lease is returned.

    Those from index `kept` on are new: their holder fills them, and nobody else sees them before it has.
    """

    blocks: tuple[Block, ...]
    kept: int

    @property
    def places(self) -> tuple[int, ...]:
        """One for each block, in [0, capacity)."""
        return tuple(block.place for block in self.blocks)


class PrefixTree:
    """Sequences of block keys under a salt, which keeps tenants apart: equal keys under two salts share nothing.

    Every lease must be returned once, by `release` or `abandon`. `match` and `insert` take time in the length of the
    sequence, whatever else is kept.

    Args:
        capacity: most blocks to keep.
        eviction: used by this tree alone.
    """

    def __init__(self, capacity: int, eviction: Eviction) -> None:
        self._capacity = capacity
        self._eviction = eviction
        self._free = list(reversed(range(capacity)))
        self._roots: dict[Hashable, Block] = {}

    def __len__(self) -> int:
        """Blocks that are kept or being filled."""
        return self._capacity - len(self._free)

    def match(self, salt: Hashable, keys: Sequence[Hashable]) -> Lease:
        """Leases the longest kept prefix of `keys`, which may be empty."""
        path = self._walk(self._roots.get(salt), keys)
        self._eviction.used(path)
        return self._lease(path, len(path))

    def insert(self, salt: Hashable, keys: Sequence[Hashable], grown: bool = False) -> Lease:
        """Leases the longest prefix of `keys` that finds room, evicting others for it; new blocks are to be filled.

        It ends before a block that another lease is filling. `grown`: the same request was inserted before, and has
        more blocks now; that is not another use.
        """
        root = self._roots.setdefault(salt, Block(salt, None, -1))
        path = self._walk(root, keys)
        kept = len(path)
        end = path[-1] if path else root
        self._hold(end)  # lest it goes to make room for what follows it
        if kept < len(keys) and keys[kept] not in end.children:
            path += self._grow(end, keys[kept:])
        self._eviction.added(path, kept, grown)
        lease = self._lease(path, kept)
        self._let_go(end)
        return lease

    def release(self, lease: Lease) -> None:
        """Returns a lease whose new blocks, if any, are filled: from now on others find them."""
        for block in lease.blocks[lease.kept :]:
            block.ready = True
        if lease.blocks:
            self._let_go(lease.blocks[-1])

    def abandon(self, lease: Lease) -> None:
        """Returns a lease whose new blocks were not filled: they are kept no longer."""
        for block in lease.blocks[lease.kept :]:
            block.removed = True
        if lease.blocks:
            self._let_go(lease.blocks[-1])

    def remove(self, salt: Hashable) -> None:
        """Forgets all that is kept under a salt; what is leased keeps its place until the lease is returned."""
        root = self._roots.pop(salt, None)
        pending = list(root.children.values()) if root else []
        idle = []
        while pending:
            block = pending.pop()
            block.removed = True
            pending.extend(block.children.values())
            if block.idle:
                idle.append(block)
        for block in idle:
            self._eviction.withdraw(block)
            self._settle(block)

    def _walk(self, node: Block | None, keys: Sequence[Hashable]) -> list[Block]:
        path: list[Block] = []
        for key in keys:
            node = node.children.get(key) if node else None
            if node is None or not node.ready:
                break
            path.append(node)
        return path

    def _grow(self, node: Block, keys: Sequence[Hashable]) -> list[Block]:
        while len(self._free) < len(keys) and (victim := self._eviction.choose(node.root)):
            assert victim.parent  # noqa: S101 - roots are not offered
            self._settle(self._drop(victim, victim.parent))
        grown = []
        for key in keys[: len(self._free)]:
            node.children[key] = node = Block(key, node, self._free.pop())
            node.root.size += 1
            grown.append(node)
        return grown

    def _lease(self, path: list[Block], kept: int) -> Lease:
        if path:
            self._hold(path[-1])
        return Lease(tuple(path), kept)

    def _hold(self, block: Block) -> None:
        if block.idle and block.parent:
            self._eviction.withdraw(block)
        block.leases += 1

    def _let_go(self, block: Block) -> None:
        block.leases -= 1
        self._settle(block)

    def _settle(self, block: Block) -> None:
        """Finds out what becomes of a block that lost a lease or a child."""
        while block.idle:
            if block.parent is None:
                if self._roots.get(block.key) is block:
                    del self._roots[block.key]
                return
            if not block.removed:
                self._eviction.offer(block)
                return
            block = self._drop(block, block.parent)

    def _drop(self, block: Block, parent: Block) -> Block:
        del parent.children[block.key]
        self._free.append(block.place)
        block.root.size -= 1
        return parent
