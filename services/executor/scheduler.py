"""Decides what runs: who gets a slot, who gives one up, and how many tokens of whom go into the next pass."""

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from services.chassis.errors import Overloaded
from services.executor.decoder_session import Chunk
from services.executor.fair_queue import FairQueue
from services.executor.slots import Slots

READ_TOKENS_ALONE = 256  # of prompts in one pass
READ_TOKENS_BESIDE = 64  # while others wait for their next token
READ_LEAST = 8  # of one prompt, where many share a pass
MOST_PADDED = 1024  # rows times the longest chunk: what attention lays out
LEAST_TURN = 16  # tokens that one generates before it may have to give its slot up
_STAY_WEIGHT = 0.1


class Task(Protocol):
    """One request, as far as scheduling goes; its fields are the scheduler's until it has ended."""

    tenant: str
    tokens: list[int]  # the prompt, then what was generated
    computed: int  # how many of them memory holds
    slot: int | None
    turn_began: int  # how many tokens there were when it got its slot
    read_at: int  # the pass in which tokens of its prompt last took part

    @property
    def resumed(self) -> bool:
        """Whether it has had a slot before."""

    def admitted(self) -> None:
        """Notes that it has a slot now."""


T = TypeVar("T", bound=Task)


class Scheduler(Generic[T]):
    """Any thread may call it; slots change hands between passes alone.

    Args:
        what: what is scheduled, as a refusal names it.
        slots: conversations that fit into memory.
        capacity: tokens that fit into a slot.
        waiting_limit: requests that may wait.
    """

    def __init__(self, what: str, slots: int, capacity: int, waiting_limit: int) -> None:
        self._what = what
        self._capacity = capacity
        self._slots = Slots(slots)
        self._limit = waiting_limit
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
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._running and not self._queue.size

    def check_room(self, tenant: str, arriving: int = 0) -> None:
        """Raises Overloaded where no more of this tenant may wait; `arriving` are on their way in."""
        with self._lock:
            if not self._queue.admits(tenant, self._slots.free - arriving):
                raise self.refusal()

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

    def stayed(self, seconds: float) -> None:
        """Notes how long one that ended had its slot."""
        self._stay_s += _STAY_WEIGHT * (seconds - self._stay_s)

    def refusal(self) -> Overloaded:
        """What is said to one that may not wait."""
        found, expected = f"{self._queue.size} waiting", f"at most {self._limit}, shared among tenants"
        delay = self._stay_s * (self._queue.size + 1) / self._slots.count
        return Overloaded(self._what, found, expected, retry_after_s=delay)

    def schedule(self) -> list[tuple[T, Chunk]]:
        """What the next pass computes; empty where there is nothing to do."""
        with self._lock:
            self._passes += 1
            self._queue.tick(set(self._tenants()))
            self._admit()
            return self._plan()

    def advance(self, task: T, chunk: Chunk) -> bool:
        """Notes that a pass computed a chunk; returns whether the task still has its slot."""
        with self._lock:
            if task.slot != chunk.slot:
                return False
            task.computed += len(chunk.tokens)
            return True

    def _admit(self) -> None:
        while (task := self._queue.peek()) and (self._slots.free or self._preempt_for(task)):
            self._queue.remove(task)
            task.slot = self._slots.take()
            task.turn_began = len(task.tokens)
            self._running[task.slot] = task
            self._queue.charge(task.tenant, len(task.tokens) - task.computed)
            task.admitted()

    def _preempt_for(self, task: T) -> bool:
        """Frees a slot of the tenant with most of them, where that has more than the waiting one's and was served more.

        The task that has least to compute again gives way, once it has had a turn that is worth it.
        """
        slots = self._tenants()
        most = max(slots, key=lambda tenant: slots[tenant])
        if slots[most] <= slots[task.tenant] or self._queue.served(most) <= self._queue.served(task.tenant):
            return False
        ready = [one for one in self._running.values() if one.tenant == most and _had_its_turn(one)]
        if not ready:
            return False
        victim = min(ready, key=lambda one: one.computed)
        self._vacate(victim)
        victim.computed = 0
        self._queue.push_back(victim)
        return True

    def _vacate(self, task: T) -> None:
        assert task.slot is not None  # noqa: S101 - both callers know
        del self._running[task.slot]
        self._slots.give(task.slot)
        task.slot = None

    def _tenants(self) -> Counter[str]:
        """How many slots each has."""
        return Counter(task.tenant for task in self._running.values())

    def _plan(self) -> list[tuple[T, Chunk]]:
        """Every task that waits for its next token, and as much of the prompts as is good beside these.

        All chunks of a pass are as wide as the longest, so none is longer than what any of their slots has room for.
        """
        decoding = [task for task in self._running.values() if _pending(task) == 1]
        reading = [task for task in self._running.values() if _pending(task) > 1]
        budget = READ_TOKENS_BESIDE if decoding else READ_TOKENS_ALONE
        reading.sort(key=lambda task: task.read_at)
        reading = sorted(reading[: budget // READ_LEAST], key=_pending)
        room = min((self._capacity - task.computed for task in (*decoding, *reading)), default=0)
        width = min(room, MOST_PADDED // (max(self._running, default=0) + 1))
        planned = [(task, self._chunk(task, 1)) for task in decoding]
        for left, task in zip(range(len(reading), 0, -1), reading, strict=True):
            size = _piece(_pending(task), min(width, budget // left))
            if size:
                budget -= size
                task.read_at = self._passes
                planned.append((task, self._chunk(task, size)))
        for task in decoding:
            self._queue.charge(task.tenant, 1)
        return planned

    def _chunk(self, task: T, size: int) -> Chunk:
        assert task.slot is not None  # noqa: S101 - it is running
        end = task.computed + size
        return Chunk(task.slot, task.computed, task.tokens[task.computed : end], end == len(task.tokens))


def _pending(task: Task) -> int:
    return len(task.tokens) - task.computed


def _had_its_turn(task: Task) -> bool:
    """Whether it has generated enough to be worth computing all of it again."""
    return len(task.tokens) - task.turn_began >= max(LEAST_TURN, task.computed // 4)


def _piece(pending: int, most: int) -> int:
    """How many of a prompt's tokens to take: neither it nor what is left may be one token, which alone is computed by
    another kernel, with other last bits; 0 where that cannot be."""
    size = min(pending, most)
    size -= pending - size == 1
    return size if size > 1 else 0
