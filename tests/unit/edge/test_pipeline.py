"""One request's path: the order of its steps, what each part's absence does, and what is kept."""

import asyncio
from dataclasses import replace

import pytest

from services.chassis.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    FulcrumError,
    Internal,
    InvalidField,
    NotFound,
    Overloaded,
    Unavailable,
)
from services.chassis.status import code_of
from services.edge.chat import Finish, FinishReason, Message, Objective, Sampling, TextDelta, ToolCallDelta, Usage
from services.edge.ports import CacheKey
from tests.unit.edge.parts import DONE, LARGE, SMALL, UNPRICED, USAGE, Bench, Script, control, embedding, request

SOON_S = 5.0
FAILURES = [
    Unavailable("part", "refused", "there"),
    DeadlineExceeded("deadline", "1 s", "more"),
    Overloaded("queue", 3, "2", retry_after_s=1.0),
    Internal("request", "KeyError", "no defect"),
]
FOREIGN = [
    FailedPrecondition("embedding.encoder_digest", "a", "b", reason="ENCODER_MISMATCH"),
    InvalidField("embedding.values", "3 bytes", "4"),
]
CALLERS = [
    FailedPrecondition("objective.max_cost_nano_usd", 1, "at least 5200", reason="OBJECTIVE_IMPOSSIBLE"),
    NotFound("objective.allowed_models[0]", "gtp", "gpt", reason="MODEL_UNKNOWN"),
    InvalidField("messages", "9000 tokens", "at most 512", reason="PROMPT_TOO_LONG"),
    FailedPrecondition("tools", 2, "a model with tools", reason="CAPABILITY_MISSING"),
]


def by_reason(error: FulcrumError) -> str:
    return error.reason


async def failed(bench: Bench, said: list[str]) -> FulcrumError:
    """The error that a request ends with, and what it said before."""
    try:
        async for event in bench.stream(request()):
            assert isinstance(event, TextDelta)
            said.append(event.text)
    except FulcrumError as error:
        return error
    raise AssertionError("expected an error")


async def test_a_miss_takes_every_step_in_order(bench: Bench) -> None:
    """Exact lookup, one embedding, semantic lookup and route, the router's model, store; the receipt tells them all."""
    text, receipt = await bench.ask(request())
    assert text == "an answer"
    assert bench.trace[:2] == ["lookup exact", "embed"]
    assert sorted(bench.trace[2:4]) == ["lookup semantic", "route"]
    assert bench.trace[4:] == ["generate small", "store"]
    outcome = receipt.outcome
    assert (receipt.request_id, outcome.model, outcome.finish) == ("r", SMALL, DONE)
    assert (outcome.cache.result, outcome.cache.lookup_id, outcome.cache.explanation) == (
        "miss",
        "l2",
        "nothing semantic",
    )
    assert (outcome.route.decision_id, outcome.route.predicted_loss) == ("d1", 0.01)
    assert outcome.degradations == ()
    assert receipt.cost
    assert receipt.cost.baseline_model == LARGE
    assert 0 <= receipt.latency.first_token_s <= receipt.latency.total_s
    assert 0 <= receipt.latency.model_s <= receipt.latency.total_s


async def test_lookup_and_route_run_side_by_side(bench: Bench) -> None:
    """The semantic lookup and the router are under way at the same time, with the same embedding."""
    both = asyncio.Barrier(2)
    bench.cache.on_semantic = bench.router.on_route = both.wait
    await asyncio.wait_for(bench.ask(request()), SOON_S)
    assert bench.cache.lookups[1][1] == bench.router.routes[0][1] == embedding("What is it?")


async def test_the_same_request_again_is_an_exact_hit(bench: Bench) -> None:
    """A repeat is answered by one lookup: nothing is embedded, routed or executed, and it costs nothing."""
    first, made = await bench.ask(request())
    bench.trace.clear()
    again, receipt = await bench.ask(request())
    assert again == first
    assert bench.trace == ["lookup exact"]
    assert (receipt.outcome.cache.result, receipt.outcome.cache.probability) == ("exact_hit", 1.0)
    assert (receipt.outcome.model, receipt.outcome.finish.reason) == (SMALL, FinishReason.STOP)
    assert made.cost
    assert receipt.cost
    assert receipt.cost.actual_nano_usd == 0
    assert receipt.cost.baseline_nano_usd == made.cost.baseline_nano_usd


async def test_a_semantic_hit_executes_nothing(bench: Bench) -> None:
    """A text judged equal is answered from the cache; the router was asked meanwhile, but no model runs."""
    first, _ = await bench.ask(request("What is it?"))
    bench.cache.similar["What is that?"] = "What is it?"
    bench.trace.clear()
    again, receipt = await bench.ask(request("What is that?"))
    assert again == first
    assert sorted(bench.trace) == ["embed", "lookup exact", "lookup semantic", "route"]
    assert (receipt.outcome.cache.result, receipt.outcome.cache.similarity) == ("semantic_hit", 0.9)
    assert receipt.outcome.route.decision_id == ""
    assert receipt.cost
    assert receipt.cost.actual_nano_usd == 0


async def test_a_long_answer_is_replayed_whole(bench: Bench) -> None:
    """A replay gives the stored text character by character, however long."""
    script: Script = [TextDelta("αβγ🙂" * 2000), TextDelta("x"), DONE]
    bench.executor.scripts[SMALL] = script
    first, _ = await bench.ask(request())
    again, _ = await bench.ask(request())
    assert again == first == "αβγ🙂" * 2000 + "x"


async def test_keys_keep_tenants_and_instructions_apart(bench: Bench) -> None:
    """Another tenant, another system prompt or another objective never gets this answer."""
    await bench.ask(request())
    for other in (
        request(tenant="other"),
        request(system="Be brief."),
        request(objective=Objective(allowed_models=(SMALL,))),
        request(objective=Objective(max_quality_loss=0.5)),
    ):
        _, receipt = await bench.ask(other)
        assert receipt.outcome.cache.result == "miss"


@pytest.mark.parametrize("error", FAILURES, ids=by_reason)
async def test_does_without_the_encoder(bench: Bench, error: FulcrumError) -> None:
    """Without an embedding: no semantic lookup, a route without one, the answer kept for exact matches, and told."""
    bench.encoder.error = error
    text, receipt = await bench.ask(request())
    assert text == "an answer"
    assert bench.trace == ["lookup exact", "embed", "route", "generate small", "store"]
    assert bench.router.routes[0][1] is None
    assert bench.cache.stores[0][1] is None
    ((part, status, consequence),) = told(receipt.outcome.degradations)
    assert (part, status) == ("encoder", code_of(error).name)
    assert consequence
    cache = receipt.outcome.cache
    assert (cache.result, cache.lookup_id, cache.explanation) == ("miss", "l1", "nothing exact")
    assert bench.cache.stores[0][4] == "l1"


@pytest.mark.parametrize("error", FAILURES, ids=by_reason)
async def test_does_without_the_cache(bench: Bench, error: FulcrumError) -> None:
    """A cache that fails once is not asked again for this request, and nothing is stored."""
    bench.cache.lookup_error = error
    text, receipt = await bench.ask(request())
    assert text == "an answer"
    assert bench.trace == ["lookup exact", "embed", "route", "generate small"]
    assert [one[:2] for one in told(receipt.outcome.degradations)] == [("cache", code_of(error).name)]
    assert receipt.outcome.cache.result == "bypassed"


async def test_does_without_a_cache_that_fails_midway(bench: Bench) -> None:
    """A cache that is lost between the lookups, or before the store, costs nothing but the reuse."""

    async def lose() -> None:
        raise FAILURES[0]

    bench.cache.on_semantic = lose
    text, receipt = await bench.ask(request())
    assert text == "an answer"
    assert "store" not in bench.trace
    assert [one[0] for one in told(receipt.outcome.degradations)] == ["cache"]
    bench.cache.on_semantic, bench.cache.store_error = None, FAILURES[1]
    text, receipt = await bench.ask(request())
    assert text == "an answer"
    ((part, status, consequence),) = told(receipt.outcome.degradations)
    assert (part, status) == ("cache", "DEADLINE_EXCEEDED")
    assert "not kept" in consequence
    assert not bench.cache.stores


async def test_an_answer_that_the_cache_refuses(bench: Bench) -> None:
    """It is given, its receipt says why it was not kept, and its lease ends at once, so that nobody waits for it."""
    bench.cache.refusal, bench.cache.lease_s = "personal_data", 30.0
    text, receipt = await bench.ask(request())
    assert (text, receipt.outcome.cache.not_kept) == ("an answer", "personal_data")
    assert not receipt.outcome.degradations
    await bench.pipeline.twins.close()
    assert [end for *_, end in bench.cache.holds] == [True]


@pytest.mark.parametrize("error", FAILURES, ids=by_reason)
async def test_does_without_the_router(bench: Bench, error: FulcrumError) -> None:
    """Without a router the strong model answers."""
    bench.router.error = error
    _, receipt = await bench.ask(request())
    assert bench.trace[-2:] == ["generate large", "store"]
    assert [one[:2] for one in told(receipt.outcome.degradations)] == [("router", code_of(error).name)]
    assert receipt.outcome.model == LARGE
    assert receipt.outcome.route.explanation


@pytest.mark.parametrize("error", FOREIGN, ids=by_reason)
async def test_an_embedding_that_the_router_refuses(bench: Bench, error: FulcrumError) -> None:
    """The router decides without it, by the same limits: no prediction, but nothing that the request excludes."""
    bench.router.refused, asked = error, request(objective=Objective(max_cost_nano_usd=7, max_latency_s=1.0))
    _, receipt = await bench.ask(asked)
    assert [one[:2] for one in told(receipt.outcome.degradations)] == [("router", code_of(error).name)]
    assert [embedded is None for _, embedded, _ in bench.router.routes] == [False, True]
    assert bench.router.routes[0][2] == bench.router.routes[1][2]
    assert receipt.outcome.route.decision_id
    bench.router.error = CALLERS[0]
    with pytest.raises(FailedPrecondition) as impossible:
        await bench.ask(replace(asked, messages=(Message("user", "another"),)))
    assert impossible.value is CALLERS[0]


async def test_limits_hold_without_the_router(bench: Bench) -> None:
    """What the strong model would cost more than, or take longer for, is not asked of it while the router is away."""
    bench.router.error = FAILURES[0]
    _, receipt = await bench.ask(request(objective=Objective(max_cost_nano_usd=200_000)))
    assert receipt.outcome.model == SMALL
    with pytest.raises(Unavailable, match="no model that is known without it keeps the request's limits"):
        await bench.ask(request(objective=Objective(max_cost_nano_usd=1)))


async def test_does_without_all_of_them(bench: Bench) -> None:
    """Encoder, cache and router may all be away: the request is answered, and the receipt names the three."""
    bench.encoder.error = bench.cache.lookup_error = bench.router.error = FAILURES[0]
    text, receipt = await bench.ask(request())
    assert text == "an answer"
    assert sorted(one[0] for one in told(receipt.outcome.degradations)) == ["cache", "encoder", "router"]


@pytest.mark.parametrize("error", CALLERS, ids=by_reason)
async def test_the_callers_own_mistakes_are_answered(bench: Bench, error: FulcrumError) -> None:
    """What the router refuses because of the caller is the caller's answer; nothing runs, nothing goes on running."""
    release = asyncio.Event()
    bench.router.error, bench.cache.on_semantic = error, release.wait
    before = asyncio.all_tasks()
    assert await asyncio.wait_for(failed(bench, []), SOON_S) is error
    assert asyncio.all_tasks() <= before
    assert not any(step.startswith(("generate", "store")) for step in bench.trace)


async def test_a_hit_needs_no_model(bench: Bench) -> None:
    """Where no model is known at all an answer from the cache is still served; a miss is UNAVAILABLE."""
    await bench.ask(request("What is it?"))
    lonely = Bench()
    lonely.cache.entries, lonely.cache.similar = bench.cache.entries, {"What is that?": "What is it?"}
    lonely.router.error = lonely.router.catalogue_error = FAILURES[0]
    async with lonely:
        text, receipt = await lonely.ask(request("What is that?"))
        assert (text, receipt.outcome.cache.result, receipt.cost) == ("an answer", "semantic_hit", None)
        lonely.cache.entries = {}
        assert isinstance(await failed(lonely, []), Unavailable)
        assert "generate small" not in lonely.trace


@pytest.mark.parametrize("error", [FAILURES[0], FAILURES[2]], ids=by_reason)
async def test_a_model_that_fails_at_once_is_replaced(bench: Bench, error: FulcrumError) -> None:
    """Before its first token a model hands over to the next of the plan, and the receipt says so."""
    bench.executor.scripts[SMALL] = [error]
    text, receipt = await bench.ask(request())
    assert text == "an answer"
    assert bench.trace[-3:] == ["generate small", "generate large", "store"]
    assert receipt.outcome.model == bench.cache.stores[0][2].model == LARGE
    ((part, status, consequence),) = told(receipt.outcome.degradations)
    assert (part, status) == ("model", code_of(error).name)
    assert SMALL in consequence
    assert LARGE in consequence


async def test_when_every_model_fails_the_last_error_is_the_answer(bench: Bench) -> None:
    """All of the plan are tried once, then the last error ends the request; nothing is stored."""
    bench.router.models = (SMALL, UNPRICED, LARGE)
    for model, error in ((SMALL, FAILURES[0]), (UNPRICED, FAILURES[2]), (LARGE, FAILURES[2])):
        bench.executor.scripts[model] = [error]
    assert await failed(bench, []) is FAILURES[2]
    assert [step for step in bench.trace if "generate" in step] == [f"generate {m}" for m in (SMALL, UNPRICED, LARGE)]
    assert not bench.cache.stores


@pytest.mark.parametrize("error", [FOREIGN[1], FAILURES[1]], ids=by_reason)
async def test_other_errors_of_a_model_are_not_tried_elsewhere(bench: Bench, error: FulcrumError) -> None:
    """A request that is wrong, or too late, for one model is not sent to the next."""
    bench.executor.scripts[SMALL] = [error]
    assert await failed(bench, []) is error
    assert bench.trace[-1] == "generate small"


@pytest.mark.parametrize("error", FAILURES, ids=by_reason)
async def test_after_the_first_token_an_error_ends_the_answer(bench: Bench, error: FulcrumError) -> None:
    """What was said stays said, no other model starts, the error ends the stream, and nothing is stored."""
    bench.executor.scripts[SMALL] = [TextDelta("half"), error]
    said: list[str] = []
    assert await failed(bench, said) is error
    assert said == ["half"]
    assert bench.trace[-1] == "generate small"
    assert not bench.cache.stores


@pytest.mark.parametrize(
    "script",
    [
        [TextDelta("cut"), Finish(FinishReason.LENGTH, USAGE)],
        [TextDelta("cut"), Finish(FinishReason.CONTENT_FILTER, USAGE)],
        [ToolCallDelta(0, "c", "look", "{}"), Finish(FinishReason.TOOL_CALLS, USAGE)],
        [TextDelta("let me look"), ToolCallDelta(0, "c", "look", "{}"), Finish(FinishReason.STOP, USAGE)],
        [ToolCallDelta(0, "c", "look", "{}"), Finish(FinishReason.STOP, USAGE)],
        [Finish(FinishReason.STOP, USAGE)],
        [TextDelta(""), Finish(FinishReason.STOP, USAGE)],
    ],
    ids=["length", "filter", "tools", "stop with tools", "stop with tools alone", "nothing", "empty"],
)
async def test_only_whole_answers_are_kept(bench: Bench, script: Script) -> None:
    """An answer that was cut, withheld, empty or that calls tools is given but not stored."""
    bench.executor.scripts[SMALL] = script
    events = [event async for event in bench.stream(request())]
    assert events[:-1] == script[:-1]
    assert not bench.cache.stores
    assert "store" not in bench.trace


async def test_an_answer_without_an_end_is_an_error(bench: Bench) -> None:
    """An executor's stream that just stops is UNAVAILABLE, not an answer, and not stored."""
    bench.executor.scripts[SMALL] = [TextDelta("half")]
    said: list[str] = []
    assert isinstance(await failed(bench, said), Unavailable)
    assert said == ["half"]
    assert not bench.cache.stores


async def test_what_is_stored(bench: Bench) -> None:
    """Text, model, tokens and cost are stored under the request's key, with the lookup that missed."""
    _, receipt = await bench.ask(request(cache_control=control(ttl_s=30.0)))
    ((key, vector, answer, ttl_s, lookup_id),) = bench.cache.stores
    assert isinstance(key, CacheKey)
    assert (key.tenant, key.text, vector) == ("tenant", "What is it?", embedding("What is it?"))
    assert (answer.text, answer.model, answer.input_tokens, answer.output_tokens) == ("an answer", SMALL, 100, 50)
    assert receipt.cost
    assert answer.cost_nano_usd == receipt.cost.actual_nano_usd
    assert (ttl_s, lookup_id) == (30.0, "l2")


async def test_an_unpriced_answer_is_stored_without_a_cost(bench: Bench) -> None:
    """Unpriced stays unpriced, in the store and in the receipt."""
    bench.router.models = (UNPRICED,)
    _, receipt = await bench.ask(request())
    assert receipt.cost is None
    assert bench.cache.stores[0][2].cost_nano_usd is None


async def test_no_cache(bench: Bench) -> None:
    """no_cache looks nothing up and keeps the answer; only if that is off too is all of the budget the router's."""
    await bench.ask(request())
    bench.trace.clear()
    _, receipt = await bench.ask(request(cache_control=control(no_cache=True)))
    assert bench.trace == ["embed", "route", "generate small", "store"]
    assert receipt.outcome.cache.result == "bypassed"
    assert (receipt.quality.cache_share, receipt.quality.router_share) == (0.005, 0.015)
    _, receipt = await bench.ask(request(cache_control=control(no_cache=True, no_store=True)))
    assert (receipt.quality.cache_share, receipt.quality.router_share) == (0, 0.02)
    assert bench.router.routes[-1][2].max_quality_loss == 0.02


async def test_too_long_for_one_model_is_tried_on_the_next(bench: Bench) -> None:
    """A prompt that does not fit the chosen model's context goes to the next of the plan."""
    bench.executor.scripts[SMALL] = [CALLERS[2]]
    _, receipt = await bench.ask(request())
    assert receipt.outcome.model == LARGE


async def test_a_weaker_model_stands_in_only_within_the_bound(bench: Bench) -> None:
    """When the strong model fails, a weaker one answers if the router says that it may, and its answer is not kept."""
    bench.router.models = (LARGE, SMALL)
    bench.executor.scripts[LARGE] = [FAILURES[2]]
    _, receipt = await bench.ask(request())
    assert receipt.outcome.model == SMALL
    assert not bench.cache.stores
    bench.router.stand_in = False  # whatever its predicted loss
    with pytest.raises(Overloaded):
        await bench.ask(request("another"))


async def test_a_model_that_cannot_do_it_hands_over(bench: Bench) -> None:
    """A model that lacks a capability before its first token is passed over for the next of the plan."""
    bench.executor.scripts[SMALL] = [FailedPrecondition("tools", "1 tool", "a model that takes tools")]
    text, receipt = await bench.ask(request())
    assert (text, receipt.outcome.model) == ("an answer", LARGE)
    assert [degradation.part for degradation in receipt.outcome.degradations] == ["model"]


async def test_no_store(bench: Bench) -> None:
    """no_store may be answered from the cache but leaves nothing in it."""
    _, receipt = await bench.ask(request(cache_control=control(no_store=True)))
    assert receipt.outcome.cache.result == "miss"
    assert "store" not in bench.trace
    await bench.ask(request())
    _, receipt = await bench.ask(request(cache_control=control(no_store=True)))
    assert receipt.outcome.cache.result == "exact_hit"


@pytest.mark.parametrize(("temperature", "asked", "kept"), [(0.7, False, 1), (0.71, False, 0), (2.0, True, 1)])
async def test_what_is_sampled_hot_is_kept_on_request_alone(
    bench: Bench, temperature: float, asked: bool, kept: int
) -> None:
    """Beyond the operator's temperature an answer is one of many: it is kept only for who wants it kept."""
    hot = replace(request(cache_control=control(store_sampled=asked)), sampling=Sampling(temperature=temperature))
    await bench.ask(hot)
    assert len(bench.cache.stores) == kept


async def test_only_if_cached(bench: Bench) -> None:
    """What is kept is served, the same or similar; anything else is NOT_FOUND before a model is asked or paid."""
    asked = control(only_if_cached=True)
    with pytest.raises(NotFound) as missed:
        await bench.ask(request(cache_control=asked))
    assert (missed.value.field, missed.value.reason) == ("cache_control.only_if_cached", "NOT_CACHED")
    assert bench.trace == ["lookup exact", "embed", "lookup semantic"]
    assert not bench.cache.executing[-1]  # so that it is on no book of requests
    await bench.ask(request())
    bench.cache.similar["In other words"] = "What is it?"
    bench.trace.clear()
    for prompt, found in (("What is it?", "exact_hit"), ("In other words", "semantic_hit")):
        text, receipt = await bench.ask(request(prompt, cache_control=asked))
        assert (text, receipt.outcome.cache.result) == ("an answer", found)
    assert not [step for step in bench.trace if step.startswith(("route", "generate"))]


async def test_only_if_cached_without_a_cache(bench: Bench) -> None:
    """A cache that is away is no miss: the caller may ask again."""
    bench.cache.lookup_error = Unavailable("cache", "gone", "a cache")
    with pytest.raises(Unavailable):
        await bench.ask(request(cache_control=control(only_if_cached=True)))


async def test_only_if_cached_beside_no_cache(bench: Bench) -> None:
    """They contradict each other."""
    with pytest.raises(InvalidField) as refused:
        await bench.ask(request(cache_control=control(only_if_cached=True, no_cache=True)))
    assert refused.value.field == "cache_control.only_if_cached"


async def test_max_age_goes_to_both_lookups(bench: Bench) -> None:
    """The oldest answer that will do is said to the cache each time; unset is unset."""
    await bench.ask(request(cache_control=control(max_age_s=5.0)))
    assert [lookup[3] for lookup in bench.cache.lookups] == [5.0, 5.0]
    await bench.ask(request("Another"))
    assert [lookup[3] for lookup in bench.cache.lookups[2:]] == [None, None]


@pytest.mark.parametrize(("asked", "loss"), [(None, 0.02), (0.1, 0.1), (0.0, 0.0)])
async def test_the_budget_reaches_cache_and_router(bench: Bench, asked: float | None, loss: float) -> None:
    """The caller's number, or the operator's, is split; each part gets its share and the receipt shows both."""
    _, receipt = await bench.ask(request(objective=Objective(max_quality_loss=asked, max_cost_nano_usd=7)))
    quality = receipt.quality
    assert (quality.max_quality_loss, quality.cache_share) == (loss, loss * 0.25)
    assert [lookup[2] for lookup in bench.cache.lookups] == [quality.cache_share] * 2
    passed_on = bench.router.routes[0][2]
    assert (passed_on.max_quality_loss, passed_on.max_cost_nano_usd) == (quality.router_share, 7)


@pytest.mark.parametrize(
    ("last", "field"),
    [
        (Message("assistant", "I think"), "messages[1].role"),
        (Message("system", "Be brief"), "messages[1].role"),
        (Message("user", " \n\t"), "messages[1].content"),
    ],
)
async def test_there_must_be_something_to_answer(bench: Bench, last: Message, field: str) -> None:
    """A conversation that ends in nothing to answer is refused before any part is asked."""
    with pytest.raises(InvalidField) as caught:
        await bench.ask(request(messages=(Message("user", "Hello"), last)))
    assert caught.value.field == field
    assert not bench.trace


async def test_usage_is_that_of_the_answer(bench: Bench) -> None:
    """A hit reports the tokens of the stored answer: what the baseline is priced on."""
    bench.executor.scripts[SMALL] = [TextDelta("x"), Finish(FinishReason.STOP, Usage(7, 2, 1, 3), 0.1)]
    _, made = await bench.ask(request())
    _, hit = await bench.ask(request())
    assert made.outcome.finish.usage == Usage(7, 2, 1, 3)
    assert hit.outcome.finish.usage == Usage(7, 0, 0, 3)


def told(degradations: object) -> list[tuple[str, str, str]]:
    assert isinstance(degradations, tuple)
    return [(one.part, one.status, one.consequence) for one in degradations]
