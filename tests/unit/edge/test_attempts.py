"""How models are asked: again where nobody answered, elsewhere where the answer is late, not at all if in vain."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from services.chassis.breaker import LIMIT, REFUSED
from services.chassis.errors import FailedPrecondition, FulcrumError, Overloaded, Unavailable
from services.chassis.tries import current_try
from services.edge import attempts as attempts_module
from services.edge.attempts import MAX_TRIES, Attempts
from services.edge.chat import CacheNote, Delta, Finish, Objective, PlannedModel, Request, Spent, TextDelta, Usage
from services.edge.execution import Execution
from services.edge.hedging import FirstEventTimes
from services.edge.ports import Circumstances
from services.edge.work import Work
from tests.unit.edge.parts import DONE, LARGE, SMALL, UNPRICED, Bench, Event, request

ANSWER: list[Event] = [TextDelta("an "), TextDelta("answer"), DONE]
SOON_S = 5.0
HEDGE_S = 0.1
LATE_S = 30.0  # much longer than any hedge waits


def unanswered() -> FulcrumError:
    error = Unavailable("executor", "connection refused", "an answer")
    error.unanswered = True
    return error


Step = Event | FulcrumError | float
Plays = Callable[[int], list[Step]]


@dataclass
class Replicas:
    """Executors that can be told apart: attempt `n` of all plays `plays(n)`, where a number is seconds of silence."""

    plays: Plays
    replicas: int = 2
    asked: list[str] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    ended: int = 0
    lost: Counter[bool] = field(default_factory=Counter)

    async def generate(self, model: str, request: Request) -> AsyncGenerator[Event, None]:
        number = len(self.asked)
        self.asked.append(model)
        one = current_try()
        try:
            for step in self.plays(number):
                if isinstance(step, FulcrumError):
                    raise step
                if isinstance(step, float):
                    await asyncio.sleep(step)
                else:
                    yield step
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.append(number)
            raise
        finally:
            self.ended += 1
            self.lost[bool(one and one.lost)] += 1


async def attempts(executor: Replicas) -> Attempts:
    bench = Bench()
    await bench.catalogue.start()
    await bench.catalogue.close()
    asking = Attempts(executor, bench.catalogue)
    asking._times[SMALL] = FirstEventTimes()
    asking._times[SMALL].hedge_after_s = HEDGE_S
    return asking


async def ask(asking: Attempts, model: str = LARGE) -> tuple[list[Event], int]:
    """The events, and how many attempts they took."""
    count = 0

    def begun() -> None:
        nonlocal count
        count += 1

    async with asyncio.timeout(SOON_S):
        return [event async for event in asking.generate(model, request(), begun)], count


@pytest.mark.parametrize("failures", [1, 3, MAX_TRIES - 1])
@pytest.mark.parametrize("how", [[unanswered()], []], ids=["refused", "ended without an event"])
async def test_what_nobody_answered_is_asked_again(failures: int, how: list[Step]) -> None:
    """Refused connections, and streams that end before they begin, are tried again, each counted."""
    executor = Replicas(lambda n: how if n < failures else list(ANSWER))
    asking = await attempts(executor)
    assert await ask(asking) == (ANSWER, failures + 1)
    assert (asking.counts.calls, asking.counts.retries) == (1, failures)
    assert not asking.breakers[LARGE].is_open


async def test_it_is_given_up_in_the_end() -> None:
    """After so many attempts the error is the caller's."""
    executor = Replicas(lambda _: [unanswered()])
    with pytest.raises(Unavailable):
        await ask(await attempts(executor))
    assert len(executor.asked) == MAX_TRIES


@pytest.mark.parametrize(
    "error",
    [Overloaded("provider", "HTTP 429", "less", retry_after_s=7.0), Unavailable("provider of x", "HTTP 500", "200")],
    ids=["rate limit", "provider"],
)
async def test_an_answer_is_not_asked_for_again(error: FulcrumError) -> None:
    """A model's own refusal stands, RetryInfo and all: another attempt would only add to it."""
    executor = Replicas(lambda _: [error])
    with pytest.raises(type(error)) as caught:
        await ask(await attempts(executor))
    assert caught.value is error
    assert len(executor.asked) == 1


async def test_after_the_first_event_nothing_is_tried_again() -> None:
    """A stream that breaks midway ends with its error."""
    executor = Replicas(lambda _: [TextDelta("half"), unanswered()])
    with pytest.raises(Unavailable):
        await ask(await attempts(executor))
    assert len(executor.asked) == 1


async def test_attempts_stay_within_the_budget() -> None:
    """However long an outage, attempts stay under 1.5 a request and a reserve."""
    executor = Replicas(lambda _: [unanswered()])
    asking = await attempts(executor)
    found = await asyncio.gather(*(ask(asking) for _ in range(100)), return_exceptions=True)
    assert all(isinstance(one, Unavailable) for one in found)
    assert len(executor.asked) <= 100 * 1.5 + 50


async def test_a_late_first_event_is_looked_for_elsewhere() -> None:
    """The second attempt's answer is given whole, the first is cancelled at once and counted as lost to it."""
    executor = Replicas(lambda n: [LATE_S, *ANSWER] if n == 0 else list(ANSWER))
    asking = await attempts(executor)
    assert await ask(asking, SMALL) == (ANSWER, 2)
    assert (executor.cancelled, executor.ended) == ([0], 2)
    assert executor.lost == {True: 1, False: 1}
    assert (asking.counts.hedges, asking.counts.hedges_won) == (1, 1)


async def test_few_calls_are_hedged() -> None:
    """Where everything is late, hedges stay at a tenth of the calls and a reserve; the others wait."""
    executor = Replicas(lambda _: [2 * HEDGE_S, *ANSWER])
    asking = await attempts(executor)
    found = await asyncio.gather(*(ask(asking, SMALL) for _ in range(200)))
    assert [events for events, _ in found] == [ANSWER] * 200
    assert 0 < asking.counts.hedges <= 200 * 0.1 + 50


async def test_the_first_may_still_win() -> None:
    """Where the first attempt answers before the second, the second is cancelled, which is not held against it."""
    executor = Replicas(lambda n: [0.2, *ANSWER] if n == 0 else [LATE_S, *ANSWER])
    asking = await attempts(executor)
    assert await ask(asking, SMALL) == (ANSWER, 2)
    assert executor.cancelled == [1]
    assert executor.lost == {False: 2}
    assert (asking.counts.hedges, asking.counts.hedges_won) == (1, 0)


async def test_a_hedge_that_fails_changes_nothing() -> None:
    """The second attempt's error is dropped while the first may still answer, and the other way round."""
    executor = Replicas(lambda n: [0.2, *ANSWER] if n == 0 else [unanswered()])
    assert await ask(await attempts(executor), SMALL) == (ANSWER, 2)
    executor = Replicas(lambda n: [0.2, unanswered()] if n == 0 else [0.3, *ANSWER])
    assert await ask(await attempts(executor), SMALL) == (ANSWER, 2)


@pytest.mark.parametrize(("model", "replicas"), [(LARGE, 2), (UNPRICED, 2), (SMALL, 1)])
async def test_only_machine_time_is_spent_twice(model: str, replicas: int) -> None:
    """A model that bills by the token, or that only one executor has, is waited for."""
    executor = Replicas(lambda n: [0.2, *ANSWER] if n == 0 else list(ANSWER), replicas)
    asking = await attempts(executor)
    assert await ask(asking, model) == (ANSWER, 1)
    assert asking.counts.hedges == 0


@pytest.mark.parametrize("model", [SMALL, LARGE])
async def test_leaving_ends_every_attempt(model: str) -> None:
    """A caller that goes while attempts are silent, or after the first event, leaves none of them running."""
    executor = Replicas(lambda _: [LATE_S, *ANSWER])
    asking = await attempts(executor)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await ask(asking, model)
    assert executor.ended == len(executor.asked) == (2 if model == SMALL else 1)
    assert executor.lost[True] == 0
    executor.plays = lambda _: [TextDelta("x"), LATE_S]
    stream = asking.generate(model, request(), lambda: None)
    assert await anext(stream) == TextDelta("x")
    await stream.aclose()
    assert executor.ended == len(executor.asked)


def test_the_delay_follows_what_is_usual() -> None:
    """A second until twenty are known, then the 95th percentile of the recent ones, at least 50 ms."""
    times = FirstEventTimes()
    for _ in range(19):
        times.add(0.2)
    assert times.hedge_after_s == 1.0
    times.add(0.2)
    assert times.hedge_after_s == 0.2
    for _ in range(200):
        times.add(0.001)
    assert times.hedge_after_s == 0.05
    for number in range(200):
        times.add(number / 100)
    assert times.hedge_after_s == pytest.approx(1.9, abs=0.02)


async def test_a_model_that_keeps_failing_is_set_aside() -> None:
    """After failures in a row it fails at once, with when to come back, until one probe succeeds."""
    down = True
    executor = Replicas(lambda _: [Unavailable("provider of x", "ConnectTimeout", "x")] if down else list(ANSWER))
    asking = await attempts(executor)
    for _ in range(LIMIT):
        with pytest.raises(Unavailable):
            await ask(asking)
    with pytest.raises(Unavailable) as caught:
        await ask(asking)
    assert len(executor.asked) == LIMIT
    assert asking.counts.skipped == 1
    assert caught.value.field == f"model {LARGE}"
    assert caught.value.retry_after_s
    down = False
    async with asyncio.timeout(SOON_S):
        while asking.breakers[LARGE].is_open:
            await asyncio.sleep(0.02)
            await asyncio.gather(ask(asking), return_exceptions=True)
    assert await ask(asking) == (ANSWER, 1)


async def test_a_model_that_breaks_off_each_time_is_set_aside() -> None:
    """A stream that fails after its first event counts as a failure, one that ends well as a success."""
    broken: list[Step] = [TextDelta("half"), Unavailable("provider of x", "ReadError", "x")]
    executor = Replicas(lambda n: list(ANSWER) if n == LIMIT - 1 else broken)
    asking = await attempts(executor)
    ends = await asyncio.gather(*(ask(asking) for _ in range(LIMIT - 1)), return_exceptions=True)
    assert all(isinstance(end, Unavailable) for end in ends)
    assert await ask(asking) == (ANSWER, 1)
    for _ in range(LIMIT):
        assert not asking.breakers[LARGE].is_open
        with pytest.raises(Unavailable):
            await ask(asking)
    assert asking.breakers[LARGE].is_open


async def test_a_probe_that_begins_ends_the_wait() -> None:
    """One at a time asks a model that is set aside; where it begins to answer, others are let in at once."""
    executor = Replicas(lambda n: [LATE_S] if n == 1 else list(ANSWER))
    asking = await attempts(executor)
    await ask(asking)
    breaker = asking.breakers[LARGE]
    for _ in range(LIMIT):
        breaker.failed(REFUSED)
    breaker.hurry()
    silent = asyncio.create_task(ask(asking))
    await asyncio.sleep(0.01)
    with pytest.raises(Unavailable, match="set aside") as caught:
        await ask(asking)
    assert caught.value.retry_after_s
    assert caught.value.retry_after_s >= 0.2  # it has no end in sight
    silent.cancel()
    await asyncio.gather(silent, return_exceptions=True)
    assert breaker.is_open
    probe = asking.generate(LARGE, request(), lambda: None)  # whose caller's leaving made room
    assert await anext(probe) == ANSWER[0]
    assert await ask(asking) == (ANSWER, 1)
    await probe.aclose()
    assert not breaker.is_open


async def test_a_probe_that_breaks_off_as_all_before_sets_it_aside_again() -> None:
    """A model that was set aside for answers that break off is let in by one that begins, until that breaks off."""
    broken: list[Step] = [TextDelta("half"), Unavailable("provider of x", "ReadError", "x")]
    asking = await attempts(Replicas(lambda _: broken))
    await asyncio.gather(*(ask(asking) for _ in range(LIMIT)), return_exceptions=True)
    breaker = asking.breakers[LARGE]
    assert (breaker.is_open, breaker.opened) == (True, 1)
    breaker.hurry()
    await asyncio.gather(ask(asking), return_exceptions=True)
    assert (breaker.is_open, breaker.opened) == (True, 2)


async def test_few_failures_among_long_answers_set_nothing_aside() -> None:
    """Half of the calls are refused at once while the others answer at length: those that begin are signs of life."""
    refusal = Unavailable("provider of x", "HTTP 500", "x")
    executor = Replicas(lambda n: [refusal] if n % 2 else [TextDelta("long"), 0.5, DONE])
    asking = await attempts(executor)
    for _ in range(20):
        running = [asyncio.create_task(ask(asking)) for _ in range(10)]
        await asyncio.sleep(0.005)
    await asyncio.gather(*running, return_exceptions=True)
    assert asking.breakers[LARGE].opened == 0


@pytest.mark.parametrize("end", ["well", "in failure", "with its caller"])
async def test_calls_from_before_it_was_set_aside_tell_nothing(end: str) -> None:
    """While a model is set aside its probe alone decides: a call that began before neither closes nor frees it."""
    refusal = Unavailable("provider of x", "ReadError", "x")
    executor = Replicas(lambda n: [LATE_S] if n else [0.05, refusal] if end == "in failure" else [0.05, *ANSWER])
    asking = await attempts(executor)
    early = asyncio.create_task(ask(asking))
    await asyncio.sleep(0.01)
    breaker = asking.breakers[LARGE]
    for _ in range(LIMIT):
        breaker.failed(REFUSED)
    breaker.hurry()
    probe = asyncio.create_task(ask(asking))
    await asyncio.sleep(0.01)
    if end == "with its caller":
        early.cancel()
    await asyncio.gather(early, return_exceptions=True)
    assert breaker.is_open
    assert not breaker.admits(time.monotonic())
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    assert breaker.admits(time.monotonic())


async def test_names_that_nobody_bounds_are_not_kept() -> None:
    """A model that the catalogue does not know leaves no breaker behind."""
    executor = Replicas(lambda n: [Unavailable("provider of x", "ReadError", "x")] if n % 2 else list(ANSWER))
    asking = await attempts(executor)
    for number in range(20):
        await asyncio.gather(ask(asking, f"made-up-{number}"), return_exceptions=True)
    assert asking.breakers == {}


async def test_slow_failures_count_as_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that takes long to fail is set aside after three."""
    monkeypatch.setattr(attempts_module, "_SLOW_S", 0.02)
    executor = Replicas(lambda _: [0.03, Unavailable("provider of x", "ConnectTimeout", "x")])
    asking = await attempts(executor)
    for _ in range(3):
        assert asking.breakers.get(LARGE) is None or not asking.breakers[LARGE].is_open
        with pytest.raises(Unavailable):
            await ask(asking)
    assert asking.breakers[LARGE].is_open


@pytest.mark.parametrize(
    "error",
    [
        unanswered(),
        Unavailable("executor", "every replica is set aside", "x", retry_after_s=1.0),
        Unavailable("model x", "loading", "ready", reason="STARTING"),
        Overloaded("provider", "HTTP 429", "less"),
        FailedPrecondition("tools", "1", "none"),
    ],
    ids=["unanswered", "set aside", "starting", "rate limit", "refused"],
)
async def test_what_is_not_the_models_failure_does_not_set_it_aside(error: FulcrumError) -> None:
    """An absent executor, a full queue and a request that the model cannot take say nothing of its provider."""
    executor = Replicas(lambda _: [error])
    asking = await attempts(executor)
    found = await asyncio.gather(*(ask(asking) for _ in range(LIMIT + 5)), return_exceptions=True)
    assert all(isinstance(one, type(error)) for one in found)
    assert not asking.breakers[LARGE].is_open


async def test_an_execution_tells_what_it_took() -> None:
    """Attempts over all models, what was spent last, and which model it is at, at any moment."""
    spent = [Spent(Usage(10, output_tokens=number), 0.1 * number) for number in (1, 2)]
    script: list[Step] = [TextDelta("a", spent[0]), TextDelta("b", spent[1]), TextDelta("c"), DONE]
    refusal = Unavailable("provider of x", "HTTP 500", "x")
    played: list[list[Step]] = [[unanswered()], [refusal], [unanswered()], script]
    executor = Replicas(lambda n: played[n], replicas=1)
    bench = Bench()
    plan_of = (PlannedModel(SMALL), PlannedModel(LARGE, may_stand_in=True))
    work = Work(request(objective=Objective(max_quality_loss=1.0)), 1.0, 0.5)
    execution = Execution(await attempts(executor), work)
    assert (execution.attempts, execution.spent, execution.model) == (0, None, None)
    plan = await bench.router.route(work.request, None, work.request.objective, Circumstances())
    plan = type(plan)(plan.decision_id, plan_of, plan.explanation)
    seen: list[tuple[Any, ...]] = []
    async for event in execution.run(plan):
        seen.append((event, execution.attempts, execution.spent, execution.model))
    events: list[Delta | Finish] = [one[0] for one in seen]
    assert events == script
    assert DONE.usage
    last = Spent(DONE.usage, DONE.machine_s)
    assert [one[1:] for one in seen] == [(4, one, LARGE) for one in (spent[0], spent[1], spent[1], last)]
    assert execution.said_bytes == 3
    assert executor.asked == [SMALL, SMALL, LARGE, LARGE]
    assert execution.outcome(plan, CacheNote("miss")).attempts == 4


async def test_falling_back_from_an_absent_executor_is_paid_for() -> None:
    """Where nobody answers, another model of the same executor is one more attempt, and no more than the budget has."""
    executor = Replicas(lambda _: [unanswered()])
    asking = await attempts(executor)
    provider = Unavailable("provider of x", "HTTP 500", "x")
    while asking.may_fall_back(unanswered()):
        pass
    assert asking.may_fall_back(provider)
    work = Work(request(), 1.0, 0.5)
    plan = await Bench().router.route(work.request, None, work.request.objective, Circumstances())
    with pytest.raises(Unavailable):
        async for _ in Execution(asking, work).run(plan):
            pass
    assert executor.asked == [SMALL]
