"""Each tenant gets what its limits say: rate, requests at once, and budgets that hold under races and across edges."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
import pytest_asyncio

from services.chassis.errors import Overloaded, Unavailable
from services.edge.ledger import Ledger
from services.edge.ledger_file import DAY_NS, Entry, Opened
from services.edge.limits import Limits
from services.edge.settings import TenantLimits
from services.edge.usage import Totals
from tests.unit.edge.parts import SMALL, Bench, request

NOON = 20_000 * DAY_NS + DAY_NS // 2  # 2024-10-04


@pytest_asyncio.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    """A ledger on a file of its own."""
    ledger = Ledger(tmp_path / "ledger.sqlite", False, 100_000)
    await ledger.start()
    yield ledger
    await ledger.close()


def limits(ledger: Ledger, tenants: dict[str, TenantLimits] | None = None, **everyone: float) -> Limits:
    return Limits(TenantLimits(**everyone), tenants or {}, ledger, lambda: NOON)


async def spend(ledger: Ledger, tenant: str, nano: int, day: int = 20_000, number: str = "") -> None:
    opened = Opened(f"{tenant}{day}{number}", tenant, "", "", "m", day * DAY_NS)
    await ledger.submit(lambda file: file.settle(Entry(opened, "answered", 1, 0, Totals(actual_nano_usd=nano))))


async def ask(limits: Limits, tenant: str = "acme", answers: bool = True) -> None:
    async with limits.place(tenant) as answered:
        await asyncio.sleep(0)
        if not answers:
            raise Unavailable("executor", "gone", "there")
        answered()


async def refused(limits: Limits, tenant: str = "acme") -> Overloaded:
    with pytest.raises(Overloaded) as caught:
        await ask(limits, tenant)
    assert caught.value.retry_after_s
    return caught.value


async def test_without_limits_everything_passes(ledger: Ledger) -> None:
    """The default holds nobody back, and asks the ledger nothing."""
    free = limits(ledger)
    await asyncio.gather(*(ask(free) for _ in range(500)))
    assert await ledger.submit(lambda file: file.admitted("acme", 20_000)) == 0


async def test_a_rate_lets_a_burst_in_and_says_when_to_come_back(ledger: Ledger) -> None:
    """A burst passes, the next is refused with the time until there is room, each tenant by itself."""
    slow = limits(ledger, requests_per_second=0.5, burst=3)
    for _ in range(3):
        await ask(slow)
    error = await refused(slow)
    assert (error.reason, error.field) == ("RATE_LIMITED", "requests per second")
    assert error.retry_after_s == pytest.approx(2.0, abs=0.5)
    await ask(slow, "globex")


async def test_room_comes_back_with_time(ledger: Ledger) -> None:
    """A refused request is let in after the delay that it was told."""
    fast = limits(ledger, requests_per_second=20, burst=1)
    await ask(fast)
    error = await refused(fast)
    assert error.retry_after_s
    await asyncio.sleep(error.retry_after_s + 0.01)
    await ask(fast)


async def test_requests_at_once(ledger: Ledger) -> None:
    """As many as allowed are under way, one more is refused, and a place comes free whatever way one ends."""
    narrow = limits(ledger, concurrent_requests=2)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(narrow.place("acme"))
        assert (await refused(narrow)).reason == "RATE_LIMITED"
        await ask(narrow, "globex")
    with pytest.raises(RuntimeError):
        async with narrow.place("acme"):
            raise RuntimeError
    await ask(narrow)
    assert not narrow._under_way


async def test_a_tenant_of_its_own_limits(ledger: Ledger) -> None:
    """What is named for a tenant wins over what holds for everyone; what is not named stays."""
    some = limits(ledger, {"acme": TenantLimits(requests_per_day=5)}, requests_per_day=1, usd_per_day=1.0)
    for _ in range(5):
        await ask(some)
    assert (await refused(some)).value == "5"
    await ask(some, "globex")
    await refused(some, "globex")
    await spend(ledger, "initech", 10**9)
    assert (await refused(some, "initech")).field == "usd per day"


async def test_a_request_budget_is_exact_under_a_race(ledger: Ledger) -> None:
    """Of many at once just as many are let in as the budget holds; one that was not answered does not count."""
    tight = limits(ledger, requests_per_day=30)
    found = await asyncio.gather(*(ask(tight) for _ in range(100)), return_exceptions=True)
    assert sum(one is None for one in found) == 30
    assert all(isinstance(one, Overloaded) and one.reason == "BUDGET_EXHAUSTED" for one in found if one)
    other = limits(ledger, requests_per_day=1)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await ask(other, "globex", answers=False)
    await ask(other, "globex")
    assert (await refused(other, "globex")).retry_after_s == pytest.approx(43_200, abs=1)


async def test_who_leaves_has_had_a_request(ledger: Ledger) -> None:
    """A caller that cancels, before the answer or after its first piece, cannot ask for more than its budget."""
    three = limits(ledger, requests_per_day=3)
    for begun in (True, False, True):
        with suppress(asyncio.CancelledError):
            async with three.place("acme") as note:
                if begun:
                    note()
                raise asyncio.CancelledError
    assert (await refused(three)).reason == "BUDGET_EXHAUSTED"


async def test_who_leaves_before_being_let_in_has_not(ledger: Ledger) -> None:
    """A request that is cancelled while it is being counted is given back once it was, and only if it was."""
    three, busy = limits(ledger, requests_per_day=3), threading.Event()
    held_up = ledger.submit(lambda file: busy.wait(5))
    tasks = [asyncio.create_task(ask(three)) for _ in range(5)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    busy.set()
    await held_up
    await asyncio.sleep(0.05)
    assert await ledger.submit(lambda file: file.admitted("acme", 20_000)) == 0
    for _ in range(3):
        await ask(three)
    await refused(three)


async def test_a_money_budget_stops_what_comes_after_it_is_spent(ledger: Ledger) -> None:
    """Spending up to the budget is let in, the first request after it is refused until the period ends."""
    thrifty = limits(ledger, usd_per_day=0.5, usd_per_month=2.0)
    await spend(ledger, "acme", 499_999_999)
    await ask(thrifty)
    await spend(ledger, "acme", 1, number="b")
    error = await refused(thrifty)
    assert (error.reason, error.field, error.value) == ("BUDGET_EXHAUSTED", "usd per day", "0.500000000")
    await spend(ledger, "globex", 2 * 10**9, day=19_997)  # 1 October
    assert (await refused(thrifty, "globex")).field == "usd per month"
    await spend(ledger, "initech", 9 * 10**9, day=19_996)  # 30 September
    await ask(thrifty, "initech")


async def test_who_has_a_budget_of_money_waits_for_prices(ledger: Ledger) -> None:
    """Until any price is known nobody with such a budget spends; everybody else does."""
    known = False
    everyone, tenants = TenantLimits(requests_per_day=9), {"acme": TenantLimits(usd_per_month=1.0)}
    careful = Limits(everyone, tenants, ledger, lambda: NOON, lambda: known)
    with pytest.raises(Unavailable) as caught:
        await ask(careful)
    assert (caught.value.field, caught.value.retry_after_s) == ("prices", 1.0)
    await ask(careful, "globex")
    known = True
    await ask(careful)


async def test_a_budget_is_one_for_edges_that_share_a_ledger(ledger: Ledger, tmp_path: Path) -> None:
    """Two edges on one file let in together what one would."""
    twin = Ledger(tmp_path / "ledger.sqlite", False, 100_000)
    await twin.start()
    both = [limits(one, requests_per_day=40) for one in (ledger, twin)]
    found = await asyncio.gather(*(ask(both[n % 2]) for n in range(100)), return_exceptions=True)
    assert sum(one is None for one in found) == 40
    single = [limits(one, requests_per_day=1) for one in (ledger, twin)]
    for n in range(20):  # once one edge has told of a failure, the other knows that it does not count
        with pytest.raises(Unavailable):
            await ask(single[n % 2], "globex", answers=False)
    await twin.close()


async def test_a_failed_request_costs_no_place_in_the_budget() -> None:
    """A request that a model could not answer is given back; answered ones are counted, hits as well."""
    async with Bench(limits=TenantLimits(requests_per_day=2)) as bench:
        bench.executor.scripts[SMALL] = [Unavailable("executor", "gone", "there")] * 9
        bench.router.models = (SMALL,)
        for _ in range(3):
            with pytest.raises(Unavailable):
                await bench.ask(request())
        bench.executor.scripts.clear()
        await bench.ask(request())
        await bench.ask(request())
        with pytest.raises(Overloaded):
            await bench.ask(request())
