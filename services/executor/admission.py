"""Lets a bounded number of requests in, a bounded number wait, and refuses the rest at once."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from services.chassis.errors import Overloaded


class Admission:
    """Places for work on one thing, given in order of arrival."""

    def __init__(self, what: str, places: int, waiting_limit: int) -> None:
        self._what = what
        self._places = places
        self._free = asyncio.Semaphore(places)
        self._waiting = 0
        self._limit = waiting_limit
        self._last_stay_s = 1.0

    @property
    def waiting(self) -> int:
        """Requests that wait for a place."""
        return self._waiting

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[None, None]:
        """Waits for a place and holds it.

        Raises:
            Overloaded: as many as may wait do so already.
        """
        if self._free.locked() and self._waiting >= self._limit:
            expected = f"at most {self._limit}"
            delay = self._last_stay_s * (self._waiting + 1) / self._places
            raise Overloaded(self._what, f"{self._waiting} waiting", expected, retry_after_s=delay)
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        begin = time.perf_counter()
        try:
            yield
        finally:
            self._last_stay_s = time.perf_counter() - begin
            self._free.release()
