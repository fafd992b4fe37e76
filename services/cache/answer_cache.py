"""The cache itself: which answer a prompt gets, which are kept, and what verdicts on them change."""

from collections.abc import Callable
from dataclasses import replace
from itertools import compress

from services.cache.decision import Decline, MissReason, Serve
from services.cache.embedding import Embedding
from services.cache.entry import Entry, NewEntry, Space, Standing
from services.cache.entry_store import EntryStore
from services.cache.kept_entries import KeptEntries, embedded
from services.cache.memory import EXACT, Memory
from services.cache.normalise import exact_key
from services.cache.personal_data import Detector, PersonalData
from services.cache.query import Audit, Hit, MatchKind, Miss, NotKept, Query, Stats, Submission
from services.cache.scope_memory import Promise, ScopeName
from services.cache.scopes import Scopes
from services.cache.search_device import SearchDevice
from services.cache.settings import CacheSettings
from services.cache.snapshots import Snapshots
from services.cache.vector_index import VectorIndex
from services.cache.vector_space import VectorSpace
from services.cache.warm_up import Lessons

_NEIGHBOURS = 16


class AnswerCache:
    """Answers by exact and similar prompt; `kept` lists, moves and removes them.

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
        device = SearchDevice(settings.gpu_vector_bytes)
        self._index = VectorIndex(store.vectors, snapshots, settings.vector_memory_bytes, device)
        self._index.warm()
        self.kept = KeptEntries(store, self._memory, self._space, self._index, scopes, settings.max_bytes, clock_ns)

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
            self._scopes.exact(query, self._bound(query))
        return found

    def search(self, query: Query) -> Hit | Miss | Audit:
        """As `lookup` for a query that `recall` could not decide."""
        now_ns = self._clock_ns()
        exact = self._memory.exact(query, now_ns)
        if exact is not None:
            for entry in self.kept.of([exact]):
                self._scopes.exact(query, self._bound(query))
                return self._memory.hit(query, entry, now_ns, *EXACT)
        if query.embedding is None or query.embedding.encoder_digest not in self._space.encoders:
            return self._memory.miss(query, Decline(MissReason.NOT_NEAR, "no entry has an embedding of this encoder"))
        entries, similarities = self._near(query, query.embedding, now_ns)
        scope = ScopeName(query.partition.tenant, query.embedding.encoder_digest)
        decided, considered = self._scopes.decide(scope, query, entries, similarities, self._bound(query))
        if isinstance(decided, Decline):
            return self._memory.miss(query, decided)
        entry, why = decided.neighbour.entry, decided.explanation
        found: Hit | Audit
        if isinstance(decided, Serve):
            sure, similarity = decided.probability, decided.neighbour.similarity
            found = self._memory.hit(query, entry, now_ns, MatchKind.SEMANTIC, sure, similarity, why)
        else:
            found = self._memory.audit(query, entry, decided.propensity, decided.would_be_hit, why)
        if considered is not None:
            self._scopes.remember(scope, found.lookup_id, considered)
        return found

    def store(self, submission: Submission) -> str | NotKept:
        """Keeps an answer in place of the one to the same prompt and returns the entry's id; durable on return.

        Who did not look it up first cannot take a better one from the tenant, nor can who is in quarantine.

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
        new = embedded(self._new(submission, now_ns), embedding, vector)
        self.kept.check_size(new)
        new = replace(new, standing=self._standing(new, limits.confirmed_for_trust))
        limited = submission.ttl_ns is not None and not submission.lookup_id
        if self._memory.outlives(new, limited, now_ns):
            return NotKept.OUTLIVED
        return self.kept.keep(new, submission.lookup_id)

    def judge(self, tenant: str, lookup_id: str, right: bool, principal: str | None = None) -> bool:
        """Takes a verdict on the answer that a lookup served, or that was stored for it; tells whether it goes.

        A right one confirms the entry, unless it is of the `principal` who caused it; None stands for our services. A
        wrong one withdraws it, but that of a principal without standing on another's has it compared once more. Only
        our services teach; a principal's complaint, if it has standing, counts in the promise.

        Raises:
            NotFound: the tenant made no such lookup, or it is forgotten.
        """
        sequence, needed = self._memory.entry_of(tenant, lookup_id), self._settings.of(tenant).confirmed_for_trust
        if principal is None:
            self._scopes.reported(tenant, lookup_id, right)
        elif not right and self._memory.has_standing(tenant, principal, needed):
            self._scopes.complained(tenant, lookup_id)
        if sequence is None:
            return False
        if right:
            if principal is None or principal != self._memory.principal_of(sequence):
                self.kept.confirm(sequence)
            return False
        if not self._memory.may_withdraw(sequence, principal, needed):
            self.kept.doubt(sequence)
            return False
        self.kept.remove([sequence])
        return True

    def compared(self, tenant: str, lookup_id: str, same: bool, trusted: bool = True) -> None:
        """Takes a verdict on the candidate that a lookup gave to compare: only our services have a say on it.

        Raises:
            NotFound: as for `judge`.
        """
        self._memory.entry_of(tenant, lookup_id)
        if trusted:
            self._scopes.compared(tenant, lookup_id, same)

    def take_in(self, new: NewEntry, embedding: Embedding | None) -> bool | NotKept:
        """Keeps an exported entry under its id; False where it or a newer answer to its prompt is there, or it expired.

        One from the future is taken for new: the clock that made it was wrong.

        Raises:
            InvalidField, FailedPrecondition: as for `store`.
        """
        vector = None if embedding is None else self._space.vector(embedding)
        new = embedded(replace(new, create_ns=min(new.create_ns, self._clock_ns())), embedding, vector)
        self.kept.check_size(new)
        if self._personal_data.find(new.text) or self._personal_data.find(new.answer.text):
            return NotKept.PERSONAL_DATA
        if new.expire_ns is not None and new.expire_ns <= self._clock_ns():
            return False
        known = new.entry_id and self._store.select(new.partition.tenant, new.entry_id)
        if known or self._memory.newest(new.key) >= new.create_ns:
            return False
        if embedding is not None:
            self._space.adopt(embedding)
        self.kept.keep(new)
        return True

    def warm_up(self, tenant: str, encoder_digest: str, lessons: Lessons) -> None:
        """Teaches a scope that has not learnt by itself (else FailedPrecondition).

        Raises InvalidField for too few lessons, FailedPrecondition for another encoder than the one of the settings.
        """
        lessons.check()
        self._space.check("encoder_digest", encoder_digest)
        self._scopes.warm(ScopeName(tenant, encoder_digest), lessons)

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

    def _new(self, submission: Submission, now_ns: int) -> NewEntry:
        partition, text, ttl_ns = submission.partition, submission.text, submission.ttl_ns
        limits = self._settings.of(partition.tenant)
        if ttl_ns is None and limits.ttl_s is not None:
            ttl_ns = round(limits.ttl_s * 1e9)
        expire_ns = None if ttl_ns is None else min(now_ns + ttl_ns, 2**63 - 1)
        key, request_id, provenance = exact_key(partition, text), submission.request_id, submission.provenance
        return NewEntry(key, partition, text, submission.answer, None, now_ns, expire_ns, request_id, provenance)

    def _standing(self, new: NewEntry, needed: int) -> Standing:
        """One that another principal's request brought forth alike is confirmed by that, wherever its answer is."""
        another = self._memory.another_to(new)
        said = self.kept.of([] if another is None else [another])
        if any(entry.answer.text == new.answer.text for entry in said):
            return Standing.CONFIRMED
        return self._memory.standing(new.partition.tenant, new.provenance.principal, needed)

    def _bound(self, query: Query) -> float:
        return self._settings.max_wrong_share if query.max_wrong_share is None else query.max_wrong_share

    def _near(self, query: Query, embedding: Embedding, now_ns: int) -> tuple[list[Entry], list[float]]:
        """The nearest entries that may be served, with their similarities."""
        space = Space(query.partition, embedding.encoder_digest)
        near = self._index.search(space, self._space.vector(embedding), _NEIGHBOURS)
        sequences, similarities = [sequence for sequence, _ in near], [similarity for _, similarity in near]
        entries, may_be = self._memory.serving(sequences, query, now_ns)
        if not all(may_be) or not all(entries):
            unread = [one for one, entry, may in zip(sequences, entries, may_be, strict=True) if may and not entry]
            read = {one.sequence: one for one in self.kept.of(unread)}
            entries = [entry or read.get(one) for one, entry in zip(sequences, entries, strict=True)]
            may_be = [may and entry is not None for may, entry in zip(may_be, entries, strict=True)]
            entries, similarities = list(compress(entries, may_be)), list(compress(similarities, may_be))
        return [entry for entry in entries if entry], similarities
