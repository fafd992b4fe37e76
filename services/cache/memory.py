"""All that is held in memory of the entries, behind one lock that is never held while the disk or the index works."""

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from services.cache.answer_memory import AnswerMemory
from services.cache.decision import Decline, MissReason
from services.cache.directory import Directory
from services.cache.entry import Entry, NewEntry, Partition, Standing, serves, serving
from services.cache.garbage import without_collection
from services.cache.language import is_english
from services.cache.normalise import exact_key
from services.cache.outcomes import Outcomes
from services.cache.query import Audit, Hit, MatchKind, Miss, Query, Stats
from services.cache.record import Record
from services.cache.settings import CacheSettings

EXACT = (MatchKind.EXACT, 1.0, 1.0, "the same text")


class Memory:
    """Where entries are, the answers used last, and the lookups made lately; every method may run in any thread."""

    def __init__(self, records: Iterable[Record], settings: CacheSettings) -> None:
        with without_collection():
            self._directory = Directory(records, settings.max_entries, settings.max_bytes)
        self._answers = AnswerMemory(settings.answer_memory_bytes)
        self._outcomes = Outcomes(settings.remembered_lookups)
        self._lock = threading.Lock()

    def recall(self, query: Query, now_ns: int) -> Hit | Miss | None:
        """The outcome, or None where an answer has to be read or an index searched first."""
        key, miss = exact_key(query.partition, query.text), self._outcomes.miss
        with self._lock:
            record = self._directory.find(key)
            if record is not None and serves(record, query.principal, now_ns, query.max_age_ns):
                entry = self._answers.get(record.sequence)
                return self._hit(query, record, entry, now_ns, *EXACT) if entry is not None else None
            if not self._directory.count(query.partition):
                return miss(query, Decline(MissReason.EMPTY, "no entry under this fingerprint"))
            if query.embedding is None:
                return miss(query, Decline(MissReason.NOT_EXACT, "no entry with this text, and no embedding"))
            if query.embedding.truncated:
                return miss(query, Decline(MissReason.TRUNCATED, "longer than the encoder's window"))
            if not is_english(query.text):
                return miss(query, Decline(MissReason.LANGUAGE, "not in the language of the encoder's training"))
        return None

    def exact(self, query: Query, now_ns: int) -> int | None:
        """The entry with the query's text that may be served; None where there is none."""
        key = exact_key(query.partition, query.text)
        with self._lock:
            record = self._directory.find(key)
            return (
                record.sequence
                if record is not None and serves(record, query.principal, now_ns, query.max_age_ns)
                else None
            )

    def serving(self, sequences: Sequence[int], query: Query, now_ns: int) -> tuple[list[Entry | None], list[bool]]:
        """The entries, None for one whose answer is not in memory, and whether each may be served to the query."""
        with self._lock:
            entries = self._answers.some(sequences)
            known: Sequence[Entry | Record | None] = entries
            if not all(entries):
                at = self._directory.at
                known = [entry or at(sequence) for entry, sequence in zip(entries, sequences, strict=True)]
            return entries, serving(known, query.principal, now_ns, query.max_age_ns)

    def hit(
        self, query: Query, entry: Entry, now_ns: int, kind: MatchKind, probability: float, similarity: float, why: str
    ) -> Hit:
        """Counts and remembers an answer served."""
        with self._lock:
            record = self._directory.at(entry.sequence)
            return self._hit(query, record, entry, now_ns, kind, probability, similarity, why)

    def audit(self, query: Query, entry: Entry, propensity: float, would_be_hit: bool, why: str) -> Audit:
        """Counts and remembers an answer that is to be compared; one that would have been served counts as an audit."""
        with self._lock:
            self._answers.used(entry.sequence)
            return self._outcomes.audit(query, entry, propensity, would_be_hit, why)

    def miss(self, query: Query, declined: Decline) -> Miss:
        """Counts and remembers a lookup that served nothing."""
        with self._lock:
            return self._outcomes.miss(query, declined)

    def answers(self, sequences: Iterable[int]) -> dict[int, Entry]:
        """Those of the entries whose answers are in memory."""
        with self._lock:
            return {sequence: entry for sequence in sequences if (entry := self._answers.get(sequence))}

    def keep_answers(self, entries: Iterable[Entry]) -> None:
        """Holds answers that were read."""
        with self._lock:
            for entry in entries:
                self._answers.put(entry)

    def admits(self, tenant: str, principal: str, now_ns: int, inserts_per_hour: int | None) -> bool:
        """Whether the principal may cause one more entry in this hour."""
        with self._lock:
            made = self._directory.principals.inserts(tenant, principal, now_ns)
        return inserts_per_hour is None or made < inserts_per_hour

    def another_to(self, new: NewEntry) -> int | None:
        """The entry to the same prompt, where another principal caused it."""
        with self._lock:
            former = self._directory.find(new.key)
        return former.sequence if former and former.principal != new.provenance.principal else None

    def standing(self, tenant: str, principal: str, needed: int) -> Standing:
        """The standing of a new entry of a principal who needs so many confirmed ones to be trusted at once."""
        with self._lock:
            earned = self._directory.principals.confirmed(tenant, principal)
        return Standing.TRUSTED if earned >= needed else Standing.QUARANTINED

    def outlives(self, new: NewEntry, limited: bool, now_ns: int) -> bool:
        """Whether the one that is there serves all its tenant, and a new one does not, or is `limited` to less time."""
        with self._lock:
            former = self._directory.find(new.key)
        if former is None or former.standing is Standing.QUARANTINED or not serves(former, "", now_ns, None):
            return False
        shorter = new.expire_ns is not None and (former.expire_ns is None or new.expire_ns < former.expire_ns)
        return new.standing is Standing.QUARANTINED or (limited and shorter)

    def confirm(self, sequence: int) -> bool:
        """Takes an entry out of quarantine for good; tells whether it was there and unconfirmed."""
        with self._lock:
            record = self._directory.at(sequence)
            if record is None or record.standing is Standing.CONFIRMED:
                return False
            self._directory.confirm(record)
            entry = self._answers.get(sequence)
            if entry is not None:
                self._answers.put(replace(entry, standing=Standing.CONFIRMED))
            return True

    def may_withdraw(self, sequence: int, principal: str | None, needed: int) -> bool:
        """Whether a complaint of this principal, None for our services, takes an entry away from all that it serves.

        Its own principal's does, and that of one with the standing for which so many confirmed entries are needed.
        """
        with self._lock:
            record = self._directory.at(sequence)
            if principal is None or record is None or principal == record.principal:
                return True
            return self._directory.principals.confirmed(record.partition.tenant, principal) >= needed

    def has_standing(self, tenant: str, principal: str, needed: int) -> bool:
        """Whether a principal has so many confirmed entries."""
        with self._lock:
            return self._directory.principals.confirmed(tenant, principal) >= needed

    def principal_of(self, sequence: int) -> str | None:
        """Who caused an entry; None where it is gone."""
        with self._lock:
            record = self._directory.at(sequence)
            return record.principal if record else None

    def newest(self, key: bytes) -> int:
        """When the answer to an exact key was made, nanoseconds since 1970; -1 where there is none."""
        with self._lock:
            record = self._directory.find(key)
            return record.create_ns if record else -1

    def room_for(self, new: NewEntry, expired: Sequence[int]) -> tuple[list[int], list[int], float]:
        """What a new entry replaces, with the expired, what is evicted for it, and what it is worth itself."""
        with self._lock:
            former = self._directory.find(new.key)
            gone = [*expired]
            if former is not None and former.sequence not in gone:
                gone.append(former.sequence)
            evicted = self._directory.make_room(new.size, gone)
            return gone, evicted, self._directory.worth_of(new, evicted)

    def add(self, entry: Entry, new: NewEntry, lookup_id: str) -> None:
        """Takes in an entry that the store keeps from now on."""
        record = Record(
            entry.sequence,
            new.key,
            new.partition,
            new.provenance.principal,
            new.size,
            new.create_ns,
            new.expire_ns,
            new.answer.cost_nano_usd,
            new.standing,
            new.hits,
            new.create_ns,
        )
        with self._lock:
            self._directory.add(record)
            self._answers.put(entry)
            self._outcomes.lookups.stored(new.partition.tenant, lookup_id, entry.sequence)

    def give_up(self, sequences: Iterable[int]) -> None:
        """Notes that entries are about to be forgotten for want of room."""
        with self._lock:
            self._directory.give_up(sequences)

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
            sequence = self._outcomes.lookups.entry_of(tenant, lookup_id)
            return sequence if sequence is not None and self._directory.at(sequence) else None

    def room_for_vector(self, sequence: int, new: NewEntry) -> list[int] | None:
        """What is evicted for an entry's new vector; None where the entry is gone."""
        with self._lock:
            record = self._directory.at(sequence)
            return None if record is None else self._directory.make_room(new.size, [sequence])

    def embedded(self, entry: Entry) -> None:
        """Takes in an entry whose vector, and so its size, is another."""
        with self._lock:
            self._directory.resize(entry.sequence, entry.size)
            self._answers.put(entry)

    def hits_of(self, sequences: Iterable[int]) -> list[int]:
        """Times that each entry was served."""
        with self._lock:
            records = [self._directory.at(sequence) for sequence in sequences]
        return [record.hits if record else 0 for record in records]

    def take_touched(self, limit: int | None = None) -> list[Record]:
        """Records whose hits the store does not know yet, at most `limit`."""
        with self._lock:
            return self._directory.take_touched(limit)

    def stats(self, encoder_digest: str) -> Stats:
        """Counts since start, sizes now."""
        with self._lock:
            outcomes, directory = self._outcomes, self._directory
            counts = outcomes.counts
            return Stats(
                counts[MatchKind.EXACT],
                counts[MatchKind.SEMANTIC],
                counts[None],
                len(directory),
                directory.bytes,
                encoder_digest,
                directory.evicted,
                outcomes.saved_nano_usd,
                outcomes.audits,
            )

    def _hit(
        self,
        query: Query,
        record: Record | None,
        entry: Entry,
        now_ns: int,
        kind: MatchKind,
        probability: float,
        similarity: float,
        why: str,
    ) -> Hit:
        self._answers.used(entry.sequence)
        if record is not None:
            self._directory.served(record, now_ns)
        return self._outcomes.hit(query, entry, now_ns, kind, probability, similarity, why)
