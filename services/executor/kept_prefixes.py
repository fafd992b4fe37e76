"""Remembers what conversations computed: copies prefixes between slots and the blocks that are kept of past ones."""

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

import structlog

from services.executor.generation import Generation
from services.executor.kv_memory import BLOCK_TOKENS
from services.executor.prefix_eviction import LeastWorth
from services.executor.prefix_tree import Lease, PrefixTree


class Blocks(Protocol):
    """Where slots and blocks lie: `KvMemory`, or its like on a GPU."""

    @property
    def block_count(self) -> int:
        """How many blocks there are."""

    def keep(self, slot: int, first: int, blocks: Sequence[int]) -> None:
        """Copies what a slot holds, from its block number `first` on, into these blocks."""

    def restore(self, blocks: Sequence[int], slot: int) -> None:
        """Copies blocks to the beginning of a slot."""


class KeptPrefixes:
    """A `Keeper` for the model's thread. What goes wrong in here costs what would have been kept, and nothing else.

    Args:
        memory: where slots and blocks lie.
        shared: whether all tenants share what is kept; else each has its own, and who names none has nothing.
    """

    def __init__(self, memory: Blocks, shared: bool) -> None:
        self._memory = memory
        capacity = memory.block_count
        self._tree = PrefixTree(capacity, LeastWorth(capacity))
        self._shared = shared
        self._log = structlog.get_logger("engine")

    def restore(self, task: Generation) -> None:
        """Fills the slot as far as whole blocks of the task's tokens are known.

        One token at least is left to compute, and of the prompt either two or none: one by itself has other last bits.
        """
        slot = task.slot
        if slot is None or not self._remembers(task):
            return
        try:
            lease = self._tree.match(self._salt(task), _keys(task.tokens[:-1]))
            places = lease.places
            if task.prompt_size - len(places) * BLOCK_TOKENS == 1:
                places = places[:-1]
            self._filling(lease, lambda: self._memory.restore(places, slot))
        except Exception as error:  # noqa: BLE001 - the prompt is computed instead
            self._log.error("a prefix could not be reused", exc_info=error)
            return
        task.restored(len(places) * BLOCK_TOKENS)

    def keep(self, task: Generation, slot: int, computed: int) -> None:
        """Remembers what a slot holds, in whole blocks."""
        if not self._remembers(task):
            return
        try:
            grown = computed > task.prompt_size  # the prompt was remembered when it had been read
            lease = self._tree.insert(self._salt(task), _keys(task.tokens[:computed]), grown)
            self._filling(lease, lambda: self._memory.keep(slot, lease.kept, lease.places[lease.kept :]))
        except Exception as error:  # noqa: BLE001 - the answer is not to blame
            self._log.error("a prefix could not be kept", exc_info=error)

    def _filling(self, lease: Lease, copy: Callable[[], None]) -> None:
        try:
            copy()
        except BaseException:
            self._tree.abandon(lease)
            raise
        self._tree.release(lease)

    def _remembers(self, task: Generation) -> bool:
        return self._shared or bool(task.tenant)

    def _salt(self, task: Generation) -> str:
        return "" if self._shared else task.tenant


def _keys(tokens: Sequence[int]) -> list[Hashable]:
    """One for each whole block."""
    whole = len(tokens) // BLOCK_TOKENS * BLOCK_TOKENS
    return [tuple(tokens[at : at + BLOCK_TOKENS]) for at in range(0, whole, BLOCK_TOKENS)]
