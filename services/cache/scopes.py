"""All scopes of the cache: which one decides, what awaits a verdict, and what is written down."""

import random
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from services.cache.challenger import VerifierStanding
from services.cache.considered import Action, Considered, Near
from services.cache.decision import Check, Decline, MissReason, Neighbour, Serve
from services.cache.entry import Entry
from services.cache.query import Query
from services.cache.scope_decision import ScopeDecision
from services.cache.scope_file import ScopeFile
from services.cache.scope_state import pack, unpack
from services.cache.sketch import sketch
from services.cache.warm_up import Lessons

_MEANING = attrgetter("meaning")
_WRITTEN_AFTER = 1000  # requests, of which
_A_VERDICT = 20  # a verdict counts for so many
_MOST_SCOPES = 256  # in memory; the one used longest ago is written and dropped
_MOST_EXACT = 10_000  # exact hits between two other requests; what more would allow is given up
_LEAST_SIMILARITY = 0.5  # of a neighbour about which a verdict could teach anything


class ScopeName(NamedTuple):
    """Whose scope it is, and the digest of the encoder that its similarities are of: another's mean something else."""

    tenant: str
    encoder: str


@dataclass(frozen=True, slots=True)
class Promise:
    """Where one tenant's promise stands by one encoder; shares are of all its requests."""

    tenant: str
    encoder_digest: str
    requests: int
    served: int
    audits: int
    audits_wrong: int
    realised: float
    certified: float
    allowed: float
    verifier: VerifierStanding
    verifier_stake: float


@dataclass(slots=True)
class _Open:
    """A decision that awaits a verdict, and the answer that was stored since."""

    scope: ScopeName
    considered: Considered
    stored: int | None = None


class Scopes:
    """One scope a tenant and encoder. `exact` and `promises` may run in any thread, everything else in one."""

    def __init__(
        self, file: ScopeFile, min_similarity: float, remembered: int, chance: Callable[[], float] = random.random
    ) -> None:
        self._file = file
        self._min_similarity = min_similarity
        self._remembered = remembered
        self._chance = chance
        self._scopes: OrderedDict[ScopeName, ScopeDecision] = OrderedDict()
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._unwritten: Counter[ScopeName] = Counter()
        self._exact: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def exact(self, tenant: str, bound: float) -> None:
        """Counts a request that was answered by its own text."""
        with self._lock:
            self._exact.setdefault(tenant, deque(maxlen=_MOST_EXACT)).append(bound)

    def decide(
        self, name: ScopeName, query: Query, entries: Sequence[Entry], similarities: Sequence[float], bound: float
    ) -> tuple[Serve | Check | Decline, Considered | None]:
        """What to do about entries, nearest first; without a judge nothing is audited, and nothing learnt.

        Counts the request, unless nobody answers it.
        """
        scope, judges = self._scope(name), query.judges
        if query.executes and not query.again:
            scope.risk.begin(bound)
            self._changed(name, 1)
        if not entries:
            return Decline(
                MissReason.NOT_NEAR, "no entry that may be served here has an embedding to compare with"
            ), None
        near = Near(similarities, scope.roots(map(_MEANING, entries)), lambda place: entries[place].sketch)
        considered = scope.consider(sketch(query.text), near, bound, judges, query.executes)
        place, said = considered.place, considered.explanation
        chosen = Neighbour(entries[place], similarities[place])
        if considered.action is Action.SERVE:
            if not query.executes:
                self._changed(name, 1)
            return Serve(chosen, 1 - considered.doubt, said), considered
        reason = considered.reason or MissReason.NOT_NEAR
        if not judges or (considered.action is Action.CHECK and chosen.similarity < _LEAST_SIMILARITY):
            return Decline(reason, said), None
        return Check(chosen, considered.propensity, considered.reason, said), considered

    def remember(self, name: ScopeName, lookup_id: str, considered: Considered) -> None:
        """Keeps a decision until its verdict; the oldest one is forgotten first."""
        self._open[lookup_id] = _Open(name, considered)
        if len(self._open) > self._remembered:
            self._open.popitem(last=False)

    def stored(self, entry: Entry, lookup_id: str) -> None:
        """Counts an entry that has a vector, and notes any for the lookup that it came of."""
        tenant, answer = entry.partition.tenant, entry.meaning
        if entry.encoder:
            entry.sketch  # noqa: B018 - now, rather than when somebody waits for a lookup
            scope = self._scope_of(entry)
            scope.stored(scope.root(answer))
        awaiting = self._open.get(lookup_id)
        if awaiting is not None and awaiting.scope.tenant == tenant:
            awaiting.stored = answer

    def removed(self, entry: Entry) -> None:
        """Counts an entry less, where it has a vector."""
        if entry.encoder:
            scope = self._scope_of(entry)
            scope.removed(scope.root(entry.meaning))

    def reported(self, tenant: str, lookup_id: str, right: bool) -> None:
        """Takes a report on an answer that a lookup served; on one that was made anew it says nothing of any other."""
        awaiting = self._open.get(lookup_id)
        if awaiting and awaiting.scope.tenant == tenant and awaiting.considered.action is Action.SERVE:
            self._learn(lookup_id, right)

    def compared(self, tenant: str, lookup_id: str, same: bool) -> None:
        """Takes the verdict on the candidate that a lookup gave to compare with an answer that was made."""
        awaiting = self._open.get(lookup_id)
        if awaiting and awaiting.scope.tenant == tenant and awaiting.considered.action is not Action.SERVE:
            self._learn(lookup_id, same)
            if same and awaiting.stored is not None:
                self._scope(awaiting.scope).alias(awaiting.stored, awaiting.considered.answer)
                self._unwritten[awaiting.scope] += 1

    def _learn(self, lookup_id: str, right: bool) -> None:
        awaiting = self._open.pop(lookup_id)
        self._scope(awaiting.scope).learn(awaiting.considered, right)
        self._changed(awaiting.scope, _A_VERDICT)

    def _changed(self, name: ScopeName, by: int) -> None:
        self._unwritten[name] += by
        if self._unwritten[name] >= _WRITTEN_AFTER:
            self._write(name)

    def warm(self, name: ScopeName, lessons: Lessons) -> None:
        """Teaches a scope what texts with known answers tell; written at once."""
        self._scope(name).warm(lessons)
        self._write(name)

    def promises(self) -> list[Promise]:
        """Where the promises of the scopes in memory stand."""
        return [_promise(name, scope) for name, scope in list(self._scopes.items())]

    def close(self) -> None:
        """Writes what is not written yet."""
        for name in list(self._scopes):
            self._write_new(name)
        self._file.close()

    def _scope(self, name: ScopeName) -> ScopeDecision:
        scope = self._scopes.get(name)
        if scope is None:
            state = self._file.read(_key(name))
            known = unpack(state, self._min_similarity, self._chance) if state else None
            scope = self._scopes[name] = known or ScopeDecision(self._min_similarity, self._chance)
            if len(self._scopes) > _MOST_SCOPES:
                oldest = next(iter(self._scopes))
                self._write_new(oldest)
                del self._scopes[oldest]
        self._scopes.move_to_end(name)
        with self._lock:
            for bound in self._exact.pop(name.tenant, ()):
                scope.risk.begin(bound)
                scope.risk.note(0.0)
                self._unwritten[name] += 1
        return scope

    def _scope_of(self, entry: Entry) -> ScopeDecision:
        """That of an entry which comes or goes."""
        name = ScopeName(entry.partition.tenant, entry.encoder)
        scope = self._scope(name)
        self._unwritten[name] += 1
        return scope

    def _write_new(self, name: ScopeName) -> None:
        if self._unwritten[name]:
            self._write(name)

    def _write(self, name: ScopeName) -> None:
        del self._unwritten[name]
        self._file.write(_key(name), pack(self._scopes[name]))


def _key(name: ScopeName) -> str:
    return f"{name.encoder} {name.tenant}"  # a digest is of one length


def _promise(name: ScopeName, scope: ScopeDecision) -> Promise:
    risk = scope.risk
    allowed = risk.allowance / max(risk.requests, 1)
    books = risk.requests, risk.served, risk.audits, risk.audits_wrong
    return Promise(*name, *books, risk.realised, risk.certified, allowed, *scope.verifier)
