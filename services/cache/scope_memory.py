"""The scopes in memory: read when they are asked for, written when they changed, and none too many."""

import json
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import NamedTuple

from services.cache.brake import Braked
from services.cache.challenger import VerifierStanding
from services.cache.scope_decision import ScopeDecision
from services.cache.scope_file import ScopeFile
from services.cache.scope_state import pack, unpack

_WRITTEN_AFTER = 1000  # requests


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
    brake: Braked = Braked.OFF


class ScopeMemory:
    """Scopes up to `most_bytes`, beside what any one takes; the one used longest ago is written and dropped.

    `promises` may run in any thread, everything else in one.
    """

    def __init__(self, file: ScopeFile, min_similarity: float, chance: Callable[[], float], most_bytes: int) -> None:
        self._file = file
        self._min_similarity = min_similarity
        self._chance = chance
        self._most_bytes = most_bytes
        self._scopes: OrderedDict[ScopeName, ScopeDecision] = OrderedDict()
        self._sizes: dict[ScopeName, int] = {}
        self._unwritten: Counter[ScopeName] = Counter()
        self._promises = _read(file.promises())  # as they were written last
        self.bytes = 0

    def of(self, name: ScopeName) -> ScopeDecision:
        """The scope, a new one where none is known."""
        scope = self._scopes.get(name)
        if scope is None:
            state = self._file.read(_key(name))
            known = unpack(state, self._min_similarity, self._chance) if state else None
            scope = self._scopes[name] = known or ScopeDecision(self._min_similarity, self._chance)
            self._measure(name)
            while self.bytes > self._most_bytes and len(self._scopes) > 1:
                self._drop(next(iter(self._scopes)))
        self._scopes.move_to_end(name)
        return scope

    def changed(self, name: ScopeName, by: int) -> None:
        """Notes that a scope changes by as much as so many requests would; after a thousand it is written.

        What changes now may be in memory already or come only after: it counts as unwritten.
        """
        unwritten = self._unwritten[name]
        if unwritten >= _WRITTEN_AFTER:
            self.write(name)
            unwritten = 0
        self._unwritten[name] = unwritten + by

    def write(self, name: ScopeName) -> None:
        """Writes a scope that is in memory."""
        scope = self._scopes[name]
        promise = self._promises[name] = promise_of(name, scope)
        said = json.dumps({**asdict(promise), "verifier": promise.verifier.value, "brake": promise.brake.value})
        self._file.write(_key(name), pack(scope), said)
        del self._unwritten[name]
        self._measure(name)

    def forget(self, tenant: str) -> None:
        """Forgets a tenant's scopes, here and in the file: each starts anew, as the first time. Raises Unavailable."""
        self._file.forget(_key(ScopeName(tenant, "")))
        for name in [name for name in {**self._promises, **self._scopes} if name.tenant == tenant]:
            self._promises.pop(name, None)
            self._scopes.pop(name, None)
            self._unwritten.pop(name, None)
            self.bytes -= self._sizes.pop(name, 0)

    def promises(self) -> list[Promise]:
        """Where each promise stands, those of scopes that are not in memory as they were written."""
        now = {name: promise_of(name, scope) for name, scope in list(self._scopes.items())}
        return [*({**self._promises, **now}).values()]

    def close(self) -> None:
        """Writes what is not written yet."""
        for name in [name for name in self._scopes if self._unwritten[name]]:
            self.write(name)
        self._file.close()

    def _drop(self, name: ScopeName) -> None:
        if self._unwritten[name]:
            self.write(name)
        del self._scopes[name]
        self.bytes -= self._sizes.pop(name)

    def _measure(self, name: ScopeName) -> None:
        size = self._scopes[name].bytes
        self.bytes += size - self._sizes.get(name, 0)
        self._sizes[name] = size


def promise_of(name: ScopeName, scope: ScopeDecision) -> Promise:
    """Where a scope's promise stands now."""
    risk = scope.risk
    allowed = risk.allowance / max(risk.requests, 1)
    books = risk.requests, risk.served, risk.audits, risk.audits_wrong
    return Promise(*name, *books, risk.realised, risk.certified, allowed, *scope.verifier, risk.brake.state)


def _key(name: ScopeName) -> str:
    return f"{name.encoder} {name.tenant}"  # a digest has no space


def _read(written: list[str]) -> dict[ScopeName, Promise]:
    promises = []
    for said in map(json.loads, written):
        standings = {"verifier": VerifierStanding(said["verifier"]), "brake": Braked(said.get("brake", "off"))}
        promises.append(Promise(**said | standings))
    return {ScopeName(promise.tenant, promise.encoder_digest): promise for promise in promises}
