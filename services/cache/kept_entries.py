"""Entries wherever they are known, all at once: in the file, in memory, in the indexes and in what scopes count."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import structlog

from services.cache.embedding import Embedding
from services.cache.entry import Entry, NewEntry, Selector, Space
from services.cache.entry_store import EntryStore
from services.cache.memory import Memory
from services.cache.scopes import CountedAt, Scopes, place_of
from services.cache.vector_index import VectorIndex
from services.cache.vector_space import VectorSpace
from services.chassis.errors import InvalidField, NotFound

_SWEEP = 64  # expired entries removed, and hits written, with each one that is kept; entries read at once
_PURGED = 200  # entries that a purge looks at before others go between


class KeptEntries:
    """Keeps, changes, lists and removes entries; for one thread.

    Args:
        store: the file, the truth of all others.
        memory: what is known without it.
        space: says whose vectors are taken.
        index: finds neighbours.
        scopes: count entries.
        max_bytes: of all entries, and so of one.
        clock_ns: Unix time.
    """

    def __init__(
        self,
        store: EntryStore,
        memory: Memory,
        space: VectorSpace,
        index: VectorIndex,
        scopes: Scopes,
        max_bytes: int,
        clock_ns: Callable[[], int],
    ) -> None:
        self._store = store
        self._memory = memory
        self._space = space
        self._index = index
        self._scopes = scopes
        self._max_bytes = max_bytes
        self._clock_ns = clock_ns

    def get(self, tenant: str, entry_id: str) -> tuple[Entry, bytes | None]:
        """An entry and its vector, little-endian float32. Raises NotFound."""
        found = self.of(self._store.select(tenant, entry_id))
        if not found:
            raise NotFound("entry_id", entry_id, "the id of an entry of this tenant")
        return self._counted(found)[0], self._vector(found[0])

    def page(self, tenant: str, before: int, limit: int) -> list[Entry]:
        """At most `limit` unexpired entries of a tenant below the sequence `before`, newest first."""
        return self._counted(self._store.page(tenant, self._clock_ns(), before, limit))

    def export(self, tenant: str | None, after: int, limit: int, without: str = "") -> list[tuple[Entry, bytes | None]]:
        """Entries and vectors above a sequence, in their order: one tenant's, or all, or those without an encoder's."""
        entries = self._store.without(without, after, limit) if without else self._store.after(tenant, after, limit)
        return [(entry, self._vector(entry)) for entry in self._counted(entries)]

    def purge(self, selector: Selector) -> Generator[None, None, int]:
        """Removes entries, so that nothing of them can be read in a file; returns how many.

        With everything of a tenant goes what its scopes learnt of it, too.
        It yields where others may go between. What they store stays, as its number is beyond the last one now; but for
        an import, which may bring an entry back under a number that the purge has yet to come to.
        """
        place, last, removed = 0, self._store.last, 0
        whole = selector == Selector(selector.tenant)
        self._index.hold(selector.tenant)
        try:
            while seen := self._store.matching(selector, place, last, _PURGED):
                chosen = [sequence for sequence, chosen in seen if chosen]
                if chosen:
                    self.remove(chosen)
                removed, (place, _) = removed + len(chosen), seen[-1]
                yield
            if whole:
                yield from self._start_anew(selector.tenant, last)
        finally:
            self._index.unwrite(selector.tenant)
        if whole:
            self._index.drop(selector.tenant)
        self._store.empty_journal()
        self._store.aside.remove()  # it may hold any of them
        return removed

    def of(self, sequences: Sequence[int]) -> list[Entry]:
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
                self.remove(damaged)
        return [found[sequence] for sequence in sequences if sequence in found]

    def check_size(self, new: NewEntry) -> None:
        """Raises InvalidField where one entry is larger than all may be."""
        if new.size > self._max_bytes:
            expected = f"at most {self._max_bytes} bytes with its prompt and vector"
            raise InvalidField("answer.text", f"{new.size} bytes", expected)

    def keep(self, new: NewEntry, lookup_id: str = "") -> str:
        """Keeps an entry in place of the one to the same prompt and returns its id; durable on return."""
        now_ns = self._clock_ns()
        self._store.aside.expire(now_ns)
        gone, evicted, worth = self._memory.room_for(new, self._store.expired(now_ns, _SWEEP))
        counted = self._places(gone + evicted)
        entry = self._store.insert(new, gone + evicted, worth, self._memory.take_touched(_SWEEP))
        self._memory.give_up(evicted)
        self._forget(gone + evicted, counted)
        self._memory.add(entry, new, lookup_id)
        self._scopes.stored(entry, lookup_id)
        self._find(entry, new.vector)
        return entry.entry_id

    def embed(self, tenant: str, entry_id: str, embedding: Embedding) -> bool:
        """Gives an entry this vector of its prompt in place of another encoder's; False where there is none to give.

        Raises:
            InvalidField: a bad vector, or more bytes than all entries may have.
            FailedPrecondition: an embedding of another encoder than the one of the settings.
        """
        vector = self._space.vector(embedding)
        read = self._store.fetch(self._store.select(tenant, entry_id))
        for sequence, entry in read.items():
            new = embedded(NewEntry(b"", entry.partition, entry.text, entry.answer, None, 0, None), embedding, vector)
            self.check_size(new)
            evicted = self._memory.room_for_vector(sequence, new)
            if embedding.truncated or entry.encoder == new.encoder or evicted is None:
                continue
            self._space.adopt(embedding)
            counted = self._places(evicted)
            self._store.embed(sequence, new, evicted)
            self._memory.give_up(evicted)
            self._forget(evicted, counted)
            self._move(entry, replace(entry, size=new.size, encoder=new.encoder), new.vector)
            return True
        return False

    def confirm(self, sequence: int) -> None:
        """Takes an entry out of quarantine for good."""
        if self._memory.confirm(sequence):
            self._store.confirm(sequence)

    def doubt(self, sequence: int) -> None:
        """Has the answer of an entry compared before it is served as a similar one again."""
        for place in self._places([sequence]):
            self._scopes.doubted(place)

    def remove(self, sequences: Sequence[int]) -> None:
        """Removes entries, known or not."""
        counted = self._places(sequences)
        self._store.delete(sequences)
        self._forget(sequences, counted)

    def _start_anew(self, tenant: str, after: int) -> Generator[None, None, None]:
        """Forgets what the tenant's scopes learnt; the new ones count the entries that were stored meanwhile."""
        self._scopes.forget(tenant)
        last = self._store.last
        while stored := [one for one in self._store.after(tenant, after, _SWEEP) if one.sequence <= last]:
            for entry in stored:
                self._scopes.stored(entry, "")
            after = stored[-1].sequence
            yield

    def _move(self, entry: Entry, moved: Entry, vector: bytes | None) -> None:
        """Takes an entry out of its space and into the one of its new vector."""
        self._scopes.removed(place_of(entry))
        self._memory.embedded(moved)
        self._scopes.stored(moved, "")
        if entry.encoder:
            self._index.remove(Space(entry.partition, entry.encoder), [entry.sequence])
        self._find(moved, vector)

    def _find(self, entry: Entry, vector: bytes | None) -> None:
        """Has an entry be found by its vector, where it has one."""
        if vector is not None:
            self._index.add(Space(entry.partition, entry.encoder), entry.sequence, np.frombuffer(vector, "<f4"))

    def _places(self, sequences: Sequence[int]) -> list[CountedAt]:
        """Where scopes count entries that are about to go, read where memory does not hold them."""
        places: list[CountedAt] = []
        for begin in range(0, len(sequences), _SWEEP):
            few = sequences[begin : begin + _SWEEP]
            known = self._memory.answers(few)
            known |= self._store.fetch(one for one in few if one not in known)
            places += map(place_of, known.values())
        return places

    def _forget(self, sequences: Sequence[int], counted: Sequence[CountedAt]) -> None:
        for place in counted:
            self._scopes.removed(place)
        for partition, gone in self._memory.forget(sequences).items():
            for encoder in self._space.encoders:
                self._index.remove(Space(partition, encoder), gone)

    def _counted(self, entries: Sequence[Entry]) -> list[Entry]:
        """The entries with the hits that only memory knows."""
        hits = self._memory.hits_of(entry.sequence for entry in entries)
        return [replace(entry, hits=served) for entry, served in zip(entries, hits, strict=True)]

    def _vector(self, entry: Entry) -> bytes | None:
        return self._store.vectors.get(entry.sequence, entry.encoder)


def embedded(new: NewEntry, embedding: Embedding | None, vector: npt.NDArray[np.float32] | None) -> NewEntry:
    """The entry with its vector, where it has one."""
    if embedding is None or vector is None:
        return new
    return replace(new, vector=vector.tobytes(), encoder=embedding.encoder_digest)
