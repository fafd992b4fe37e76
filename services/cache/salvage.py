"""Brings what is whole in a damaged file of entries into a new one."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import structlog

from services.cache.journal import Journal
from services.cache.rows import COLUMNS, EMBEDDED, HITS, PLACES, is_whole
from services.cache.seal import unchecked
from services.cache.session import Session
from services.cache.vector_store import FACT, VectorStore
from services.chassis.errors import Unavailable

PAGE = 4096
_FACTS = ("prefix", FACT)
_LONGEST_STEP = 1024
_PATIENCE = 1000  # failures in a row after which steps grow without a limit: it is the file that ends
_UNSEEN = 100_000  # numbers skipped, as the last ones given may be among what is lost
_FURTHEST = 10**8


def salvage(damaged: Path, pristine: bytes, into: sqlite3.Connection) -> int:
    """Copies every entry that is whole, its vector and its id; returns how many entries there are.

    The first page, which holds the schema, is the same in every file of a version: it is taken from `pristine`. Frames
    of the journal that are whole are applied, whatever lies between them. Rows prove themselves by their seals.
    """
    repaired = damaged.with_name(f"{damaged.name}.repaired")
    try:
        repaired.write_bytes(_repaired(damaged, pristine))
        source = sqlite3.connect(repaired, isolation_level=None)
        source.text_factory = into.text_factory
        try:
            with Session(into).transaction():
                return _copy(source, into)
        finally:
            source.close()
    except sqlite3.Error as error:
        structlog.get_logger("cache").warning("nothing salvaged", file=str(damaged), problem=str(error))
        return 0
    finally:
        repaired.unlink(missing_ok=True)


def _repaired(damaged: Path, pristine: bytes) -> bytes:
    pages = bytearray(damaged.read_bytes())
    pages += bytes(-len(pages) % PAGE)
    waiting: list[tuple[int, bytes]] = []
    for frame in Journal(damaged.with_name(f"{damaged.name}-wal"), PAGE).frames():
        if frame.whole and 0 < frame.page < 2**20:
            waiting.append((frame.page, frame.content))
        if not frame.commits:
            continue
        for page, content in waiting:
            pages += bytes(max(0, page * PAGE - len(pages)))
            pages[(page - 1) * PAGE : page * PAGE] = content
        waiting.clear()
    pages[:PAGE] = pristine
    pages[18:20] = b"\x01\x01"  # no journal of its own
    pages[28:32] = (len(pages) // PAGE).to_bytes(4, "big")
    pages[32:40] = bytes(8)  # no free pages that are known
    return bytes(pages)


def _copy(source: sqlite3.Connection, into: sqlite3.Connection) -> int:
    found, kept = Session(source), Session(into)
    for name in _FACTS:
        value = _known(found, name)
        if value is not None:
            kept.set_fact(name, value)
    count = last = 0
    vectors, encoders = VectorStore(kept), dict[int, str]()
    for row in _each(source, f"SELECT {COLUMNS} FROM entries WHERE sequence > ? ORDER BY sequence"):  # noqa: S608
        if not is_whole(row):
            continue
        into.execute(f"INSERT OR IGNORE INTO entries ({COLUMNS}) VALUES ({PLACES})", _used(row))  # noqa: S608
        count, last, encoders[row[0]] = count + 1, row[0], vectors.digest(row[EMBEDDED])
    for sequence, stored in _each(source, "SELECT sequence, vector FROM vectors WHERE sequence > ? ORDER BY sequence"):
        if isinstance(stored, bytes) and unchecked(sequence, encoders.get(sequence, ""), stored) is not None:
            into.execute("INSERT OR IGNORE INTO vectors VALUES (?, ?)", (sequence, stored))
    into.execute("UPDATE entries SET embedded = 0 WHERE sequence NOT IN (SELECT sequence FROM vectors)")
    asked = "SELECT number, tenant, request_id, entry_id FROM requests WHERE number > ? ORDER BY number"
    for request in _each(source, asked):
        into.execute("INSERT OR IGNORE INTO requests VALUES (?, ?, ?, ?)", request)
    # a number that was given once is not given again, so that an id and an index's file mean what they meant
    beyond = last + _UNSEEN
    into.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'entries'", (beyond,))
    return count


def _known(found: Session, name: str) -> str | None:
    try:
        return found.fact(name)
    except Unavailable:
        return None


def _used(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The row with a history of use that can be one: it is not sealed, as it changes with every hit."""
    values = [*row]
    for place, kind in ((HITS, int), (HITS + 1, int), (HITS + 2, float)):
        if not isinstance(values[place], kind) or not 0 <= values[place] < float("inf"):
            values[place] = kind(0)
    return tuple(values)


def _each(source: sqlite3.Connection, select: str) -> Iterator[tuple[Any, ...]]:
    """Rows in the order of their first column; where the file cannot be read, what follows is looked for further on."""
    place, step, failed = 0, 1, 0
    while place < _FURTHEST:
        try:
            for row in source.execute(select, (place,)):
                place, step, failed = row[0], 1, 0
                yield row
            return
        except sqlite3.Error:
            place += step
            failed += 1
            step = 2 * step if failed > _PATIENCE else min(2 * step, _LONGEST_STEP)
