"""All that is held in memory of the entries, behind one lock that is never held while the disk or the index works."""

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from services.cache.answer_memory import AnswerMemory
from services.cache.decision import Decline, MissReason
from services.cache.directory import Directory, Record
from services.cache.entry import Entry, NewEntry, Partition
from services.cache.lookups import Lookups
from services.cache.normalise import exact_key
from services.cache.query import Hit, MatchKind, Miss, Query

_EXACT = (MatchKind.EXACT, 1.0, 1.0)


class Memory:
    """Where entries are, the answers used last, and the lookups made lately; every method may run in any thread."""

    def __init__(self, records: Iterable[Record], answer_bytes: int, remembered_lookups: int) -> None:
        self._directory = Directory(records)
        self._answers = AnswerMemory(answer_bytes)
        self._lookups = Lookups(remembered_lookups)
        self._counts: Counter[MatchKind | None] = Counter()
        self._lock = threading.Lock()

    def recall(self, query: Query, now_ns: int) -> Hit | Miss | None:
        """The outcome, or None where an answer has to be read or an index searched first."""
        key = exact_key(query.partition, query.text)
        with self._lock:
            record = self._directory.find(key)
            if record is not None and record.serves(now_ns, query.max_age_ns):
                entry = self._answers.get(record.sequence)
                return self._hit(query, record, entry, now_ns, *_EXACT) if entry is not None else None
            if not self._directory.count(query.partition):
                return self._miss(query, Decline(MissReason.EMPTY, "no entry under this fingerprint"))
            if query.embedding is None:
                return self._miss(query, Decline(MissReason.NOT_EXACT, "no entry with this text, and no embedding"))
            if query.embedding.truncated:
                return self._miss(query, Decline(MissReason.TRUNCATED, "longer than the encoder's window"))
        return None

    def exact(self, query: Query, now_ns: int) -> int | None:
        """The entry with the query's text that may be served; None where there is none."""
        key = exact_key(query.partition, query.text)
        with self._lock:
            record = self._directory.find(key)
            return record.sequence if record is not None and record.serves(now_ns, query.max_age_ns) else None

    def serving(self, sequences: Iterable[int], now_ns: int, max_age_ns: int | None) -> list[int]:
        """Those of the entries that may be served."""
        with self._lock:
            records = (self._directory.at(sequence) for sequence in sequences)
            return [record.sequence for record in records if record and record.serves(now_ns, max_age_ns)]

    def hit(
        self, query: Query, entry: Entry, now_ns: int, kind: MatchKind, probability: float, similarity: float
    ) -> Hit:
        """Counts and remembers an answer served."""
        with self._lock:
            record = self._directory.at(entry.sequence)
            return self._hit(query, record, entry, now_ns, kind, probability, similarity)

    def miss(self, query: Query, declined: Decline) -> Miss:
        """Counts and remembers a lookup that served nothing."""
        with self._lock:
            return self._miss(query, declined)

    def answers(self, sequences: Iterable[int]) -> dict[int, Entry]:
        """Those of the entries whose answers are in memory."""
        with self._lock:
            return {sequence: entry for sequence in sequences if (entry := self._answers.get(sequence))}

    def keep_answers(self, entries: Iterable[Entry]) -> None:
        """Holds answers that were read."""
        with self._lock:
            for entry in entries:
                self._answers.put(entry)

    def room_for(self, new: NewEntry, expired: Sequence[int], max_entries: int, max_bytes: int) -> list[int]:
        """What to remove for a new entry: the former one of its text, the expired, then those used longest ago."""
        with self._lock:
            former = self._directory.find(new.key)
            gone = [former.sequence, *expired] if former is not None else expired
            return self._directory.make_room(new.size, gone, max_entries, max_bytes)

    def add(self, entry: Entry, new: NewEntry, lookup_id: str) -> None:
        """Takes in an entry that the store keeps from now on."""
        record = Record(entry.sequence, new.key, new.partition, new.size, new.create_ns, new.expire_ns)
        with self._lock:
            self._directory.add(record)
            self._answers.put(entry)
            self._lookups.stored(new.partition.tenant, lookup_id, entry.sequence)

    def forget(self, sequences: Iterable[int]) -> Mapping[Partition, list[int]]:
        """Drops entries; returns those that were there by partition."""
        gone: defaultdict[Partition, list[int]] = defaultdict(list)
        with self._lock:
            for sequence in sequences:
                self._answers.drop(sequence)
                record = self._directory.remove(sequence)
                if record is not None:
                    gone[record.partition].append(sequence)
        return gone

    def entry_of(self, tenant: str, lookup_id: str) -> int | None:
        """The entry served or stored under a lookup, while it is there. Raises NotFound for an unknown lookup."""
        with self._lock:
            sequence = self._lookups.entry_of(tenant, lookup_id)
            return sequence if sequence is not None and self._directory.at(sequence) else None

    def hits_of(self, sequences: Iterable[int]) -> list[int]:
        """Times that each entry was served."""
        with self._lock:
            records = [self._directory.at(sequence) for sequence in sequences]
        return [record.hits if record else 0 for record in records]

    def take_touched(self, limit: int | None = None) -> list[Record]:
        """Records whose hits the store does not know yet, at most `limit`."""
        with self._lock:
            return self._directory.take_touched(limit)

    def counts(self) -> tuple[Counter[MatchKind | None], int, int]:
        """Lookups by kind of match, None being misses; entries; bytes."""
        with self._lock:
            return self._counts.copy(), len(self._directory), self._directory.bytes

    def _hit(
        self,
        query: Query,
        record: Record | None,
        entry: Entry,
        now_ns: int,
        kind: MatchKind,
        probability: float,
        similarity: float,
    ) -> Hit:
        self._counts[kind] += 1
        if record is not None:
            self._directory.served(record, now_ns)
        lookup_id = self._lookups.remember(query.partition.tenant, entry.sequence)
        return Hit(lookup_id, entry, kind, probability, similarity, now_ns - entry.create_ns)

    def _miss(self, query: Query, declined: Decline) -> Miss:
        self._counts[None] += 1
        lookup_id = self._lookups.remember(query.partition.tenant, None)
        return Miss(lookup_id, declined.reason, declined.explanation)
