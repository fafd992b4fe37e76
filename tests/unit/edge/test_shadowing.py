"""A fair share of answers is compared with the strong model's, after they were given, within bounds, on the books."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from services.chassis.errors import FulcrumError, Unavailable
from services.chassis.settings import ConfigError, load
from services.edge.chat import Delta, Finish, FinishReason, Objective, Request, TextDelta, Tool, Usage
from services.edge.ledger_sums import FIRST, Unanswered
from services.edge.price import ListPrice
from services.edge.receipt import Receipt
from services.edge.settings import EdgeSettings
from tests.unit.edge.parts import LARGE, SMALL, SMALL_PRICE, Bench, control, known_model, request

WEAK, STRONG, JUDGE = "It is a small cat, I think.", "It was a big dog, of course.", "judge"
MIDDLE, OTHER = "middle", "I would not know that, sorry about it."
PRICED = ListPrice(1.0, 0.1, 1.25, 4.0)
USED = Usage(input_tokens=100, output_tokens=50)


@dataclass
class Models:
    """An executor whose small model says WEAK, whose large one STRONG, or fails; its judge prefers an answer."""

    better: str = STRONG
    error: FulcrumError | None = None
    judge_error: FulcrumError | None = None
    asked: list[tuple[str, Request]] = field(default_factory=list)
    gate: asyncio.Event | None = None
    replicas: int = 1

    async def generate(self, model: str, request: Request) -> AsyncGenerator[Delta | Finish, None]:
        self.asked.append((model, request))
        if model == LARGE and self.gate:
            await self.gate.wait()
        if model == LARGE and self.error:
            raise self.error
        if model == JUDGE and self.judge_error:
            raise self.judge_error
        yield TextDelta({SMALL: WEAK, LARGE: STRONG, MIDDLE: OTHER}.get(model) or self.verdict(request))
        yield Finish(FinishReason.STOP, USED, 0.01)

    def verdict(self, request: Request) -> str:
        answers = json.loads(request.messages[-1].content)["answers"]
        place = ("first", "second")[answers.index(self.better)] if self.better in answers else self.better
        return json.dumps({"better": place})


def bench_of(**shadow: Any) -> Bench:
    bench = Bench(shadow={"share": 1.0, "judge": JUDGE, **shadow})
    bench.router.known = (
        *bench.router.known[:1],
        known_model(LARGE, PRICED, is_default=True),
        known_model(JUDGE, PRICED),
        known_model(MIDDLE, PRICED),
    )
    return bench


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    """A pipeline that compares every answer."""
    async with bench_of() as bench:
        yield bench


def serve(bench: Bench, monkeypatch: pytest.MonkeyPatch, models: Models) -> Models:
    monkeypatch.setattr(bench.pipeline.attempts, "_executor", models)
    return models


async def compared(bench: Bench, asked: Request | None = None) -> Receipt:
    """One request, and whatever follows it."""
    _, receipt = await bench.ask(asked or request())
    await asyncio.gather(*bench.pipeline.shadowing._under_way)
    return receipt


async def shadows(bench: Bench) -> list[Unanswered]:
    await bench.ledger.submit(lambda file: None)
    return (await bench.ledger.read(lambda sums: sums.usage(None, (0, 100_000), frozenset(), FIRST, 1)))[3]


@pytest.mark.parametrize(
    ("better", "result", "source", "scores"),
    [
        (STRONG, "worse", "judge", (0.0, 1.0)),
        (WEAK, "better", "judge", (1.0, 0.0)),
        ("neither", "same", "judge", (1.0, 1.0)),
        ("unsure", "unresolved", "unresolved", (0.0, 1.0)),
        ("gibberish", "unresolved", "unresolved", (0.0, 1.0)),
    ],
)
async def test_the_router_is_told_how_the_answers_compare(
    better: str,
    result: str,
    source: str,
    scores: tuple[float, float],
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Scores of both answers go under the decision with the probability of the draw; what is not told is worse."""
    serve(bench, monkeypatch, Models(better))
    for number in range(5):  # in whichever order the judge is told of the two
        await compared(bench, request(f"question {number}"))
    told = [(model, score, source, share) for _, model, score, source, share in bench.router.scores]
    both = [(SMALL, scores[0]), (LARGE, scores[1])]
    assert told == 5 * [(model, score, f"shadow:{source}", 1.0) for model, score in both]
    assert bench.pipeline.shadowing.counts == {result: 5}


async def test_a_judge_that_fails_leaves_no_good_news_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers of equal words are told without it, so those that it should have compared count as worse."""
    serve(bench, monkeypatch, Models(judge_error=Unavailable("executor", "gone", "there")))
    await compared(bench)
    assert [(model, score, source) for _, model, score, source, _ in bench.router.scores] == [
        (SMALL, 0.0, "shadow:unresolved"),
        (LARGE, 1.0, "shadow:unresolved"),
    ]


async def test_equal_answers_need_no_judge(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that differ in how they are set alone are equally good."""
    models = serve(bench, monkeypatch, Models())
    monkeypatch.setitem(globals(), "STRONG", f"**{WEAK}**")
    await compared(bench)
    assert [model for model, _ in models.asked] == [SMALL, LARGE]
    assert [(model, score, source) for _, model, score, source, _ in bench.router.scores] == [
        (SMALL, 1.0, "shadow:equality"),
        (LARGE, 1.0, "shadow:equality"),
    ]


async def test_the_caller_waits_for_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The receipt is out before the strong model is asked, and a strong model that fails harms no one."""
    models = serve(bench, monkeypatch, Models(error=Unavailable("model large", "gone", "there"), gate=asyncio.Event()))
    asking = bench.stream(request())
    events = [await anext(asking), await anext(asking)]
    assert isinstance(events[-1], Receipt)
    assert [model for model, _ in models.asked] == [SMALL]
    assert [event async for event in asking] == []
    assert models.gate
    models.gate.set()
    await asyncio.gather(*bench.pipeline.shadowing._under_way)
    assert bench.router.scores == []
    assert bench.pipeline.shadowing.counts == {"failed": 1}


async def test_its_cost_is_a_kind_of_its_own(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strong model and judge are lines in state shadow, outside of the receipt, and part of the tenant's sums."""
    serve(bench, monkeypatch, Models())
    receipt = await compared(bench)
    cost = 2 * round(PRICED.full(USED))
    assert await shadows(bench) == [Unanswered("shadow", 2, cost)]
    booked = await bench.booked()
    assert receipt.cost
    assert (booked.requests, booked.abandoned) == (1, 2)
    assert booked.actual_nano_usd == receipt.cost.actual_nano_usd + cost


async def test_the_strong_answer_is_the_reference(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the strong model answered its score is 1 and nobody is asked, so that all requests are sampled."""
    models = serve(bench, monkeypatch, Models())
    bench.router.models = (LARGE, SMALL)
    await compared(bench)
    assert [model for model, _ in models.asked] == [LARGE]
    assert [told[1:] for told in bench.router.scores] == [(LARGE, 1.0, "shadow:reference", 1.0)]
    assert await shadows(bench) == []


NOT_COMPARED = [
    request(cache_control=control(no_store=True)),
    request(tools=(Tool("f", "", "{}"),)),
]


@pytest.mark.parametrize("asked", NOT_COMPARED, ids=["no_store", "tools"])
async def test_what_is_never_drawn(asked: Request, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a request that must not be remembered, or that calls tools, is asked again."""
    models = serve(bench, monkeypatch, Models())
    await compared(bench, asked)
    assert len(models.asked) == 1
    assert bench.router.scores == []


async def test_only_what_the_router_chose_and_may_be_compared(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hit, an answer without the router, and one whose caller does not allow the strong model are let be."""
    models = serve(bench, monkeypatch, Models())
    bench.router.models = (SMALL,)
    await compared(bench, request(objective=Objective(denied_models=(LARGE,))))
    await compared(bench, request(objective=Objective(denied_models=(LARGE,))))
    bench.router.error = Unavailable("router", "gone", "there")
    await compared(bench, request("other"))
    assert [model for model, _ in models.asked] == [SMALL, LARGE]
    assert not bench.pipeline.shadowing.counts


async def test_a_share_is_drawn_whatever_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A share of 0.25 takes the draws below it, and tells the router 0.25."""
    async with bench_of(share=0.25) as bench:
        serve(bench, monkeypatch, Models())
        draws = iter([0.1, 0.25, 0.9, 0.2])
        monkeypatch.setattr(bench.pipeline.shadowing, "_draw", lambda: next(draws))
        for number in range(4):
            await compared(bench, request(f"question {number}"))
        assert [(told[0], told[4]) for told in bench.router.scores] == 2 * [("d1", 0.25)] + 2 * [("d4", 0.25)]


async def test_few_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the number at once nothing is begun; before the draw, so that the share stays fair."""
    models = serve(bench, monkeypatch, Models(gate=asyncio.Event()))
    for number in range(5):
        await bench.ask(request(f"question {number}"))
    await asyncio.sleep(0.05)
    assert [model for model, _ in models.asked].count(LARGE) == 2
    assert bench.pipeline.shadowing.counts == {"passed_over": 3}
    await bench.pipeline.shadowing.close()
    assert [one.state for one in await shadows(bench)] == ["shadow"]


async def test_where_places_are_taken_nothing_is_begun(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """While half of the places of executions are taken the models are left to callers."""
    models = serve(bench, monkeypatch, Models())
    bench.pipeline._gate.under_way = bench.pipeline._gate.limit - 2
    await compared(bench)
    bench.pipeline._gate.under_way = 0
    assert len(models.asked) == 1
    assert bench.pipeline.shadowing.counts == {"passed_over": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"shadow": {"usd_per_day": 0.005}},
        {"limits": {"usd_per_day": 0.005}},
        {"tenants": {"tenant": {"usd_per_month": 0.005}}},
    ],
    ids=["its own", "the tenant's day", "the tenant's month"],
)
async def test_no_budget_is_exceeded(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is begun that might cost more than is left, by the most that it may cost, of any budget."""
    shadow = {"share": 1.0, "judge": JUDGE, "max_output_tokens": 100, **changes.get("shadow", {})}
    async with Bench(**{**changes, "shadow": shadow}) as bench:
        bench.catalogue.prices |= {LARGE: PRICED, JUDGE: PRICED}
        serve(bench, monkeypatch, Models())
        for number in range(10):
            await compared(bench, request(f"question {number}"))
        spent = sum(one.actual_nano_usd for one in await shadows(bench))
        assert 0 < spent <= 5_000_000
        assert (await bench.booked()).actual_nano_usd <= 5_000_000 + 10 * round(SMALL_PRICE.actual(USED, 0.01))
        assert bench.pipeline.shadowing.counts["passed_over"] > 0


async def test_what_has_no_price_is_not_asked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget cannot be held for a model of unknown price."""
    bench.catalogue.prices[LARGE] = None
    models = serve(bench, monkeypatch, Models())
    await compared(bench)
    assert len(models.asked) == 1
    assert bench.pipeline.shadowing.counts == {"passed_over": 1}


def test_a_share_needs_a_judge() -> None:
    """Without somebody who can tell which answer is better, only equal ones would be counted."""
    assert EdgeSettings().shadow.share == 0
    with pytest.raises(ConfigError, match=r"edge\.shadow\.judge"):
        load(EdgeSettings, {"edge": {"shadow": {"share": 0.1}}})


@pytest.mark.parametrize("chosen", [SMALL, LARGE])
async def test_an_explored_request_is_answered_by_every_model(chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that might have answered are compared with the strong model, whoever did; only the chosen one's is served."""
    async with bench_of(explore=1.0) as bench:
        models = serve(bench, monkeypatch, Models(STRONG))
        bench.router.models = (chosen, *({SMALL, LARGE} - {chosen}), MIDDLE)
        text, receipt = await bench.ask(request())
        await asyncio.gather(*bench.pipeline.shadowing._under_way)
        assert (text, receipt.outcome.model) == ({SMALL: WEAK, LARGE: STRONG}[chosen], chosen)
        assert sorted(model for model, _ in models.asked if model != JUDGE) == sorted((SMALL, LARGE, MIDDLE))
        first: dict[str, float] = {}
        for _, model, score, _, probability in bench.router.scores:
            first.setdefault(model, score)
            assert probability == 1.0
        assert first == {LARGE: 1.0, SMALL: 0.0, MIDDLE: 0.0}
        assert all(bench.router.explored)
        explored = 1 if chosen == SMALL else 2
        assert bench.pipeline.shadowing.counts["explored_worse"] == explored


async def test_a_share_of_the_share_explores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second draw decides; each score goes with the probability of its own kind of draw, and whether it explored."""
    async with bench_of(share=0.5, explore=0.25) as bench:
        serve(bench, monkeypatch, Models())
        bench.router.models = (SMALL, LARGE, MIDDLE)
        draws = iter([0.4, 0.2, 0.4, 0.25, 0.5])
        monkeypatch.setattr(bench.pipeline.shadowing, "_draw", lambda: next(draws))
        for number in range(3):
            await compared(bench, request(f"question {number}"))
        told = zip(bench.router.scores, bench.router.explored, strict=True)
        kinds = {(decision, probability, explored) for (decision, *_, probability), explored in told}
        assert kinds == {("d1", 0.125, True), ("d2", 0.375, False)}


async def test_exploring_stays_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose price is not known is not asked, as no budget could be held; the others are."""
    async with bench_of(explore=1.0) as bench:
        models = serve(bench, monkeypatch, Models())
        bench.router.models = (SMALL, LARGE, MIDDLE)
        bench.catalogue.prices[MIDDLE] = None
        await compared(bench)
        assert MIDDLE not in [model for model, _ in models.asked]
        assert bench.pipeline.shadowing.counts == {"worse": 1}
        assert MIDDLE not in [model for _, model, *_ in bench.router.scores]


@pytest.mark.parametrize(("explore", "usd_per_day"), [(0.0, 0.03), (1.0, 0.09)])
async def test_as_a_budget_ends_who_answered_makes_no_difference(
    explore: float, usd_per_day: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room is held against what any of the models may cost, so that the last comparisons are like the first."""
    async with bench_of(explore=explore, usd_per_day=usd_per_day, max_output_tokens=500) as bench:
        serve(bench, monkeypatch, Models(STRONG))
        told: Counter[str] = Counter()
        for number in range(120):
            chosen = (SMALL, LARGE)[number % 2]
            bench.router.models = (chosen, *({SMALL, LARGE} - {chosen}), MIDDLE)
            before = len(bench.router.scores)
            await compared(bench, request(f"question {number}"))
            models = {model for _, model, *_ in bench.router.scores[before:]}
            told[chosen] += models >= ({SMALL, MIDDLE, LARGE} if explore else {LARGE})
        assert 10 < told[SMALL] < 60
        assert abs(told[SMALL] - told[LARGE]) <= 1


def test_exploring_is_part_of_a_share() -> None:
    """Without comparisons there is nothing to explore; both are off unless they are set."""
    assert EdgeSettings().shadow.explore == 0
    with pytest.raises(ConfigError, match=r"edge: shadow\.explore: got 0\.5|shadow\.explore: got 0\.5"):
        load(EdgeSettings, {"edge": {"shadow": {"explore": 0.5}}})
