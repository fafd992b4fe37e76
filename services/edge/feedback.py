"""What clients say of answers, handed to those who remember them: by the ids of a receipt any edge finds them."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass

from services.chassis.errors import InvalidField
from services.edge.limits import Limits
from services.edge.ports import Cache, Router


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

        Raises:
            InvalidField: the word is on no answer, or not on which model's.
            NotFound: the cache or the router knows no such answer of this tenant.
            Overloaded: the tenant's rate is used up.
            Unavailable, DeadlineExceeded: one cannot be reached, or not in time.
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
        for failure in await asyncio.gather(*told, return_exceptions=True):
            if failure is not None:
                raise failure
