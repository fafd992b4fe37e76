"""Getting a model to begin: tried again where nobody answered, and elsewhere as well where the answer is late."""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import asdict, dataclass

import structlog

from services.chassis.breaker import REFUSED, SILENT, Breaker
from services.chassis.call import current
from services.chassis.errors import FulcrumError, Internal, Unavailable
from services.chassis.retry_budget import RetryBudget
from services.edge.catalogue import Catalogue
from services.edge.chat import Request
from services.edge.hedging import FirstEventTimes
from services.edge.ports import EXECUTOR, Executor
from services.edge.price import MachinePrice
from services.edge.race import Attempt, Event, Stream, first_of

# With three of ten attempts failing, eight leave one request of 15,000 without an answer, at 1.43 attempts a request.
MAX_TRIES = 8
_RATIO, _RESERVE = 0.48, 50.0  # at most 1.5 attempts a request from 2,500 requests on
_HEDGE_RATIO, _HEDGE_RESERVE = 0.1, 50.0  # twice what the delay lets through: when all is slow, a hedge adds to it
_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.16
_SLOW_S = 1.0  # a failure that took as long costs every request as much, and counts as a silence


@dataclass(slots=True)
class AttemptCounts:
    """What was done so far, for metrics."""

    calls: int = 0
    retries: int = 0
    hedges: int = 0
    hedges_won: int = 0
    skipped: int = 0  # calls that failed at once, as the model was set aside


class Attempts:
    """Asks the executor for models, under one budget; `breakers` are those of the catalogue's models."""

    def __init__(self, executor: Executor, catalogue: Catalogue) -> None:
        self.counts = AttemptCounts()
        self.breakers: dict[str, Breaker] = {}
        self._executor = executor
        self._catalogue = catalogue
        self._budget = RetryBudget(_RATIO, _RESERVE)
        self._hedge_budget = RetryBudget(_HEDGE_RATIO, _HEDGE_RESERVE)
        self._times: dict[str, FirstEventTimes] = {}

    async def generate(self, model: str, request: Request, begun: Callable[[], None]) -> Stream:
        """The executor's events of the first attempt that says something; `begun` is called once an attempt.

        Raises:
            Unavailable: nobody answered, or the model has failed too often and its time to be asked has not come.
            FulcrumError: what the model's attempt failed with; after the first event, always.
        """
        breaker = self._breaker(model)
        began = time.monotonic()
        if not breaker.admits(began):
            self.counts.skipped += 1
            expected = "a model that answers"
            raise Unavailable(
                f"model {model}", "set aside for its failures", expected, retry_after_s=breaker.retry_after_s()
            )
        judge = _Judge(breaker, began)
        self.counts.calls += 1
        self._budget.earn()
        try:
            event, stream = await self._until_begun(model, request, begun)
            judge.began()
            async with aclosing(stream):
                yield event
                async for event in stream:
                    yield event
        except BaseException as error:
            judge.failed(error)
            raise
        judge.ended()

    def may_fall_back(self, error: FulcrumError) -> bool:
        """Whether another model may be asked: where the executor was not reached, that is one more attempt on it."""
        return not error.unanswered or self._budget.take()

    @property
    def refused(self) -> int:
        """Further attempts that the budgets did not allow, so far."""
        return self._budget.refused + self._hedge_budget.refused

    def close(self) -> None:
        """Logs what was done."""
        if self.counts.calls:
            structlog.get_logger("edge").info("models asked", **asdict(self.counts))

    def _breaker(self, model: str) -> Breaker:
        """The model's; one that nobody keeps where a plan names a model that the catalogue has not, or not yet."""
        return self.breakers.setdefault(model, Breaker()) if self._catalogue.knows(model) else Breaker()

    async def _until_begun(self, model: str, request: Request, begun: Callable[[], None]) -> tuple[Event, Stream]:
        been: set[object] = set()
        for tries in range(1, MAX_TRIES + 1):
            first = Attempt(self._executor.generate(model, request), been)
            begun()
            try:
                if not self._hedges(model):
                    return await first.event(), first.stream
                return await self._race(model, request, first, begun)
            except FulcrumError as error:
                if not error.elsewhere or tries == MAX_TRIES or not self._budget.take():
                    raise
            self.counts.retries += 1
            await _pause(tries)
        raise AssertionError("the last try returns or raises")

    async def _race(
        self, model: str, request: Request, first: Attempt, begun: Callable[[], None]
    ) -> tuple[Event, Stream]:
        """The first attempt's event, or that of a second one, begun elsewhere where the first is late."""
        times = self._times.setdefault(model, FirstEventTimes())
        self._hedge_budget.earn()
        running = [first]
        winner: Attempt | None = None
        try:
            await asyncio.wait([first.start()], timeout=times.hedge_after_s)
            if not first.start().done() and self._hedge_budget.take() and self._budget.take():
                self.counts.hedges += 1
                running.append(Attempt(self._executor.generate(model, request), first.been))
                begun()
            winner = await first_of(running)
            times.add(winner.silent_s)
            if winner is not first:
                self.counts.hedges_won += 1
                times.add(time.monotonic() - first.began)
            return winner.start().result(), winner.stream
        finally:
            for one in running:
                if one is not winner:
                    await one.leave(winner.silent_s if winner else None)

    def _hedges(self, model: str) -> bool:
        """Whether a second attempt costs machine time alone, and finds another machine."""
        return self._executor.replicas > 1 and isinstance(self._catalogue.prices.get(model), MachinePrice)


class _Judge:
    """Tells a model's breaker how one call went; one from before it last opened says nothing of the model now."""

    def __init__(self, breaker: Breaker, now: float) -> None:
        breaker.begin(now)
        self._breaker = breaker
        self._opened = breaker.opened
        self._began = now
        self._heard = False

    def began(self) -> None:
        """There was a first event, which is a sign of life."""
        self._heard = True
        if self._counts:
            self._breaker.succeeded()

    def ended(self) -> None:
        """There was a last event."""
        if self._counts:
            self._breaker.completed()

    def failed(self, error: BaseException) -> None:
        """Counts what the model itself failed at: not a wrong request, a full queue, an absent executor or a caller."""
        own = isinstance(error, Unavailable | Internal) and not error.elsewhere and error.field != EXECUTOR
        if not self._counts or (self._heard and not own):
            return
        if self._heard:
            self._breaker.broke_off()
        elif own:
            self._breaker.failed(SILENT if time.monotonic() - self._began >= _SLOW_S else REFUSED)
        else:
            self._breaker.released()

    @property
    def _counts(self) -> bool:
        return self._breaker.opened == self._opened


async def _pause(tries: int) -> None:
    """None before the second attempt, then longer and longer, with jitter, but not beyond the call's deadline."""
    if tries == 1:
        return
    pause = min(_PAUSE_S * 2 ** (tries - 2), _LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load
    call = current()
    left = call.deadline - time.monotonic() if call else pause
    await asyncio.sleep(max(0.0, min(pause, left)))
