"""Opens the SQLite file of the entries, or sets a damaged one aside so that the cache starts empty, never in a loop."""

import sqlite3
import time
from pathlib import Path

import structlog

from services.chassis.settings import ConfigError

_APPLICATION_ID = 0x46434348  # "FCCH"
_VERSION = 2

_SCHEMA = f"""
CREATE TABLE entries (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    key BLOB NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    principal TEXT NOT NULL,
    size INTEGER NOT NULL,
    create_ns INTEGER NOT NULL,
    expire_ns INTEGER,
    cost_nano_usd INTEGER,
    standing INTEGER NOT NULL,
    content BLOB NOT NULL,
    seal BLOB NOT NULL,
    embedded INTEGER NOT NULL,
    hits INTEGER NOT NULL,
    last_used_ns INTEGER NOT NULL,
    worth REAL NOT NULL,
    foreign_id TEXT,
    request_id TEXT NOT NULL,
    source TEXT NOT NULL,
    model TEXT NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    text TEXT NOT NULL,
    answer TEXT NOT NULL
) STRICT;
CREATE INDEX entries_by_partition ON entries (tenant, fingerprint, embedded);
CREATE INDEX entries_by_age ON entries (tenant, sequence);
CREATE INDEX entries_by_expiry ON entries (expire_ns) WHERE expire_ns IS NOT NULL;
CREATE UNIQUE INDEX entries_by_foreign_id ON entries (tenant, foreign_id) WHERE foreign_id IS NOT NULL;
CREATE TABLE vectors (sequence INTEGER PRIMARY KEY, vector BLOB NOT NULL) STRICT;
CREATE TABLE requests (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    request_id TEXT NOT NULL,
    entry_id TEXT NOT NULL,
    UNIQUE (tenant, request_id)
) STRICT;
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL, seal BLOB NOT NULL) STRICT;
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
"""


def open_database(path: Path) -> sqlite3.Connection:
    """A connection that owns the file alone, in WAL mode, with the schema in place.

    A commit survives a killed process, not a power cut (synchronous NORMAL): an entry lost to the latter costs its
    price once more. A file of ours that is damaged or of another version is renamed to `<name>.aside-<time>`.

    Raises:
        ConfigError: another process holds the file, it belongs to another application, or it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return _open(path)
        except _Unusable as problem:
            if not _has_our_mark(path):
                raise
            aside = _set_aside(path)
            structlog.get_logger("cache").warning("database set aside", file=str(aside), problem=str(problem))
            return _open(path)
    except (OSError, sqlite3.OperationalError, _Unusable) as error:
        expected = "a file that this process may write and no other process has open"
        raise ConfigError(f"cache.database: got {path} ({error}), expected {expected}") from error


class _Unusable(Exception):
    """The file is damaged or of another version."""


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        new = _is_new(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if new:
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
    except sqlite3.OperationalError:
        connection.close()
        raise
    except sqlite3.DatabaseError as error:
        connection.close()
        raise _Unusable(str(error)) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _is_new(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file has no content yet; raises where it has one that is not usable, and writes nothing."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application != _APPLICATION_ID:
        if tables:
            raise ConfigError(f"cache.database: got {path}, a database of another application, expected one of Fulcrum")
        return True
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != _VERSION:
        raise _Unusable(f"version {version}, expected {_VERSION}")
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise _Unusable(verdict)
    return False


def _has_our_mark(path: Path) -> bool:
    """Whether the header, damaged as it may be, names our application: a mistyped name may lead to somebody's file."""
    with path.open("rb") as file:
        return file.read(72)[68:] == _APPLICATION_ID.to_bytes(4, "big")


def _set_aside(path: Path) -> Path:
    stamp = f"aside-{time.time_ns()}"
    for suffix in ("-wal", "-shm", ""):
        file = path.with_name(path.name + suffix)
        if file.exists():
            file.rename(path.with_name(f"{path.name}.{stamp}{suffix}"))
    return path.with_name(f"{path.name}.{stamp}")
