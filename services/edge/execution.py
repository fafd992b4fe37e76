"""Running a plan: the first model that begins to answer answers."""

import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass

from services.chassis.errors import DeadlineExceeded, FulcrumError, InvalidField, Unavailable
from services.chassis.status import code_of
from services.edge.attempts import Attempts
from services.edge.chat import (
    CacheNote,
    Degradation,
    Delta,
    Discarded,
    Finish,
    Outcome,
    PlannedModel,
    Request,
    RouteNote,
    Spent,
    TextDelta,
)
from services.edge.ports import Plan
from services.edge.work import Work


@dataclass(frozen=True, slots=True)
class _Aside:
    """What was known of an answer when it was set aside."""

    model: PlannedModel
    finish: Finish | None
    spent: Spent | None
    said_bytes: int
    times_s: tuple[float, float, float]


class Execution:
    """One answer in the making; after `run` has ended, `outcome` tells how it went.

    Whenever it ends, `begun` is whether a model has said anything, `said_bytes` how much, `attempts` how often one was
    asked, hedges and fallbacks included, `spent` what the one that is answering has taken so far, None where it did
    not tell, `first_token_s` and `answer_s` how long that one took to begin and to end, and `held_s` how long of that
    whoever reads the answer held it up. `discarded` are answers that were set aside before, or asked for beside it.
    """

    def __init__(self, attempts: Attempts, work: Work) -> None:
        self.attempts = 0
        self.spent: Spent | None = None
        self.begun = False
        self.said_bytes = 0
        self.first_token_s = self.answer_s = self.held_s = 0.0
        self.discarded: tuple[Discarded, ...] = ()
        self.assessment = ""
        self._asking = attempts
        self._work = work
        self._finish: Finish | None = None
        self._model: PlannedModel | None = None
        self._model_s = 0.0
        self._aside: _Aside | None = None

    async def run(self, plan: Plan, request: Request | None = None) -> AsyncGenerator[Delta | Finish, None]:
        """Deltas, then one Finish; a model that fails before its first delta hands over to the next of the plan.

        What is asked is the caller's request, or another in its place. The next is one that the router lets stand in. A
        request at fault itself, unless another model may take it for its length, or whose time is over, is not tried
        elsewhere.

        Raises:
            FulcrumError: the last model's error, or that of a model that had begun.
        """
        begin = time.monotonic()
        first, *others = plan.models
        models = [first, *(model for model in others if model.may_stand_in)]
        for planned, following in zip(models, [*models[1:], None], strict=True):
            self._model = planned
            asked = time.monotonic()
            try:
                generated = self._asking.generate(planned.model, request or self._work.request, self._count)
                async with aclosing(generated) as events:
                    async for event in events:
                        if not self.begun:
                            self.first_token_s = time.monotonic() - asked
                        self.begun = True
                        self._note(event)
                        if isinstance(event, Finish):
                            self.answer_s = time.monotonic() - asked
                            self._model_s += time.monotonic() - begin
                        told = time.monotonic()
                        yield event
                        self.held_s += time.monotonic() - told
                return
            except FulcrumError as error:
                if self.begun or following is None or not self.hands_over(error, planned.model, following.model):
                    raise

    def hands_over(self, error: FulcrumError, model: str, following: str) -> bool:
        """Whether another model may answer instead of one that failed so, which is noted then."""
        if is_final(error) or not self._asking.may_fall_back(error):
            return False
        consequence = f"{following} answers instead of {model}"
        self._work.degradations.append(Degradation("model", code_of(error).name, consequence))
        return True

    def set_aside(self, spent: Spent | None) -> None:
        """Begins anew, after an answer that is not served and took so much, if it had begun."""
        if self._model and self.begun:
            self.discarded += (Discarded(self._model.model, spent),)
            times_s = self.first_token_s, self.answer_s, self.held_s
            self._aside = _Aside(self._model, self._finish, self.spent, self.said_bytes, times_s)
        self.begun, self.said_bytes, self.spent, self._finish = False, 0, None, None
        self.first_token_s = self.answer_s = self.held_s = 0.0

    def beside(self, others: Iterable[tuple["Execution", Spent | None]], seconds: float) -> None:
        """Counts executions that served the same request together, for so long, and what each took if it had begun."""
        self._model_s += seconds
        for one, spent in others:
            self.attempts += one.attempts
            if one.model and one.begun:
                self.discarded += (Discarded(one.model, spent),)

    def take_back(self) -> None:
        """Makes the answer that was set aside last the one that is given, as those asked since said nothing."""
        if self._aside is None:
            raise AssertionError("an answer was set aside")
        held, self.begun, self.discarded = self._aside, True, self.discarded[:-1]
        self._model, self._finish, self.spent, self.said_bytes = held.model, held.finish, held.spent, held.said_bytes
        self.first_token_s, self.answer_s, self.held_s = held.times_s

    @property
    def model(self) -> str | None:
        """The model that is answering, or was last asked; None before the first."""
        return self._model.model if self._model else None

    def _note(self, event: Delta | Finish) -> None:
        if isinstance(event, TextDelta):
            self.said_bytes += len(event.text.encode("utf-8", "replace"))
            self.spent = event.spent or self.spent
        elif isinstance(event, Finish):
            self._finish = event
            self.spent = Spent(event.usage, event.machine_s) if event.usage else self.spent
        else:
            self.said_bytes += len(event.name) + len(event.arguments_json.encode("utf-8", "replace"))

    def _count(self) -> None:
        self.attempts += 1

    def outcome(self, plan: Plan, cache: CacheNote) -> Outcome:
        """What the receipt tells; only after `run` has ended.

        Raises:
            Unavailable: the executor's stream ended without a Finish.
        """
        if self._finish is None or self._model is None:
            raise Unavailable("executor", "an answer without an end", "a finish event")
        model, finish = self._model.model, self._finish
        predicted = self._model.predicted_quality, self._model.predicted_loss
        why = f"{plan.explanation} {self.assessment}".strip()
        route = RouteNote(plan.decision_id, why, *predicted, plan.models, plan.expected_kept is not None)
        return Outcome(model, finish, cache, route, self._model_s, attempts=self.attempts, discarded=self.discarded)


def is_final(error: FulcrumError) -> bool:
    """Whether no other model can help."""
    bad_request = isinstance(error, InvalidField) and error.reason != "PROMPT_TOO_LONG"
    return bad_request or isinstance(error, DeadlineExceeded)
