"""Stops serving where too little speaks for what was served: verdicts that are wrong, or that never come."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from enum import Enum
from typing import Any, NamedTuple

from services.cache.octave import OCTAVES, octave

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
    octave: int


@dataclass(slots=True)
class Bucket:
    """Answers served that no verdict vouches for; `blind` are those served to callers who compare nothing."""

    untold: float = 0.0
    wrong: float = 0.0
    blind: float = 0.0

    def leak(self, by: float) -> None:
        """Lets pass so many of either kind of caller."""
        total = self.untold + self.wrong
        if total:
            left = 1 - by / total if by < total else 0.0
            self.untold, self.wrong = self.untold * left, self.wrong * left
        if self.blind:
            self.blind = max(self.blind - by, 0.0)

    def stops(self, judged: bool) -> bool:
        """Whether it is too full for a caller, who compares answers or does not."""
        return self.untold + self.wrong > ROOM or (not judged and self.blind > ROOM)


class Brake:
    """Buckets of answers served that no verdict vouches for, which leak `LEAK` times what requests allow.

    Who serves only while none is full serves, in any stretch of requests, no more wrong answers than one has room for
    and leaks meanwhile, but for what chance makes of the audits: an audit stands for (1 - p) / p answers that were
    served instead, p being its propensity. Its verdict is waited for as long as verdicts take, in requests; then those
    are in the bucket until it is told to be right. So it matters neither why verdicts stay away nor how good they once
    were: what leaked is gone (Page 1954). Callers who compare nothing have room of their own.

    There is one for each octave of bounds, of callers who allow that or less: it takes in what they were served and
    leaks what they allow, and stops who allows less as well. So nobody is served on what laxer callers allow.
    """

    def __init__(self) -> None:
        self.buckets = [Bucket() for _ in range(OCTAVES)]
        self._now = 0  # requests since start
        self._patience = _LEAST_PATIENCE
        self._audits = 0  # since start
        self._waiting: dict[int, Awaited] = {}  # by number, oldest first

    def stops(self, judged: bool, bound: float) -> bool:
        """Whether it stops a caller with this bound, who compares answers or does not."""
        return any(bucket.stops(judged) for bucket in self.buckets[octave(bound) :])

    def why(self, judged: bool, bound: float) -> Braked:
        """As `stops`, and whether most of what did so was found wrong or never told."""
        for bucket in self.buckets[octave(bound) :]:
            if bucket.stops(judged):
                return Braked.WRONG if bucket.stops(True) and bucket.wrong > bucket.untold else Braked.UNTOLD
        return Braked.OFF

    @property
    def state(self) -> Braked:
        """As `why`, for anybody at all."""
        return self.why(judged=False, bound=0.0)

    def allow(self, bound: float) -> None:
        """Counts a request, and lets leak what its bound allows."""
        self._now += 1
        while self._waiting:
            oldest = next(iter(self._waiting.values()))
            if oldest.begun >= self._now - self._patience:
                break
            del self._waiting[oldest.number]
            for bucket in self.buckets[oldest.octave :]:
                bucket.untold += oldest.stands_for
        for bucket in self.buckets[octave(bound) :]:
            bucket.leak(LEAK * bound)

    def unvouched(self, bound: float) -> None:
        """Takes in an answer served that nobody would have audited."""
        for bucket in self.buckets[octave(bound) :]:
            bucket.blind += 1

    def audited(self, propensity: float, bound: float) -> Awaited:
        """Waits for the verdict on an audit, which may never come."""
        self._audits += 1
        audit = Awaited(self._audits, self._now, (1 - propensity) / propensity, octave(bound))
        if audit.stands_for:
            self._waiting[audit.number] = audit
        return audit

    def judged(self, audit: Awaited, right: bool) -> None:
        """Takes the verdict on an audit."""
        took = self._now - audit.begun
        self._patience = min(max(_LEAST_PATIENCE, _SPARE * took, self._patience * _FORGETS), _MOST_PATIENCE)
        overdue = self._waiting.pop(audit.number, None) is None
        for bucket in self.buckets[audit.octave :]:
            if overdue:
                bucket.untold = max(bucket.untold - audit.stands_for, 0.0)
            bucket.wrong += 0.0 if right else audit.stands_for

    def facts(self) -> dict[str, Any]:
        """All that it knows, for `restore`: of what is waited for after a restart, no verdict comes any more."""
        since = self._now, self._patience, self._audits
        return {"buckets": [*map(astuple, self.buckets)], "since": since, "waiting": list(self._waiting.values())}

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Takes what `facts` gave. Raises KeyError, TypeError or ValueError for anything else."""
        self.buckets = [Bucket(*told) for told in facts["buckets"]]
        self._now, self._patience, self._audits = facts["since"]
        self._waiting = {one.number: one for one in (Awaited(*told) for told in facts["waiting"])}
