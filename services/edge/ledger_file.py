"""The ledger's SQLite file: every receipt once, sums by day in the same transaction, and what a crash left open."""

import contextlib
import fcntl
import os
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from operator import attrgetter
from pathlib import Path

from services.chassis.settings import ConfigError
from services.edge.ledger_database import connect
from services.edge.usage import SUMS, Totals

DAY_NS = 86_400 * 10**9
_AMOUNTS = attrgetter(*SUMS)
_PLACES = ", ".join("?" * len(SUMS))
_INSERT = f"INSERT OR IGNORE INTO receipts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, {_PLACES})"  # noqa: S608 - our names
_COUNT = f"""INSERT INTO totals VALUES (?, ?, ?, {_PLACES}) ON CONFLICT DO UPDATE SET
{", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)}"""  # noqa: S608 - our names

_COUNT_UNANSWERED = """INSERT INTO unanswered VALUES (?, ?, ?, 1, ?) ON CONFLICT DO UPDATE SET
executions = executions + 1, actual_nano_usd = actual_nano_usd + excluded.actual_nano_usd"""


def receipt_id(begin_ns: int, unique: str) -> str:
    """An id that sorts by time, so that receipts are written side by side."""
    return f"{max(begin_ns, 0):016x}{unique}"


@dataclass(frozen=True, slots=True)
class Opened:
    """An execution that is about to begin; `begin_ns` is Unix time."""

    receipt_id: str
    tenant: str
    principal: str
    request_id: str
    model: str
    begin_ns: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: what a request took, or an execution that answered nobody.

    `state` is answered, cancelled, failed, interrupted, judged or shadow; it counts for the day on which it began.
    """

    opened: Opened
    state: str
    attempts: int
    end_ns: int
    amounts: Totals


class LedgerFile:
    """Reads and writes within `transaction`; used by one thread. Several processes of one machine may share a file.

    Args:
        path: made where it is missing.
        power_safe: whether a commit waits for the disk, so that it survives a power cut and not just a killed process.

    Raises:
        ConfigError: the file cannot be used; it is left as it is, for it tells of money.
    """

    def __init__(self, path: Path, power_safe: bool) -> None:
        self._path = path
        self._owner = secrets.token_hex(8)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = connect(path, power_safe)
        except (OSError, sqlite3.Error) as error:
            expected = "a ledger of Fulcrum that this process may write; restore it from a backup, or name another file"
            raise ConfigError(f"edge.ledger.database: got {path} ({error}), expected {expected}") from error
        self._lock = _locked(self._lock_path(self._owner))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing, in the file when this ends."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # a full disk may have rolled back already
                self._connection.execute("ROLLBACK")
            raise

    def open(self, opened: Opened) -> None:
        """Notes an execution before it begins, so that a crash cannot hide it."""
        self._connection.execute("INSERT INTO open VALUES (?, ?, ?, ?, ?, ?, ?)", (*astuple(opened), self._owner))

    def discard(self, receipt_id: str) -> None:
        """Takes back an execution that never began."""
        self._connection.execute("DELETE FROM open WHERE receipt_id = ?", (receipt_id,))

    def settle(self, entry: Entry) -> None:
        """Writes an entry and adds it to its sums, and closes its open line; a second time changes nothing."""
        one, amounts = entry.opened, _AMOUNTS(entry.amounts)  # astuple copies deeply, at 15 us
        day = one.begin_ns // DAY_NS
        line = (one.receipt_id, one.tenant, one.principal, one.request_id, one.model, entry.state, entry.attempts, day)
        inserted = self._connection.execute(_INSERT, (*line, one.begin_ns, entry.end_ns, *amounts)).rowcount
        if inserted:
            self._connection.execute(_COUNT, (one.tenant, day, one.model, *amounts))
            if entry.state != "answered":
                kind = (one.tenant, day, entry.state, entry.amounts.actual_nano_usd)
                self._connection.execute(_COUNT_UNANSWERED, kind)
        if entry.attempts or entry.state != "answered":
            self.discard(one.receipt_id)

    def spent_nano_usd(self, tenant: str, first_day: int, last_day: int) -> int:
        """What a tenant has spent on these days, both included."""
        sql = "SELECT total(actual_nano_usd) FROM totals WHERE tenant = ? AND day BETWEEN ? AND ?"
        return int(self._connection.execute(sql, (tenant, first_day, last_day)).fetchone()[0])

    def unanswered_nano_usd(self, tenant: str, day: int, state: str) -> int:
        """What a tenant has spent on a day on executions of one kind that answered nobody."""
        sql = "SELECT actual_nano_usd FROM unanswered WHERE tenant = ? AND day = ? AND state = ?"
        found = self._connection.execute(sql, (tenant, day, state)).fetchone()
        return int(found[0]) if found else 0

    def admitted(self, tenant: str, day: int) -> int:
        """How many requests of a tenant were let in on a day, as far as they are counted."""
        sql = "SELECT requests FROM admitted WHERE tenant = ? AND day = ?"
        found = self._connection.execute(sql, (tenant, day)).fetchone()
        return int(found[0]) if found else 0

    def admit(self, tenant: str, day: int, requests: int) -> None:
        """Adds to that number; takes away where `requests` is negative."""
        sql = "INSERT INTO admitted VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET requests = requests + excluded.requests"
        self._connection.execute(sql, (tenant, day, requests))

    def recover(self, now_ns: int) -> int:
        """Closes what processes left open that are no more, as interrupted and of unknown cost; how many there were."""
        left_open = self._connection.execute("SELECT DISTINCT owner FROM open").fetchall()
        locks = {path.suffixes[-2][1:] for path in self._path.parent.glob(f"{self._path.name}.*.lock")}
        closed = 0
        for owner in {owner for (owner,) in left_open} | locks - {self._owner}:
            with self._if_dead(owner) as dead:
                for row in self._rows_of(owner) if dead else ():
                    self.settle(Entry(Opened(*row), "interrupted", 0, now_ns, Totals(abandoned=1)))
                    closed += 1
        return closed

    def forget(self, keep_days: int, before_day: int) -> None:
        """Drops the single receipts of days before; their sums stay.

        The newest one counts too, and what is younger than `keep_days` beside it is kept whatever the clock says.
        """
        newest = self._connection.execute("SELECT max(receipt_id) FROM receipts").fetchone()[0]
        if newest is None:
            return
        before_day = min(before_day, int(newest[:16], 16) // DAY_NS - keep_days)
        self._connection.execute("DELETE FROM receipts WHERE receipt_id < ?", (receipt_id(before_day * DAY_NS, ""),))
        self._connection.execute("DELETE FROM admitted WHERE day < ?", (before_day,))

    def close(self) -> None:
        """Gives the file and the lock back."""
        self._connection.close()
        self._lock_path(self._owner).unlink(missing_ok=True)
        os.close(self._lock)

    def _rows_of(self, owner: str) -> Sequence[tuple[str, str, str, str, str, int]]:
        columns = "receipt_id, tenant, principal, request_id, model, begin_ns"
        return self._connection.execute(f"SELECT {columns} FROM open WHERE owner = ?", (owner,)).fetchall()  # noqa: S608

    @contextmanager
    def _if_dead(self, owner: str) -> Iterator[bool]:
        """Whether the process is gone that held this owner's lock; its lock file goes too."""
        path = self._lock_path(owner)
        try:
            lock = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            yield True
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
            path.unlink(missing_ok=True)
        finally:
            os.close(lock)

    def _lock_path(self, owner: str) -> Path:
        return self._path.with_name(f"{self._path.name}.{owner}.lock")


def _locked(path: Path) -> int:
    """A lock file of this process' own; another that starts may take it for a dead one's and unlink it meanwhile."""
    while True:
        lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(lock)):
                return lock
        os.close(lock)
