"""Where every entry is and how often it served, in memory: a miss costs no look at the disk."""

from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from services.cache.entry import Partition


@dataclass(slots=True)
class Record:
    """What memory holds of one entry; times in nanoseconds since 1970."""

    sequence: int
    key: bytes
    partition: Partition
    size: int
    create_ns: int
    expire_ns: int | None
    hits: int = 0
    last_used_ns: int = 0

    def serves(self, now_ns: int, max_age_ns: int | None) -> bool:
        """Whether it has not expired and is young enough."""
        return (self.expire_ns is None or now_ns < self.expire_ns) and (
            max_age_ns is None or now_ns - self.create_ns <= max_age_ns
        )


class Directory:
    """All records in order of use; about 500 bytes an entry."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._by_key: OrderedDict[bytes, Record] = OrderedDict()
        self._by_sequence: dict[int, Record] = {}
        self._in_partition: Counter[Partition] = Counter()
        self._touched: set[int] = set()
        self.bytes = 0
        for record in records:
            self.add(record)

    def __len__(self) -> int:
        return len(self._by_key)

    def add(self, record: Record) -> None:
        """Takes a record as the one used last."""
        self._by_key[record.key] = record
        self._by_sequence[record.sequence] = record
        self._in_partition[record.partition] += 1
        self.bytes += record.size

    def remove(self, sequence: int) -> Record | None:
        """Forgets a record and returns it; None where it was gone."""
        record = self._by_sequence.pop(sequence, None)
        if record is None:
            return None
        del self._by_key[record.key]
        self._in_partition[record.partition] -= 1
        if not self._in_partition[record.partition]:
            del self._in_partition[record.partition]
        self._touched.discard(sequence)
        self.bytes -= record.size
        return record

    def find(self, key: bytes) -> Record | None:
        """The record of an exact key."""
        return self._by_key.get(key)

    def at(self, sequence: int) -> Record | None:
        """The record of an entry."""
        return self._by_sequence.get(sequence)

    def count(self, partition: Partition) -> int:
        """Entries of a partition."""
        return self._in_partition[partition]

    def served(self, record: Record, now_ns: int) -> None:
        """Counts a hit and makes the record the one used last."""
        record.hits += 1
        record.last_used_ns = now_ns
        if record.sequence in self._by_sequence:
            self._by_key.move_to_end(record.key)
            self._touched.add(record.sequence)

    def make_room(self, size: int, gone: Iterable[int], max_entries: int, max_bytes: int) -> list[int]:
        """What to remove so that one more entry of `size` bytes fits: `gone`, then the ones used longest ago."""
        victims = {sequence: self._by_sequence[sequence] for sequence in gone}
        entries = len(self) - len(victims) + 1
        total = self.bytes - sum(record.size for record in victims.values()) + size
        for record in self._by_key.values():
            if entries <= max_entries and total <= max_bytes:
                break
            if record.sequence not in victims:
                victims[record.sequence] = record
                entries -= 1
                total -= record.size
        return list(victims)

    def take_touched(self, limit: int | None = None) -> list[Record]:
        """Records with hits that the disk does not know yet, at most `limit`; they count as known from now on."""
        taken = list(self._touched)[:limit]
        self._touched.difference_update(taken)
        return [self._by_sequence[sequence] for sequence in taken]
