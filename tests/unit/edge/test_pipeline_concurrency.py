"""Many requests at once: admission, sharing, leaving, and deadlines."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from services.chassis import call
from services.chassis.errors import DeadlineExceeded, FulcrumError, Overloaded, Unavailable
from services.edge.chat import Request, Sampling, TextDelta
from services.edge.receipt import Receipt
from tests.unit.edge.parts import DONE, SMALL, Bench, control, request

SOON_S = 5.0


class Listener:
    """One caller: what it heard, in a task of its own, within its own time."""

    def __init__(self, bench: Bench, asked: Request, deadline_s: float = 60.0) -> None:
        self.heard: list[str] = []
        self.receipt: Receipt | None = None
        self._said = asyncio.Event()
        self.task = asyncio.create_task(self._listen(bench.stream(asked), deadline_s))

    async def _listen(self, stream: AsyncGenerator[Any, None], deadline_s: float) -> None:
        call.enter(call.Call("r", time.monotonic() + deadline_s))
        try:
            async with asyncio.timeout(deadline_s), aclosing(stream) as events:
                async for event in events:
                    if isinstance(event, Receipt):
                        self.receipt = event
                    else:
                        self.heard.append(event.text)
                    self._said.set()
        except TimeoutError as error:
            raise DeadlineExceeded("deadline", deadline_s, "more") from error

    async def said(self) -> None:
        await asyncio.wait_for(self._said.wait(), SOON_S)

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])

    async def error(self) -> FulcrumError:
        with pytest.raises(FulcrumError) as caught:
            await asyncio.wait_for(self.task, SOON_S)
        return caught.value


async def settle(steps: int = 20) -> None:
    for _ in range(steps):
        await asyncio.sleep(0)


@pytest.fixture
def gate(bench: Bench) -> asyncio.Event:
    """Holds the small model between "one" and "two" until set."""
    gate = asyncio.Event()
    bench.executor.scripts[SMALL] = [TextDelta("one"), gate.wait, TextDelta("two"), DONE]
    return gate


async def test_leaving_midway_stops_the_model(bench: Bench, gate: asyncio.Event) -> None:
    """When the caller is cancelled the executor has ended by the time the caller has, and nothing is stored."""
    caller = Listener(bench, request())
    await caller.said()
    assert bench.executor.running == 1
    await caller.leave()
    assert caller.task.cancelled()
    assert (bench.executor.running, bench.executor.ended) == (0, 1)
    gate.set()
    await settle()
    assert not bench.cache.stores
    assert bench.at_rest()


@pytest.mark.parametrize("fields", [{}, {"no_store": True}, {"no_cache": True}], ids=["shared", "no_store", "no_cache"])
async def test_closing_midway_stops_the_model(bench: Bench, gate: asyncio.Event, fields: dict[str, Any]) -> None:
    """Closing the stream between two events ends the executor before it returns, shared or not."""
    stream = bench.stream(request(cache_control=control(**fields)))
    assert await anext(stream) == TextDelta("one")
    await stream.aclose()
    assert (bench.executor.running, bench.executor.ended) == (0, 1)
    gate.set()
    await settle()
    assert not bench.cache.stores
    assert bench.at_rest()


@pytest.mark.parametrize("part", ["lookup exact", "embed", "lookup semantic", "route"])
async def test_leaving_early_stops_every_part(bench: Bench, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller who leaves while an advisory part is at work leaves nothing running."""
    ended = asyncio.Event()
    before = asyncio.all_tasks()

    async def hang(*_: Any) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    owner, name = {
        "lookup exact": (bench.cache, "lookup"),
        "embed": (bench.encoder, "embed"),
        "lookup semantic": (bench.cache, "on_semantic"),
        "route": (bench.router, "on_route"),
    }[part]
    monkeypatch.setattr(owner, name, hang)
    caller = Listener(bench, request())
    await settle()
    assert not caller.task.done()
    await caller.leave()
    await asyncio.wait_for(ended.wait(), SOON_S)
    assert asyncio.all_tasks() <= before
    assert bench.at_rest()
    assert "generate small" not in bench.trace


async def test_admission_is_bounded() -> None:
    """Beyond max_requests a request is refused at once with a delay, before any part is asked; a place comes free."""
    gate = asyncio.Event()
    async with Bench(max_requests=2) as bench:
        bench.executor.scripts[SMALL] = [TextDelta("one"), gate.wait, DONE]
        callers = [Listener(bench, request(prompt)) for prompt in ("a", "b")]
        for caller in callers:
            await caller.said()
        bench.trace.clear()
        for _ in range(3):
            with pytest.raises(Overloaded) as caught:
                await bench.ask(request("c"))
            assert caught.value.retry_after_s
        assert bench.trace == []
        await callers[0].leave()
        gate.set()
        await bench.ask(request("c"))
        await callers[1].task
    assert bench.at_rest()


async def test_failed_requests_give_their_places_back() -> None:
    """Whatever way a request ends, its place is free again."""
    async with Bench(max_requests=1) as bench:
        bench.executor.scripts[SMALL] = [TextDelta("half"), Unavailable("executor", "gone", "there")]
        for _ in range(3):
            with pytest.raises(Unavailable):
                await bench.ask(request())
        for _ in range(3):
            await Listener(bench, request()).leave()
        unheard = bench.stream(request())
        await unheard.aclose()
        bench.executor.scripts.clear()
        await bench.ask(request())
    assert bench.at_rest()


async def test_twins_execute_once(bench: Bench, gate: asyncio.Event) -> None:
    """Identical requests at once: one model run, all hear all of it, one pays and the others say they shared."""
    first = Listener(bench, request())
    await first.said()
    others = [Listener(bench, request(request_id=f"o{n}")) for n in range(3)]
    for other in others:
        await other.said()
    gate.set()
    await asyncio.wait_for(asyncio.gather(first.task, *(other.task for other in others)), SOON_S)
    assert bench.trace.count("generate small") == 1
    assert bench.trace.count("store") == 1
    assert all(one.heard == ["one", "two"] for one in (first, *others))
    assert first.receipt
    assert first.receipt.outcome.cache.result == "miss"
    assert first.receipt.cost
    assert first.receipt.cost.actual_nano_usd > 0
    for n, other in enumerate(others):
        assert other.receipt
        assert other.receipt.request_id == f"o{n}"
        assert (other.receipt.outcome.cache.result, other.receipt.outcome.model) == ("shared", SMALL)
        assert other.receipt.cost
        assert other.receipt.cost.actual_nano_usd == 0
        assert other.receipt.cost.baseline_nano_usd == first.receipt.cost.baseline_nano_usd


@pytest.mark.parametrize(
    "other",
    [
        request(tenant="other"),
        request(system="Be brief."),
        request(cache_control=control(no_cache=True)),
        request(cache_control=control(no_store=True)),
        request(cache_control=control(max_age_s=1.0)),
        request(cache_control=control(ttl_s=1.0)),
        request("What is it now?"),
    ],
    ids=["tenant", "system", "no_cache", "no_store", "max_age", "ttl", "prompt"],
)
async def test_requests_that_are_not_twins_do_not_share(bench: Bench, gate: asyncio.Event, other: Request) -> None:
    """Another tenant, prompt or instruction, or another wish of the cache, is another execution."""
    callers = [Listener(bench, request()), Listener(bench, other)]
    for caller in callers:
        await caller.said()
    gate.set()
    await asyncio.wait_for(asyncio.gather(*(caller.task for caller in callers)), SOON_S)
    assert bench.trace.count("generate small") == 2
    for caller in callers:
        assert caller.receipt
        assert caller.receipt.outcome.cache.result != "shared"


@pytest.mark.parametrize(("stored", "executions"), [(False, 3), (True, 1)])
async def test_each_hot_request_draws_its_own_answer(
    bench: Bench, gate: asyncio.Event, stored: bool, executions: int
) -> None:
    """One sampled hot is one of many, as in the cache: alone, unless it asks that the answer be kept."""
    hot = request(sampling=Sampling(temperature=1.5), cache_control=control(store_sampled=stored))
    callers = [Listener(bench, hot) for _ in range(3)]
    for caller in callers:
        await caller.said()
    gate.set()
    await asyncio.wait_for(asyncio.gather(*(caller.task for caller in callers)), SOON_S)
    assert bench.trace.count("generate small") == executions


async def test_who_wants_a_hot_answer_kept_shares_none_that_is_not(bench: Bench, gate: asyncio.Event) -> None:
    """`store_sampled` joined to an execution without it would be kept by nobody."""
    hot = request(sampling=Sampling(temperature=1.5))
    callers = [Listener(bench, hot), Listener(bench, replace(hot, cache_control=control(store_sampled=True)))]
    for caller in callers:
        await caller.said()
    gate.set()
    await asyncio.wait_for(asyncio.gather(*(caller.task for caller in callers)), SOON_S)
    assert len(bench.cache.stores) == 1


async def test_a_follower_outlives_its_leader(bench: Bench, gate: asyncio.Event) -> None:
    """When the first caller leaves, the second still gets the whole answer, and it is stored."""
    leader = Listener(bench, request())
    await leader.said()
    follower = Listener(bench, request())
    await follower.said()
    await leader.leave()
    assert bench.executor.running == 1
    gate.set()
    await asyncio.wait_for(follower.task, SOON_S)
    assert follower.heard == ["one", "two"]
    assert len(bench.cache.stores) == 1


@pytest.mark.parametrize("said", [False, True], ids=["before the first token", "midway"])
async def test_a_leaders_deadline_is_not_its_followers(bench: Bench, said: bool) -> None:
    """A leader in a hurry ends by its own deadline; a follower with more time gets the whole answer."""
    gate = asyncio.Event()
    bench.executor.scripts[SMALL] = [*([TextDelta("one")] if said else []), gate.wait, TextDelta("two"), DONE]
    leader = Listener(bench, request(), deadline_s=0.1)
    await settle()
    follower = Listener(bench, request(), deadline_s=SOON_S)
    if said:
        await follower.said()
    assert isinstance(await leader.error(), DeadlineExceeded)
    await settle()
    gate.set()
    await asyncio.wait_for(follower.task, SOON_S)
    assert follower.heard == (["one", "two"] if said else ["two"])
    assert follower.receipt


async def test_a_followers_deadline_is_not_its_leaders(bench: Bench, gate: asyncio.Event) -> None:
    """A follower in a hurry leaves by its own deadline and disturbs nobody."""
    leader = Listener(bench, request())
    await leader.said()
    follower = Listener(bench, request(), deadline_s=0.05)
    assert isinstance(await follower.error(), DeadlineExceeded)
    gate.set()
    await asyncio.wait_for(leader.task, SOON_S)
    assert leader.heard == ["one", "two"]


async def test_a_deadline_ends_the_model_too(bench: Bench, gate: asyncio.Event) -> None:
    """When the only caller's time is over, so is the model's."""
    caller = Listener(bench, request(), deadline_s=0.05)
    assert isinstance(await caller.error(), DeadlineExceeded)
    assert bench.executor.running == 0
    assert not bench.cache.stores


async def test_twins_share_an_error(bench: Bench) -> None:
    """An error reaches every caller of the same execution, and the next request tries anew."""
    gate = asyncio.Event()
    bench.executor.scripts[SMALL] = [TextDelta("one"), gate.wait, Unavailable("executor", "gone", "there")]
    callers = [Listener(bench, request()) for _ in range(3)]
    for caller in callers:
        await caller.said()
    gate.set()
    errors = [await caller.error() for caller in callers]
    assert [type(error) for error in errors] == [Unavailable] * 3
    assert bench.trace.count("generate small") == 1
    bench.executor.scripts.clear()
    await bench.ask(request())


async def test_a_follower_tells_its_own_degradations(bench: Bench, gate: asyncio.Event) -> None:
    """What the follower itself did without is in its receipt, beside what the shared execution did without."""
    bench.encoder.error = Unavailable("encoder", "gone", "there")
    leader = Listener(bench, request())
    await leader.said()
    bench.cache.lookup_error = Unavailable("cache", "gone", "there")
    follower = Listener(bench, request())
    await follower.said()
    gate.set()
    await asyncio.wait_for(asyncio.gather(leader.task, follower.task), SOON_S)
    assert leader.receipt
    assert follower.receipt
    assert [one.part for one in leader.receipt.outcome.degradations] == ["encoder"]
    assert sorted(one.part for one in follower.receipt.outcome.degradations) == ["cache", "encoder"]


async def test_who_stays_pays(bench: Bench, gate: asyncio.Event) -> None:
    """When the first of two equal callers leaves, the second's receipt carries what the execution cost."""
    first = Listener(bench, request())
    await first.said()
    second = Listener(bench, request())
    await second.said()
    await first.leave()
    gate.set()
    await asyncio.wait_for(second.task, SOON_S)
    assert second.receipt
    assert second.receipt.outcome.cache.result == "miss"
    assert second.receipt.cost
    assert second.receipt.cost.actual_nano_usd > 0
