"""The ledger's file keeps every receipt once, whatever ends the process or fills the disk."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from services.chassis.errors import Unavailable
from services.chassis.settings import ConfigError
from services.edge.chat import CacheNote, Finish, FinishReason, Message, Outcome, Request, Usage
from services.edge.ledger import Ledger
from services.edge.ledger_file import DAY_NS, Entry, LedgerFile, Opened, receipt_id
from services.edge.receipt import cost_of
from services.edge.usage import Totals
from tests.unit.edge.parts import LARGE, LARGE_PRICE

ALL = (0, 100_000)
FIRST = ("", -2, "")
OUTCOME = Outcome(LARGE, Finish(FinishReason.STOP, Usage(100, 0, 0, 10)), CacheNote("miss"))
COST = cost_of(OUTCOME, {LARGE: LARGE_PRICE}, LARGE)
ASKED = Request("r", "acme", (Message("user", "hello"),))


def opened(number: int, day: int = 0) -> Opened:
    return Opened(receipt_id(day * DAY_NS, str(number)), "acme", "key", "r", LARGE, day * DAY_NS)


def totals(file: LedgerFile) -> Totals:
    groups = file.groups(None, ALL, frozenset(), FIRST, 1)
    return groups[0].totals if groups else Totals()


def states(path: Path) -> list[str]:
    with sqlite3.connect(path) as connection:
        return [state for (state,) in connection.execute("SELECT state FROM receipts ORDER BY receipt_id")]


async def test_a_call_before_the_start(tmp_path: Path) -> None:
    """A call that comes while edge still starts is told so, as by every other service, and may be tried again."""
    with pytest.raises(Unavailable) as caught:
        await Ledger(tmp_path / "ledger.sqlite", False, 1).run(LedgerFile.first_day)
    assert caught.value.reason == "STARTING"


def test_a_receipt_counts_once(tmp_path: Path) -> None:
    """Writing an entry again, by a retry of the write or with other figures, changes nothing."""
    file = LedgerFile(tmp_path / "ledger.sqlite", False)
    with file.transaction():
        file.open(opened(1))
        file.settle(Entry(opened(1), "answered", 1, 5, Totals(requests=1, actual_nano_usd=7)))
        file.settle(Entry(opened(1), "cancelled", 1, 6, Totals(abandoned=1, actual_nano_usd=9)))
    assert totals(file) == Totals(requests=1, actual_nano_usd=7)
    assert states(tmp_path / "ledger.sqlite") == ["answered"]
    file.close()


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    """A transaction that fails midway leaves neither receipt nor sum."""
    file = LedgerFile(tmp_path / "ledger.sqlite", False)
    wrong = Entry(opened(2), "answered", 1, 2**63, Totals(requests=1))  # more than SQLite's integers hold
    with pytest.raises(OverflowError), file.transaction():
        list(map(file.settle, (Entry(opened(1), "answered", 1, 5, Totals(requests=1)), wrong)))
    assert totals(file) == Totals()
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
    assert totals(second) == Totals(abandoned=1)
    second.close()
    assert not list(tmp_path.glob("*.lock"))


def test_single_receipts_are_forgotten_and_sums_stay(tmp_path: Path) -> None:
    """What is older than it is to be kept goes line by line; what was spent does not."""
    path = tmp_path / "ledger.sqlite"
    file = LedgerFile(path, False)
    with file.transaction():
        for day in range(4):
            file.settle(Entry(opened(day, day), "answered", 1, 5, Totals(requests=1, actual_nano_usd=1)))
        file.forget(2)
    assert len(states(path)) == 2
    assert totals(file) == Totals(requests=4, actual_nano_usd=4)
    assert file.first_day() == 0
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
    found = await again.run(totals)
    assert (found.requests, found.actual_nano_usd) == (500, 500 * COST.actual_nano_usd)
    await again.close()


async def test_a_full_disk_refuses_executions_and_loses_no_receipt(tmp_path: Path) -> None:
    """While nothing can be written executions are refused, and a receipt that was due is written once there is room."""
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path, False, 1)
    await ledger.start()
    line = await ledger.open(ASKED, LARGE)
    pages = await ledger.run(lambda file: file._connection.execute("PRAGMA page_count").fetchone()[0])
    await ledger.run(lambda file: file._connection.execute(f"PRAGMA max_page_count = {pages}").fetchone() and None)
    with pytest.raises(Unavailable) as caught:
        await asyncio.gather(*(ledger.open(ASKED, LARGE) for _ in range(1000)))
    assert (caught.value.reason, caught.value.field) == ("LEDGER_UNAVAILABLE", "ledger")
    big = Request("r" * 20_000, "acme", ASKED.messages)
    with pytest.raises(Unavailable):
        await ledger.reused(big, OUTCOME, COST)
    ledger._file._connection.execute("PRAGMA max_page_count = 100000")
    await ledger.settle(line, OUTCOME, COST)
    assert states(path).count("answered") == 2
    await ledger.close()


async def test_a_defect_of_one_job_harms_no_other(tmp_path: Path) -> None:
    """A job that raises answers its own caller with that error; the thread serves the next one."""
    ledger = Ledger(tmp_path / "ledger.sqlite", False, 1)
    await ledger.start()
    with pytest.raises(UnicodeEncodeError):
        await ledger.run(lambda file: file.spent_nano_usd("\ud800", 0, 1))
    assert await ledger.run(lambda file: file.spent_nano_usd("acme", 0, 1)) == 0
    await ledger.close()
