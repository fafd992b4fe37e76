"""Who waits for a slot, and who is next: tenants by the tokens that they were served, their requests in order."""

from collections import Counter, OrderedDict, deque
from typing import Generic, Protocol, TypeVar

_REMEMBERED_TENANTS = 10_000
_NOBODY: Counter[str] = Counter()


class Queued(Protocol):
    """What can wait."""

    @property
    def tenant(self) -> str:
        """Whose turn it takes."""

    @property
    def resumed(self) -> bool:
        """Whether it has run before, so that it must not lose its place."""


Q = TypeVar("Q", bound=Queued)


class FairQueue(Generic[Q]):
    """Virtual token counters (Sheng et al., "Fairness in Serving Large Language Models", 2024).

    A tenant that was away starts where those present stand, but keeps what it took beyond that.

    Args:
        limit: requests that may wait, those aside that have run before.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lines: dict[str, deque[Q]] = {}
        self._served: OrderedDict[str, float] = OrderedDict()
        self._clock = 0.0  # where the least served of those present stand
        self.size = 0

    def admits(self, tenant: str, room: int, arriving: Counter[str] = _NOBODY) -> bool:
        """Whether one more of this tenant may wait, while `room` of those that wait can go on at once.

        `arriving` are on their way in, by tenant, and count as if they waited.
        """
        waiting = self.size + arriving.total()
        return waiting < self._limit + room or self._most_beyond_share(tenant, arriving) is not None

    def push(self, one: Q, room: int) -> Q | None:
        """Lets one wait that `admits` admits; where all places were taken, returns who lost its own.

        That is the newest of the tenant with most in line.
        """
        loser = None
        if self.size >= self._limit + room:
            most = self._most_beyond_share(one.tenant)
            assert most is not None  # noqa: S101 - or it was not admitted
            loser = next(waiting for waiting in reversed(self._lines[most]) if not waiting.resumed)
            self.remove(loser)
        self._line(one.tenant).append(one)
        self.size += 1
        return loser

    def push_back(self, one: Q) -> None:
        """Lets one that was running wait again, in front of its tenant's line."""
        self._line(one.tenant).appendleft(one)
        self.size += 1

    def peek(self) -> Q | None:
        """Who is next: the first in the line of the tenant served least."""
        if not self._lines:
            return None
        return self._lines[min(self._lines, key=self.served)][0]

    def remove(self, one: Q) -> bool:
        """Takes one out wherever it stands; returns whether it was here."""
        line = self._lines.get(one.tenant)
        if line is None or one not in line:
            return False
        line.remove(one)
        self.size -= 1
        if not line:
            del self._lines[one.tenant]
        return True

    def served(self, tenant: str) -> float:
        """Tokens, in the measure of those present."""
        return self._served.get(tenant, self._clock)

    def arrive(self, tenant: str) -> None:
        """Notes that a tenant that had neither waiting nor running ones has one now."""
        self._served[tenant] = max(self._served.get(tenant, self._clock), self._clock)
        self._served.move_to_end(tenant)
        if len(self._served) > _REMEMBERED_TENANTS:
            self._served.popitem(last=False)

    def charge(self, tenant: str, tokens: int) -> None:
        """Counts work for a tenant."""
        self._served[tenant] = self.served(tenant) + tokens

    def tick(self, present: set[str]) -> None:
        """Moves the clock to the least served of those who wait or run."""
        everyone = present | self._lines.keys()
        if everyone:
            self._clock = max(self._clock, min(map(self.served, everyone)))

    def waits(self, tenant: str) -> bool:
        """Whether any of this tenant's waits."""
        return tenant in self._lines

    def _line(self, tenant: str) -> deque[Q]:
        return self._lines.setdefault(tenant, deque())

    def _most_beyond_share(self, newcomer: str, arriving: Counter[str] = _NOBODY) -> str | None:
        """The tenant with most in line, where the newcomer has less than an equal share and that one more."""
        fresh = Counter({tenant: sum(not one.resumed for one in line) for tenant, line in self._lines.items()})
        fresh += arriving
        share = self._limit / len(fresh.keys() | {newcomer})
        most = max(fresh, key=lambda tenant: fresh[tenant], default=newcomer)
        return most if fresh[newcomer] + 1 <= share < fresh[most] else None
