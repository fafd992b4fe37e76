"""Stops serving where too little speaks for what was served: verdicts that are wrong, or that never come."""

from enum import Enum

LEAK = 2.0  # bounds: the wrong answers in a request's stead that are let pass without a brake
ROOM = 50.0  # wrong answers: what a few unlucky audits, or those still under way, come to


class Braked(Enum):
    """Whether a scope's brake is on, and what put it on for the most part."""

    OFF = "off"
    UNTOLD = "untold"
    WRONG = "wrong"


class Brake:
    """A bucket of answers served that no verdict vouches for, which leaks `LEAK` times what requests allow.

    Who serves only while it is not full serves, in any stretch of requests, no more wrong answers than it has room for
    and leaks meanwhile, but for what chance makes of the audits: an audit stands for (1 - p) / p answers that were
    served instead, p being its propensity, and is in the bucket until its verdict says that it is right. So it matters
    neither why verdicts stay away nor how good they once were: what leaked is gone (Page 1954).
    """

    def __init__(self) -> None:
        self.untold = 0.0
        self.wrong = 0.0

    @property
    def on(self) -> bool:
        """Whether the bucket is full."""
        return self.untold + self.wrong > ROOM

    @property
    def state(self) -> Braked:
        """Whether it is on, and whether most of what is in the bucket was found wrong or never told."""
        if not self.on:
            return Braked.OFF
        return Braked.WRONG if self.wrong > self.untold else Braked.UNTOLD

    def allow(self, bound: float) -> None:
        """Lets leak what a request with this bound allows."""
        total = self.untold + self.wrong
        left = max(1 - LEAK * bound / total, 0.0) if total else 0.0
        self.untold, self.wrong = self.untold * left, self.wrong * left

    def unvouched(self) -> None:
        """Takes in an answer served that nobody would have audited."""
        self.untold += 1

    def audited(self, propensity: float) -> None:
        """Takes in an audit, of which no verdict may ever come."""
        self.untold += (1 - propensity) / propensity

    def judged(self, propensity: float, right: bool) -> None:
        """Takes the verdict on an audit that it has taken in."""
        stands_for = (1 - propensity) / propensity
        self.untold = max(self.untold - stands_for, 0.0)
        self.wrong += 0.0 if right else stands_for
