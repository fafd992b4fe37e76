"""Has models answer a request beside its caller, and says which of two answers is better, within what that may cost."""

from dataclasses import dataclass, replace

import structlog

from services.chassis.errors import FulcrumError
from services.edge.background import BackgroundCalls
from services.edge.catalogue import Catalogue
from services.edge.chat import CacheControl, Request
from services.edge.judge_question import LONGEST_BYTES, OUTPUT_TOKENS
from services.edge.judges import Comparison, Equality
from services.edge.preference import preference
from services.edge.price import at_most
from services.edge.settings import ShadowSettings
from services.edge.shadow_budget import SHADOW, ShadowBudget

_BEYOND = 1 << 62  # nano-dollars, more than any budget


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a comparison went, who says so, and scores of the weaker model's answer and the strong one's, if any."""

    result: str
    source: str = ""
    scores: tuple[float, float] | None = None


_UNRESOLVED = Verdict("unresolved", "unresolved", (0.0, 1.0))


class Comparing:
    """Each call is a line of the ledger, of the tenant whose request it is.

    Args:
        settings: by whom, and at most how long answers are compared.
        calls: asks the models and the judge.
        catalogue: knows what they cost.
        budget: where it has no room, nobody is asked.
    """

    def __init__(
        self, settings: ShadowSettings, calls: BackgroundCalls, catalogue: Catalogue, budget: ShadowBudget
    ) -> None:
        self._settings = settings
        self._calls = calls
        self._catalogue = catalogue
        self._budget = budget

    async def answer(self, request: Request, model: str) -> str | None:
        """What a model says; None where it may cost more than is left."""
        given, most = request.sampling.max_output_tokens, self._settings.max_output_tokens
        sampling = replace(request.sampling, max_output_tokens=min(given or most, most))
        asked = replace(request, sampling=sampling, cache_control=CacheControl(no_cache=True, no_store=True))
        return await self._asked(request.tenant, asked, model, most)

    async def verdict(self, request: Request, weaker: str, strong: str) -> Verdict:
        """Compares a weaker model's answer with the strong model's: by their words, else by the judge.

        What the judge does not tell counts as worse: equal words need no judge, so that without this a judge that fails
        would leave the good news alone.
        """
        if await Equality().same(Comparison(request, weaker, strong)):
            return Verdict("same", "equality", (1.0, 1.0))
        judge, compared = self._settings.judge or "", preference(request, weaker, strong)
        if compared.asked.size_bytes > LONGEST_BYTES or not request.objective.allows(judge):
            return _UNRESOLVED
        try:
            reply = await self._asked(request.tenant, compared.asked, judge, OUTPUT_TOKENS)
        except FulcrumError as error:
            structlog.get_logger("edge").warning("a judge failed", judge=judge, error=str(error))
            return _UNRESOLVED
        scores = None if reply is None else compared.scores(reply)
        if scores is None:
            return _UNRESOLVED
        return Verdict({(1.0, 1.0): "same", (0.0, 1.0): "worse"}.get(scores, "better"), judge, scores)

    async def _asked(self, tenant: str, asked: Request, model: str, said_tokens: int) -> str | None:
        async with self._budget.room(tenant, self._cost(model, asked.size_bytes, said_tokens)) as affordable:
            return await self._calls.answer(asked, model, SHADOW) if affordable else None

    def _cost(self, model: str, read_bytes: int, said_tokens: int) -> int:
        """The most that an answer may cost, as no tokens are more than their bytes; beyond any budget if unpriced."""
        price = self._catalogue.prices.get(model)
        return _BEYOND if price is None else at_most(price, read_bytes, said_tokens)
