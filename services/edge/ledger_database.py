"""Opens the ledger's SQLite file: its tables, made once by whichever edge comes first, and whose file it is."""

import sqlite3
import time
from pathlib import Path

from services.edge.usage import SUMS

_APPLICATION_ID = 0x46434C47  # "FCLG"
_VERSION = 1
_BUSY_S, _BUSY_PAUSE_S = 5.0, 0.01
_SUM_COLUMNS = ", ".join(f"{name} INTEGER NOT NULL" for name in SUMS)
_SCHEMA = f"""
CREATE TABLE receipts (
    receipt_id TEXT PRIMARY KEY, tenant TEXT NOT NULL, principal TEXT NOT NULL, request_id TEXT NOT NULL,
    model TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL, day INTEGER NOT NULL,
    begin_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL, {_SUM_COLUMNS}
) STRICT, WITHOUT ROWID;
CREATE TABLE open (
    receipt_id TEXT PRIMARY KEY, tenant TEXT NOT NULL, principal TEXT NOT NULL, request_id TEXT NOT NULL,
    model TEXT NOT NULL, begin_ns INTEGER NOT NULL, owner TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE totals (
    tenant TEXT NOT NULL, day INTEGER NOT NULL, model TEXT NOT NULL, {_SUM_COLUMNS},
    PRIMARY KEY (tenant, day, model)
) STRICT, WITHOUT ROWID;
CREATE TABLE admitted (
    tenant TEXT NOT NULL, day INTEGER NOT NULL, requests INTEGER NOT NULL, PRIMARY KEY (tenant, day)
) STRICT, WITHOUT ROWID;
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
"""
# Beside the tables of version 1, which whoever knows nothing of it may go on writing.
_UNANSWERED = """CREATE TABLE IF NOT EXISTS unanswered (
    tenant TEXT NOT NULL, day INTEGER NOT NULL, state TEXT NOT NULL, executions INTEGER NOT NULL,
    actual_nano_usd INTEGER NOT NULL, PRIMARY KEY (tenant, day, state)
) STRICT, WITHOUT ROWID"""


def connect(path: Path, power_safe: bool) -> sqlite3.Connection:
    """A ledger's file, its tables made where it is new; for one thread at a time.

    Tries again while the file is busy: where several edges make it at once, SQLite does not wait by itself.

    Raises:
        OSError, sqlite3.Error: it cannot be opened, is damaged, or is somebody else's.
    """
    give_up = time.monotonic() + _BUSY_S
    while True:
        try:
            return _opened(path, power_safe)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
        time.sleep(_BUSY_PAUSE_S)


def _opened(path: Path, power_safe: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("BEGIN")  # so that what is read is of one moment, while another edge makes the tables
        _is_new(connection)  # before anything is written: the file may be somebody else's
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if power_safe else 'NORMAL'}")
        connection.execute("BEGIN IMMEDIATE")  # two edges that start together make the tables once
        if _is_new(connection):
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
        connection.execute(_UNANSWERED)
        connection.execute("COMMIT")
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
    except BaseException:
        connection.close()
        raise
    return connection


def _is_new(connection: sqlite3.Connection) -> bool:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if not application and not tables:
        return True
    if (application, version) != (_APPLICATION_ID, _VERSION):
        raise sqlite3.DatabaseError(f"a file of application {application:x}, version {version}")
    return False
