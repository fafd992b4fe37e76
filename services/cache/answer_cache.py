"""The cache itself: look up, store, judge, remove and list answers."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import structlog

from services.cache.decision import Decline, Neighbour, Serve
from services.cache.embedding import Embedding
from services.cache.entry import Entry, NewEntry, Selector
from services.cache.entry_store import EntryStore
from services.cache.memory import EXACT, Memory
from services.cache.normalise import exact_key
from services.cache.personal_data import Detector, PersonalData
from services.cache.query import Audit, Hit, MatchKind, Miss, NotKept, Query, Stats, Submission
from services.cache.scopes import Promise, Scopes
from services.cache.settings import CacheSettings, TenantSettings
from services.cache.snapshots import Snapshots
from services.cache.vector_index import VectorIndex
from services.cache.vector_space import VectorSpace
from services.cache.warm_up import Lessons
from services.chassis.errors import FailedPrecondition, InvalidField, NotFound

_NEIGHBOURS = 16
_LEAST_LESSONS = 50
_SWEEP = 64  # expired entries removed, and hits written, with each store


class AnswerCache:
    """Answers by exact and similar prompt.

    `recall` and `stats` may run in any thread; everything else in one, beside them.
    """

    def __init__(
        self,
        store: EntryStore,
        scopes: Scopes,
        settings: CacheSettings,
        clock_ns: Callable[[], int],
        detector: Detector | None = None,
    ) -> None:
        self._store = store
        self._scopes = scopes
        self._settings = settings
        self._clock_ns = clock_ns
        self._personal_data: Detector = PersonalData(settings.personal_data) if detector is None else detector
        self._space = VectorSpace(store.vectors, settings.encoder_digest)
        self._memory = Memory(store.records(), settings)
        snapshots = Snapshots(settings.database.with_name(f"{settings.database.name}.index"))
        self._index = VectorIndex(store.vectors, snapshots, settings.vector_memory_bytes)
        self._index.warm()

    def lookup(self, query: Query) -> Hit | Miss | Audit:
        """The answer to the same or a similar prompt.

        Raises:
            InvalidField: a bad vector.
            FailedPrecondition: an embedding of another encoder.
        """
        return self.recall(query) or self.search(query)

    def recall(self, query: Query) -> Hit | Miss | None:
        """As `lookup` where memory decides, which takes microseconds; None where it takes `search`."""
        if query.embedding is not None:
            self._space.vector(query.embedding)
        found = self._memory.recall(query, self._clock_ns())
        if isinstance(found, Hit):
            self._scopes.exact(query.partition.tenant, self._bound(query))
        return found

    def search(self, query: Query) -> Hit | Miss | Audit:
        """As `lookup` for a query that `recall` could not decide."""
        now_ns = self._clock_ns()
        exact = self._memory.exact(query, now_ns)
        if exact is not None:
            for entry in self._entries([exact]):
                self._scopes.exact(query.partition.tenant, self._bound(query))
                return self._memory.hit(query, entry, now_ns, *EXACT)
        tenant, near = query.partition.tenant, self._neighbours(query, now_ns)
        decided, considered = self._scopes.decide(tenant, query.text, near, self._bound(query), query.judges)
        if isinstance(decided, Decline):
            return self._memory.miss(query, decided)
        entry, why = decided.neighbour.entry, decided.explanation
        found: Hit | Audit
        if isinstance(decided, Serve):
            sure, similarity = decided.probability, decided.neighbour.similarity
            found = self._memory.hit(query, entry, now_ns, MatchKind.SEMANTIC, sure, similarity, why)
        else:
            found = self._memory.audit(query, entry, decided.propensity, why)
        if considered is not None:
            self._scopes.remember(tenant, found.lookup_id, considered)
        return found

    def store(self, submission: Submission) -> str | NotKept:
        """Keeps an answer in place of the one to the same prompt and returns the entry's id; durable on return.

        Raises:
            InvalidField: a bad vector, or more bytes than the whole cache may hold.
            FailedPrecondition: an embedding of another encoder.
        """
        embedding, tenant = submission.embedding, submission.partition.tenant
        vector = None if embedding is None else self._space.vector(embedding)
        known = submission.request_id and self._store.answered(tenant, submission.request_id)
        if known:
            return known
        if self._personal_data.find(submission.text) or self._personal_data.find(submission.answer.text):
            return NotKept.PERSONAL_DATA
        limits, now_ns = self._settings.of(tenant), self._clock_ns()
        if not self._memory.admits(tenant, submission.provenance.principal, now_ns, limits.inserts_per_hour):
            return NotKept.QUOTA
        if embedding is not None:
            self._space.adopt(embedding)
            vector = None if embedding.truncated else vector
        new = self._new(submission, None if vector is None else vector.tobytes(), now_ns, limits)
        return self._keep(new, vector, submission.lookup_id)

    def judge(self, tenant: str, lookup_id: str, right: bool, principal: str | None = None) -> bool:
        """Takes a verdict on the answer that a lookup served, checked or stored; tells whether that withdrew it.

        On an answer that was to be checked only our services have a say, and that withdraws nothing. A right one
        confirms the entry, unless it is of the `principal` who caused it; None stands for our services.

        Raises:
            NotFound: the tenant made no such lookup, or it is forgotten.
        """
        sequence = self._memory.entry_of(tenant, lookup_id)
        if principal is None and self._scopes.judged(tenant, lookup_id, right):
            return False
        if sequence is None:
            return False
        if right:
            if principal is None or principal != self._memory.principal_of(sequence):
                self._confirm(sequence)
            return False
        self._remove([sequence])
        return True

    def invalidate(self, selector: Selector) -> int:
        """Removes entries; returns how many."""
        sequences = self._store.select(selector)
        self._remove(sequences)
        return len(sequences)

    def get(self, tenant: str, entry_id: str) -> tuple[Entry, bytes | None]:
        """An entry and its vector, little-endian float32. Raises NotFound."""
        found = self._entries(self._store.select(Selector(tenant, entry_id=entry_id)))
        if not found:
            raise NotFound("entry_id", entry_id, "the id of an entry of this tenant")
        (served,) = self._memory.hits_of([found[0].sequence])
        return replace(found[0], hits=served), self._store.vectors.get(found[0].sequence)

    def export(self, tenant: str | None, after: int, limit: int) -> list[tuple[Entry, bytes | None]]:
        """Entries and their vectors above a sequence, of one tenant or of all, in their order."""
        entries = self._store.after(tenant, after, limit)
        hits = self._memory.hits_of(entry.sequence for entry in entries)
        whole = [replace(entry, hits=served) for entry, served in zip(entries, hits, strict=True)]
        return [(entry, self._store.vectors.get(entry.sequence)) for entry in whole]

    def take_in(self, new: NewEntry, embedding: Embedding | None) -> bool:
        """Keeps an exported entry under its id; False where it, or a newer answer to its prompt, is there.

        Raises:
            InvalidField, FailedPrecondition: as for `store`.
        """
        vector = None if embedding is None else self._space.vector(embedding)
        new = replace(new, vector=None if vector is None else vector.tobytes())
        self._check_size(new)
        known = new.entry_id and self._store.select(Selector(new.partition.tenant, entry_id=new.entry_id))
        if known or self._memory.newest(new.key) >= new.create_ns:
            return False
        if embedding is not None:
            self._space.adopt(embedding)
        self._keep(new, vector, "")
        return True

    def warm_up(self, tenant: str, encoder_digest: str, lessons: Lessons) -> None:
        """Teaches a tenant's scope.

        Raises:
            InvalidField: too few lessons, or all of one kind.
            FailedPrecondition: similarities of another encoder than that of the vectors.
        """
        known = self.encoder_digest
        if known and encoder_digest != known:
            raise FailedPrecondition("encoder_digest", encoder_digest, known, reason="ENCODER_MISMATCH")
        right, labels = int(lessons.right.sum()), len(lessons.right)
        if labels < _LEAST_LESSONS or right in (0, labels):
            told = f"{labels} labels, {right} of them right"
            raise InvalidField("examples", told, f"at least {_LEAST_LESSONS} labels, right ones and wrong ones")
        self._scopes.warm(tenant, lessons)

    @property
    def encoder_digest(self) -> str:
        """Digest of the encoder of the vectors; empty until the first one is known."""
        return self._space.digest

    def page(self, tenant: str, before: int, limit: int) -> list[Entry]:
        """At most `limit` unexpired entries of a tenant below the sequence `before`, newest first."""
        entries = self._store.page(tenant, self._clock_ns(), before, limit)
        hits = self._memory.hits_of(entry.sequence for entry in entries)
        return [replace(entry, hits=served) for entry, served in zip(entries, hits, strict=True)]

    def stats(self) -> Stats:
        """Counts since start, sizes now."""
        return self._memory.stats(self._space.digest)

    def promises(self) -> list[Promise]:
        """Where each tenant's promise stands; in any thread."""
        return self._scopes.promises()

    def close(self) -> None:
        """Writes what only memory knows, the hits and large indexes, and closes the file."""
        try:
            self._store.write_hits(self._memory.take_touched())
            self._index.close()
            self._scopes.close()
        finally:
            self._store.close()

    def _new(self, submission: Submission, vector: bytes | None, now_ns: int, limits: TenantSettings) -> NewEntry:
        partition, text, ttl_ns = submission.partition, submission.text, submission.ttl_ns
        if ttl_ns is None and limits.ttl_s is not None:
            ttl_ns = round(limits.ttl_s * 1e9)
        expire_ns = None if ttl_ns is None else min(now_ns + ttl_ns, 2**63 - 1)
        key, request_id, provenance = exact_key(partition, text), submission.request_id, submission.provenance
        answer = submission.answer
        new = NewEntry(key, partition, text, answer, vector, now_ns, expire_ns, request_id, provenance)
        self._check_size(new)
        return replace(new, standing=self._memory.standing(new, limits.confirmed_for_trust))

    def _check_size(self, new: NewEntry) -> None:
        if new.size > self._settings.max_bytes:
            expected = f"at most {self._settings.max_bytes} bytes with its prompt and vector"
            raise InvalidField("answer.text", f"{new.size} bytes", expected)

    def _keep(self, new: NewEntry, vector: npt.NDArray[np.float32] | None, lookup_id: str) -> str:
        gone, evicted, worth = self._memory.room_for(new, self._store.expired(self._clock_ns(), _SWEEP))
        entry = self._store.insert(new, gone + evicted, worth, self._memory.take_touched(_SWEEP))
        self._memory.give_up(evicted)
        self._forget(gone + evicted)
        self._memory.add(entry, new, lookup_id)
        self._scopes.stored(entry, lookup_id)
        if vector is not None:
            self._index.add(new.partition, entry.sequence, vector)
        return entry.entry_id

    def _bound(self, query: Query) -> float:
        return self._settings.max_wrong_share if query.max_wrong_share is None else query.max_wrong_share

    def _neighbours(self, query: Query, now_ns: int) -> list[Neighbour]:
        if query.embedding is None or self._space.empty:
            return []
        near = dict(self._index.search(query.partition, self._space.vector(query.embedding), _NEIGHBOURS))
        serving = self._memory.serving(near, query, now_ns)
        return [Neighbour(entry, near[entry.sequence]) for entry in self._entries(serving)]

    def _entries(self, sequences: Sequence[int]) -> list[Entry]:
        """The entries, less those that turn out to be damaged, which are removed."""
        found = self._memory.answers(sequences)
        missing = [sequence for sequence in sequences if sequence not in found]
        if missing:
            read = self._store.fetch(missing)
            self._memory.keep_answers(read.values())
            found |= read
            damaged = [sequence for sequence in missing if sequence not in read]
            if damaged:
                structlog.get_logger("cache").warning("damaged entries removed", count=len(damaged))
                self._remove(damaged)
        return [found[sequence] for sequence in sequences if sequence in found]

    def _confirm(self, sequence: int) -> None:
        if self._memory.confirm(sequence):
            self._store.confirm(sequence)

    def _remove(self, sequences: Sequence[int]) -> None:
        self._store.delete(sequences)
        self._forget(sequences)

    def _forget(self, sequences: Sequence[int]) -> None:
        for entry in self._memory.answers(sequences).values():
            self._scopes.removed(entry)
        for partition, gone in self._memory.forget(sequences).items():
            self._index.remove(partition, gone)
