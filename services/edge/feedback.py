"""What clients say of answers, handed to those who remember them: by the ids of a receipt any edge finds them."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass

from services.chassis.errors import DeadlineExceeded, InvalidField, NotFound, Overloaded, Unavailable
from services.edge.limits import Limits
from services.edge.ports import Cache, Router

_WORTH_A_REPEAT = Unavailable, DeadlineExceeded, Overloaded
# What the client calls the ids that it read from its receipt, where those who made them speak of their own calls.
_REMEMBERED = {
    "lookup_id": "cache.lookup_id of a receipt of yours that the cache still remembers",
    "decision_id": "route.decision_id of a receipt of yours whose decision the router still remembers",
}


@dataclass(frozen=True, slots=True)
class Word:
    """Whether an answer was right, by who asked for it; ids and model are its receipt's, empty where that has none."""

    tenant: str
    principal: str
    lookup_id: str
    decision_id: str
    model: str
    right: bool


class Feedback:
    """Tells cache and router; nothing is remembered here."""

    def __init__(self, cache: Cache, router: Router, limits: Limits) -> None:
        self._cache = cache
        self._router = router
        self._limits = limits

    async def tell(self, word: Word) -> None:
        """Tells both that the receipt names, the one too where the other fails.

        Where both fail, what a repeat may mend is raised, so that the client says it again.

        Raises:
            InvalidField: the word is on no answer, or not on which model's.
            NotFound: the cache or the router knows no such answer of this tenant.
            Overloaded: the tenant's rate is used up, or too much waits for the router's log.
            Unavailable, DeadlineExceeded: one cannot be reached or write it down, or not in time.
        """
        if not (word.lookup_id or word.decision_id):
            expected = "the receipt's cache.lookup_id, or its route.decision_id in decision_id"
            raise InvalidField("lookup_id", "none", expected)
        if word.decision_id and not word.model:
            raise InvalidField("model", "none", "the receipt's model, beside decision_id")
        self._limits.check_rate(word.tenant)
        told: list[Awaitable[None]] = []
        if word.lookup_id:
            told.append(self._cache.report(word.tenant, word.principal, word.lookup_id, word.right))
        if word.decision_id:
            told.append(self._router.report(word.tenant, word.decision_id, word.model, word.right))
        ends = await asyncio.gather(*told, return_exceptions=True)
        failures = sorted((end for end in ends if end is not None), key=_rank)
        if failures:
            raise _as_said(failures[0])


def _rank(failure: BaseException) -> int:
    """What a repeat may mend first, what is forgotten last."""
    return 0 if isinstance(failure, _WORTH_A_REPEAT) else 2 if isinstance(failure, NotFound) else 1


def _as_said(failure: BaseException) -> BaseException:
    """The failure in the words of the receipt."""
    if isinstance(failure, NotFound) and failure.field in _REMEMBERED:
        return NotFound(failure.field, failure.value, _REMEMBERED[failure.field], reason=failure.reason)
    return failure
