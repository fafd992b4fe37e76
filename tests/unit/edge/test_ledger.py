"""The ledger's file keeps every receipt once, whatever ends the process or fills the disk."""

import asyncio
import fcntl
import os
import sqlite3
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from services.chassis.errors import Unavailable
from services.chassis.settings import ConfigError
from services.edge.chat import CacheNote, Finish, FinishReason, Message, Outcome, Request, Usage
from services.edge.ledger import Ledger, opening
from services.edge.ledger_file import DAY_NS, Entry, LedgerFile, Opened, receipt_id
from services.edge.ledger_sums import FIRST, LedgerSums, Unanswered
from services.edge.receipt import cost_of
from services.edge.usage import Totals
from tests.unit.edge.parts import LARGE, LARGE_PRICE

ALL = (0, 100_000)
OUTCOME = Outcome(LARGE, Finish(FinishReason.STOP, Usage(100, 0, 0, 10)), CacheNote("miss"))
COST = cost_of(OUTCOME, {LARGE: LARGE_PRICE}, LARGE)
ASKED = Request("r", "acme", (Message("user", "hello"),))


def opened(number: int, day: int = 0) -> Opened:
    return Opened(receipt_id(day * DAY_NS, str(number)), "acme", "key", "r", LARGE, day * DAY_NS)


def totals(path: Path) -> Totals:
    sums = LedgerSums(path)
    whole, _, _, _ = sums.usage(None, ALL, frozenset(), FIRST, 1)
    sums.close()
    return whole


def states(path: Path) -> list[str]:
    with sqlite3.connect(path) as connection:
        return [state for (state,) in connection.execute("SELECT state FROM receipts ORDER BY receipt_id")]


def test_a_receipt_counts_once(tmp_path: Path) -> None:
    """Writing an entry again, by a retry of the write or with other figures, changes nothing."""
    file = LedgerFile(tmp_path / "ledger.sqlite", False)
    with file.transaction():
        file.open(opened(1))
        file.settle(Entry(opened(1), "answered", 1, 5, Totals(requests=1, actual_nano_usd=7)))
        file.settle(Entry(opened(1), "cancelled", 1, 6, Totals(abandoned=1, actual_nano_usd=9)))
    assert totals(tmp_path / "ledger.sqlite") == Totals(requests=1, actual_nano_usd=7)
    assert states(tmp_path / "ledger.sqlite") == ["answered"]
    file.close()


def test_what_answered_nobody_is_told_by_kind(tmp_path: Path) -> None:
    """Sums by state and tenant, also in a file from before there were any, which is then no other for who wrote it."""
    path = tmp_path / "ledger.sqlite"
    LedgerFile(path, False).close()
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE unanswered")
    file = LedgerFile(path, False)
    with file.transaction():
        for number, state in enumerate(("shadow", "shadow", "judged", "answered")):
            file.settle(Entry(opened(number), state, 1, 5, Totals(abandoned=1, actual_nano_usd=number + 1)))
        file.settle(Entry(opened(0), "shadow", 1, 5, Totals(abandoned=1, actual_nano_usd=99)))
        assert file.unanswered_nano_usd("acme", 0, "shadow") == 3
        assert file.unanswered_nano_usd("acme", 1, "shadow") == file.unanswered_nano_usd("other", 0, "shadow") == 0
    sums = LedgerSums(path)
    assert sums.usage("acme", ALL, frozenset(), FIRST, 1)[3] == [Unanswered("judged", 1, 3), Unanswered("shadow", 2, 3)]
    assert (
        sums.usage("other", ALL, frozenset(), FIRST, 1)[3] == sums.usage(None, (1, 9), frozenset(), FIRST, 1)[3] == []
    )
    sums.close()
    file.close()


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    """A transaction that fails midway leaves neither receipt nor sum."""
    file = LedgerFile(tmp_path / "ledger.sqlite", False)
    wrong = Entry(opened(2), "answered", 1, 2**63, Totals(requests=1))  # more than SQLite's integers hold
    with pytest.raises(OverflowError), file.transaction():
        list(map(file.settle, (Entry(opened(1), "answered", 1, 5, Totals(requests=1)), wrong)))
    assert totals(tmp_path / "ledger.sqlite") == Totals()
    file.close()


def test_the_open_lines_of_the_dead_are_closed_and_of_the_living_not(tmp_path: Path) -> None:
    """A second edge on the same file leaves a living one's executions alone; once that is gone they are interrupted."""
    path = tmp_path / "ledger.sqlite"
    first, second = LedgerFile(path, False), LedgerFile(path, False)
    with first.transaction():
        first.open(opened(1))
    with second.transaction():
        assert second.recover(9) == 0
    first.close()  # its line is still open, its lock is gone
    with second.transaction():
        assert second.recover(9) == 1
        assert second.recover(9) == 0
    assert states(path) == ["interrupted"]
    assert totals(tmp_path / "ledger.sqlite") == Totals(abandoned=1)
    second.close()
    assert not list(tmp_path.glob("*.lock"))


def test_a_lock_that_another_unlinked_is_taken_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between an edge's making of its lock file and locking it, another that starts may take it for a dead one's."""
    path, flock = tmp_path / "ledger.sqlite", fcntl.flock
    second = LedgerFile(path, False)

    def late(lock: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        (unlocked,) = (one for one in tmp_path.glob("*.lock") if os.path.samestat(one.stat(), os.fstat(lock)))
        unlocked.unlink()
        flock(lock, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    first = LedgerFile(path, False)
    assert fcntl.flock is flock
    with first.transaction():
        first.open(opened(1))
    with second.transaction():
        assert second.recover(9) == 0
    first.close()
    second.close()
    assert not list(tmp_path.glob("*.lock"))


def test_single_receipts_are_forgotten_and_sums_stay(tmp_path: Path) -> None:
    """What is older than it is to be kept goes line by line; what was spent does not."""
    path = tmp_path / "ledger.sqlite"
    file = LedgerFile(path, False)
    with file.transaction():
        for day in range(4):
            file.settle(Entry(opened(day, day), "answered", 1, 5, Totals(requests=1, actual_nano_usd=1)))
        file.forget(1, 2)
    assert len(states(path)) == 2
    assert totals(path) == Totals(requests=4, actual_nano_usd=4)
    file.close()


def test_a_clock_far_ahead_forgets_nothing(tmp_path: Path) -> None:
    """What is to be kept counts from the newest receipt, so that a wrong clock takes none away."""
    path = tmp_path / "ledger.sqlite"
    file = LedgerFile(path, False)
    with file.transaction():
        file.settle(Entry(opened(1, 100), "answered", 1, 5, Totals(requests=1)))
        file.forget(30, 90_000)
    assert len(states(path)) == 1
    file.close()


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to look at" * 40, None])
def test_a_file_that_cannot_be_used_is_named_and_kept(tmp_path: Path, content: bytes | None) -> None:
    """Garbage, or another application's database, is refused with its name and stays as it is."""
    path = tmp_path / "ledger.sqlite"
    if content is None:
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE theirs (x)")
        content = path.read_bytes()
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"edge\.ledger\.database: got .*ledger\.sqlite"):
        LedgerFile(path, False)
    assert path.read_bytes() == content


async def test_many_at_once_are_all_written(tmp_path: Path) -> None:
    """Receipts that come together are each durable when their caller goes on, and add up."""
    ledger = Ledger(tmp_path / "ledger.sqlite", False, 1)
    await ledger.start()
    ids = await asyncio.gather(*(ledger.reused(ASKED, OUTCOME, COST) for _ in range(500)))
    assert len(set(ids)) == len(states(tmp_path / "ledger.sqlite")) == 500
    await ledger.close()
    again = Ledger(tmp_path / "ledger.sqlite", True, 1)
    await again.start()
    assert COST
    found = totals(tmp_path / "ledger.sqlite")
    assert (found.requests, found.actual_nano_usd) == (500, 500 * COST.actual_nano_usd)
    await again.close()


@pytest_asyncio.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    """A ledger on a file of its own."""
    ledger = Ledger(tmp_path / "ledger.sqlite", False, 1)
    await ledger.start()
    yield ledger
    await ledger.close()


async def test_a_full_disk_refuses_executions_and_loses_none(ledger: Ledger, tmp_path: Path) -> None:
    """While nothing can be written nothing begins or is answered; what was executed is written once there is room.

    As an execution that answered nobody: its caller has got an error.
    """
    path = tmp_path / "ledger.sqlite"
    lines = [opening(ASKED, LARGE) for _ in range(1002)]
    await asyncio.gather(*(ledger.open(line) for line in lines[:2]))
    pages = await ledger.submit(lambda file: file._connection.execute("PRAGMA page_count").fetchone()[0])
    await ledger.submit(lambda file: file._connection.execute(f"PRAGMA max_page_count = {pages}").fetchone() and None)
    with pytest.raises(Unavailable) as caught:
        await asyncio.gather(*(ledger.open(line) for line in lines[2:]))
    assert (caught.value.reason, caught.value.field) == ("LEDGER_UNAVAILABLE", "ledger")
    big = Outcome("m" * 20_000, OUTCOME.finish, CacheNote("miss"))
    with pytest.raises(Unavailable):
        await ledger.settle(lines[0], big, COST)
    ledger.abandon(replace(lines[0], model=big.model), "failed", OUTCOME.finish.usage, COST, 1)
    hits = (ledger.reused(ASKED, big, COST) for _ in range(200))
    assert all(isinstance(one, Unavailable) for one in await asyncio.gather(*hits, return_exceptions=True))
    assert ledger._writer
    assert len(ledger._writer._unwritten) == 1
    ledger._writer._file._connection.execute("PRAGMA max_page_count = 100000")
    await ledger.settle(lines[1], OUTCOME, COST)
    assert sorted(states(path)) == ["answered", "failed"]
    assert (totals(path).requests, totals(path).abandoned) == (1, 1)


async def test_a_line_that_cannot_be_is_alone_in_that(ledger: Ledger, tmp_path: Path) -> None:
    """A sum beyond what the file holds fails its own caller, leaves nothing behind, and harms nobody after it."""
    huge = Outcome(LARGE, Finish(FinishReason.STOP, Usage(2**62, 0, 0, 0)), CacheNote("miss"))
    settled = [ledger.reused(ASKED, one, None) for one in (huge, OUTCOME, huge, OUTCOME, huge)]
    found = await asyncio.gather(*settled, return_exceptions=True)
    assert [isinstance(one, Exception) for one in found] == [False, False, True, False, True]
    await ledger.reused(ASKED, OUTCOME, COST)
    assert totals(tmp_path / "ledger.sqlite").requests == len(states(tmp_path / "ledger.sqlite")) == 4


async def test_a_caller_who_leaves_while_a_line_is_opened_leaves_none(ledger: Ledger) -> None:
    """The line is taken back, though it is written after they have left."""
    busy = threading.Event()
    held_up = ledger.submit(lambda file: busy.wait(5))
    tasks = [asyncio.create_task(ledger.open(opening(ASKED, LARGE))) for _ in range(5)]
    await asyncio.sleep(0)
    for task in tasks[1:]:
        task.cancel()
    await asyncio.gather(*tasks[1:], return_exceptions=True)
    busy.set()
    await asyncio.gather(held_up, tasks[0])
    assert await ledger.submit(lambda file: file._connection.execute("SELECT count(*) FROM open").fetchone()[0]) == 1


async def test_before_its_start_it_says_so(tmp_path: Path) -> None:
    """A request that comes before the file is open is told to come back."""
    ledger = Ledger(tmp_path / "ledger.sqlite", False, 1)
    for asked in (ledger.reused(ASKED, OUTCOME, COST), ledger.read(LedgerSums.first_day)):
        with pytest.raises(Unavailable) as caught:
            await asked
        assert caught.value.reason == "STARTING"
    await ledger.close()


async def test_a_defect_of_one_job_harms_no_other(ledger: Ledger) -> None:
    """A job that raises answers its own caller with that error; the thread serves the next one."""
    with pytest.raises(UnicodeEncodeError):
        await ledger.submit(lambda file: file.spent_nano_usd("\ud800", 0, 1))
    assert await ledger.submit(lambda file: file.spent_nano_usd("acme", 0, 1)) == 0
