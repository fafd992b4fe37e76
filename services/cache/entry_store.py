"""The durable entries: what it acknowledged survives a killed process."""

import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from services.cache.database import open_database
from services.cache.directory import Record
from services.cache.embedding import Encoder
from services.cache.entry import Answer, Entry, NewEntry, Partition, Selector
from services.cache.vector_index import Vectors
from services.chassis.errors import Unavailable

_ENTRY = (
    "SELECT sequence, tenant, fingerprint, text, create_ns, expire_ns, hits, "
    "answer, model, input_tokens, output_tokens, cost_nano_usd FROM entries "
)


class EntryStore:
    """Entries in one SQLite file, for one thread at a time; trouble with the file raises Unavailable."""

    def __init__(self, path: Path, max_requests: int) -> None:
        """Opens the file; the last `max_requests` request ids are kept. Raises ConfigError where it cannot be used."""
        self._db = open_database(path)
        self._max_requests = max_requests
        prefix = self._fact("prefix")
        if prefix is None:
            prefix = secrets.token_hex(6)
            self._set_fact("prefix", prefix)
        self._prefix = prefix

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def records(self) -> Iterator[Record]:
        """What memory needs to know of every entry, the one used longest ago first."""
        partitions: dict[Partition, Partition] = {}
        for sequence, key, tenant, fingerprint, *rest in self._rows(
            "SELECT sequence, key, tenant, fingerprint, size, create_ns, expire_ns, hits, last_used_ns "
            "FROM entries ORDER BY last_used_ns, sequence"
        ):
            partition = Partition(tenant, fingerprint)
            yield Record(sequence, key, partitions.setdefault(partition, partition), *rest)

    def insert(self, new: NewEntry, drop: Sequence[int]) -> Entry:
        """Keeps an entry in place of those in `drop`, and its request id: all or nothing."""
        partition, answer = new.partition, new.answer
        with self._transaction():
            self._delete(drop)
            ((sequence,),) = self._rows(
                "INSERT INTO entries (key, tenant, fingerprint, text, create_ns, expire_ns, last_used_ns, size, "
                "vector, answer, model, input_tokens, output_tokens, cost_nano_usd) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING sequence",
                (
                    *(new.key, partition.tenant, partition.fingerprint, new.text, new.create_ns, new.expire_ns),
                    *(new.create_ns, new.size, new.vector, answer.text, answer.model, answer.input_tokens),
                    *(answer.output_tokens, answer.cost_nano_usd),
                ),
            )
            entry_id = f"{self._prefix}-{sequence}"
            if new.request_id:
                self._answer(partition.tenant, new.request_id, entry_id)
        return Entry(sequence, entry_id, partition, new.text, answer, new.create_ns, new.expire_ns, 0)

    def answered(self, tenant: str, request_id: str) -> str | None:
        """The entry id that was answered to a request id of this tenant."""
        rows = self._rows("SELECT entry_id FROM requests WHERE tenant = ? AND request_id = ?", (tenant, request_id))
        return rows[0][0] if rows else None

    def fetch(self, sequences: Iterable[int]) -> dict[int, Entry]:
        """The entries that are still there, by sequence."""
        rows = [row for sequence in sequences for row in self._rows(_ENTRY + "WHERE sequence = ?", (sequence,))]
        return {row[0]: self._entry(row) for row in rows}

    def page(self, tenant: str, now_ns: int, before: int, limit: int) -> list[Entry]:
        """Unexpired entries of a tenant whose sequence is below `before`, newest first."""
        rows = self._rows(
            _ENTRY + "WHERE tenant = ? AND sequence < ? AND (expire_ns IS NULL OR expire_ns > ?) "
            "ORDER BY sequence DESC LIMIT ?",
            (tenant, before, now_ns, limit),
        )
        return [self._entry(row) for row in rows]

    def vectors(self, partition: Partition) -> Vectors:
        """All vectors of a partition."""
        rows = self._rows(
            "SELECT sequence, vector FROM entries WHERE tenant = ? AND fingerprint = ? AND vector IS NOT NULL",
            (partition.tenant, partition.fingerprint),
        )
        values = np.frombuffer(b"".join(row[1] for row in rows), "<f4")
        return Vectors(np.array([row[0] for row in rows], np.int64), values.reshape(max(len(rows), 1), -1))

    def select(self, selector: Selector) -> list[int]:
        """Sequences of the entries that meet every condition."""
        prefix, _, number = (selector.entry_id or "").rpartition("-")
        known = prefix == self._prefix and number.isascii() and number.isdigit() and len(number) < 19
        conditions = {
            "tenant = ?": selector.tenant,
            "sequence = ?": None if selector.entry_id is None else int(number) if known else -1,
            "fingerprint = ?": selector.fingerprint,
            "model = ?": selector.model,
            "create_ns < ?": selector.created_before_ns,
        }
        asked = {condition: value for condition, value in conditions.items() if value is not None}
        where = " AND ".join(asked)
        rows = self._rows(f"SELECT sequence FROM entries WHERE {where}", tuple(asked.values()))  # noqa: S608
        return [row[0] for row in rows]

    def expired(self, now_ns: int, limit: int) -> list[int]:
        """Sequences of entries that will not be served again."""
        rows = self._rows("SELECT sequence FROM entries WHERE expire_ns <= ? LIMIT ?", (now_ns, limit))
        return [row[0] for row in rows]

    def delete(self, sequences: Sequence[int]) -> None:
        """Removes entries so that none returns, not even after a power cut (an insert may be lost to one)."""
        self._rows("PRAGMA synchronous = FULL")
        try:
            with self._transaction():
                self._delete(sequences)
        finally:
            self._rows("PRAGMA synchronous = NORMAL")

    def write_hits(self, records: Sequence[Record]) -> None:
        """Brings hits and times of use up to date."""
        if not records:
            return
        with self._transaction():
            for record in records:
                values = (record.hits, record.last_used_ns, record.sequence)
                self._rows("UPDATE entries SET hits = ?, last_used_ns = ? WHERE sequence = ?", values)

    def encoder(self) -> Encoder | None:
        """The encoder of the stored vectors; None where there was none yet."""
        fact = self._fact("encoder")
        if fact is None:
            return None
        digest, dimension = fact.split()
        return Encoder(digest, int(dimension))

    def adopt(self, encoder: Encoder) -> None:
        """Notes the encoder of the vectors to come."""
        self._set_fact("encoder", f"{encoder.digest} {encoder.dimension}")

    def forget_vectors(self) -> None:
        """Drops every vector and its encoder; the entries stay for exact matches."""
        with self._transaction():
            self._rows("UPDATE entries SET size = size - length(vector), vector = NULL WHERE vector IS NOT NULL")
            self._rows("DELETE FROM facts WHERE name = 'encoder'")

    def _delete(self, sequences: Iterable[int]) -> None:
        for sequence in sequences:
            self._rows("DELETE FROM entries WHERE sequence = ?", (sequence,))

    def _answer(self, tenant: str, request_id: str, entry_id: str) -> None:
        values = (tenant, request_id, entry_id)
        self._rows("INSERT INTO requests (tenant, request_id, entry_id) VALUES (?, ?, ?)", values)
        self._rows("DELETE FROM requests WHERE number <= last_insert_rowid() - ?", (self._max_requests,))

    def _entry(self, row: tuple[Any, ...]) -> Entry:
        sequence, tenant, fingerprint, text, create_ns, expire_ns, hits, *answer = row
        partition = Partition(tenant, fingerprint)
        entry_id = f"{self._prefix}-{sequence}"
        return Entry(sequence, entry_id, partition, text, Answer(*answer), create_ns, expire_ns, hits)

    def _fact(self, name: str) -> str | None:
        rows = self._rows("SELECT value FROM facts WHERE name = ?", (name,))
        return rows[0][0] if rows else None

    def _set_fact(self, name: str, value: str) -> None:
        self._rows("INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", (name, value))

    def _rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise Unavailable("cache.database", error, "a file that can be read and written") from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._rows("BEGIN IMMEDIATE")
        try:
            yield
            self._rows("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._rows("ROLLBACK")
            raise
