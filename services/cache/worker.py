"""The one thread that touches disk and index, behind a queue that rejects rather than grows."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from services.chassis.errors import Overloaded

P = ParamSpec("P")
R = TypeVar("R")
_RETRY_AFTER_S = 0.1


class Worker:
    """Runs jobs one after another off the event loop; at most `max_waiting` wait."""

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._waiting = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="cache")

    async def run(self, job: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The job's result; a job that has begun ends even where its caller gives up.

        Raises:
            Overloaded: the queue is full.
        """
        if self._waiting >= self._max_waiting:
            waiting, expected = f"{self._waiting} waiting", f"at most {self._max_waiting}"
            raise Overloaded("cache queue", waiting, expected, retry_after_s=_RETRY_AFTER_S)
        loop = asyncio.get_running_loop()
        self._waiting += 1
        future = self._pool.submit(job, *args, **kwargs)
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._ended))
        return await asyncio.wrap_future(future)

    async def close(self, last: Callable[[], None] | None = None) -> None:
        """Ends the jobs that wait or run, then does the `last` one, for which there is always room."""
        if last is not None:
            await asyncio.wrap_future(self._pool.submit(last))
        await asyncio.to_thread(self._pool.shutdown)

    def _ended(self) -> None:
        self._waiting -= 1
