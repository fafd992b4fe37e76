"""The durable vectors of entries, each with a check sum, and the encoder whose they are."""

import numpy as np
import structlog

from services.cache.embedding import Encoder
from services.cache.entry import Partition
from services.cache.nearest import Vectors
from services.cache.seal import checked, unchecked
from services.cache.session import Session


class VectorStore:
    """Vectors by the sequence of their entry, for one thread at a time."""

    def __init__(self, session: Session) -> None:
        self._session = session
        fact = session.fact("encoder")
        self._encoder = Encoder(fact.split()[0], int(fact.split()[1])) if fact else None

    def encoder(self) -> Encoder | None:
        """The encoder of the stored vectors; None where there was none yet."""
        return self._encoder

    def adopt(self, encoder: Encoder) -> None:
        """Notes the encoder of the vectors to come."""
        self._session.set_fact("encoder", f"{encoder.digest} {encoder.dimension}")
        self._encoder = encoder

    def put(self, sequence: int, vector: bytes) -> None:
        """Keeps a vector, within a transaction of the entry's."""
        self._session.rows("INSERT INTO vectors VALUES (?, ?)", (sequence, checked(sequence, vector)))

    def drop(self, sequence: int) -> None:
        """Removes a vector, known or not, within a transaction of the entry's."""
        self._session.rows("DELETE FROM vectors WHERE sequence = ?", (sequence,))

    def get(self, sequence: int) -> bytes | None:
        """An entry's vector; None where it has none that is whole."""
        rows = self._session.rows("SELECT vector FROM vectors WHERE sequence = ?", (sequence,))
        return unchecked(sequence, rows[0][0]) if rows else None

    def of(self, partition: Partition) -> Vectors:
        """All whole vectors of a partition."""
        return _vectors(
            self._session.rows(
                "SELECT sequence, vector FROM entries JOIN vectors USING (sequence) "
                "WHERE tenant = ? AND fingerprint = ?",
                (partition.tenant, partition.fingerprint),
            )
        )

    def some(self, sequences: list[int]) -> Vectors:
        """The whole vectors among those of these entries."""
        asked = "SELECT sequence, vector FROM vectors WHERE sequence = ?"
        return _vectors([row for one in sequences for row in self._session.rows(asked, (one,))])

    def settle(self) -> None:
        """Has what was written so far survive a power cut."""
        self._session.rows("PRAGMA wal_checkpoint(PASSIVE)")

    def sequences(self, partition: Partition) -> list[int]:
        """The entries of a partition that have a vector."""
        asked = "SELECT sequence FROM entries WHERE tenant = ? AND fingerprint = ? AND embedded"
        rows = self._session.rows(asked, (partition.tenant, partition.fingerprint))
        return [row[0] for row in rows]

    def forget_all(self) -> None:
        """Drops every vector and its encoder; the entries stay for exact matches."""
        with self._session.transaction():
            self._session.rows("DELETE FROM vectors")
            self._session.rows("UPDATE entries SET embedded = 0")
            self._session.rows("DELETE FROM facts WHERE name GLOB 'encoder*'")
        self._encoder = None


def _vectors(rows: list[tuple[int, bytes]]) -> Vectors:
    whole = [(sequence, vector) for sequence, stored in rows if (vector := unchecked(sequence, stored))]
    damaged = len(rows) - len(whole)
    if damaged:
        structlog.get_logger("cache").warning("damaged vectors left out", count=damaged)
    values = np.frombuffer(b"".join(vector for _, vector in whole), "<f4")
    return Vectors(np.array([one for one, _ in whole], np.int64), values.reshape(max(len(whole), 1), -1))
