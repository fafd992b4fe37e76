"""Twins on other edges: a request waits for one execution within its time, and holds its lease while it executes."""

import asyncio
import time

import pytest

from services.chassis.errors import Unavailable
from services.edge.chat import Sampling, TextDelta
from services.edge.ports import StoredAnswer, Wait
from tests.unit.edge.parts import DONE, SMALL, Bench, control, request
from tests.unit.edge.test_pipeline_concurrency import SOON_S, Listener, settle

ANSWER = StoredAnswer("42", SMALL, 1, 1, 10)
LEASE = "lease of l2"


def stored_by_another(bench: Bench) -> None:
    bench.cache.entries[bench.cache.lookups[0][0]] = ANSWER


async def asked_all(bench: Bench) -> None:
    """Waits until every wait that was prepared has been given out."""
    async with asyncio.timeout(SOON_S):
        while bench.cache.leased:  # noqa: ASYNC110 - nobody is notified
            await asyncio.sleep(0.001)


async def test_a_twin_elsewhere_is_waited_for(bench: Bench) -> None:
    """Who finds a lease held looks again after the delay, and is served what its holder stored."""
    bench.cache.leased = [Wait("other", 0.01), Wait("other", 0.02)]
    begin = time.monotonic()
    asking = asyncio.create_task(bench.ask(request()))
    await asked_all(bench)
    stored_by_another(bench)
    text, receipt = await asyncio.wait_for(asking, SOON_S)
    assert text == "42"
    assert receipt.outcome.cache.result == "exact_hit"
    assert "generate small" not in bench.trace
    assert time.monotonic() - begin >= 0.03
    assert bench.cache.waited_for == ["", "other", "other"]


async def test_nobody_waits_for_ever(bench: Bench) -> None:
    """A holder that takes more than twice what executions take is waited for no longer."""
    await bench.ask(request("first"))
    bench.cache.leased = [Wait("other", 0.3)] * 1000
    begin = time.monotonic()
    _, receipt = await asyncio.wait_for(bench.ask(request()), SOON_S)
    assert receipt.outcome.cache.result == "miss"
    assert 0.9 <= time.monotonic() - begin <= 2.0
    assert bench.trace.count("generate small") == 2


async def test_half_of_a_requests_time_is_left_for_executing(bench: Bench) -> None:
    """A request with 0.4 s left waits for 0.2 s, then executes within the rest."""
    bench.cache.leased = [Wait("other", 0.05)] * 1000
    caller = Listener(bench, request(), deadline_s=0.4)
    begin = time.monotonic()
    await asyncio.wait_for(caller.task, SOON_S)
    assert 0.15 <= time.monotonic() - begin <= 0.4
    assert caller.receipt
    assert caller.receipt.outcome.cache.result == "miss"


async def test_without_a_cache_everyone_executes(bench: Bench) -> None:
    """A cache that goes while a twin is waited for ends the wait."""
    bench.cache.leased = [Wait("other", 0.01)]
    asking = asyncio.create_task(bench.ask(request()))
    await asked_all(bench)
    bench.cache.lookup_error = Unavailable("cache", "gone", "there")
    _, receipt = await asyncio.wait_for(asking, SOON_S)
    assert [one.part for one in receipt.outcome.degradations] == ["cache"]
    assert "generate small" in bench.trace


async def test_a_lease_is_renewed_until_the_answer_is_stored(bench: Bench) -> None:
    """While a model answers, the lease is renewed a few times in its span; the store ends it, and nothing else does."""
    bench.cache.lease_s = 0.03
    gate = asyncio.Event()
    bench.executor.scripts[SMALL] = [TextDelta("one"), gate.wait, DONE]
    caller = Listener(bench, request())
    await caller.said()
    await asyncio.sleep(0.1)
    gate.set()
    await asyncio.wait_for(caller.task, SOON_S)
    held = len(bench.cache.holds)
    assert 3 <= held <= 10
    assert set(bench.cache.holds) == {("tenant", LEASE, False)}
    await asyncio.sleep(0.03)
    assert len(bench.cache.holds) == held


@pytest.mark.parametrize("how", ["leaves", "fails", "cut"])
async def test_a_lease_ends_where_nothing_is_stored(bench: Bench, how: str) -> None:
    """Its twins need not wait for the lease to lapse."""
    bench.cache.lease_s = 60.0
    gate = asyncio.Event()
    end = Unavailable("executor", "gone", "there") if how == "fails" else DONE
    bench.executor.scripts[SMALL] = [TextDelta("one"), gate.wait, end]
    if how == "cut":
        bench.cache.store_error = Unavailable("cache", "gone", "there")
    caller = Listener(bench, request())
    await caller.said()
    if how == "leaves":
        await caller.leave()
    gate.set()
    await asyncio.wait([caller.task])
    await bench.pipeline.twins.close()
    assert bench.cache.holds == [("tenant", LEASE, True)]


@pytest.mark.parametrize(
    "asked",
    [
        request(cache_control=control(no_store=True)),
        request(cache_control=control(no_cache=True)),
        request(sampling=Sampling(temperature=1.5)),
    ],
    ids=["no_store", "no_cache", "hot"],
)
async def test_what_is_not_kept_takes_no_lease(bench: Bench, asked: object) -> None:
    """Nobody could be served its answer, and it is not made to wait itself."""
    bench.cache.lease_s = 60.0
    bench.cache.leased = [Wait("other", 5.0)]
    await asyncio.wait_for(bench.ask(asked), SOON_S)  # type: ignore[arg-type]
    await settle()
    assert bench.cache.holds == []
    assert bench.cache.leased
