"""However an execution ends, the ledger holds what it took, once."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from services.chassis.errors import Overloaded, Unavailable
from services.edge.chat import CacheControl, Spent, TextDelta, Usage
from services.edge.usage import Totals
from tests.unit.edge.parts import DONE, LARGE, LARGE_PRICE, SMALL, Bench, request

SO_FAR = Usage(input_tokens=100, output_tokens=7)
HALF = TextDelta("half", Spent(SO_FAR, 0.004))
SOON_S = 5.0


def lines(bench: Bench) -> list[tuple[str, str, int]]:
    """State, model and attempts of every line, once all that waits is written."""
    with sqlite3.connect(Path(bench._folder.name) / "ledger.sqlite") as connection:
        return list(connection.execute("SELECT state, model, attempts FROM receipts ORDER BY begin_ns"))


def still_open(bench: Bench) -> int:
    with sqlite3.connect(Path(bench._folder.name) / "ledger.sqlite") as connection:
        return int(connection.execute("SELECT count(*) FROM open").fetchone()[0])


async def test_receipts_are_the_ledger(bench: Bench) -> None:
    """A miss, a hit and a shared answer are one line each, under their receipts' ids, and the sums are theirs."""
    first = await bench.ask(request())
    again = await bench.ask(request())
    both = await asyncio.gather(bench.ask(request("new")), bench.ask(request("new")))
    receipts = [receipt for _, receipt in (first, again, *both)]
    assert len({receipt.receipt_id for receipt in receipts}) == 4
    assert [receipt.outcome.attempts for receipt in receipts[:2]] == [1, 0]
    booked = await bench.booked()
    assert (booked.requests, booked.exact_hits, booked.shared, booked.abandoned) == (4, 1, 1, 0)
    costs = [receipt.cost for receipt in receipts]
    assert booked.actual_nano_usd == sum(cost.actual_nano_usd for cost in costs if cost)
    assert booked.baseline_nano_usd == sum(cost.baseline_nano_usd for cost in costs if cost)
    assert sum(attempts for _, _, attempts in lines(bench)) == bench.trace.count("generate small")
    assert still_open(bench) == 0


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "in a flight"])
async def test_a_cancelled_answer_costs_what_it_took(bench: Bench, alone: bool) -> None:
    """A caller that leaves midway leaves a line with the tokens and the machine time up to there."""
    bench.executor.scripts[SMALL] = [HALF, asyncio.Event().wait]
    events = bench.stream(request(cache_control=CacheControl(no_store=alone)))
    assert (await anext(events)) == HALF
    await events.aclose()
    booked = await bench.booked()
    assert (booked.requests, booked.abandoned, booked.usage) == (0, 1, SO_FAR)
    assert booked.actual_nano_usd == round(0.004 * 3.6 / 3600 * 1e9)
    assert booked.baseline_nano_usd == round(LARGE_PRICE.full(SO_FAR))
    assert lines(bench) == [("cancelled", SMALL, 1)]
    assert still_open(bench) == 0


async def test_what_a_provider_does_not_tell_is_estimated(bench: Bench) -> None:
    """A caller that leaves a provider's answer midway pays for what was read and said, under the model that said it."""
    bench.executor.scripts[SMALL] = [Unavailable("executor", "gone", "there")]
    bench.executor.scripts[LARGE] = [TextDelta("four" * 10), asyncio.Event().wait]
    events = bench.stream(request("a question of forty bytes, all of it told"))
    await anext(events)
    await events.aclose()
    booked, usage = await bench.booked(), Usage(input_tokens=11, output_tokens=10)
    assert (booked.abandoned, booked.usage, booked.unpriced_requests) == (1, usage, 0)
    assert booked.actual_nano_usd == round(LARGE_PRICE.full(usage))
    assert [line[:2] for line in lines(bench)] == [("cancelled", LARGE)]


async def test_who_left_before_a_model_said_anything_leaves_an_unknown_cost(bench: Bench) -> None:
    """What a machine of ours did until then nobody counted: the line says so instead of a zero."""
    asked = asyncio.Event()

    async def think() -> None:
        asked.set()
        await asyncio.Event().wait()

    bench.executor.scripts[SMALL] = [think]
    asking = asyncio.create_task(bench.ask(request()))
    await asked.wait()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    booked = await bench.booked()
    assert (booked.abandoned, booked.unpriced_requests, booked.baseline_nano_usd) == (1, 1, 0)


async def test_a_model_that_breaks_off_is_paid_for(bench: Bench) -> None:
    """An answer that fails after its first text leaves a line of what it took; its callers get the error."""
    bench.executor.scripts[SMALL] = [HALF, Unavailable("executor", "gone", "there")]
    with pytest.raises(Unavailable):
        await bench.ask(request())
    booked = await bench.booked()
    assert (booked.requests, booked.abandoned, booked.usage) == (0, 1, SO_FAR)
    assert lines(bench) == [("failed", SMALL, 1)]


async def test_what_never_began_is_not_on_the_books(bench: Bench) -> None:
    """Where every model refuses before its first text nothing was taken, and no line is left."""
    bench.executor.scripts = {SMALL: [Overloaded("queue", 1, "0")], LARGE: [Overloaded("queue", 1, "0")]}
    with pytest.raises(Overloaded):
        await bench.ask(request())
    assert await bench.booked() == Totals()
    assert still_open(bench) == 0


async def test_a_fallback_is_on_the_books_under_the_model_that_answered(bench: Bench) -> None:
    """The line tells which model answered and how many calls it took."""
    bench.executor.scripts[SMALL] = [Unavailable("executor", "gone", "there")]
    _, receipt = await bench.ask(request())
    assert receipt.outcome.attempts >= 2
    assert lines(bench) == [("answered", LARGE, receipt.outcome.attempts)]


async def test_the_receipt_is_durable_before_it_is_seen(bench: Bench) -> None:
    """When the receipt arrives another reader of the file finds it there already."""
    async for event in bench.stream(request()):
        if not isinstance(event, TextDelta):
            assert lines(bench) == [("answered", SMALL, 1)]


async def test_an_answer_that_all_left_at_its_end_is_still_paid(bench: Bench) -> None:
    """A listener that leaves between the last text and the receipt changes nothing of what was spent."""
    reached = asyncio.Event()

    async def note() -> None:
        reached.set()

    bench.executor.scripts[SMALL] = [HALF, note, DONE]
    events = bench.stream(request())
    await anext(events)
    await asyncio.wait_for(reached.wait(), SOON_S)
    await asyncio.sleep(0.05)  # the execution ends and is settled while nobody reads
    await events.aclose()
    booked = await bench.booked()
    assert booked.requests + booked.abandoned == 1
    assert booked.actual_nano_usd > 0
    assert still_open(bench) == 0
