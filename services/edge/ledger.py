"""The ledger as the pipeline sees it: every receipt durable before anybody sees it, and what was spent."""

import asyncio
import secrets
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import structlog

from services.chassis.call import caller
from services.chassis.errors import Overloaded, Unavailable
from services.edge.chat import Outcome, Request, Usage
from services.edge.ledger_file import DAY_NS, Entry, LedgerFile, Opened, receipt_id
from services.edge.ledger_sums import LedgerSums
from services.edge.ledger_writer import LedgerWriter, Work
from services.edge.receipt import Cost
from services.edge.usage import abandoned, answered

_READS = 16  # at once, and waiting
T = TypeVar("T")


class Ledger:
    """Receipts by one thread that writes, sums by one that reads.

    Args:
        path: the SQLite file.
        power_safe: whether a receipt survives a power cut too; each commit then waits for the disk.
        keep_days: how long single receipts are kept; their sums stay.
    """

    def __init__(self, path: Path, power_safe: bool, keep_days: int) -> None:
        self._path, self._power_safe, self._keep_days = path, power_safe, keep_days
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="ledger reader")
        self._reading = 0
        self._writer: LedgerWriter | None = None  # until it has started
        self._sums: LedgerSums
        self.start_time = time.time()

    async def start(self) -> None:
        """Opens the file, and closes what a crash left open.

        Raises:
            ConfigError: the file cannot be used.
        """
        file = await asyncio.to_thread(LedgerFile, self._path, self._power_safe)
        self._sums = await asyncio.get_running_loop().run_in_executor(self._reader, LedgerSums, self._path)
        writer, now = LedgerWriter(file, self._keep_days), time.time_ns()
        interrupted = await writer.submit(lambda file: file.recover(now))
        if interrupted:
            log = structlog.get_logger("ledger")
            log.warning("executions were interrupted; what they cost is not known", executions=interrupted)
        self._writer = writer
        first = await self.read(LedgerSums.first_day)
        if first is not None:
            self.start_time = first * DAY_NS / 1e9

    async def close(self) -> None:
        """Writes what waits, and gives the file back."""
        if self._writer:
            await self._writer.close()
            await asyncio.get_running_loop().run_in_executor(self._reader, self._sums.close)
        self._reader.shutdown()

    async def open(self, opened: Opened) -> None:
        """Notes an execution that is about to begin; see `opening`.

        Raises:
            Unavailable: it cannot be written down, so it must not begin.
        """
        try:
            await self.submit(lambda file: file.open(opened))
        except asyncio.CancelledError:
            self.discard(opened)  # it may be in the file by now, or be so before this is
            raise

    def discard(self, opened: Opened) -> None:
        """Takes back an execution that never began."""
        self._written().keep(lambda file: file.discard(opened.receipt_id))

    def give_back(self, tenant: str, day: int) -> "asyncio.Future[None]":
        """Takes a request off a day's count that was let in and not answered; done once other edges see it."""
        return self._written().keep(lambda file: file.admit(tenant, day, -1))

    def abandon(self, opened: Opened, state: str, usage: Usage | None, cost: Cost | None, attempts: int) -> None:
        """Writes what an execution took that answered nobody; nobody waits for it."""
        self._written().keep(_settling(Entry(opened, state, attempts, time.time_ns(), abandoned(usage, cost))))

    async def settle(self, opened: Opened, outcome: Outcome, cost: Cost | None) -> str:
        """Writes the receipt of an answer; it is durable when this returns its id.

        Raises:
            Unavailable: it could not be written: abandon it.
        """
        opened = replace(opened, model=outcome.model)  # the first of the plan may have handed over
        entry = Entry(opened, "answered", outcome.attempts, time.time_ns(), answered(outcome, cost))
        await self.submit(_settling(entry))
        return opened.receipt_id

    async def reused(self, request: Request, outcome: Outcome, cost: Cost | None) -> str:
        """Writes the receipt of an answer that nothing was executed for; it is durable when this returns its id.

        Raises:
            Unavailable: it could not be written, and is not an answer then.
        """
        return await self.settle(opening(request, outcome.model), outcome, cost)

    def submit(self, work: Work[T]) -> "asyncio.Future[T]":
        """What `work` returns, once its transaction is in the file; see `LedgerWriter.submit`."""
        return self._written().submit(work)

    async def read(self, question: Callable[[LedgerSums], T]) -> T:
        """What `question` finds, on a thread that holds up nobody who writes.

        Raises:
            Overloaded: too many wait already.
            Unavailable: the file cannot be read.
        """
        self._written()
        if self._reading >= _READS:
            found, expected = f"{self._reading} under way", f"at most {_READS}"
            raise Overloaded("usage requests", found, expected, retry_after_s=1.0)
        self._reading += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reader, question, self._sums)
        except sqlite3.Error as error:
            expected = "a ledger that can be read"
            raise Unavailable("ledger", error, expected, reason="LEDGER_UNAVAILABLE", retry_after_s=1.0) from error
        finally:
            self._reading -= 1

    def _written(self) -> LedgerWriter:
        if self._writer is None:
            found, expected = "being opened", "a ledger that is open"
            raise Unavailable("ledger", found, expected, reason="STARTING", retry_after_s=1.0)
        return self._writer


def opening(request: Request, model: str) -> Opened:
    """A line for a request that is about to be executed, or answered otherwise."""
    now, who = time.time_ns(), caller().principal
    return Opened(receipt_id(now, secrets.token_hex(8)), request.tenant, who, request.request_id, model, now)


def _settling(entry: Entry) -> Work[None]:
    return lambda file: file.settle(entry)
