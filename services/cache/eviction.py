"""Which entry goes when there is no room: the one that saves the least money for the room it takes."""

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from services.cache.record import Record


class SavedPerByte:
    """The worth of entries by GDSF: age + times used x price / share of the bounds, the age rising with evictions.

    A price is what the answer cost to make, in nano-dollars; one that is unknown counts as the mean of those known.
    The share is of whichever bound the entry takes more of. Source: Cherkasova, "Improving WWW Proxies Performance with
    Greedy-Dual-Size-Frequency Caching Policy", 1998.
    """

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._entry_share, self._byte_share = 1 / max_entries, 1 / max_bytes
        self._priced = self._price = 0

    def saw(self, record: Record) -> None:
        """Learns what answers cost."""
        if record.cost_nano_usd is not None:
            self._priced += 1
            self._price += record.cost_nano_usd

    def __call__(self, record: Record, age: float) -> float:
        """The worth of an entry that is used at this age of the cache."""
        return self.of(record.cost_nano_usd, record.size, record.hits, age)

    def of(self, price: int | None, size: int, hits: int, age: float) -> float:
        """The worth of an entry of this price and size, used so often."""
        if price is None:
            price = self._price // self._priced if self._priced else 1
        share = max(self._entry_share, size * self._byte_share)
        return age + (1 + hits) * max(price, 1) / share


class EvictionOrder:
    """Entries by worth, the least first; a worth only ever rises, so that a use costs no reordering.

    What the heap holds of an entry may lag behind its record: it is put right when it comes to the top.
    """

    def __init__(self, worth: Callable[[Record, float], float], records: Mapping[int, Record]) -> None:
        self._worth = worth
        self._records = records
        self._heap = [(record.worth, sequence) for sequence, record in records.items()]
        heapq.heapify(self._heap)
        self._age = self._heap[0][0] if self._heap else 0.0

    def add(self, record: Record) -> None:
        """Takes in a record that is among the records by now."""
        record.worth = self._worth(record, self._age)
        if len(self._heap) > 2 * len(self._records) + 64:
            self._heap = [(known.worth, known.sequence) for known in self._records.values()]
            heapq.heapify(self._heap)
        else:
            heapq.heappush(self._heap, (record.worth, record.sequence))

    def used(self, record: Record) -> None:
        """Counts a use."""
        record.worth = max(record.worth, self._worth(record, self._age))

    def evicted(self, record: Record) -> None:
        """Ages the cache to the worth of what it gave up, so that old glory fades."""
        self._age = max(self._age, record.worth)

    def age_after(self, evicted: Iterable[Record]) -> float:
        """The age of the cache once these are given up."""
        return max((self._age, *(record.worth for record in evicted)))

    def least(self, but: Collection[int]) -> Iterator[Record]:
        """Records from the least worth on; those drawn stay in the order."""
        drawn: dict[int, float] = {}
        try:
            while self._heap:
                worth, sequence = heapq.heappop(self._heap)
                record = self._records.get(sequence)
                if record is None or sequence in drawn:  # gone, or what is left of one that went and came back
                    continue
                if worth < record.worth:
                    heapq.heappush(self._heap, (record.worth, sequence))
                    continue
                drawn[sequence] = worth
                if sequence not in but:
                    yield record
        finally:
            for sequence, worth in drawn.items():
                heapq.heappush(self._heap, (worth, sequence))
