"""Where every entry is and how often it served, in memory: a miss costs no look at the disk."""

from collections import Counter
from collections.abc import Iterable

from services.cache.entry import NewEntry, Partition, Standing
from services.cache.eviction import EvictionOrder, SavedPerByte
from services.cache.principals import Principals
from services.cache.record import Record


class Directory:
    """All records within the bounds; about 700 bytes an entry."""

    def __init__(self, records: Iterable[Record], max_entries: int, max_bytes: int) -> None:
        self._max_entries, self._max_bytes = max_entries, max_bytes
        known = list(records)
        self._by_key = {record.key: record for record in known}
        self._by_sequence = {record.sequence: record for record in known}
        self._in_partition = Counter(record.partition for record in known)
        self._touched: set[int] = set()
        self._worth = SavedPerByte(max_entries, max_bytes)
        self.principals = Principals()
        self.bytes, self.evicted = sum(record.size for record in known), 0
        for record in known:
            self._worth.saw(record)
            self.principals.added(record)
        self._order = EvictionOrder(self._worth, self._by_sequence)

    def __len__(self) -> int:
        return len(self._by_key)

    def add(self, record: Record) -> None:
        """Takes in a record."""
        self._by_key[record.key] = record
        self._by_sequence[record.sequence] = record
        self._in_partition[record.partition] += 1
        self.bytes += record.size
        self._worth.saw(record)
        self.principals.added(record)
        self._order.add(record)

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
        self.principals.removed(record)
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
        """Counts a hit."""
        record.hits += 1
        record.last_used_ns = now_ns
        if record.sequence in self._by_sequence:
            self._order.used(record)
            self._touched.add(record.sequence)

    def resize(self, sequence: int, size: int) -> None:
        """Takes in that an entry has another size."""
        record = self._by_sequence[sequence]
        self.bytes += size - record.size
        record.size = size

    def confirm(self, record: Record) -> None:
        """Takes an entry out of quarantine, if it was in it, for good."""
        record.standing = Standing.CONFIRMED
        self.principals.confirm(record)

    def make_room(self, size: int, gone: Iterable[int]) -> list[int]:
        """What to remove, the least worth first, so that one more entry of `size` bytes fits when `gone` have gone."""
        leaving = {sequence: self._by_sequence[sequence] for sequence in gone}
        entries = len(self) - len(leaving) + 1
        total = self.bytes - sum(record.size for record in leaving.values()) + size
        victims: list[int] = []
        if entries <= self._max_entries and total <= self._max_bytes:
            return victims
        for record in self._order.least(but=leaving.keys()):
            victims.append(record.sequence)
            entries -= 1
            total -= record.size
            if entries <= self._max_entries and total <= self._max_bytes:
                break
        return victims

    def worth_of(self, new: NewEntry, victims: Iterable[int]) -> float:
        """What `add` will reckon a new entry to be worth once the victims have gone."""
        age = self._order.age_after(self._by_sequence[victim] for victim in victims)
        return self._worth.of(new.answer.cost_nano_usd, new.size, new.hits, age)

    def give_up(self, sequences: Iterable[int]) -> None:
        """Notes that entries are about to be removed for want of room."""
        for sequence in sequences:
            self._order.evicted(self._by_sequence[sequence])
            self.evicted += 1

    def take_touched(self, limit: int | None = None) -> list[Record]:
        """Records with uses that the disk does not know yet, at most `limit`; they count as known from now on."""
        taken = list(self._touched)[:limit]
        self._touched.difference_update(taken)
        return [self._by_sequence[sequence] for sequence in taken]
