"""All scopes of the cache: which one decides, what awaits a verdict, and what is written down."""

import hashlib
import random
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from services.cache.decision import Check, Decline, MissReason, Neighbour, Serve
from services.cache.entry import Entry
from services.cache.normalise import normalise
from services.cache.scope_decision import Action, Considered, Near, ScopeDecision
from services.cache.scope_file import ScopeFile
from services.cache.scope_state import pack, unpack
from services.cache.sketch import sketch
from services.cache.warm_up import Lessons

_MOST_SKETCHES = 4096  # of texts that late lookups had to do with
_WRITTEN_AFTER = 50  # verdicts
_MOST_SCOPES = 256  # in memory; the one used longest ago is written and dropped
_MOST_EXACT = 10_000  # exact hits between two other requests; what more would allow is given up
_LEAST_SIMILARITY = 0.5  # of a neighbour about which a verdict could teach anything


@dataclass(frozen=True, slots=True)
class Promise:
    """Where one tenant's promise stands; shares are of all its requests."""

    tenant: str
    requests: int
    served: int
    audits: int
    audits_wrong: int
    realised: float
    certified: float
    allowed: float


@dataclass(slots=True)
class _Open:
    """A decision that awaits a verdict, and the answer that was stored since."""

    tenant: str
    considered: Considered
    stored: int | None = None


class Scopes:
    """One scope a tenant. `exact` and `promises` may run in any thread, everything else in one."""

    def __init__(
        self, file: ScopeFile, min_similarity: float, remembered: int, chance: Callable[[], float] = random.random
    ) -> None:
        self._file = file
        self._min_similarity = min_similarity
        self._remembered = remembered
        self._chance = chance
        self._scopes: OrderedDict[str, ScopeDecision] = OrderedDict()
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._unwritten: Counter[str] = Counter()
        self._exact: dict[str, deque[float]] = {}
        late = min(remembered, _MOST_SKETCHES)
        self._sketch = lru_cache(late)(sketch)
        self._answer = lru_cache(late)(_digest)
        self._lock = threading.Lock()

    def exact(self, tenant: str, bound: float) -> None:
        """Counts a request that was answered by its own text."""
        with self._lock:
            self._exact.setdefault(tenant, deque(maxlen=_MOST_EXACT)).append(bound)

    def decide(
        self, tenant: str, text: str, neighbours: Sequence[Neighbour], bound: float, judges: bool
    ) -> tuple[Serve | Check | Decline, Considered | None]:
        """What to do about neighbours, nearest first; without a judge nothing is audited, and nothing learnt."""
        scope = self._scope(tenant)
        scope.risk.begin(bound)
        if not neighbours:
            return Decline(MissReason.NOT_NEAR, "no entry has an embedding to compare with"), None
        near = [
            Near(one.similarity, scope.root(self._answer(one.entry.answer.text)), partial(self._sketch, one.entry.text))
            for one in neighbours
        ]
        considered = scope.consider(self._sketch(text), near, bound, judges)
        chosen, said = neighbours[considered.place], considered.explanation
        if considered.action is Action.SERVE:
            return Serve(chosen, 1 - considered.doubt, said), considered
        reason = considered.reason or MissReason.NOT_NEAR
        if not judges or (considered.action is Action.CHECK and chosen.similarity < _LEAST_SIMILARITY):
            return Decline(reason, said), None
        return Check(chosen, considered.propensity, considered.reason, said), considered

    def remember(self, tenant: str, lookup_id: str, considered: Considered) -> None:
        """Keeps a decision until its verdict; the oldest one is forgotten first."""
        self._open[lookup_id] = _Open(tenant, considered)
        if len(self._open) > self._remembered:
            self._open.popitem(last=False)

    def stored(self, entry: Entry, lookup_id: str) -> None:
        """Counts an entry, and notes it for the lookup that it came of."""
        tenant, answer = entry.partition.tenant, self._answer(entry.answer.text)
        scope = self._scope(tenant)
        scope.stored(scope.root(answer))
        awaiting = self._open.get(lookup_id)
        if awaiting is not None and awaiting.tenant == tenant:
            awaiting.stored = answer

    def removed(self, entry: Entry) -> None:
        """Counts an entry less."""
        scope = self._scope(entry.partition.tenant)
        scope.removed(scope.root(self._answer(entry.answer.text)))

    def judged(self, tenant: str, lookup_id: str, right: bool) -> bool:
        """Takes the verdict on what a lookup decided; tells whether that was a check, so that no entry is at fault."""
        awaiting = self._open.get(lookup_id)
        if awaiting is None or awaiting.tenant != tenant:
            return False
        del self._open[lookup_id]
        scope, considered = self._scope(tenant), awaiting.considered
        scope.learn(considered, right)
        if right and awaiting.stored is not None:
            scope.alias(awaiting.stored, considered.answer)
        self._unwritten[tenant] += 1
        if self._unwritten[tenant] >= _WRITTEN_AFTER:
            self._write(tenant)
        return considered.action is not Action.SERVE

    def warm(self, tenant: str, lessons: Lessons) -> None:
        """Teaches a tenant's scope what texts with known answers tell; written at once."""
        self._scope(tenant).warm(lessons)
        self._write(tenant)

    def promises(self) -> list[Promise]:
        """Where the promises of the scopes in memory stand."""
        return [_promise(tenant, scope) for tenant, scope in list(self._scopes.items())]

    def close(self) -> None:
        """Writes what is not written yet."""
        for tenant in list(self._scopes):
            self._write(tenant)
        self._file.close()

    def _scope(self, tenant: str) -> ScopeDecision:
        scope = self._scopes.get(tenant)
        if scope is None:
            state = self._file.read(tenant)
            known = unpack(state, self._min_similarity, self._chance) if state else None
            scope = self._scopes[tenant] = known or ScopeDecision(self._min_similarity, self._chance)
            if len(self._scopes) > _MOST_SCOPES:
                oldest = next(iter(self._scopes))
                self._write(oldest)
                del self._scopes[oldest]
        self._scopes.move_to_end(tenant)
        with self._lock:
            for bound in self._exact.pop(tenant, ()):
                scope.risk.begin(bound)
                scope.risk.note(0.0)
        return scope

    def _write(self, tenant: str) -> None:
        del self._unwritten[tenant]
        self._file.write(tenant, pack(self._scopes[tenant]))


def _promise(tenant: str, scope: ScopeDecision) -> Promise:
    risk = scope.risk
    allowed = risk.allowance / max(risk.requests, 1)
    return Promise(
        tenant, risk.requests, risk.served, risk.audits, risk.audits_wrong, risk.realised, risk.certified, allowed
    )


def _digest(answer: str) -> int:
    digest = hashlib.blake2b(normalise(answer).encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
