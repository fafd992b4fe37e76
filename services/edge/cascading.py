"""Asks a cheap model first where the plan says so, and holds its answer back until the router has accepted it.

Only who asked for the whole answer is given such a plan. The cheap answer has the time that the strong model's would
leave; what is not served is paid for all the same, as a part of the request.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from services.chassis.errors import FulcrumError
from services.edge.accounts import Accounts
from services.edge.chat import Delta, Finish, FinishReason, Request, TextDelta
from services.edge.execution import Execution
from services.edge.ports import Plan, Router, Signals
from services.edge.work import Work

Events = Sequence[Delta | Finish]


class Cascading:
    """`counts` tells how answers of models that were asked first went."""

    def __init__(self, router: Router, accounts: Accounts) -> None:
        self.counts: Counter[str] = Counter()
        self._router = router
        self._accounts = accounts

    async def run(self, work: Work, execution: Execution, plan: Plan) -> AsyncGenerator[Delta | Finish, None]:
        """As `Execution.run`, of the first model's answer where it is accepted, else of the others'.

        Raises:
            FulcrumError: as `Execution.run`.
        """
        if plan.expected_kept is not None and len(plan.models) > 1:
            held = await self._held(work, execution, plan)
            if held and await self._accepted(work, execution, plan, held):
                for event in held:
                    yield _as_asked(event, work.request)
                return
            execution.set_aside(self._accounts.spent(work.request, execution))
            plan = replace(plan, models=plan.models[1:])
        async with aclosing(execution.run(plan)) as events:
            async for event in events:
                yield event

    async def _held(self, work: Work, execution: Execution, plan: Plan) -> Events:
        """The first model's whole answer; nothing where it fails, or does not come in its time."""
        first, strong = plan.models[:2]
        left = work.deadline - time.monotonic()
        most = left / 2 if strong.seconds is None else left - strong.seconds
        if most <= (first.seconds or 0.0):
            self.counts["passed_over"] += 1
            return ()
        sampling = work.request.sampling
        told = replace(sampling, top_logprobs=sampling.top_logprobs or 0)
        running = execution.run(replace(plan, models=(first,)), replace(work.request, sampling=told))
        try:
            async with asyncio.timeout(most if math.isfinite(most) else None), aclosing(running) as events:
                return [event async for event in events]
        except TimeoutError:
            self.counts["late"] += 1
        except FulcrumError as error:
            if not execution.hands_over(error, first.model, strong.model):
                raise
            self.counts["failed"] += 1
        return ()

    async def _accepted(self, work: Work, execution: Execution, plan: Plan, held: Events) -> bool:
        """What the router says of it; where that says nothing the strong model answers."""
        assess = self._router.assess(plan.decision_id, _signals(plan.models[0].model, held))
        found = await work.advisory("router", f"{plan.models[1].model} answers", assess)
        self.counts["unassessed" if found is None else "kept" if found.accepted else "escalated"] += 1
        execution.assessment = found.explanation if found else ""
        return found is not None and found.accepted


def _as_asked(event: Delta | Finish, request: Request) -> Delta | Finish:
    """Without probabilities that only the router wanted."""
    told = request.sampling.top_logprobs is not None
    return event if told or not isinstance(event, TextDelta) else replace(event, logprobs=())


def _signals(model: str, held: Events) -> Signals:
    logprobs = [one.logprob for event in held if isinstance(event, TextDelta) for one in event.logprobs]
    finish = held[-1]
    whole = isinstance(finish, Finish) and finish.reason is FinishReason.STOP
    usage = finish.usage if isinstance(finish, Finish) else None
    mean = sum(logprobs) / len(logprobs) if logprobs else None
    return Signals(model, whole, usage.output_tokens if usage else len(logprobs), mean)
