"""The durable entries: what it acknowledged survives a killed process, and what the disk changed is not believed."""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import structlog

from services.cache.database import open_database
from services.cache.entry import Answer, Entry, NewEntry, Partition, Provenance, Selector, Standing
from services.cache.record import Record
from services.cache.rows import (
    COLUMNS,
    EMBEDDED,
    FIRST_TEXT,
    HITS,
    PLACES,
    SEALED,
    SEALED_COUNT,
    SIZE,
    STANDING,
    USE,
    is_whole,
)
from services.cache.seal import seal
from services.cache.session import Session
from services.cache.set_aside import SetAside
from services.cache.tally import Tally
from services.cache.vector_store import VectorStore

_ROW = f"SELECT {COLUMNS} FROM entries "  # noqa: S608 - columns of our own
_RECORDS = f"SELECT {SEALED}, seal, {USE} FROM entries"  # noqa: S608
_ONE_SEALED = f"SELECT {SEALED} FROM entries WHERE sequence = ?"  # noqa: S608
_NEW = f"INSERT INTO entries ({COLUMNS}) VALUES ({PLACES})"  # noqa: S608
_LAST = (
    "SELECT coalesce(max(number), 0) FROM (SELECT max(seq) AS number FROM sqlite_sequence WHERE name = 'entries' "
    "UNION ALL SELECT max(sequence) FROM entries)"
)
_READ_BYTES = 1 << 20
_USED = "UPDATE entries SET hits = ?, last_used_ns = ?, worth = ? WHERE sequence = ?"


class EntryStore:
    """Entries in one SQLite file, for one thread at a time; trouble with the file raises Unavailable."""

    def __init__(self, path: Path, max_requests: int) -> None:
        """Opens the file; the last `max_requests` request ids are kept. Raises ConfigError where it cannot be used."""
        self._session = Session(open_database(path))
        self.aside = SetAside(path)
        self.vectors = VectorStore(self._session)
        self._max_requests = max_requests
        self._prefix = self._session.fact("prefix") or self._named()
        ((last,),) = self._session.rows(_LAST)
        self._next: int = last + 1

    @property
    def last(self) -> int:
        """The highest sequence given so far."""
        return self._next - 1

    def close(self) -> None:
        """Closes the file."""
        self._session.connection.close()

    def records(self) -> Iterator[Record]:
        """What memory needs to know of every entry; those whose bytes changed are removed."""
        partitions: dict[tuple[str, bytes], Partition] = {}
        standings = {int(one): one for one in Standing}
        principals: dict[str, str] = {}
        damaged: list[int] = []
        tally = Tally()
        for row in self._session.each(_RECORDS):
            sequence, key, tenant, fingerprint, principal, size, create_ns, expire_ns, cost, standing = row[:10]
            where = tenant, fingerprint
            tally.saw(where, sequence)
            if row[SEALED_COUNT] != seal(*row[:SEALED_COUNT]):
                damaged.append(sequence)
                continue
            partition = partitions.get(where)
            if partition is None:
                partition = partitions[where] = Partition(tenant, fingerprint)
            principal = principals.setdefault(principal, principal)
            rest = size, create_ns, expire_ns, cost, standings[standing]
            yield Record(sequence, key, partition, principal, *rest, *row[SEALED_COUNT + 1 :])
        if not tally.agrees(self._session):
            structlog.get_logger("cache").warning("indexes of the file made anew")
            self._session.rows("REINDEX")
        if damaged:
            structlog.get_logger("cache").warning("damaged entries removed", count=len(damaged))
            self.delete(damaged)

    def insert(self, new: NewEntry, drop: Sequence[int], worth: float, used: Sequence[Record]) -> Entry:
        """Keeps an entry in place of those in `drop`, its request id, and how others were used: all or nothing."""
        with self._session.transaction():
            self._write_hits(used)
            return self._insert(new, drop, worth)

    def insert_all(self, entries: Iterable[tuple[NewEntry, Sequence[int]]]) -> Iterator[Entry]:
        """Keeps entries within one transaction, each as `insert` does, once all are drawn."""
        with self._session.transaction():
            for new, drop in entries:
                yield self._insert(new, drop, 0.0)

    def answered(self, tenant: str, request_id: str) -> str | None:
        """The entry id that was answered to a request id of this tenant."""
        values = (tenant, request_id)
        rows = self._session.rows("SELECT entry_id FROM requests WHERE tenant = ? AND request_id = ?", values)
        return rows[0][0] if rows else None

    def fetch(self, sequences: Iterable[int]) -> dict[int, Entry]:
        """The entries that are there and whole, by sequence."""
        rows = [row for one in sequences for row in self._session.rows(_ROW + "WHERE sequence = ?", (one,))]
        return {row[0]: self._entry(row) for row in rows if is_whole(row)}

    def page(self, tenant: str, now_ns: int, before: int, limit: int) -> list[Entry]:
        """Unexpired whole entries of a tenant whose sequence is below `before`, newest first; fewer if large."""
        asked = (
            _ROW + "WHERE tenant = ? AND sequence < ? AND (expire_ns IS NULL OR expire_ns > ?) ORDER BY sequence DESC"
        )
        return self._first(limit, asked, (tenant, before, now_ns))

    def after(self, tenant: str | None, sequence: int, limit: int) -> list[Entry]:
        """Whole entries, of one tenant or of all, above a sequence, in their order; fewer if they are large."""
        whose, values = ("tenant = ? AND ", (tenant,)) if tenant else ("", ())
        return self._first(limit, f"{_ROW}WHERE {whose}sequence > ? ORDER BY sequence", (*values, sequence))

    def without(self, encoder: str, sequence: int, limit: int) -> list[Entry]:
        """Whole entries above a sequence that have no vector by this encoder, in their order; fewer if large."""
        known = self.vectors.number(encoder) if encoder in self.vectors.encoders else -1
        return self._first(limit, f"{_ROW}WHERE sequence > ? AND embedded != ? ORDER BY sequence", (sequence, known))

    def select(self, tenant: str, entry_id: str) -> list[int]:
        """Sequence of the entry of a tenant that has this id."""
        where, values = _all(self._named_by(Selector(tenant, entry_id)))
        return [row[0] for row in self._session.rows(f"SELECT sequence FROM entries WHERE {where}", values)]  # noqa: S608

    def matching(self, selector: Selector, after: int, last: int, limit: int) -> list[tuple[int, bool]]:
        """Entries of the tenant, or of the id, above `after` up to `last` in their order, and whether each meets
        every condition; at most `limit`, up to the one with which those that do hold a MiB: what is done is short."""
        conditions = {
            "fingerprint = ?": selector.fingerprint,
            "model = ?": selector.model,
            "create_ns < ?": selector.created_before_ns,
            "create_ns >= ?": selector.created_from_ns,
            "principal = ?": selector.principal,
        }
        meets, values = _all(conditions)
        where, named = _all({**self._named_by(selector), "sequence > ?": after, "sequence <= ?": last})
        asked = f"SELECT sequence, {meets}, size FROM entries WHERE {where} ORDER BY sequence LIMIT ?"  # noqa: S608
        found: list[tuple[int, bool]] = []
        room = _READ_BYTES
        for sequence, chosen, size in self._session.rows(asked, (*values, *named, limit)):
            found.append((sequence, bool(chosen)))
            room -= size if chosen else 0
            if room <= 0:
                break
        return found

    def expired(self, now_ns: int, limit: int) -> list[int]:
        """Sequences of entries that will not be served again."""
        rows = self._session.rows("SELECT sequence FROM entries WHERE expire_ns <= ? LIMIT ?", (now_ns, limit))
        return [row[0] for row in rows]

    def delete(self, sequences: Sequence[int]) -> None:
        """Removes entries so that none returns, not even after a power cut (an insert may be lost to one)."""
        with self._session.beyond_power_cuts():
            self._delete(sequences)

    def empty_journal(self) -> None:
        """Moves the journal into the file, so that nothing removed can be read in it."""
        self._session.rows("PRAGMA wal_checkpoint(TRUNCATE)")

    def confirm(self, sequence: int) -> None:
        """Takes an entry out of quarantine for good."""
        with self._session.transaction():
            for sealed in self._resealed(sequence, STANDING, int(Standing.CONFIRMED)):
                changed = (int(Standing.CONFIRMED), sealed, sequence)
                self._session.rows("UPDATE entries SET standing = ?, seal = ? WHERE sequence = ?", changed)

    def embed(self, sequence: int, new: NewEntry, drop: Sequence[int]) -> None:
        """Gives an entry the new one's vector, in place of its own and of those in `drop`: all or nothing."""
        with self._session.transaction():
            self._delete(drop)
            for sealed in self._resealed(sequence, SIZE, new.size):
                changed = (new.size, sealed, self.vectors.number(new.encoder), sequence)
                self._session.rows("UPDATE entries SET size = ?, seal = ?, embedded = ? WHERE sequence = ?", changed)
                self.vectors.put(sequence, new.encoder, new.vector or b"")

    def _first(self, limit: int, sql: str, values: tuple[Any, ...]) -> list[Entry]:
        """The first whole entries, at most `limit`, up to the one with which they hold a MiB: a read is short."""
        found: list[Entry] = []
        room = _READ_BYTES
        with closing(self._session.each(sql, values)) as rows:
            for row in filter(is_whole, rows):
                found.append(self._entry(row))
                room -= found[-1].size
                if room <= 0 or len(found) == limit:
                    break
        return found

    def _resealed(self, sequence: int, place: int, value: int) -> Iterator[bytes]:
        """The seal of an entry, if it is there, in whose row one value is another."""
        for row in self._session.rows(_ONE_SEALED, (sequence,)):
            values = [*row]
            values[place] = value
            yield seal(*values)

    def write_hits(self, records: Sequence[Record]) -> None:
        """Brings hits, times of use and worth up to date."""
        with self._session.transaction():
            self._write_hits(records)

    def _write_hits(self, records: Sequence[Record]) -> None:
        for record in records:
            self._session.rows(_USED, (record.hits, record.last_used_ns, record.worth, record.sequence))

    def _insert(self, new: NewEntry, drop: Sequence[int], worth: float) -> Entry:
        self._delete(drop)
        sequence, foreign_id = self._place_for(new.entry_id)
        partition, answer, source = new.partition, new.answer, new.provenance
        texts = (
            *(foreign_id, source.request_id, source.source, answer.model, answer.input_tokens),
            *(answer.output_tokens, new.text, answer.text),
        )
        sealed = (
            *(sequence, new.key, partition.tenant, partition.fingerprint, source.principal, new.size),
            *(new.create_ns, new.expire_ns, answer.cost_nano_usd, int(new.standing), seal(*texts)),
        )
        number = self.vectors.number(new.encoder)
        self._session.rows(_NEW, (*sealed, seal(*sealed), number, new.hits, new.create_ns, worth, *texts))
        self._next = max(self._next, sequence + 1)
        if new.vector is not None:
            self.vectors.put(sequence, new.encoder, new.vector)
        entry_id = foreign_id or f"{self._prefix}-{sequence}"
        if new.request_id:
            self._answer(partition.tenant, new.request_id, entry_id)
        rest = new.create_ns, new.expire_ns, source, new.standing, new.size, new.hits, new.encoder
        return Entry(sequence, entry_id, partition, new.text, answer, *rest)

    def _delete(self, sequences: Iterable[int]) -> None:
        for sequence in sequences:
            self._session.remove("DELETE FROM entries WHERE sequence = ?", (sequence,))
            self.vectors.drop(sequence)

    def _answer(self, tenant: str, request_id: str, entry_id: str) -> None:
        values = (tenant, request_id, entry_id)
        self._session.rows("INSERT INTO requests (tenant, request_id, entry_id) VALUES (?, ?, ?)", values)
        self._session.rows("DELETE FROM requests WHERE number <= last_insert_rowid() - ?", (self._max_requests,))

    def _place_for(self, entry_id: str) -> tuple[int, str | None]:
        """The sequence of a new entry, and its id where that is no number of this file's own."""
        own = self._own(entry_id)
        if own is None or own >= self._next:
            return self._next, entry_id or None
        taken = self._session.rows("SELECT 1 FROM entries WHERE sequence = ?", (own,))  # by another tenant's, then
        return (self._next if taken else own), None  # else one of ours that comes back

    def _named_by(self, selector: Selector) -> Mapping[str, Any]:
        """The conditions by which entries are found, rather than looked at."""
        own = None if selector.entry_id is None else self._own(selector.entry_id)
        foreign = selector.entry_id if own is None else None
        return {"tenant = ?": selector.tenant, "sequence = ?": own, "foreign_id = ?": foreign}

    def _own(self, entry_id: str) -> int | None:
        """The sequence that an id of this file stands for."""
        prefix, _, number = entry_id.rpartition("-")
        own = prefix == self._prefix and number.isascii() and number.isdigit() and len(number) < 19
        return int(number) if own else None

    def _entry(self, row: tuple[Any, ...]) -> Entry:
        sequence, _, tenant, fingerprint, principal, size, create_ns, expire_ns, cost, standing, *_ = row
        foreign_id, request_id, source, model, input_tokens, output_tokens, text, said = row[FIRST_TEXT:]
        answer = Answer(said, model, input_tokens, output_tokens, cost)
        provenance = Provenance(principal, request_id, source)
        rest = create_ns, expire_ns, provenance, Standing(standing), size, row[HITS], self.vectors.digest(row[EMBEDDED])
        return Entry(
            sequence, foreign_id or f"{self._prefix}-{sequence}", Partition(tenant, fingerprint), text, answer, *rest
        )

    def _named(self) -> str:
        prefix = secrets.token_hex(6)
        self._session.set_fact("prefix", prefix)
        return prefix


def _all(conditions: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    """One condition of those whose value is not None, true where there are none, and its values."""
    asked = {condition: value for condition, value in conditions.items() if value is not None}
    return " AND ".join(asked) or "1", tuple(asked.values())
