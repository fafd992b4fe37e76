"""Stops serving where too little speaks for what was served: verdicts that are wrong, or that never come."""

from enum import Enum

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
        self._waiting: dict[int, float] = {}  # by request, oldest first: what its audit stands for

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
        while self._waiting and (first := next(iter(self._waiting))) < self._now - self._patience:
            self.untold += self._waiting.pop(first)
        total = self.untold + self.wrong
        left = max(1 - LEAK * bound / total, 0.0) if total else 0.0
        self.untold, self.wrong = self.untold * left, self.wrong * left
        self.blind = max(self.blind - LEAK * bound, 0.0)

    def unvouched(self) -> None:
        """Takes in an answer served that nobody would have audited."""
        self.blind += 1

    def audited(self, propensity: float) -> int:
        """Waits for the verdict on an audit, which may never come; returns the request that it is of."""
        self._waiting[self._now] = self._waiting.get(self._now, 0.0) + (1 - propensity) / propensity
        return self._now

    def judged(self, begun: int, propensity: float, right: bool) -> None:
        """Takes the verdict on the audit of the request `begun`."""
        stands_for = (1 - propensity) / propensity
        took = self._now - begun
        self._patience = min(max(_LEAST_PATIENCE, _SPARE * took, self._patience * _FORGETS), _MOST_PATIENCE)
        if self._waiting.pop(begun, None) is None:
            self.untold = max(self.untold - stands_for, 0.0)
        self.wrong += 0.0 if right else stands_for
