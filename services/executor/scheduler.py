"""Decides who runs: who gets a slot, who waits, who is refused, and who gives a slot up."""

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from services.chassis.errors import Overloaded
from services.executor.decoder_session import Chunk
from services.executor.fair_queue import FairQueue
from services.executor.pass_plan import Task, plan
from services.executor.slots import Slots

LEAST_TURN, LONGEST_TURN = 16, 256  # tokens that one generates before it may have to give its slot up
_STAY_WEIGHT = 0.1


T = TypeVar("T", bound=Task)
T_contra = TypeVar("T_contra", bound=Task, contravariant=True)


class Keeper(Protocol[T_contra]):
    """Remembers what slots held; called between passes, by the thread that schedules."""

    def restore(self, task: T_contra) -> None:
        """Fills the beginning of a task's slot with what is remembered of its tokens, and sets `computed`."""

    def keep(self, task: T_contra, slot: int, computed: int) -> None:
        """Remembers the first `computed` tokens of a task, which `slot` holds."""


class Scheduler(Generic[T]):
    """Any thread may call it; slots change hands between passes alone.

    Args:
        what: what is scheduled, as a refusal names it.
        slots: conversations that fit into memory.
        capacity: tokens that fit into a slot.
        waiting_limit: requests that may wait.
        keeper: remembers what those who give a slot up have computed.
    """

    def __init__(self, what: str, slots: int, capacity: int, waiting_limit: int, keeper: Keeper[T]) -> None:
        self._what = what
        self._capacity = capacity
        self._slots = Slots(slots)
        self._limit = waiting_limit
        self._keeper = keeper
        self._queue: FairQueue[T] = FairQueue(waiting_limit)
        self._running: dict[int, T] = {}
        self._passes = 0
        self._stay_s = 1.0
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """Requests without a slot."""
        return self._queue.size

    @property
    def running(self) -> Sequence[T]:
        """Requests with a slot."""
        with self._lock:
            return list(self._running.values())

    @property
    def used(self) -> float:
        """Share of the slots' memory that holds tokens of those with a slot."""
        with self._lock:
            computed = sum(task.computed for task in self._running.values())
        return computed / (self._slots.count * self._capacity)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._running and not self._queue.size

    def check_room(self, tenant: str, arriving: Counter[str]) -> None:
        """Raises Overloaded where no more of this tenant may wait; `arriving` are on their way in, by tenant."""
        with self._lock:
            if not self._queue.admits(tenant, self._slots.free, arriving):
                raise self.refusal(arriving.total())

    def submit(self, task: T) -> T | None:
        """Lets a task wait; returns one that lost its place for it, which is to be refused.

        Raises:
            Overloaded: as many as may wait do so already, and no other tenant has more than its share of these.
        """
        with self._lock:
            if not self._queue.admits(task.tenant, self._slots.free):
                raise self.refusal()
            if not self._queue.waits(task.tenant) and task.tenant not in self._tenants():
                self._queue.arrive(task.tenant)
            return self._queue.push(task, self._slots.free)

    def remove(self, task: T) -> None:
        """Takes a task out for good, in whatever state; its slot may be given away before the next pass."""
        with self._lock:
            if task.slot is not None:
                self._vacate(task)
            else:
                self._queue.remove(task)

    def empty(self) -> list[T]:
        """Takes all tasks out for good and returns them."""
        with self._lock:
            running = list(self._running.values())
            for task in running:
                self._vacate(task)
            waiting = []
            while task_ := self._queue.peek():
                self._queue.remove(task_)
                waiting.append(task_)
            return running + waiting

    def stayed(self, seconds: float) -> None:
        """Notes how long one that ended had its slot."""
        self._stay_s += _STAY_WEIGHT * (seconds - self._stay_s)

    def refusal(self, arriving: int = 0) -> Overloaded:
        """What is said to one that may not wait, while so many are on their way in."""
        waiting = self._queue.size + arriving
        found, expected = f"{waiting} waiting", f"at most {self._limit} beyond free slots, shared among tenants"
        delay = self._stay_s * (waiting + 1) / self._slots.count
        return Overloaded(self._what, found, expected, retry_after_s=delay)

    def schedule(self) -> list[tuple[T, Chunk]]:
        """What the next pass computes; empty where there is nothing to do."""
        with self._lock:
            self._passes += 1
            self._queue.tick(set(self._tenants()))
            left, entered = self._admit()
        for task, slot, computed in left:
            self._keeper.keep(task, slot, computed)
        for task in entered:
            self._keeper.restore(task)
        with self._lock:
            for task in entered:
                self._queue.charge(task.tenant, -task.computed)
            planned = plan(list(self._running.values()), self._capacity, self._passes)
            for task, _ in planned:
                self._queue.charge(task.tenant, 1)
            return planned

    def advance(self, task: T, chunk: Chunk) -> bool:
        """Notes that a pass computed a chunk; returns whether the task still has its slot."""
        with self._lock:
            if task.slot != chunk.slot:
                return False
            task.computed += len(chunk.tokens)
            return True

    def _admit(self) -> tuple[list[tuple[T, int, int]], list[T]]:
        """Gives slots away; returns who gave one up, with the slot and how much of it was computed, and who got one."""
        left: list[tuple[T, int, int]] = []
        entered: list[T] = []
        while task := self._queue.peek():
            if not self._slots.free:
                victim = self._victim_for(task)
                if victim is None:
                    break
                slot = self._vacate(victim)
                left.append((victim, slot, victim.computed))
                victim.computed = 0
                self._queue.push_back(victim)
            self._queue.remove(task)
            task.slot = self._slots.take()
            task.turn_began = len(task.tokens)
            self._running[task.slot] = task
            self._queue.charge(task.tenant, len(task.tokens))
            task.admitted()
            entered.append(task)
        return left, entered

    def _victim_for(self, task: T) -> T | None:
        """Who gives its slot to the one that waits: it is of the tenant with most slots, where that has more than the
        waiting one's and was served more; of these the one with least to compute again, once its turn was worth it.
        """
        slots = self._tenants()
        most = max(slots, key=lambda tenant: slots[tenant])
        if slots[most] <= slots[task.tenant] or self._queue.served(most) <= self._queue.served(task.tenant):
            return None
        ready = [one for one in self._running.values() if one.tenant == most and _had_its_turn(one)]
        return min(ready, key=lambda one: one.computed, default=None)

    def _vacate(self, task: T) -> int:
        slot = task.slot
        assert slot is not None  # noqa: S101 - both callers know
        del self._running[slot]
        self._slots.give(slot)
        task.slot = None
        return slot

    def _tenants(self) -> Counter[str]:
        """How many slots each has."""
        return Counter(task.tenant for task in self._running.values())


def _had_its_turn(task: Task) -> bool:
    """Whether it has generated enough to be worth computing all of it again, or that much that others must not wait."""
    return len(task.tokens) - task.turn_began >= min(max(LEAST_TURN, task.computed // 4), LONGEST_TURN)
