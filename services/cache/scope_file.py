"""The durable file of what scopes have learnt, so that a restart neither forgets verdicts nor the promise's books."""

import hashlib
import sqlite3
from pathlib import Path

import structlog

from services.chassis.errors import Unavailable
from services.chassis.settings import ConfigError

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS scopes (scope TEXT PRIMARY KEY, state BLOB NOT NULL, seal BLOB NOT NULL) STRICT",
    "CREATE TABLE IF NOT EXISTS promises (scope TEXT PRIMARY KEY, promise TEXT NOT NULL, seal BLOB NOT NULL) STRICT",
)
_WRITE = "INSERT OR REPLACE INTO scopes VALUES (?, ?, ?)"
_PROMISE = "INSERT OR REPLACE INTO promises VALUES (?, ?, ?)"


class ScopeFile:
    """One sealed state a scope, and where its promise stood; what is damaged is dropped, and its scope starts safe.

    A write survives a killed process; what a power cut leaves is either whole or dropped by its seal.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._db = self._open()
        except sqlite3.OperationalError as error:
            expected = "a file that this process may write and no other process has open"
            raise ConfigError(f"cache.database: got {path} beside it ({error}), expected {expected}") from error
        except sqlite3.DatabaseError as error:
            self._db = self._renewed(error)

    def read(self, scope: str) -> bytes | None:
        """The scope's state as it was last written; None where there is none or it is damaged."""
        try:
            row = self._db.execute("SELECT state, seal FROM scopes WHERE scope = ?", (scope,)).fetchone()
        except sqlite3.DatabaseError as error:
            self._renew(error)
            return None
        if row is None:
            return None
        state: bytes = row[0]
        if _seal(scope, state) == row[1]:
            return state
        structlog.get_logger("cache").warning("a scope's state is damaged: it starts anew")
        return None

    def promises(self) -> list[str]:
        """Where the promises of all scopes stood when they were written."""
        try:
            rows = self._db.execute("SELECT scope, promise, seal FROM promises").fetchall()
        except sqlite3.DatabaseError as error:
            self._renew(error)
            return []
        return [promise for scope, promise, sealed in rows if _seal(scope, promise.encode()) == sealed]

    def write(self, scope: str, state: bytes, promise: str) -> None:
        """Keeps the state in place of the former one, all or nothing; where it cannot, a scope forgets at a restart."""
        values = (scope, state, _seal(scope, state))
        try:
            self._db.execute(_WRITE, values)
            self._db.execute(_PROMISE, (scope, promise, _seal(scope, promise.encode())))
        except sqlite3.OperationalError as error:  # a full disk, say: the next write may do
            structlog.get_logger("cache").warning("a scope's state was not written", problem=str(error))
        except sqlite3.DatabaseError as error:
            self._renew(error)
            self._db.execute(_WRITE, values)

    def forget(self, ending: str) -> None:
        """Removes the scopes whose names end so from their first space on, beyond power cuts and from every free page.

        Raises:
            Unavailable: it cannot be removed.
        """
        try:
            self._db.execute("PRAGMA synchronous = FULL")
            for table in ("scopes", "promises"):
                self._db.execute(f"DELETE FROM {table} WHERE substr(scope, instr(scope, ' ')) = ?", (ending,))  # noqa: S608
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._db.execute("PRAGMA synchronous = OFF")
        except sqlite3.OperationalError as error:
            raise Unavailable("cache.database", error, "a file beside it that can be read and written") from error
        except sqlite3.DatabaseError as error:
            self._renew(error)

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def _renew(self, problem: sqlite3.DatabaseError) -> None:
        self._db.close()
        self._db = self._renewed(problem)

    def _renewed(self, problem: sqlite3.DatabaseError) -> sqlite3.Connection:
        structlog.get_logger("cache").warning("what scopes learnt is dropped", problem=str(problem))
        for suffix in ("-wal", "-shm", ""):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        return self._open()

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self._path, timeout=1.0, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")  # nobody else's lock may be taken for damage later
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = OFF")
            db.execute("PRAGMA secure_delete = ON")  # what was purged is not to be read in free pages
            for table in _SCHEMA:
                db.execute(table)
            return db
        except BaseException:
            db.close()
            raise


def _seal(scope: str, state: bytes) -> bytes:
    return hashlib.sha256(len(scope.encode()).to_bytes(8, "little") + scope.encode() + state).digest()
