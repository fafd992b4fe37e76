"""Asks a cheap model first where the plan says so, and holds its answer back until the router has accepted it.

Only who asked for the whole answer is given such a plan. The cheap answer has the time that the strong model's would
leave; what is not served is paid for all the same, as a part of the request.
"""

import asyncio
import math
import time
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

import structlog

from services.chassis.errors import DeadlineExceeded, FailedPrecondition, FulcrumError, InvalidField
from services.chassis.status import code_of
from services.edge.accounts import Accounts
from services.edge.chat import Degradation, Delta, Finish, FinishReason, PlannedModel, Request, TextDelta
from services.edge.execution import Execution, is_final
from services.edge.payoff import PAUSE_S, Payoff
from services.edge.ports import Plan, Router, Signals
from services.edge.repeating import Repeating
from services.edge.work import Work

Events = Sequence[Delta | Finish]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What came of asking the first model: its answer if it ended, and whether it was accepted.

    `refused` is whether the model took not even the request, which edge had added to; `others` is the plan without it.
    """

    others: Plan
    held: Events = ()
    accepted: bool = False
    refused: bool = False


class Cascading:
    """`counts` tells how answers of models that were asked first went, `payoffs` what each pair of models spared."""

    def __init__(self, router: Router, accounts: Accounts, repeating: Repeating) -> None:
        self.counts: Counter[str] = Counter()
        self.payoffs: defaultdict[tuple[str, str], Payoff] = defaultdict(Payoff)
        self._router = router
        self._accounts = accounts
        self._repeating = repeating

    async def run(self, work: Work, execution: Execution, plan: Plan) -> AsyncGenerator[Delta | Finish, None]:
        """As `Execution.run`, of the first model's answer where it is accepted, else of the others'.

        Where none of the others begins, be it for a deadline that is not the caller's, the first one's whole answer is
        served after all, unless the caller named the quality that may be lost.

        Raises:
            FulcrumError: as `Execution.run`.
        """
        asked = await self._first(work, execution, plan)
        try:
            if not asked.accepted:
                async with aclosing(execution.run(asked.others)) as events:
                    async for event in events:
                        yield event
                if asked.refused:  # and another took it, so that what was added may well be at fault
                    self._told(plan, certainty=False)
                return
        except FulcrumError as error:
            final = is_final(error) and not _is_models_own(error, work)
            if execution.begun or final or not _served_in_need(work.request, asked.held):
                raise
            self._take_back(work, execution, plan, error)
        for event in asked.held:
            yield _as_asked(event, work.request)

    async def _first(self, work: Work, execution: Execution, plan: Plan) -> _Asked:
        """Asks the plan's first model alone, and the router what it says of the answer, if the plan is such a one."""
        if plan.expected_kept is None or len(plan.models) < 2:
            return _Asked(plan)
        others = replace(plan, models=plan.models[1:])
        payoff = self._payoff(plan)
        if payoff.is_set_aside(time.monotonic()):
            self.counts["set_aside"] += 1
            execution.assessment = f"It is not asked for now, as {payoff.because}: {others.models[0].model} is."
            return _Asked(others)
        until = _until(work, plan.models[1])
        asked = await self._held(work, execution, _Asked(others), plan, until)
        accepted = bool(asked.held) and await self._accepted(work, execution, plan, asked.held, until)
        self._paid(work, execution, plan, accepted)
        if not accepted:
            execution.set_aside(self._accounts.spent(work.request, execution))
        return replace(asked, accepted=accepted)

    async def _held(self, work: Work, execution: Execution, asked: _Asked, plan: Plan, until: float) -> _Asked:
        """With the first model's whole answer; without where it fails, or is late by `until` or a time of its own."""
        first, strong = plan.models[:2]
        most = until - time.monotonic()
        in_time = most > (first.seconds or 0.0) * (2 if plan.repeats else 1)
        if not in_time or not self._repeating.has_room(plan.repeats):
            self.counts["passed_over"] += 1
            return asked
        sampling = work.request.sampling
        added = sampling.top_logprobs is None and not plan.repeats
        told = replace(sampling, top_logprobs=0) if added else sampling
        running = execution.run(replace(plan, models=(first,)), replace(work.request, sampling=told))
        try:
            async with asyncio.timeout(most if math.isfinite(most) else None), aclosing(running) as events:
                return replace(asked, held=[event async for event in events])
        except TimeoutError:
            self.counts["late"] += 1
        except FulcrumError as error:
            if _is_models_own(error, work):
                self.counts["late"] += 1
                return asked
            refused = added and _refuses(error)
            if refused:
                _note(work, error, f"{strong.model} answers instead of {first.model}")
            elif not execution.hands_over(error, first.model, strong.model):
                raise
            self.counts["refused" if refused else "failed"] += 1
            asked = replace(asked, refused=refused)
        return asked

    async def _accepted(self, work: Work, execution: Execution, plan: Plan, held: Events, until: float) -> bool:
        """What the router says of it, and of repeats by `until`; where that says nothing the strong model answers."""
        signals = _signals(plan.models[0].model, held)
        if signals.complete and signals.output_tokens:
            if plan.repeats:
                asked = self._repeating.agreement(work, execution, _text(held), plan.repeats, until)
                agreement = await asked
                signals = replace(signals, agreement=agreement.share)
                if agreement.share is not None or agreement.failed:
                    self._told(plan, certainty=agreement.share is not None)
            else:
                self._told(plan, certainty=signals.mean_logprob is not None)
        assess = self._router.assess(plan.decision_id, signals)
        found = await work.advisory("router", f"{plan.models[1].model} answers", assess)
        self.counts["unassessed" if found is None else "kept" if found.accepted else "escalated"] += 1
        execution.assessment = found.explanation if found else ""
        return found is not None and found.accepted

    def _take_back(self, work: Work, execution: Execution, plan: Plan, error: FulcrumError) -> None:
        """Serves what was held as no other model answers, and says so."""
        execution.take_back()
        self.counts["served_in_need"] += 1
        first, strong = (planned.model for planned in plan.models[:2])
        _note(work, error, f"{first} answers instead of {strong}, though its answer was not accepted")

    def _payoff(self, plan: Plan) -> Payoff:
        first, strong = plan.models[:2]
        return self.payoffs[first.model, strong.model]

    def _told(self, plan: Plan, certainty: bool) -> None:
        if self._payoff(plan).told(certainty, time.monotonic()):
            self._tell(plan)

    def _paid(self, work: Work, execution: Execution, plan: Plan, kept: bool) -> None:
        """Books what the first answer took, as far as costs are known."""
        paid = self._accounts.paid(work.request, execution)
        strong = plan.models[1].cost_nano_usd
        if paid is not None and strong:
            now, expected = time.monotonic(), plan.expected_kept or 0.0
            if self._payoff(plan).paid(paid / strong, kept, expected, now):
                self._tell(plan)

    def _tell(self, plan: Plan) -> None:
        first, strong = (planned.model for planned in plan.models[:2])
        because = self._payoff(plan).because
        log = structlog.get_logger("edge")
        log.warning("a model is not asked first for now", model=first, before=strong, because=because, seconds=PAUSE_S)


def _note(work: Work, error: FulcrumError, consequence: str) -> None:
    work.degradations.append(Degradation("model", code_of(error).name, consequence))


def _is_models_own(error: FulcrumError, work: Work) -> bool:
    """Whether a deadline is over that is not the caller's, so that there is time for another model."""
    return isinstance(error, DeadlineExceeded) and time.monotonic() < work.deadline


def _refuses(error: FulcrumError) -> bool:
    """Whether a model does not take a request as it is, whoever put what it does not take there."""
    return isinstance(error, InvalidField | FailedPrecondition) and error.reason != "PROMPT_TOO_LONG"


def _served_in_need(request: Request, held: Events) -> bool:
    """Whether an answer that was not accepted is better than none: not to who named the quality that may be lost."""
    named = request.objective.max_quality_loss is not None or request.objective.confidence is not None
    return bool(held) and not named and _signals("", held).complete and any(isinstance(e, TextDelta) for e in held)


def _until(work: Work, strong: PlannedModel) -> float:
    """When the strong model needs the time that is left, half of it where it is not known how long it takes."""
    now = time.monotonic()
    left = work.deadline - now
    return now + (left / 2 if strong.seconds is None else left - strong.seconds)


def _text(held: Events) -> str:
    return "".join(event.text for event in held if isinstance(event, TextDelta))


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
