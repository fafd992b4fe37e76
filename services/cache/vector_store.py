"""The durable vectors of entries, each with a check sum over it, its entry and its encoder."""

import numpy as np
import structlog

from services.cache.entry import Space
from services.cache.nearest import Vectors
from services.cache.seal import checked, unchecked
from services.cache.session import Session

FACT = "encoders"


class VectorStore:
    """Vectors by the sequence of their entry, one each, for one thread at a time.

    An entry's row holds a number for its vector's encoder, 0 where it has none; a fact says which number is whose.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.encoders: dict[str, int] = {}  # dimension by digest, the one that came last at the end
        self._numbers: dict[str, int] = {}
        words = iter((session.fact(FACT) or "").split())
        for digest, number, dimension in zip(words, words, words, strict=True):
            self.encoders[digest], self._numbers[digest] = int(dimension), int(number)
        self._digests = {number: digest for digest, number in self._numbers.items()}

    def adopt(self, digest: str, dimension: int) -> None:
        """Takes in an encoder of vectors to come; those that have no vector any more are forgotten."""
        used = {row[0] for row in self._session.rows("SELECT DISTINCT embedded FROM entries")}
        numbers = {known: number for known, number in self._numbers.items() if number in used}
        numbers[digest] = max(used | set(self._numbers.values()), default=0) + 1  # whatever became of the fact
        dimensions = {known: self.encoders.get(known, dimension) for known in numbers}
        fact = " ".join(f"{known} {number} {dimensions[known]}" for known, number in numbers.items())
        self._session.set_fact(FACT, fact)
        self.encoders, self._numbers = dimensions, numbers
        self._digests = {number: known for known, number in numbers.items()}

    def number(self, encoder: str) -> int:
        """What stands for an encoder that is known, or for none, in an entry's row."""
        return self._numbers[encoder] if encoder else 0

    def digest(self, number: int) -> str:
        """The encoder that a number stands for; empty where there is none."""
        return self._digests.get(number, "")

    def put(self, sequence: int, encoder: str, vector: bytes) -> None:
        """Keeps a vector in place of the former one, within a transaction of the entry's."""
        values = (sequence, checked(sequence, encoder, vector))
        self._session.rows("INSERT OR REPLACE INTO vectors VALUES (?, ?)", values)

    def drop(self, sequence: int) -> None:
        """Removes a vector, known or not, within a transaction of the entry's."""
        self._session.rows("DELETE FROM vectors WHERE sequence = ?", (sequence,))

    def get(self, sequence: int, encoder: str) -> bytes | None:
        """An entry's vector by this encoder; None where it has none that is whole."""
        rows = self._session.rows("SELECT vector FROM vectors WHERE sequence = ?", (sequence,))
        return unchecked(sequence, encoder, rows[0][0]) if rows and encoder else None

    def of(self, space: Space) -> Vectors:
        """All whole vectors of a space."""
        asked = (
            "SELECT sequence, vector FROM entries JOIN vectors USING (sequence) "
            "WHERE tenant = ? AND fingerprint = ? AND embedded = ?"
        )
        return _vectors(self._session.rows(asked, self._key(space)), space.encoder)

    def some(self, sequences: list[int], encoder: str) -> Vectors:
        """The whole vectors by this encoder among those of these entries."""
        asked = "SELECT sequence, vector FROM vectors WHERE sequence = ?"
        return _vectors([row for one in sequences for row in self._session.rows(asked, (one,))], encoder)

    def settle(self) -> None:
        """Has what was written so far survive a power cut."""
        self._session.rows("PRAGMA wal_checkpoint(PASSIVE)")

    def sequences(self, space: Space) -> list[int]:
        """The entries that have a vector in a space."""
        asked = "SELECT sequence FROM entries WHERE tenant = ? AND fingerprint = ? AND embedded = ?"
        return [row[0] for row in self._session.rows(asked, self._key(space))]

    def _key(self, space: Space) -> tuple[str, bytes, int]:
        return space.partition.tenant, space.partition.fingerprint, self._numbers.get(space.encoder, -1)


def _vectors(rows: list[tuple[int, bytes]], encoder: str) -> Vectors:
    whole = [(sequence, vector) for sequence, stored in rows if (vector := unchecked(sequence, encoder, stored))]
    damaged = len(rows) - len(whole)
    if damaged:
        structlog.get_logger("cache").warning("damaged vectors left out", count=damaged)
    values = np.frombuffer(b"".join(vector for _, vector in whole), "<f4")
    return Vectors(np.array([one for one, _ in whole], np.int64), values.reshape(max(len(whole), 1), -1))
