"""A cheap model is asked first, held back until the router accepts it, and paid for whether or not it is served."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from services.chassis.errors import DeadlineExceeded, FailedPrecondition, FulcrumError, InvalidField, Unavailable
from services.edge.chat import (
    Discarded,
    Finish,
    FinishReason,
    Objective,
    Request,
    Sampling,
    Spent,
    TextDelta,
    TokenLogprob,
    Usage,
)
from services.edge.payoff import MOST_UNTOLD
from services.edge.ports import Signals
from services.edge.price import ListPrice
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

CHEAP: Script = [
    TextDelta("cheap ", Spent(USAGE, 0.004), (TokenLogprob(b"cheap", -0.5), TokenLogprob(b" ", -1.0))),
    TextDelta("words", Spent(USAGE, 0.009), (TokenLogprob(b"words", -3.0),)),
    DONE,
]
STRONG_USAGE = Usage(input_tokens=100, output_tokens=40)
STRONG: Script = [TextDelta("strong words"), Finish(FinishReason.STOP, STRONG_USAGE)]
CHEAP_NANO = round(SMALL_PRICE.actual(USAGE, 0.01))
STRONG_NANO = round(LARGE_PRICE.full(STRONG_USAGE))
WHOLE = Objective(whole_answer=True)
SOON_S = 5.0


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    """A pipeline whose router has the small model asked first, and accepts what it says."""
    async with Bench(shadow={"share": 0.0}) as bench:
        bench.router.expected_kept = 0.5
        bench.executor.scripts |= {SMALL: list(CHEAP), LARGE: list(STRONG)}
        yield bench


def asked(**changes: Any) -> Request:
    return request(objective=WHOLE, **changes)


def states(bench: Bench) -> list[tuple[str, str, int]]:
    """State, model and attempts of every line of the ledger."""
    with sqlite3.connect(Path(bench._folder.name) / "ledger.sqlite") as connection:
        return list(connection.execute("SELECT state, model, attempts FROM receipts ORDER BY begin_ns"))


async def test_an_accepted_answer_is_served_and_kept(bench: Bench) -> None:
    """It is said once its certainty was assessed, without probabilities, which the caller did not ask for."""
    events = [event async for event in bench.stream(asked())]
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["cheap ", "words"]
    assert all(event.logprobs == () for event in events if isinstance(event, TextDelta))
    assert bench.trace[-3:] == ["generate small", "assess small", "store"]
    assert bench.router.assessed == [("d1", Signals(SMALL, True, 50, -1.5))]
    assert bench.router.routes[0][2].whole_answer
    ((_, _, stored, _, _),) = bench.cache.stores
    assert (stored.text, stored.model) == ("cheap words", SMALL)
    booked = await bench.booked()
    assert (booked.requests, booked.abandoned, booked.actual_nano_usd) == (1, 0, CHEAP_NANO)
    assert bench.pipeline.cascading.counts == {"kept": 1}


async def test_a_discarded_answer_is_paid_for_by_the_request(bench: Bench) -> None:
    """The strong model's is served and kept; the receipt has both costs, adds up, and is the ledger's one line."""
    bench.router.accepts = False
    text, receipt = await bench.ask(asked())
    assert text == "strong words"
    assert bench.trace[-4:] == ["generate small", "assess small", "generate large", "store"]
    outcome, cost = receipt.outcome, receipt.cost
    assert (outcome.model, outcome.attempts, outcome.degradations) == (LARGE, 2, ())
    assert outcome.discarded == (Discarded(SMALL, Spent(USAGE, 0.01)),)
    assert outcome.route.explanation == "the cheapest that fits Not good enough."
    assert outcome.route.alternatives[0].model == SMALL
    assert cost is not None
    assert (cost.actual_nano_usd, cost.discarded_nano_usd) == (STRONG_NANO + CHEAP_NANO, CHEAP_NANO)
    assert [lever.saved_nano_usd for lever in cost.levers] == [-CHEAP_NANO, 0, 0, 0]
    ((_, _, stored, _, _),) = bench.cache.stores
    assert (stored.text, stored.model) == ("strong words", LARGE)
    again, hit = await bench.ask(asked())
    assert (again, hit.outcome.cache.result, hit.outcome.discarded) == ("strong words", "exact_hit", ())
    booked = await bench.booked()
    assert (booked.requests, booked.abandoned) == (2, 0)
    assert booked.actual_nano_usd == cost.actual_nano_usd
    assert states(bench)[0] == ("answered", LARGE, 2)


async def test_who_listens_to_a_twin_pays_nothing(bench: Bench) -> None:
    """Of two at once one pays for both answers, the other shares."""
    bench.router.accepts = False
    (_, one), (_, other) = await asyncio.gather(bench.ask(asked()), bench.ask(asked()))
    assert sorted(receipt.cost.actual_nano_usd for receipt in (one, other) if receipt.cost) == [
        0,
        STRONG_NANO + CHEAP_NANO,
    ]
    assert (await bench.booked()).actual_nano_usd == STRONG_NANO + CHEAP_NANO


async def test_probabilities_that_the_caller_wants_are_told(bench: Bench) -> None:
    """They are the caller's then, too."""
    wants = asked(sampling=Sampling(top_logprobs=0), cache_control=control(no_cache=True, no_store=True))
    told = [event async for event in bench.stream(wants)]
    assert isinstance(told[0], TextDelta)
    assert len(told[0].logprobs) == 2


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("model small", "gone", "there"),
        InvalidField("messages", "900 tokens", "at most 512", reason="PROMPT_TOO_LONG"),
    ],
    ids=("gone", "too long"),
)
@pytest.mark.parametrize("said", [0, 1], ids=["before", "after it began"])
async def test_a_cheap_model_that_fails_is_no_failure(bench: Bench, error: FulcrumError, said: int) -> None:
    """The strong model answers, as nothing was served yet, and what was said is paid for."""
    bench.executor.scripts[SMALL] = [*CHEAP[:said], error]
    text, receipt = await bench.ask(asked())
    assert text == "strong words"
    (degraded,) = receipt.outcome.degradations
    assert (degraded.part, degraded.consequence) == ("model", "large answers instead of small")
    assert receipt.cost is not None
    assert receipt.cost.discarded_nano_usd == said * round(SMALL_PRICE.actual(USAGE, 0.004))
    assert bench.pipeline.cascading.counts == {"failed": 1}
    assert "assess small" not in bench.trace


REFUSALS = (
    InvalidField("request", "HTTP 400", "a request that the provider of small accepts"),
    FailedPrecondition("sampling.top_logprobs", 0, "a model that tells them"),
)


@pytest.mark.parametrize("error", REFUSALS, ids=("by its provider", "by its settings"))
@pytest.mark.parametrize("said", [0, 1], ids=["before", "after it began"])
async def test_a_model_that_tells_no_probabilities_fails_no_request(
    bench: Bench, error: FulcrumError, said: int
) -> None:
    """Edge added them, not the caller: the strong model answers, and soon that model is not asked first any more."""
    bench.executor.scripts[SMALL] = [*CHEAP[:said], error]
    for number in range(MOST_UNTOLD + 2):
        text, receipt = await bench.ask(asked(request_id=str(number), cache_control=control(no_store=True)))
        assert text == "strong words"
        told = [(one.part, one.consequence) for one in receipt.outcome.degradations]
        assert told == ([("model", "large answers instead of small")] if number < MOST_UNTOLD else [])
    assert bench.pipeline.cascading.counts == {"refused": MOST_UNTOLD, "set_aside": 2}
    assert "It is not asked for now, as nothing tells how sure it was" in receipt.outcome.route.explanation


async def test_a_wrong_request_fails_with_the_strong_models_error(bench: Bench) -> None:
    """What neither takes is the caller's fault, and says nothing of the model that was asked first."""
    for model in (SMALL, LARGE):
        bench.executor.scripts[model] = [InvalidField("request", "HTTP 400", f"a request that {model} accepts")]
    for _ in range(MOST_UNTOLD + 2):
        with pytest.raises(InvalidField, match="that large accepts"):
            await bench.ask(asked())
    assert bench.pipeline.cascading.counts == {"refused": MOST_UNTOLD + 2}


async def test_a_wrong_request_for_probabilities_is_not_asked_elsewhere(bench: Bench) -> None:
    """Who asks for them gets the first model's own error."""
    bench.executor.scripts[SMALL] = [REFUSALS[0]]
    with pytest.raises(InvalidField, match="that the provider of small accepts"):
        await bench.ask(asked(sampling=Sampling(top_logprobs=0), cache_control=control(no_cache=True, no_store=True)))
    assert "generate large" not in bench.trace


async def test_an_answer_that_nobody_assessed_is_not_served(bench: Bench) -> None:
    """Where the router is gone by then the strong model answers, and the receipt says so."""
    bench.router.assess_error = Unavailable("router", "gone", "there")
    text, receipt = await bench.ask(asked())
    assert text == "strong words"
    assert [(one.part, one.status) for one in receipt.outcome.degradations] == [("router", "UNAVAILABLE")]
    assert bench.pipeline.cascading.counts == {"unassessed": 1}


@pytest.mark.parametrize(("strong_s", "generates"), [(0.8, True), (2.0, False)], ids=["late", "no time for both"])
async def test_the_strong_model_keeps_its_time(bench: Bench, strong_s: float, generates: bool) -> None:
    """A cheap answer that is late is left for the strong model's within the deadline; without time it is not begun."""
    bench.router.seconds = (0.05, strong_s)
    bench.executor.scripts[SMALL] = [CHEAP[0], asyncio.Event().wait]
    begin = time.monotonic()
    with due(1.0):
        text, receipt = await bench.ask(asked())
    assert text == "strong words"
    assert time.monotonic() - begin < 0.8
    assert ("generate small" in bench.trace) is generates
    assert bool(receipt.outcome.discarded) is generates
    assert bench.pipeline.cascading.counts == ({"late": 1} if generates else {"passed_over": 1})
    assert bench.executor.running == 0


@pytest.mark.parametrize("said", [0, 1], ids=["before", "after it began"])
async def test_a_deadline_of_the_cheap_models_own_fails_no_request(bench: Bench, said: int) -> None:
    """Where the caller has time left the strong model answers, and what was said by then is paid for."""
    bench.executor.scripts[SMALL] = [*CHEAP[:said], DeadlineExceeded("model small", "9 s", "an answer")]
    with due(SOON_S):
        text, receipt = await bench.ask(asked())
    assert (text, receipt.outcome.model) == ("strong words", LARGE)
    assert bool(receipt.outcome.discarded) is bool(said)
    assert bench.pipeline.cascading.counts == {"late": 1}
    assert bench.at_rest()


@pytest.mark.parametrize("script", [[CHEAP[0], asyncio.Event().wait], CHEAP], ids=["the cheap", "the strong"])
async def test_a_caller_who_leaves_pays_for_what_was_said(bench: Bench, script: Script) -> None:
    """Whichever of the two models it leaves, no model runs on, and the ledger has all that both took."""
    bench.router.accepts = False
    bench.executor.scripts |= {SMALL: script, LARGE: [TextDelta("str"), asyncio.Event().wait]}

    async def listen() -> None:
        async with aclosing(bench.stream(asked())) as events:
            async for _ in events:
                pass

    listening = asyncio.create_task(listen())
    last = "generate large" if script is CHEAP else "generate small"
    async with asyncio.timeout(SOON_S):
        while last not in bench.trace:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    booked = await bench.booked()
    assert (booked.requests, booked.abandoned) == (0, 1)
    cheap = round(SMALL_PRICE.actual(USAGE, 0.004))
    assert booked.actual_nano_usd == cheap if script is not CHEAP else booked.actual_nano_usd > CHEAP_NANO
    assert bench.at_rest()


async def test_a_strong_model_that_fails_leaves_the_cost_of_both(bench: Bench) -> None:
    """The request fails, and what the discarded answer took is on the books."""
    bench.router.accepts = False
    bench.executor.scripts[LARGE] = [DeadlineExceeded("deadline", "1 s", "more")]
    with pytest.raises(DeadlineExceeded):
        await bench.ask(request(objective=replace(WHOLE, max_quality_loss=0.02)))
    booked = await bench.booked()
    assert (booked.requests, booked.abandoned, booked.actual_nano_usd) == (0, 1, CHEAP_NANO)
    assert states(bench) == [("failed", LARGE, 2)]


GONE = Unavailable("model large", "gone", "there")


@pytest.mark.parametrize("assessed", [True, False], ids=["escalated", "unassessed"])
async def test_a_whole_answer_is_better_than_none(bench: Bench, assessed: bool) -> None:
    """Where the strong model fails the held one is served, not kept, paid for once, and the receipt says what it is."""
    bench.router.accepts = False
    bench.router.assess_error = None if assessed else Unavailable("router", "gone", "there")
    bench.executor.scripts[LARGE] = [GONE]
    text, receipt = await bench.ask(asked())
    outcome, cost = receipt.outcome, receipt.cost
    assert (text, outcome.model, outcome.finish, outcome.discarded) == ("cheap words", SMALL, DONE, ())
    told = [one.consequence for one in outcome.degradations]
    assert told[-1] == "small answers instead of large, though its answer was not accepted"
    assert outcome.route.explanation.endswith("Not good enough." if assessed else "the cheapest that fits")
    assert cost is not None
    assert (cost.actual_nano_usd, cost.discarded_nano_usd) == (CHEAP_NANO, 0)
    assert bench.cache.stores == []
    assert states(bench) == [("answered", SMALL, 2)]
    assert bench.pipeline.cascading.counts == {"escalated" if assessed else "unassessed": 1, "served_in_need": 1}


@pytest.mark.parametrize("callers", [True, False], ids=["the caller's", "the strong model's"])
async def test_a_deadline_of_the_strong_models_own_drops_no_whole_answer(bench: Bench, callers: bool) -> None:
    """Where the caller has time left the held answer is served; with his deadline over nobody is there to be served."""
    bench.router.accepts = False
    bench.executor.scripts[LARGE] = [lambda: asyncio.sleep(0.15), DeadlineExceeded("model large", "9 s", "an answer")]
    with due(0.1 if callers else SOON_S):
        if callers:
            with pytest.raises(DeadlineExceeded):
                await bench.ask(asked())
        else:
            assert (await bench.ask(asked()))[0] == "cheap words"


@pytest.mark.parametrize(
    "objective",
    [Objective(whole_answer=True, max_quality_loss=0.02), Objective(whole_answer=True, confidence=0.9)],
    ids=["loss", "confidence"],
)
async def test_who_names_the_quality_that_may_be_lost_gets_no_less(bench: Bench, objective: Objective) -> None:
    """An answer that was not accepted is not served to them: the request fails with the strong model's error."""
    bench.router.accepts = False
    bench.executor.scripts[LARGE] = [GONE]
    with pytest.raises(Unavailable, match="model large"):
        await bench.ask(request(objective=objective))
    assert (await bench.booked()).actual_nano_usd == CHEAP_NANO


@pytest.mark.parametrize(
    ("cheap", "strong"),
    [
        ([*CHEAP[:2], replace(DONE, reason=FinishReason.LENGTH)], [GONE]),
        ([DONE], [GONE]),
        (CHEAP, [TextDelta("str"), GONE]),
        (CHEAP, [InvalidField("request", "HTTP 400", "a request that large accepts")]),
    ],
    ids=["cut off", "empty", "the strong one began", "a wrong request"],
)
async def test_what_is_no_whole_answer_is_not_served_in_need(bench: Bench, cheap: Script, strong: Script) -> None:
    """Nor anything after the beginning of another answer, nor in place of an error that is the caller's own."""
    bench.router.accepts = False
    bench.executor.scripts |= {SMALL: cheap, LARGE: strong}
    with pytest.raises((Unavailable, InvalidField), match=LARGE):
        await bench.ask(asked())
    assert "served_in_need" not in bench.pipeline.cascading.counts


async def test_a_pair_that_does_not_pay_is_set_aside(bench: Bench) -> None:
    """What was paid for nothing is bounded: an eighth of the strong answer each, so eighty of them."""
    bench.router.accepts, bench.router.costs = False, (None, 8 * CHEAP_NANO)
    for number in range(85):
        _, receipt = await bench.ask(asked(request_id=str(number), cache_control=control(no_store=True)))
    assert receipt.outcome.discarded == ()
    assert bench.trace.count("generate small") == 80
    assert bench.pipeline.cascading.counts == {"escalated": 80, "set_aside": 5}
    assert "as its answers cost more than those that were kept spared" in receipt.outcome.route.explanation
    (payoff,) = bench.pipeline.cascading.payoffs.values()
    assert (payoff.answers, payoff.kept, payoff.times_set_aside) == (80, 0, 1)
    assert (payoff.expected_kept, payoff.cost) == pytest.approx((40.0, 10.0))


async def test_answers_without_probabilities_are_not_paid_for_long(bench: Bench) -> None:
    """Where a provider takes the wish and does not grant it, nobody can assess an answer."""
    bench.router.accepts = False
    bench.executor.scripts[SMALL] = [TextDelta("cheap words"), DONE]
    for number in range(10):
        await bench.ask(asked(request_id=str(number), cache_control=control(no_store=True)))
    assert bench.trace.count("generate small") == MOST_UNTOLD


async def test_a_provider_that_was_cut_off_is_booked_by_estimate(bench: Bench) -> None:
    """Who tells usage at the end alone has read the prompt all the same, and said what it said."""
    listed = ListPrice(1.0, 0.1, 1.25, 4.0)
    bench.router.known = (replace(bench.router.known[0], price=listed), bench.router.known[1])
    await bench.catalogue.close()
    await bench.catalogue.start()
    bench.executor.scripts[SMALL] = [TextDelta("12345678"), Unavailable("model small", "gone", "there")]
    _, receipt = await bench.ask(asked())
    read = -(-asked().size_bytes // 4)
    (discarded,) = receipt.outcome.discarded
    assert discarded.spent == Spent(Usage(input_tokens=read, output_tokens=2), 0.0)
    assert receipt.cost is not None
    assert receipt.cost.discarded_nano_usd == round(listed.full(discarded.spent.usage))


async def test_shadows_take_an_escalated_answer_for_the_reference() -> None:
    """The strong model's answer after an assessment is scored as such, so that the sample is of all requests."""
    async with Bench(shadow={"share": 1.0, "judge": LARGE}) as bench:
        bench.router.expected_kept, bench.router.accepts = 0.5, False
        bench.executor.scripts |= {SMALL: list(CHEAP), LARGE: list(STRONG)}
        await bench.ask(asked())
        await asyncio.gather(*bench.pipeline.shadowing._under_way)
        assert bench.pipeline.shadowing.counts == {"reference": 1}
        assert bench.router.scores == [("d1", LARGE, 1.0, "shadow:reference", 1.0)]


@pytest.mark.parametrize("why", ["set_aside", "passed_over", "failed"])
async def test_what_was_to_be_asked_first_is_drawn_whatever_came_of_that(why: str) -> None:
    """The strong model's answer is the reference too where the first was not asked, or never began."""
    async with Bench(shadow={"share": 1.0, "judge": LARGE}) as bench:
        bench.router.expected_kept = 0.5
        bench.executor.scripts |= {SMALL: [Unavailable("model small", "gone", "there")], LARGE: list(STRONG)}
        if why == "set_aside":
            payoff = bench.pipeline.cascading.payoffs[SMALL, LARGE]
            assert any(payoff.told(False, time.monotonic()) for _ in range(MOST_UNTOLD))
        bench.router.seconds = (0.05, 2 * SOON_S if why == "passed_over" else 0.1)
        with due(SOON_S):
            _, receipt = await bench.ask(asked())
        assert (receipt.outcome.model, receipt.outcome.discarded) == (LARGE, ())
        assert bench.pipeline.cascading.counts == {why: 1}
        await asyncio.gather(*bench.pipeline.shadowing._under_way)
        assert bench.router.scores == [("d1", LARGE, 1.0, "shadow:reference", 1.0)]
