"""Statements on the SQLite file: trouble with it is Unavailable, a transaction is whole, and facts are sealed."""

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

from services.cache.seal import seal
from services.chassis.errors import Unavailable

_COPIES = ("", ".copy")  # a fact is written twice, so that a damaged byte costs one of them


class Session:
    """One connection, for one thread at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """What a statement answers. Raises Unavailable."""
        try:
            return self.connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise _unavailable(error) from error

    def remove(self, sql: str, values: tuple[Any, ...]) -> None:
        """Runs a DELETE; where an index lacks what is removed, as a byte of either changed, indexes are made anew."""
        try:
            self.connection.execute(sql, values)
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:  # the rest tells what kind
                raise _unavailable(error) from error
            self.rows("REINDEX")
            self.rows(sql, values)

    def each(self, sql: str, values: tuple[Any, ...] = ()) -> Generator[Any, None, None]:
        """As `rows`, one after another; who stops before the last one closes it."""
        try:
            yield from self.connection.execute(sql, values)
        except sqlite3.Error as error:
            raise _unavailable(error) from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of what is done within it, or nothing."""
        self.rows("BEGIN IMMEDIATE")
        try:
            yield
            self.rows("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.rows("ROLLBACK")
            raise

    @contextmanager
    def beyond_power_cuts(self) -> Iterator[None]:
        """A transaction that not even a power cut undoes."""
        self.rows("PRAGMA synchronous = FULL")
        try:
            with self.transaction():
                yield
        finally:
            self.rows("PRAGMA synchronous = NORMAL")

    def fact(self, name: str) -> str | None:
        """A fact, None where it is not known or every copy is damaged."""
        for copy in _COPIES:
            for value, sealed in self.rows("SELECT value, seal FROM facts WHERE name = ?", (name + copy,)):
                if sealed == seal(name, value):
                    return str(value)
        return None

    def set_fact(self, name: str, value: str) -> None:
        """Notes a fact."""
        for copy in _COPIES:
            values = (name + copy, value, seal(name, value))
            self.rows("INSERT OR REPLACE INTO facts (name, value, seal) VALUES (?, ?, ?)", values)


def _unavailable(error: sqlite3.Error) -> Unavailable:
    return Unavailable("cache.database", error, "a file that can be read and written")
