"""The one thread that touches disk and index, behind a queue that rejects rather than grows."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from services.chassis.errors import Overloaded, Unavailable

P = ParamSpec("P")
R = TypeVar("R")
_RETRY_AFTER_S = 0.1
_LONG = 8  # long jobs of one tenant, the one that runs among them


class Worker:
    """Runs jobs one after another off the event loop; at most `max_waiting` wait."""

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._waiting = 0
        self._closing = False
        self._lock = threading.Lock()  # nothing is queued behind the last job
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="cache")
        self._long: Counter[str] = Counter()  # by tenant, those that wait too
        self._one_long = asyncio.Lock()

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
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._left))
        return await asyncio.wrap_future(future)

    async def run_in_turns(self, tenant: str, job: Generator[None, None, R]) -> R:
        """As `run`, for a long job of a tenant: wherever it yields, those that wait by then go first.

        One goes at a time. The others wait in no place of the queue, and do not begin if their callers give up.

        Raises:
            Overloaded: too many of this tenant's wait.
            Unavailable: the worker is closed before the job ends.
        """
        if self._long[tenant] >= _LONG:
            waiting, expected = f"{_LONG} of this tenant", f"at most {_LONG} at once"
            raise Overloaded("long jobs", waiting, expected, retry_after_s=_RETRY_AFTER_S)
        self._long[tenant] += 1
        loop, ended = asyncio.get_running_loop(), Future[R]()
        try:
            await self._one_long.acquire()
        except BaseException:
            self._left_long(tenant)
            raise
        ended.add_done_callback(lambda _: loop.call_soon_threadsafe(self._ended_long, tenant))
        with self._lock:
            if self._closing:
                ended.set_exception(_broken_off())
            else:
                self._pool.submit(self._turn, job, ended)
        return await asyncio.wrap_future(ended)

    async def close(self, last: Callable[[], None] | None = None) -> None:
        """Ends the jobs that wait or run, breaks off a long one, then does the `last` one, for which there is room."""
        with self._lock:
            self._closing = True
            closed = None if last is None else self._pool.submit(last)
        if closed is not None:
            await asyncio.wrap_future(closed)
        await asyncio.to_thread(self._pool.shutdown)

    def _turn(self, job: Generator[None, None, R], ended: Future[R]) -> None:
        if not ended.running() and not ended.set_running_or_notify_cancel():
            return
        try:
            next(job)
            with self._lock:
                if not self._closing:
                    self._pool.submit(self._turn, job, ended)
                    return
            job.close()
            raise _broken_off()
        except StopIteration as done:
            ended.set_result(done.value)
        except BaseException as error:  # noqa: BLE001 - the caller's, as the pool does it
            ended.set_exception(error)

    def _left(self) -> None:
        self._waiting -= 1

    def _left_long(self, tenant: str) -> None:
        self._long[tenant] -= 1
        if not self._long[tenant]:
            del self._long[tenant]

    def _ended_long(self, tenant: str) -> None:
        self._left_long(tenant)
        self._one_long.release()


def _broken_off() -> Unavailable:
    return Unavailable("cache", "an end before that of a long job", "the same call again once it has started")
