"""How many executions are under way at once: as many as the models keep up with; the rest is refused at once."""

import math
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from services.chassis.errors import Overloaded

_START = 16
_BACK_OFF = 0.9
_PROBE = 0.1  # of a round's growth, where one more was too many the last time
_FORGET = 1.01  # by which the shortest execution known grows with each one, so that it follows a slower model


class ExecutionGate:
    """A limit that grows while all goes well, and shrinks by a tenth where a model is overloaded.

    As TCP does it: by one an execution until the first overload, then by one a round (slow start, additive increase and
    multiplicative decrease: Chiu and Jain, 1989), and by a tenth of that near where it was too much the last time. A
    model is overloaded where it says so: callers in a hurry, and limits that a provider has for us, tell nothing of it.

    Args:
        most: never more than these at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(min(_START, most))
        self._slow_start = True
        self._overloaded_at = most
        self._shortest_s = math.inf
        self._last_back_off = 0.0
        self.under_way = 0

    @property
    def limit(self) -> int:
        """How many may be under way at once, at present."""
        return max(1, int(self._limit))

    @property
    def room(self) -> int:
        """How many more would be let in."""
        return max(0, self.limit - self.under_way)

    @property
    def full(self) -> bool:
        """Whether another one would be refused."""
        return self.room == 0

    def refusal(self) -> Overloaded:
        """What is said to one that is refused."""
        found, expected = f"{self.under_way} under way", f"at most {self.limit}"
        wait_s = self._shortest_s if math.isfinite(self._shortest_s) else 1.0
        return Overloaded("executions", found, expected, retry_after_s=min(max(wait_s, 0.1), 10.0))

    @contextmanager
    def place(self) -> Generator[Callable[[], None], None, None]:
        """Room for one request, or a repeat, while it lasts; what it yields is called where its execution begins.

        Raises:
            Overloaded: there is none.
        """
        if self.full:
            raise self.refusal()
        begin = time.monotonic()
        executing: float | None = None

        def note() -> None:
            nonlocal executing
            executing = time.monotonic()

        self.under_way += 1
        try:
            yield note
            if executing is not None:
                self._went_well(time.monotonic() - executing)
        except Overloaded as error:
            if error.reason == "OVERLOADED":
                self._back_off(begin)
            raise
        finally:
            self.under_way -= 1

    def _went_well(self, took_s: float) -> None:
        self._shortest_s = min(self._shortest_s * _FORGET, took_s)
        if self.under_way * 2 > self._limit:
            self._limit = min(self._most, self._limit + self._step())

    def _step(self) -> float:
        if self._slow_start:
            return 1.0
        return (1.0 if self._limit < self._overloaded_at - 1 else _PROBE) / self._limit

    def _back_off(self, begin: float) -> None:
        """Once for all that began before the last time: they tell of the same crowd."""
        self._slow_start = False
        if begin >= self._last_back_off:
            self._overloaded_at = self.under_way
            self._limit = max(1.0, min(self._limit, self.under_way) * _BACK_OFF)
            self._last_back_off = time.monotonic()
