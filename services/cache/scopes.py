"""All scopes of the cache: which one decides, what awaits a verdict, and what is written down."""

import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from services.cache.considered import Action, Considered, Near
from services.cache.decision import Check, Decline, MissReason, Neighbour, Serve
from services.cache.entry import Entry, meanings
from services.cache.query import Query
from services.cache.remembered import Remembered
from services.cache.scope_decision import ScopeDecision
from services.cache.scope_file import ScopeFile
from services.cache.scope_memory import Promise, ScopeMemory, ScopeName
from services.cache.sketch import sketch
from services.cache.warm_up import Lessons

_A_VERDICT = 20  # requests that a verdict counts for
_MOST_BYTES = 256 * 1024**2
_MOST_EXACT = 10_000  # exact hits between two other requests; what more would allow is given up
_LEAST_SIMILARITY = 0.5  # of a neighbour about which a verdict could teach anything


@dataclass(slots=True)
class _Open:
    """A decision that awaits a verdict, and the answer that was stored since."""

    scope: ScopeName
    considered: Considered
    stored: int | None = None


class CountedAt(NamedTuple):
    """Where an entry counts; its scope names no encoder where it has no vector, and it counts nowhere."""

    scope: ScopeName
    answer: int


class Scopes:
    """One scope a tenant and encoder. `exact` and `promises` may run in any thread, everything else in one."""

    def __init__(
        self,
        file: ScopeFile,
        min_similarity: float,
        remembered: int,
        chance: Callable[[], float] = random.random,
        most_bytes: int = _MOST_BYTES,
    ) -> None:
        """`remembered` decisions await their verdicts; scopes take up to `most_bytes` of memory."""
        self._memory = ScopeMemory(file, min_similarity, chance, most_bytes)
        self._open = Remembered[_Open](remembered)
        self._exact: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def exact(self, query: Query, bound: float) -> None:
        """Counts a request that was answered by its own text, unless it was counted before."""
        if not query.again:
            with self._lock:
                self._exact.setdefault(query.partition.tenant, deque(maxlen=_MOST_EXACT)).append(bound)

    def decide(
        self, name: ScopeName, query: Query, entries: Sequence[Entry], similarities: Sequence[float], bound: float
    ) -> tuple[Serve | Check | Decline, Considered | None]:
        """What to do about entries, nearest first; without a judge nothing is audited, and nothing learnt.

        Counts the request, unless nobody answers it.
        """
        scope, judges = self._scope(name), query.judges
        if query.executes:
            self._memory.changed(name, 1)
            if not query.again:
                scope.risk.begin(bound)
        if not entries:
            said = "no entry with an embedding is young enough, unexpired and out of quarantine for this request"
            return Decline(MissReason.NOT_NEAR, said), None
        roots, fingerprint = scope.answers.roots(meanings(entries)), query.partition.fingerprint
        near = Near(similarities, roots, lambda place: entries[place].sketch, fingerprint)
        considered = scope.consider(sketch(query.text), near, bound, judges, query.executes)
        place, said = considered.place, considered.explanation
        chosen = Neighbour(entries[place], similarities[place])
        if considered.action is Action.SERVE:
            if not query.executes:
                self._memory.changed(name, 1)
            return Serve(chosen, 1 - considered.doubt, said), considered
        would_be_hit = considered.action is Action.AUDIT
        if not judges or (not would_be_hit and chosen.similarity < _LEAST_SIMILARITY):
            return Decline(considered.reason or MissReason.NOT_NEAR, said), None
        return Check(chosen, considered.propensity, would_be_hit, said), considered

    def remember(self, name: ScopeName, lookup_id: str, considered: Considered) -> None:
        """Keeps a decision until its verdict."""
        self._open.put(name.tenant, lookup_id, _Open(name, considered))

    def stored(self, entry: Entry, lookup_id: str) -> None:
        """Counts an entry that has a vector, and notes any for the lookup that it came of."""
        tenant, answer = entry.partition.tenant, entry.meaning
        if entry.encoder:
            entry.sketch  # noqa: B018 - now, rather than when somebody waits for a lookup
            self._scope_of(place_of(entry).scope).answers.stored(answer)
        awaiting = self._open.get(tenant, lookup_id)
        if awaiting is not None:
            awaiting.stored = answer

    def removed(self, place: CountedAt) -> None:
        """Counts an entry less, where it has a vector."""
        if place.scope.encoder:
            self._scope_of(place.scope).answers.removed(place.answer)

    def doubted(self, place: CountedAt) -> None:
        """Has an entry's answer compared before it is served as a similar one again, where it has a vector."""
        if place.scope.encoder:
            self._scope_of(place.scope).answers.doubt(place.answer)

    def reported(self, tenant: str, lookup_id: str, right: bool) -> None:
        """Takes a report on an answer that a lookup served; on one that was made anew it says nothing of any other."""
        awaiting = self._open.get(tenant, lookup_id)
        if awaiting and awaiting.considered.action is Action.SERVE:
            self._learn(tenant, lookup_id, right)

    def complained(self, tenant: str, lookup_id: str) -> None:
        """Counts an answer that a lookup served as wrong, by the word of who asked; it teaches nothing."""
        awaiting = self._open.get(tenant, lookup_id)
        if awaiting and awaiting.considered.action is Action.SERVE:
            self._open.pop(tenant, lookup_id)
            self._scope(awaiting.scope).risk.reported(awaiting.considered.doubt, awaiting.considered.bound)
            self._memory.changed(awaiting.scope, _A_VERDICT)

    def compared(self, tenant: str, lookup_id: str, same: bool) -> None:
        """Takes the verdict on the candidate that a lookup gave to compare with an answer that was made."""
        awaiting = self._open.get(tenant, lookup_id)
        if awaiting and awaiting.considered.action is not Action.SERVE:
            self._learn(tenant, lookup_id, same)
            if same and awaiting.stored is not None:
                self._scope(awaiting.scope).answers.alias(awaiting.stored, awaiting.considered.answer)
                self._memory.changed(awaiting.scope, 1)

    def _learn(self, tenant: str, lookup_id: str, right: bool) -> None:
        awaiting = self._open.pop(tenant, lookup_id)
        self._scope(awaiting.scope).learn(awaiting.considered, right)
        self._memory.changed(awaiting.scope, _A_VERDICT)

    def warm(self, name: ScopeName, lessons: Lessons) -> None:
        """Teaches a scope what texts with known answers tell; written at once."""
        self._scope(name).warm(lessons)
        self._memory.write(name)

    def forget(self, tenant: str) -> None:
        """Forgets all that a tenant's requests and verdicts taught, and its books; Unavailable where it cannot.

        No verdict on a decision of before counts for the scope that starts anew, nor does a request of before allow it
        anything: it promises no less than the first one did.
        """
        self._memory.forget(tenant)
        self._open.drop(tenant)
        with self._lock:
            self._exact.pop(tenant, None)

    def promises(self) -> list[Promise]:
        """Where the promises stand."""
        return self._memory.promises()

    def close(self) -> None:
        """Writes what is not written yet."""
        self._memory.close()

    def _scope(self, name: ScopeName) -> ScopeDecision:
        scope = self._memory.of(name)
        if not self._exact:
            return scope
        with self._lock:
            exact = self._exact.pop(name.tenant, ())
        for bound in exact:
            scope.risk.begin(bound)
            scope.risk.note(0.0)
        if exact:
            self._memory.changed(name, len(exact))
        return scope

    def _scope_of(self, name: ScopeName) -> ScopeDecision:
        """That of an entry which comes, goes or is complained of."""
        scope = self._scope(name)
        self._memory.changed(name, 1)
        return scope


def place_of(entry: Entry) -> CountedAt:
    """Where an entry counts."""
    return CountedAt(ScopeName(entry.partition.tenant, entry.encoder), entry.meaning)
