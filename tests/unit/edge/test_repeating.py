"""How sure a cheap model is, told by asking it again: what agrees, what a failure counts as, and who pays."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from services.chassis.errors import DeadlineExceeded, Overloaded, Unavailable
from services.edge.chat import Discarded, Finish, FinishReason, Objective, Request, Sampling, Spent, TextDelta, Usage
from services.edge.payoff import MOST_UNTOLD
from services.edge.ports import Signals
from services.edge.repeating import LEAST_TEMPERATURE, agreeing
from tests.unit.edge.parts import (
    DONE,
    LARGE,
    LARGE_PRICE,
    SMALL,
    SMALL_PRICE,
    USAGE,
    Bench,
    Script,
    control,
    due,
    request,
)

REPEATS = 3
CHEAP: Script = [TextDelta("cheap words", Spent(USAGE, 0.004)), DONE]
SAID = Discarded(SMALL, Spent(USAGE, 0.01))
STRONG_USAGE = Usage(input_tokens=100, output_tokens=40)
STRONG: Script = [TextDelta("strong words"), Finish(FinishReason.STOP, STRONG_USAGE)]
CHEAP_NANO = round(SMALL_PRICE.actual(USAGE, 0.01))
STRONG_NANO = round(LARGE_PRICE.full(STRONG_USAGE))
GONE = Unavailable("model small", "gone", "there")
SOON_S = 5.0


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    """A pipeline whose router has the small model asked first, and wants its answer repeated three times."""
    async with Bench(shadow={"share": 0.0}) as bench:
        bench.router.expected_kept, bench.router.repeats = 0.5, REPEATS
        bench.executor.scripts |= {SMALL: list(CHEAP), LARGE: list(STRONG)}
        yield bench


def asked(**changes: Any) -> Request:
    return request(objective=Objective(whole_answer=True), **changes)


def saying(*texts: str) -> list[Script]:
    return [[TextDelta(text), DONE] for text in texts]


async def test_repeats_are_paid_for_beside_the_answer_that_is_served(bench: Bench) -> None:
    """Three agree: the first is served and kept once, the receipt has the others, adds up, and is the one line."""
    text, receipt = await bench.ask(asked())
    outcome, cost = receipt.outcome, receipt.cost
    assert (text, outcome.model, outcome.attempts, outcome.degradations) == ("cheap words", SMALL, 1 + REPEATS, ())
    assert outcome.discarded == (SAID,) * REPEATS
    assert bench.router.assessed == [("d1", Signals(SMALL, True, 50, None, 1.0))]
    assert cost is not None
    assert (cost.actual_nano_usd, cost.discarded_nano_usd) == (4 * CHEAP_NANO, 3 * CHEAP_NANO)
    assert cost.baseline_nano_usd - sum(lever.saved_nano_usd for lever in cost.levers) == cost.actual_nano_usd
    assert [stored.text for _, _, stored, _, _ in bench.cache.stores] == ["cheap words"]
    booked = await bench.booked()
    assert (booked.requests, booked.abandoned, booked.actual_nano_usd) == (1, 0, 4 * CHEAP_NANO)


async def test_repeats_are_drawn_by_chance(bench: Bench) -> None:
    """Hot, of other seeds than the caller's, and without probabilities, which nobody needs then."""
    await bench.ask(asked(sampling=Sampling(temperature=0.2, seed=7, stop=("\n",))))
    first, *others = [one.sampling for one in bench.executor.asked]
    assert first == Sampling(temperature=0.2, seed=7, stop=("\n",))
    assert [one.temperature for one in others] == [LEAST_TEMPERATURE] * REPEATS
    assert len({one.seed for one in (first, *others)}) == 1 + REPEATS
    assert all((one.top_logprobs, one.stop) == (None, ("\n",)) for one in others)


@pytest.mark.parametrize("greedy", [Sampling(top_k=1), Sampling(top_p=0.0)], ids=["top_k", "top_p"])
async def test_repeats_of_a_greedy_caller_are_drawn_by_chance(bench: Bench, greedy: Sampling) -> None:
    """Of the likeliest token alone all repeats would be the answer, however unsure the model was."""
    await bench.ask(asked(sampling=greedy))
    first, *others = [one.sampling for one in bench.executor.asked]
    assert first == greedy
    assert others == [Sampling(temperature=LEAST_TEMPERATURE)] * REPEATS


@pytest.mark.parametrize(
    ("later", "agreement"),
    [
        (saying("Cheap words.", "other words", "cheap  words"), 2 / 3),
        (saying("one", "two", "three"), 0.0),
        ([*saying("cheap words"), [GONE], [TextDelta("cheap words"), GONE]], 1 / 3),
        ([[GONE], [GONE], [GONE]], None),
    ],
    ids=["a capital, a stop and blanks", "none", "two fail", "all fail"],
)
async def test_who_agrees(bench: Bench, later: list[Script], agreement: float | None) -> None:
    """Equal words agree; a repeat that fails agrees with nothing, and where all do nothing is known."""
    bench.executor.later[SMALL] = later
    await bench.ask(asked())
    assert bench.router.assessed == [("d1", Signals(SMALL, True, 50, None, agreement))]
    assert bench.at_rest()


async def test_an_escalated_answer_and_its_repeats_are_paid_for(bench: Bench) -> None:
    """The receipt has four discarded answers beside the strong one's; so have the books of the pair."""
    bench.router.accepts, bench.router.costs = False, (None, 8 * CHEAP_NANO)
    text, receipt = await bench.ask(asked())
    assert (text, receipt.outcome.discarded) == ("strong words", (SAID,) * 4)
    assert receipt.cost is not None
    assert (receipt.cost.actual_nano_usd, receipt.cost.discarded_nano_usd) == (
        STRONG_NANO + 4 * CHEAP_NANO,
        4 * CHEAP_NANO,
    )
    (payoff,) = bench.pipeline.cascading.payoffs.values()
    assert (payoff.answers, payoff.cost) == pytest.approx((1, 0.5))


async def test_in_need_the_first_is_served_and_the_repeats_stay_discarded(bench: Bench) -> None:
    """Where the strong model fails the held answer is no discarded one any more."""
    bench.router.accepts = False
    bench.executor.scripts[LARGE] = [Unavailable("model large", "gone", "there")]
    text, receipt = await bench.ask(asked())
    assert (text, receipt.outcome.discarded) == ("cheap words", (SAID,) * REPEATS)
    assert receipt.cost is not None
    assert receipt.cost.actual_nano_usd == 4 * CHEAP_NANO


@pytest.mark.parametrize("reason", [FinishReason.LENGTH, FinishReason.CONTENT_FILTER], ids=lambda one: one.value)
async def test_no_answer_is_repeated_that_is_not_whole(bench: Bench, reason: FinishReason) -> None:
    """The router escalates it whatever agrees with it."""
    bench.executor.scripts[SMALL] = [CHEAP[0], Finish(reason, USAGE, 0.01)]
    await bench.ask(asked())
    assert bench.trace.count("generate small") == 1


async def test_a_model_whose_repeats_fail_is_not_asked_for_long(bench: Bench) -> None:
    """Nobody can assess its answers, so that soon the strong model is asked at once."""
    bench.router.accepts = False
    for number in range(MOST_UNTOLD + 1):
        bench.executor.later[SMALL] = ([] if number == 0 else [CHEAP]) + [[GONE]] * REPEATS
        await bench.ask(asked(request_id=str(number), cache_control=control(no_store=True)))
    assert bench.pipeline.cascading.counts == {"escalated": MOST_UNTOLD, "set_aside": 1}


@pytest.mark.parametrize(
    "repeat",
    [
        [Overloaded("queue", "64 waiting", "at most 64")],
        [DeadlineExceeded("model small", "9 s", "an answer")],
        [asyncio.Event().wait],
    ],
    ids=["busy", "its own time", "a caller in a hurry"],
)
async def test_repeats_that_came_too_late_say_nothing_of_a_model(bench: Bench, repeat: Script) -> None:
    """Nothing is known of this answer, and other callers have the model asked first as before."""
    bench.router.accepts, bench.router.seconds = False, (0.01, 0.1)
    for number in range(MOST_UNTOLD + 1):
        bench.executor.later[SMALL] = ([] if number == 0 else [CHEAP]) + [repeat] * REPEATS
        with due(0.2):
            await bench.ask(asked(request_id=str(number), cache_control=control(no_store=True)))
    assert {signals.agreement for _, signals in bench.router.assessed} == {None}
    (payoff,) = bench.pipeline.cascading.payoffs.values()
    assert (payoff.untold, payoff.times_set_aside) == (0, 0)


async def test_the_strong_model_keeps_its_time(bench: Bench) -> None:
    """Late repeats are left, what they took is paid for, and those that came count."""
    bench.router.seconds = (0.05, 0.8)
    late: Script = [CHEAP[0], asyncio.Event().wait]
    bench.executor.later[SMALL] = [*saying("cheap words"), late, late]
    bench.router.accepts = False
    begin = time.monotonic()
    with due(1.0):
        text, receipt = await bench.ask(asked())
    assert text == "strong words"
    assert time.monotonic() - begin < 0.8
    assert bench.router.assessed[0][1].agreement == 1 / 3
    assert [one.spent for one in receipt.outcome.discarded[1:3]] == [Spent(USAGE, 0.004)] * 2
    assert bench.at_rest()


@pytest.mark.parametrize("stuck", [asyncio.Event().wait, GONE], ids=["late", "fails midway"])
async def test_repeats_of_a_server_that_tells_no_machine_time_are_estimated(bench: Bench, stuck: Any) -> None:
    """It tells usage alone, and at the end: what was said by then counts, as the reference engine would take for it."""
    usage = Usage(input_tokens=100, cached_input_tokens=20, output_tokens=50)
    told: Script = [TextDelta("cheap words"), Finish(FinishReason.STOP, usage)]
    bench.executor.scripts[SMALL] = told
    bench.executor.later[SMALL] = [told, [TextDelta("half of it"), stuck], [TextDelta("half of it"), stuck]]
    bench.router.seconds = (0.05, 0.8)
    with due(1.0):
        text, receipt = await bench.ask(asked(prompt="a question of forty bytes, all of it told"))
    whole, half = Spent(usage, 0.0), Spent(Usage(input_tokens=11, output_tokens=3), 0.0)
    assert (text, [one.spent for one in receipt.outcome.discarded]) == ("cheap words", [whole, half, half])
    assert receipt.cost is not None
    each = 2 * SMALL_PRICE.with_prefix_reuse(usage) + 2 * SMALL_PRICE.full(half.usage)
    assert receipt.cost.actual_nano_usd == round(each) > 0
    assert next(lever.factor for lever in receipt.cost.levers if lever.lever == "execution") == 1
    booked = await bench.booked()
    assert (booked.unpriced_requests, booked.actual_nano_usd) == (0, receipt.cost.actual_nano_usd)


async def test_there_has_to_be_time_for_repeats(bench: Bench) -> None:
    """They come after the answer, and take as long: where only that would be in time nothing is asked first."""
    bench.router.seconds = (0.15, 0.8)
    with due(1.0):
        await bench.ask(asked())
    assert bench.pipeline.cascading.counts == {"passed_over": 1}


async def test_repeats_take_places_of_the_gate(bench: Bench) -> None:
    """While they run it has them and the request; one that a model refuses for load shrinks it, as a request would."""
    gate = bench.pipeline._gate
    under_way: list[int] = []

    async def note() -> None:
        under_way.append(gate.under_way)
        await asyncio.sleep(0.01)

    before = gate.limit
    busy: Script = [Overloaded("queue", "64 waiting", "at most 64")]
    bench.executor.later[SMALL] = [[note, *CHEAP], [note, *CHEAP], [note, *busy]]
    await bench.ask(asked())
    assert under_way == [1 + REPEATS] * REPEATS
    assert gate.limit < before
    assert gate.under_way == 0


@pytest.mark.parametrize(("places", "asks"), [(REPEATS, False), (1 + REPEATS, True)])
async def test_nothing_is_asked_first_without_places_for_repeats(bench: Bench, places: int, asks: bool) -> None:
    """Where the models are busy the strong one is asked at once, as nobody could assess the cheap answer."""
    gate = bench.pipeline._gate
    with ExitStack() as crowd:
        for _ in range(gate.limit - places):
            crowd.enter_context(gate.place())
        text, _ = await bench.ask(asked())
    assert text == ("cheap words" if asks else "strong words")
    assert bench.pipeline.cascading.counts == ({"kept": 1} if asks else {"passed_over": 1})


async def test_a_caller_who_leaves_ends_the_repeats(bench: Bench) -> None:
    """No model runs on, and the ledger's line has what the first answer and each repeat took by then."""
    bench.executor.later[SMALL] = [[CHEAP[0], asyncio.Event().wait]] * REPEATS

    async def listen() -> None:
        async with aclosing(bench.stream(asked())) as events:
            async for _ in events:
                pass

    listening = asyncio.create_task(listen())
    async with asyncio.timeout(SOON_S):
        while bench.trace.count("generate small") < 1 + REPEATS:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    booked = await bench.booked()
    assert (booked.requests, booked.abandoned) == (0, 1)
    assert booked.actual_nano_usd == round(SMALL_PRICE.actual(USAGE, 0.01) + 3 * SMALL_PRICE.actual(USAGE, 0.004))
    assert bench.at_rest()
    with sqlite3.connect(Path(bench._folder.name) / "ledger.sqlite") as connection:
        assert list(connection.execute("SELECT state, attempts FROM receipts")) == [("cancelled", 1 + REPEATS)]


def test_agreement_is_of_how_answers_are_written() -> None:
    """Numbers and signs count, a capital at the beginning does not, and a long paraphrase agrees with nothing."""
    assert agreeing("42", ["42.", " 42", "43", "forty two"]) == 2
    long = "The capital of the country is the town that lies on the river."
    assert agreeing(long, [f"**{long}**", "That town, which lies on the river, is the capital of the country."]) == 1
    assert agreeing("return x - y", ["return x + y", "return y - x", "return x - y"]) == 1
