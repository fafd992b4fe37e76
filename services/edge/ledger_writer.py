"""The one thread that writes the ledger: what waits together goes into one commit."""

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from services.chassis.errors import FulcrumError, Unavailable
from services.edge.ledger_file import DAY_NS, LedgerFile

_BATCH = 256
_ROW_ERRORS = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError)  # the others are the file's
T = TypeVar("T")
Work = Callable[[LedgerFile], T]


@dataclass(frozen=True, slots=True)
class _Job:
    """Something to do within a transaction; what is kept is tried until the file can be written."""

    work: Work[Any]
    future: "asyncio.Future[Any]"
    kept: bool = False


_Result = tuple["asyncio.Future[Any]", Any]


class LedgerWriter:
    """Does what it is given in order.

    What may wait is bounded by the requests under way, each of which waits for at most one job; what is kept while the
    file cannot be written, by the executions under way when that began, as no other one may begin.

    Args:
        file: used from this thread alone, and closed with it.
        keep_days: how long single receipts are kept.
    """

    def __init__(self, file: LedgerFile, keep_days: int) -> None:
        self._file = file
        self._keep_days = keep_days
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._unwritten: list[_Job] = []
        self._kept_from = 0
        self._log = structlog.get_logger("ledger")
        self._thread = threading.Thread(target=self._work, name="ledger", daemon=True)
        self._thread.start()

    def submit(self, work: Work[T]) -> "asyncio.Future[T]":
        """What `work` returns, once its transaction is in the file; leaving the future does not take the work back.

        The future's errors are a FulcrumError of the work's own, which it raises before it writes anything, and
        Unavailable where the file cannot be written: then nothing was done.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Job(work, future))
        return future

    def keep(self, work: Work[Any]) -> "asyncio.Future[None]":
        """Does something however long the file cannot be written; the future is done once that was tried."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._jobs.put(_Job(work, future, kept=True))
        return future

    async def close(self) -> None:
        """Writes what waits, and gives the file back."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        if self._unwritten:
            self._log.error("ledger closed with lines that could not be written", lines=len(self._unwritten))
        self._file.close()

    def _work(self) -> None:
        ending = False
        while not ending:
            batch = [self._jobs.get()]
            while len(batch) < _BATCH and not self._jobs.empty():
                batch.append(self._jobs.get())
            ending = None in batch
            self._write([job for job in batch if job])
            self._forget()

    def _write(self, jobs: list[_Job]) -> None:
        """One transaction for all; where one job is at fault, one for each, so that it harms no other."""
        jobs = [*self._unwritten, *jobs]
        self._unwritten = []
        try:
            results = self._commit(jobs)
        except Exception as error:  # noqa: BLE001 - told to whoever waits: the thread goes on for everyone else
            results = self._put_off(jobs, error) if _of_the_file(error) else self._one_by_one(jobs)
        self._loop.call_soon_threadsafe(_resolve, results)

    def _commit(self, jobs: list[_Job]) -> list[_Result]:
        with self._file.transaction():
            return [(job.future, _attempt(job, self._file)) for job in jobs]

    def _one_by_one(self, jobs: list[_Job]) -> list[_Result]:
        results: list[_Result] = []
        for number, job in enumerate(jobs):
            try:
                results += self._commit([job])
            except Exception as error:  # noqa: BLE001 - the same
                if _of_the_file(error):
                    return results + self._put_off(jobs[number:], error)
                self._log.error("the ledger could not do what it was asked", exc_info=error)
                results.append((job.future, None if job.kept else error))
        return results

    def _put_off(self, jobs: list[_Job], error: Exception) -> list[_Result]:
        self._unwritten = [job for job in jobs if job.kept]
        self._log.error("ledger not written", error=str(error), waiting=len(self._unwritten))
        expected = "a ledger that can be written"
        told = Unavailable("ledger", error, expected, reason="LEDGER_UNAVAILABLE", retry_after_s=1.0)
        return [(job.future, None if job.kept else told) for job in jobs]

    def _forget(self) -> None:
        """Drops single receipts once a day."""
        kept_from = time.time_ns() // DAY_NS - self._keep_days
        if kept_from == self._kept_from:
            return
        self._kept_from = kept_from
        try:
            with self._file.transaction():
                self._file.forget(self._keep_days, kept_from)
        except sqlite3.Error as error:
            self._log.error("old receipts not dropped", error=str(error))


def _attempt(job: _Job, file: LedgerFile) -> Any:
    try:
        return job.work(file)
    except FulcrumError as error:
        return error


def _of_the_file(error: Exception) -> bool:
    """Whether the file is full, locked, damaged or gone, so that nothing else can be written either."""
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, _ROW_ERRORS)


def _resolve(results: list[_Result]) -> None:
    for future, found in results:
        if future.done():  # its request was cancelled meanwhile
            continue
        if isinstance(found, Exception):
            future.set_exception(found)
        else:
            future.set_result(found)
