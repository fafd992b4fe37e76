"""The one thread that touches disk and index, behind a queue that rejects rather than grows."""

import asyncio
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
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
        self._closing = False
        self._lock = threading.Lock()  # nothing is queued behind the last job
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="cache")

    async def run(self, job: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The job's result; a job that has begun ends even where its caller gives up.

        Raises:
            Overloaded: the queue is full.
        """
        self._enter()
        return await self._outcome(self._pool.submit(job, *args, **kwargs))

    async def run_in_turns(self, job: Generator[None, None, R]) -> R:
        """As `run`, for a long job: wherever it yields, those that wait by then go first.

        It takes one place in the queue until it ends, so that none of its turns is refused.
        """
        self._enter()
        ended = Future[R]()
        self._pool.submit(self._turn, job, ended)
        return await self._outcome(ended)

    async def close(self, last: Callable[[], None] | None = None) -> None:
        """Ends the jobs that wait or run, then does the `last` one, for which there is always room."""
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
            while True:
                next(job)
                with self._lock:
                    if not self._closing:
                        self._pool.submit(self._turn, job, ended)
                        return
        except StopIteration as done:
            ended.set_result(done.value)
        except BaseException as error:  # noqa: BLE001 - the caller's, as the pool does it
            ended.set_exception(error)

    def _enter(self) -> None:
        if self._waiting >= self._max_waiting:
            waiting, expected = f"{self._waiting} waiting", f"at most {self._max_waiting}"
            raise Overloaded("cache queue", waiting, expected, retry_after_s=_RETRY_AFTER_S)
        self._waiting += 1

    async def _outcome(self, future: Future[R]) -> R:
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._left))
        return await asyncio.wrap_future(future)

    def _left(self) -> None:
        self._waiting -= 1
