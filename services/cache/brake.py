"""Stops serving where too little speaks for what was served: verdicts that are wrong, or that never come."""

from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple

LEAK = 2.0  # bounds: the wrong answers in a request's stead that are let pass without a brake
ROOM = 50.0  # wrong answers: what a few unlucky audits come to
_LEAST_PATIENCE, _MOST_PATIENCE = 200.0, 5000.0  # requests in which a verdict may come
_SPARE = 3.0  # times what the slowest verdict of late has taken
_FORGETS = 0.99  # of the slowest, with each verdict


class Braked(Enum):
    """Whether a scope's brake is on, and what put it on for the most part."""

    OFF = "off"
    UNTOLD = "untold"
    WRONG = "wrong"


class Awaited(NamedTuple):
    """An audit whose verdict may come: its number, the request that it is of, and the answers that it stands for."""

    number: int
    begun: int
    stands_for: float


class Brake:
    """A bucket of answers served that no verdict vouches for, which leaks `LEAK` times what requests allow.

    Who serves only while it is not full serves, in any stretch of requests, no more wrong answers than it has room for
    and leaks meanwhile, but for what chance makes of the audits: an audit stands for (1 - p) / p answers that were
    served instead, p being its propensity. Its verdict is waited for as long as verdicts take, in requests; then those
    are in the bucket until it is told to be right. So it matters neither why verdicts stay away nor how good they once
    were: what leaked is gone (Page 1954). Callers who compare nothing have a bucket of their own.
    """

    def __init__(self) -> None:
        self.untold = 0.0
        self.wrong = 0.0
        self.blind = 0.0  # served to callers who compare nothing
        self._now = 0  # requests since start
        self._patience = _LEAST_PATIENCE
        self._audits = 0  # since start
        self._waiting: dict[int, Awaited] = {}  # by number, oldest first

    @property
    def on(self) -> bool:
        """Whether the bucket of those who compare is full."""
        return self.untold + self.wrong > ROOM

    def stops(self, judged: bool) -> bool:
        """Whether it stops a caller, who compares answers or does not."""
        return self.on or (not judged and self.blind > ROOM)

    @property
    def state(self) -> Braked:
        """Whether it stops anybody, and whether most of what did so was found wrong or never told."""
        if self.on and self.wrong > self.untold:
            return Braked.WRONG
        return Braked.UNTOLD if self.stops(judged=False) else Braked.OFF

    def allow(self, bound: float) -> None:
        """Counts a request, and lets leak what its bound allows."""
        self._now += 1
        while self._waiting:
            oldest = next(iter(self._waiting.values()))
            if oldest.begun >= self._now - self._patience:
                break
            self.untold += self._waiting.pop(oldest.number).stands_for
        total = self.untold + self.wrong
        left = max(1 - LEAK * bound / total, 0.0) if total else 0.0
        self.untold, self.wrong = self.untold * left, self.wrong * left
        self.blind = max(self.blind - LEAK * bound, 0.0)

    def unvouched(self) -> None:
        """Takes in an answer served that nobody would have audited."""
        self.blind += 1

    def audited(self, propensity: float) -> Awaited:
        """Waits for the verdict on an audit, which may never come."""
        self._audits += 1
        audit = Awaited(self._audits, self._now, (1 - propensity) / propensity)
        if audit.stands_for:
            self._waiting[audit.number] = audit
        return audit

    def judged(self, audit: Awaited, right: bool) -> None:
        """Takes the verdict on an audit."""
        took = self._now - audit.begun
        self._patience = min(max(_LEAST_PATIENCE, _SPARE * took, self._patience * _FORGETS), _MOST_PATIENCE)
        if self._waiting.pop(audit.number, None) is None:
            self.untold = max(self.untold - audit.stands_for, 0.0)
        self.wrong += 0.0 if right else audit.stands_for

    def facts(self) -> dict[str, Any]:
        """All that it knows, for `restore`: of what is waited for after a restart, no verdict comes any more."""
        buckets = self.untold, self.wrong, self.blind
        since = self._now, self._patience, self._audits
        return {"buckets": buckets, "since": since, "waiting": list(self._waiting.values())}

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Takes what `facts` gave. Raises KeyError, TypeError or ValueError for anything else."""
        self.untold, self.wrong, self.blind = facts["buckets"]
        self._now, self._patience, self._audits = facts["since"]
        self._waiting = {one.number: one for one in (Awaited(*told) for told in facts["waiting"])}
