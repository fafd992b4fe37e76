"""What is decided on a candidate, and the neighbours that it is decided by."""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple

from services.cache.brake import Awaited
from services.cache.decision import MissReason
from services.cache.pair_verifier import Compared
from services.cache.sketch import Sketch
from services.cache.vetoes import Veto


class Action(Enum):
    """What to do with the candidate."""

    SERVE = "serve"
    AUDIT = "audit"  # it would have been served, but is checked
    CHECK = "check"  # it would not have been served; where the request is executed, a verdict on it teaches


class Near(NamedTuple):
    """The entries near a prompt, nearest first.

    Args:
        similarities: to the prompt.
        answers: a number by entry that those share whose answers are the same.
        sketch: that of the entry at a place.
        fingerprint: of the partition that the prompt and all of them are of.
    """

    similarities: Sequence[float]
    answers: Sequence[int]
    sketch: Callable[[int], Sketch]
    fingerprint: bytes = b""


class Considered(NamedTuple):
    """A decision on one candidate, to be kept until its verdict.

    Args:
        place: of the neighbour whose answer it is about.
        doubt: the estimated probability of that answer being wrong.
        propensity: probability with which the request was to be executed.
        reason: why it is not served; None where it is, or would have been.
        audit: for the brake, where it is one.
        bound: of the request.
    """

    action: Action
    place: int
    answer: int
    doubt: float
    propensity: float
    reason: MissReason | None
    explanation: str
    features: tuple[float, ...]
    veto: Veto | None
    tempting: bool  # whether only a veto stood against serving it
    pair: Compared | None  # for the verifier of pairs, where there is one
    fingerprint: bytes  # of the partition that it was decided in
    audit: Awaited | None
    bound: float
