"""The ledger as the pipeline sees it: one thread that writes what waits together in one commit."""

import asyncio
import queue
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import structlog

from services.chassis.call import caller
from services.chassis.errors import Unavailable
from services.edge.chat import Outcome, Request, Usage
from services.edge.ledger_file import DAY_NS, Entry, LedgerFile, Opened, receipt_id
from services.edge.receipt import Cost
from services.edge.usage import abandoned, answered

_BATCH = 256
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Job:
    """Something to do within a transaction; `settles` is tried again until it is written."""

    work: Callable[[LedgerFile], Any]
    future: "asyncio.Future[Any] | None"
    settles: bool


class Ledger:
    """Receipts, durable before anybody sees them.

    What may wait here is bounded by the requests under way, each of which waits for at most one job.

    Args:
        path: the SQLite file.
        power_safe: whether a receipt survives a power cut too; each commit then waits for the disk.
        keep_days: how long single receipts are kept; their sums stay.
    """

    def __init__(self, path: Path, power_safe: bool, keep_days: int) -> None:
        self._path, self._power_safe, self._keep_days = path, power_safe, keep_days
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._unwritten: list[_Job] = []
        self._thread = threading.Thread(target=self._work, name="ledger", daemon=True)
        self._file: LedgerFile
        self._loop: asyncio.AbstractEventLoop
        self._log = structlog.get_logger("ledger")
        self.start_time = time.time()

    async def start(self) -> None:
        """Opens the file, and closes what a crash left open.

        Raises:
            ConfigError: the file cannot be used.
        """
        self._loop = asyncio.get_running_loop()
        self._file = await asyncio.to_thread(LedgerFile, self._path, self._power_safe)
        self._thread.start()
        now = time.time_ns()
        interrupted = await self.run(lambda file: file.recover(now))
        if interrupted:
            self._log.warning("executions were interrupted; what they cost is not known", executions=interrupted)
        await self.run(lambda file: file.forget(now // DAY_NS - self._keep_days))
        first = await self.run(LedgerFile.first_day)
        if first is not None:
            self.start_time = first * DAY_NS / 1e9

    async def close(self) -> None:
        """Writes what waits, and gives the file back."""
        if self._thread.is_alive():
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)
            self._file.close()

    async def open(self, request: Request, model: str) -> Opened:
        """Notes an execution that is about to begin.

        Raises:
            Unavailable: it cannot be written down, so it must not begin.
        """
        opened = _opened(request, model)
        await self.run(lambda file: file.open(opened))
        return opened

    def discard(self, opened: Opened) -> None:
        """Takes back an execution that never began."""
        self._put(_Job(lambda file: file.discard(opened.receipt_id), None, settles=True))

    def give_back(self, tenant: str, day: int) -> None:
        """Takes a request off a day's count that was let in and not answered."""
        self._put(_Job(lambda file: file.admit(tenant, day, -1), None, settles=True))

    def abandon(self, opened: Opened, state: str, usage: Usage | None, cost: Cost | None, attempts: int) -> None:
        """Writes what an execution took that answered nobody; nobody waits for it."""
        entry = Entry(opened, state, attempts, time.time_ns(), abandoned(usage, cost))
        self._put(_Job(lambda file: file.settle(entry), None, settles=True))

    async def settle(self, opened: Opened, outcome: Outcome, cost: Cost | None) -> str:
        """Writes the receipt of an answer; it is durable when this returns its id.

        Raises:
            Unavailable: it could not be written yet; it will be as soon as it can.
        """
        opened = replace(opened, model=outcome.model)  # the first of the plan may have handed over
        entry = Entry(opened, "answered", outcome.attempts, time.time_ns(), answered(outcome, cost))
        await self.run(lambda file: file.settle(entry), settles=True)
        return opened.receipt_id

    async def reused(self, request: Request, outcome: Outcome, cost: Cost | None) -> str:
        """Writes the receipt of an answer that nothing was executed for; see `settle`."""
        return await self.settle(_opened(request, outcome.model), outcome, cost)

    async def run(self, work: Callable[[LedgerFile], T], settles: bool = False) -> T:
        """What `work` returns, once its transaction is in the file; a FulcrumError of its own passes on.

        Raises:
            Unavailable: the file is not open yet, or cannot be written.
        """
        if not self._thread.is_alive():
            raise Unavailable("ledger", "not started", "one that has started", reason="STARTING", retry_after_s=1.0)
        future: asyncio.Future[T] = self._loop.create_future()
        self._put(_Job(work, future, settles))
        return await future

    def _put(self, job: _Job) -> None:
        self._jobs.put(job)

    def _work(self) -> None:
        ending = False
        while not ending:
            batch = [self._jobs.get()]
            while len(batch) < _BATCH and not self._jobs.empty():
                batch.append(self._jobs.get())
            ending = None in batch
            self._commit([job for job in batch if job])

    def _commit(self, jobs: list[_Job]) -> None:
        """One transaction; where it fails, what settles is kept for the next one, and everyone who waits is told."""
        results: list[tuple[asyncio.Future[Any], Any]] = []
        try:
            with self._file.transaction():
                for job in (*self._unwritten, *jobs):
                    found = _attempt(job, self._file)
                    if job.future:
                        results.append((job.future, found))
        except sqlite3.Error as error:
            self._log.error("ledger not written", error=str(error), waiting=len(self._unwritten))
            results = [(job.future, _unwritable(error)) for job in jobs if job.future]
            self._unwritten += [_Job(job.work, None, settles=True) for job in jobs if job.settles]
        else:
            self._unwritten = []
        if results:
            self._loop.call_soon_threadsafe(_resolve, results)


def _opened(request: Request, model: str) -> Opened:
    now, who = time.time_ns(), caller().principal
    return Opened(receipt_id(now, secrets.token_hex(8)), request.tenant, who, request.request_id, model, now)


def _attempt(job: _Job, file: LedgerFile) -> Any:
    try:
        return job.work(file)
    except sqlite3.Error:
        raise  # the whole transaction fails
    except Exception as error:  # noqa: BLE001 - carried to whoever waits: the thread goes on for everyone else
        return error


def _unwritable(error: sqlite3.Error) -> Unavailable:
    return Unavailable("ledger", error, "a ledger that can be written", reason="LEDGER_UNAVAILABLE", retry_after_s=1.0)


def _resolve(results: list[tuple["asyncio.Future[Any]", Any]]) -> None:
    for future, found in results:
        if future.done():  # its request was cancelled meanwhile
            continue
        if isinstance(found, Exception):
            future.set_exception(found)
        else:
            future.set_result(found)
