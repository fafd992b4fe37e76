"""Has the strong model answer a share of requests too, after their callers were answered, and tells the router how
the two compare: whether the promise about quality is kept is so checked on live traffic.

The share is fair. Whether a request can be drawn follows from the request, from what is free at the moment and from
what is left to spend, which is held against what any of its models might cost, never from who answered or how; the
probability goes to the router with each score. Where the strong model answered, its answer is the reference itself and
nobody is asked, so that scores are a sample of all requests and not of those that went elsewhere.

A share of that share explores: every other model whose loss is predicted answers too. Nobody is served what is
explored, so it harms nobody; what would have become of requests had they gone elsewhere is so known of a sample of all.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence

import structlog

from services.chassis.call import outlive_deadline
from services.chassis.errors import FulcrumError
from services.edge.catalogue import Catalogue
from services.edge.chat import Outcome, Request
from services.edge.comparing import Comparing
from services.edge.execution_gate import ExecutionGate
from services.edge.ports import Draw, Router
from services.edge.settings import ShadowSettings
from services.edge.shadow_budget import SHADOW
from services.edge.work import Work

_TIMEOUT_S = 180.0  # for each model compared


class Shadowing:
    """Comparisons under way, of which there are few; `counts` tells how they went.

    Args:
        settings: how many, and which share of them explores.
        router: is told the scores.
        comparing: asks the models and the judge.
        catalogue: knows the strong model.
        gate: where most of its places are taken, nothing is begun.
        draw: a number from 0 to 1 by chance.
    """

    def __init__(
        self,
        settings: ShadowSettings,
        router: Router,
        comparing: Comparing,
        catalogue: Catalogue,
        gate: ExecutionGate,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._settings = settings
        self._router = router
        self._comparing = comparing
        self._catalogue = catalogue
        self._gate = gate
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
            explores = self._settings.explore > 0 and self._draw() < self._settings.explore
            task = asyncio.create_task(self._compare(work, outcome, explores))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """Ends what is under way; what it took is on the books."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _can_be_drawn(self, request: Request, outcome: Outcome) -> bool:
        """Requests of text alone that may be remembered, answered by the router's choice, the strong model allowed.

        That is the strong model too where another was to be asked first, whatever came of that.
        """
        planned = [one.model for one in outcome.route.alternatives]
        return (
            bool(outcome.route.decision_id)
            and not request.tools
            and not request.cache_control.no_store
            and self._catalogue.default in planned
            and (outcome.model == planned[0] or (outcome.route.asks_first and outcome.model == self._catalogue.default))
        )

    def _weaker(self, outcome: Outcome) -> Sequence[str]:
        """The models that might have answered, by what is predicted of them."""
        known = [one.model for one in outcome.route.alternatives if one.predicted_loss is not None]
        return [model for model in known if model != self._catalogue.default and self._comparing.priced(model)]

    async def _compare(self, work: Work, outcome: Outcome, explores: bool) -> None:
        outlive_deadline()
        share, explored = self._settings.share, self._settings.explore
        weaker = self._weaker(outcome) if explores else ()
        drawn = Draw(share * (explored if explores else 1 - explored), explores)
        room = self._comparing.room(work.request, self._catalogue.default or "", weaker)
        try:
            async with asyncio.timeout(_TIMEOUT_S * (1 + len(weaker))), room as affordable:
                if affordable:
                    others = [model for model in weaker if model != outcome.model]
                    await self._with_strong(work.request, outcome, work.said, others, drawn)
                else:
                    self.counts["passed_over"] += 1
        except (FulcrumError, TimeoutError) as error:
            self.counts["failed"] += 1
            decision = outcome.route.decision_id
            structlog.get_logger("edge").warning("a comparison failed", decision_id=decision, error=repr(error))

    async def _with_strong(
        self, request: Request, outcome: Outcome, said: str, others: Sequence[str], drawn: Draw
    ) -> None:
        """Scores the answer that was given, then those of others, by the strong model's."""
        strong, decision = self._catalogue.default or "", outcome.route.decision_id
        reference = said if outcome.model == strong else await self._comparing.answer(request, strong)
        if drawn.explored or outcome.model == strong:
            await self._tell(decision, strong, 1.0, "reference", drawn)
        if outcome.model == strong:
            self.counts["reference"] += 1
        else:
            found = await self._comparing.verdict(request, said, reference)
            self.counts[found.result] += 1
            for model, score in zip((outcome.model, strong), found.scores, strict=True):
                await self._tell(decision, model, score, found.source, drawn)
        for other in others:
            answer = await self._comparing.answer(request, other)
            found = await self._comparing.verdict(request, answer, reference)
            self.counts[f"explored_{found.result}"] += 1
            await self._tell(decision, other, found.scores[0], found.source, drawn)

    async def _tell(self, decision: str, model: str, score: float, source: str, drawn: Draw) -> None:
        await self._router.feedback(decision, model, score, f"{SHADOW}:{source}", drawn)
