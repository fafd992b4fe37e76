"""Opens the SQLite file of the entries, or sets a damaged one aside and starts with what is whole of it."""

import sqlite3
from pathlib import Path

import structlog

from services.cache.journal import Journal
from services.cache.salvage import PAGE, salvage
from services.cache.set_aside import KEPT, SetAside
from services.chassis.settings import ConfigError

_APPLICATION_ID = 0x46434348  # "FCCH"
_PIECE = 1 << 22
_VERSION = 0x46430003  # a mark of its own, should a byte of the other one change

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
_TABLES = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid"


def open_database(path: Path) -> sqlite3.Connection:
    """A connection that owns the file alone, in WAL mode, with the schema in place.

    A commit survives a killed process, not a power cut (synchronous NORMAL): an entry lost to the latter costs its
    price once more. A file of ours that is damaged or of another version is renamed to `<name>.aside-<time>`, where the
    newest such file stays for a while, and what is whole of it is brought over.

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
            aside = SetAside(path).add()
            connection = _open(path)
            found = salvage(aside, path.read_bytes()[:PAGE], connection)
            log = structlog.get_logger("cache")
            log.warning("database set aside", file=str(aside), problem=str(problem), salvaged=found)
            return connection
    except (OSError, sqlite3.OperationalError, _Unusable) as error:
        expected = "a file that this process may write and no other process has open"
        raise ConfigError(f"cache.database: got {path} ({error}), expected {expected}") from error


class _Unusable(Exception):
    """The file is damaged or of another version."""


def _open(path: Path) -> sqlite3.Connection:
    if path.exists() and _has_our_mark(path):
        _read_in_order(path)  # before it is locked, as closing any file gives up the process's locks on it
    connection = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
    try:
        connection.text_factory = _text
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        new = _is_new(connection, path)  # from here on nobody else has the file
        journal = path.with_name(f"{path.name}-wal")
        if not new and Journal(journal, PAGE).damaged:
            kept = journal.with_name(f"{journal.name}{KEPT}")
            kept.unlink(missing_ok=True)  # of a process that was killed here
            kept.hardlink_to(journal)  # closing removes the other name
            raise _Unusable("a byte of its journal changed")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = ON")  # what was purged is not to be read in free pages
        connection.execute("PRAGMA journal_size_limit = 0")  # a begun journal is cut behind its first transaction
        if new:
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # from now on the file itself has our mark
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


def _read_in_order(path: Path) -> None:
    """Has the system hold the file in memory: its check jumps from page to page, at which disks are slow."""
    with path.open("rb", buffering=0) as file:
        while file.read(_PIECE):
            pass


def _is_new(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file has no content yet; raises where it has one that is not usable, and writes nothing."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application != _APPLICATION_ID and version != _VERSION:
        if tables:
            raise ConfigError(f"cache.database: got {path}, a database of another application, expected one of Fulcrum")
        return True
    if version != _VERSION or application != _APPLICATION_ID:
        raise _Unusable(f"version {version}, expected {_VERSION}")
    if connection.execute(_TABLES).fetchall() != _pristine():
        raise _Unusable("a byte of its schema changed")
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise _Unusable(verdict)
    return False


def _pristine() -> list[tuple[str, ...]]:
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(_SCHEMA)
        return connection.execute(_TABLES).fetchall()
    finally:
        connection.close()


def _text(stored: bytes) -> str:
    """What is no UTF-8 was some before a byte changed: it is left for its seal to refuse, as errors would quote it."""
    return stored.decode("utf-8", "replace")


def _has_our_mark(path: Path) -> bool:
    """Whether the header, damaged as it may be, names our application: a mistyped name may lead to somebody's file."""
    with path.open("rb") as file:
        header = file.read(72)
    marks = {68: _APPLICATION_ID, 60: _VERSION}
    return any(header[place : place + 4] == mark.to_bytes(4, "big") for place, mark in marks.items())
