"""Has the strong model answer a share of requests too, after their callers were answered, and tells the router how
the two compare: whether the promise about quality is kept is so checked on live traffic.

The share is fair. Whether a request can be drawn follows from the request and from what is free at the moment, never
from its answer; the probability goes to the router with each score. Where the strong model answered, its answer is the
reference itself and nobody is asked, so that scores are a sample of all requests and not of those that went elsewhere.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import structlog

from services.chassis.call import outlive_deadline
from services.chassis.errors import FulcrumError
from services.edge.background import BackgroundCalls
from services.edge.catalogue import Catalogue
from services.edge.chat import CacheControl, Outcome, Request, TextDelta
from services.edge.execution_gate import ExecutionGate
from services.edge.judge_question import LONGEST_BYTES, OUTPUT_TOKENS
from services.edge.judges import Comparison, Equality
from services.edge.ports import Router
from services.edge.preference import preference
from services.edge.price import at_most
from services.edge.settings import ShadowSettings
from services.edge.shadow_budget import SHADOW, ShadowBudget
from services.edge.work import Work

_TIMEOUT_S = 180.0
_BEYOND = 1 << 62  # nano-dollars, more than any budget
_Scores = tuple[float, float]


class Shadowing:
    """Comparisons under way, of which there are few; `counts` tells how they went.

    Args:
        settings: how many, by whom, at which cost.
        router: is told the scores.
        calls: asks the strong model and the judge.
        catalogue: knows the strong model and what it costs.
        gate: where most of its places are taken, nothing is begun.
        budget: where it has no room, neither.
        draw: a number from 0 to 1 by chance.
    """

    def __init__(
        self,
        settings: ShadowSettings,
        router: Router,
        calls: BackgroundCalls,
        catalogue: Catalogue,
        gate: ExecutionGate,
        budget: ShadowBudget,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._settings = settings
        self._router = router
        self._calls = calls
        self._catalogue = catalogue
        self._gate = gate
        self._budget = budget
        self._draw = draw
        self._under_way: set[asyncio.Task[None]] = set()

    def begin(self, work: Work) -> None:
        """Compares later, if the request can be and is drawn; only once its caller has the answer."""
        outcome = work.outcome
        if not self._settings.share or outcome is None or not self._can_be_drawn(work.request, outcome):
            return
        if len(self._under_way) >= self._settings.at_once or 2 * self._gate.under_way >= self._gate.limit:
            self.counts["passed_over"] += 1
        elif self._draw() < self._settings.share:
            task = asyncio.create_task(self._compare(work, outcome, self._settings.share))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """Ends what is under way; what it took is on the books."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _can_be_drawn(self, request: Request, outcome: Outcome) -> bool:
        """Requests of text alone that may be remembered, answered by the router's choice, the strong model allowed."""
        planned = [one.model for one in outcome.route.alternatives]
        return (
            bool(outcome.route.decision_id)
            and not request.tools
            and not request.cache_control.no_store
            and self._catalogue.default in planned
            and outcome.model == planned[0]
        )

    async def _compare(self, work: Work, outcome: Outcome, probability: float) -> None:
        outlive_deadline()
        strong, decision = self._catalogue.default or "", outcome.route.decision_id
        said = "".join(piece.text for piece in work.pieces if isinstance(piece, TextDelta))
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                result, source, scores = await self._scores(work.request, outcome.model, said, strong)
            self.counts[result] += 1
            if scores is not None:
                for model, score in dict(zip((outcome.model, strong), scores, strict=True)).items():
                    await self._router.feedback(decision, model, score, f"{SHADOW}:{source}", probability)
        except (FulcrumError, TimeoutError) as error:
            self.counts["failed"] += 1
            structlog.get_logger("edge").warning("a comparison failed", decision_id=decision, error=repr(error))

    async def _scores(self, request: Request, model: str, said: str, strong: str) -> tuple[str, str, _Scores | None]:
        """How the comparison went, who says so, and scores of the answer and the strong model's, where there are."""
        most, asked = self._settings.max_output_tokens, self._to_strong(request)
        async with self._budget.room(request.tenant, self._cost(strong, asked.size_bytes, most)) as affordable:
            if not affordable:
                return "passed_over", "", None
            if model == strong:
                return "reference", "reference", (1.0, 1.0)
            reference = await self._calls.answer(asked, strong, SHADOW)
        if await Equality().same(Comparison(request, said, reference)):
            return "same", "equality", (1.0, 1.0)
        return await self._judged(request, said, reference)

    async def _judged(self, request: Request, said: str, reference: str) -> tuple[str, str, _Scores | None]:
        judge, compared = self._settings.judge or "", preference(request, said, reference)
        size = compared.asked.size_bytes
        if size > LONGEST_BYTES or not request.objective.allows(judge):
            return "unresolved", "", None
        async with self._budget.room(request.tenant, self._cost(judge, size, OUTPUT_TOKENS)) as affordable:
            if not affordable:
                return "unresolved", "", None
            scores = compared.scores(await self._calls.answer(compared.asked, judge, SHADOW))
        if scores is None:
            return "unresolved", "", None
        return {(1.0, 1.0): "same", (0.0, 1.0): "worse"}.get(scores, "better"), judge, scores

    def _to_strong(self, request: Request) -> Request:
        given, most = request.sampling.max_output_tokens, self._settings.max_output_tokens
        sampling = replace(request.sampling, max_output_tokens=min(given or most, most))
        return replace(request, sampling=sampling, cache_control=CacheControl(no_cache=True, no_store=True))

    def _cost(self, model: str, read_bytes: int, said_tokens: int) -> int:
        """The most that an answer may cost, as no tokens are more than their bytes; beyond any budget if unpriced."""
        price = self._catalogue.prices.get(model)
        return _BEYOND if price is None else at_most(price, read_bytes, said_tokens)
