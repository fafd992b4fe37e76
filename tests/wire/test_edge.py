"""EdgeService over a whole suite, the same on both bindings."""

import asyncio
import datetime
import itertools
import time
from base64 import b64encode
from typing import Any

import grpc
import pytest
from fulcrum.cache.v1 import cache_service_pb2 as cache_pb
from fulcrum.edge.v1 import edge_service_pb2 as pb
from fulcrum.edge.v1 import receipt_pb2
from fulcrum.executor.v1 import chat_pb2
from fulcrum.router.v1 import objective_pb2

from tests.wire.expect import drained, refused
from tests.wire.suites import ENDLESS, MAX_MESSAGE_BYTES, TENANT_HEADER, Suite

INVALID = grpc.StatusCode.INVALID_ARGUMENT
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
_tenants = (f"edge-{number}" for number in itertools.count())


def ask(prompt: str, **fields: Any) -> pb.CompleteRequest:
    return pb.CompleteRequest(messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content=prompt)], **fields)


def as_tenant(tenant: str) -> dict[str, Any]:
    return {"metadata": ((TENANT_HEADER, tenant),), "timeout": 30}


async def complete(suite: Suite, request: pb.CompleteRequest, tenant: str) -> tuple[str, receipt_pb2.Receipt]:
    events = await drained(suite.edge.Complete(request, **as_tenant(tenant)))
    assert [event.WhichOneof("event") for event in events].count("receipt") == 1
    assert events[-1].WhichOneof("event") == "receipt"
    return "".join(event.text_delta.text for event in events[:-1]), events[-1].receipt


def assert_adds_up(receipt: receipt_pb2.Receipt) -> None:
    cost = receipt.cost
    assert cost.priced
    assert [saving.lever for saving in cost.levers] == [1, 2, 3, 4]
    assert cost.baseline_nano_usd - sum(saving.saved_nano_usd for saving in cost.levers) == cost.actual_nano_usd
    assert cost.baseline_nano_usd > 0


async def test_miss_then_exact_then_semantic(suite: Suite) -> None:
    """A new prompt is executed, its repeat an exact hit, its paraphrase a semantic one; every receipt adds up."""
    tenant = next(_tenants)
    text, missed = await complete(suite, ask("What is the capital of France?"), tenant)
    assert text
    assert missed.cache.result == receipt_pb2.CACHE_RESULT_MISS
    assert missed.route.decision_id
    assert missed.route.explanation
    assert missed.cost.actual_nano_usd > 0
    repeated, exact = await complete(suite, ask("What is the capital of France?"), tenant)
    assert (repeated, exact.cache.result) == (text, receipt_pb2.CACHE_RESULT_EXACT_HIT)
    cached = pb.CacheControl(only_if_cached=True)  # else some would-be hits are executed, to audit them
    asked = ask("Tell me the capital city of France.", cache_control=cached)
    said, semantic = await complete(suite, asked, tenant)
    assert (said, semantic.cache.result) == (text, receipt_pb2.CACHE_RESULT_SEMANTIC_HIT), semantic
    assert exact.cost.actual_nano_usd == semantic.cost.actual_nano_usd == 0
    for receipt in (missed, exact, semantic):
        assert_adds_up(receipt)
        assert not receipt.degradations
        assert receipt.quality.max_quality_loss == receipt.quality.cache_share + receipt.quality.router_share
    usage = await suite.edge.GetUsage(pb.GetUsageRequest(), **as_tenant(tenant))
    total = usage.total
    assert (total.requests, total.exact_hits, total.semantic_hits) == (3, 1, 1)
    assert total.actual_nano_usd == missed.cost.actual_nano_usd
    assert total.baseline_nano_usd == sum(one.cost.baseline_nano_usd for one in (missed, exact, semantic))


async def test_a_receipt_says_why_an_answer_was_not_kept(suite: Suite) -> None:
    """One to a prompt with personal data is given and not kept, and its receipt says so; of one that is kept it does
    not."""
    tenant = next(_tenants)
    for prompt, why in (
        ("Write to anna.larsson@example.org about the delay.", cache_pb.NOT_KEPT_PERSONAL_DATA),
        ("Write about the delay.", cache_pb.NOT_KEPT_UNSPECIFIED),
    ):
        text, receipt = await complete(suite, ask(prompt), tenant)
        assert text
        assert (receipt.cache.result, receipt.cache.not_kept) == (receipt_pb2.CACHE_RESULT_MISS, why)
        assert not receipt.degradations


async def test_objectives_reach_the_router_and_alternatives_the_receipt(suite: Suite) -> None:
    """Goal, allow and deny lists and limits decide; the receipt lists who could have answered, with all predictions."""
    tenant = next(_tenants)
    for fields, model in (
        ({"goal": objective_pb2.GOAL_BEST, "max_quality_loss": 1.0}, "fulcrum-large"),
        ({"goal": objective_pb2.GOAL_FASTEST, "max_quality_loss": 1.0}, "fulcrum-small"),
        ({"goal": objective_pb2.GOAL_BEST, "denied_models": ["fulcrum-large", ENDLESS]}, "fulcrum-small"),
    ):
        objective = objective_pb2.Objective(**fields)
        _, receipt = await complete(suite, ask("Reverse the word stone.", objective=objective), tenant)
        alternatives = receipt.route.alternatives
        assert receipt.model == alternatives[0].model == model, receipt.route
        assert alternatives[0].predicted_quality == receipt.route.predicted_quality > 0
        assert all(one.expected_cost_nano_usd > 0 and one.HasField("expected_latency") for one in alternatives)
        assert receipt.route.explanation.startswith(model)


async def test_a_conversation_is_routed_as_one(suite: Suite) -> None:
    """A turn that leans on the first goes to the strong model; a new question stays with who holds the prefix."""
    tenant = next(_tenants)
    user, assistant = chat_pb2.ROLE_USER, chat_pb2.ROLE_ASSISTANT
    turns: list[tuple[chat_pb2.Role, str]] = []

    async def turn(prompt: str, **wanted: Any) -> receipt_pb2.Receipt:
        objective = objective_pb2.Objective(max_quality_loss=1.0, **wanted)
        messages = [chat_pb2.Message(role=role, content=content) for role, content in [*turns, (user, prompt)]]
        request = pb.CompleteRequest(messages=messages, objective=objective)
        request.sampling.max_output_tokens = 1
        text, receipt = await complete(suite, request, tenant)
        turns.extend([(user, prompt), (assistant, text or "Paris")])
        return receipt

    first = await turn("What is the capital of France? " * 9, denied_models=["fulcrum-small", ENDLESS])
    leaning = await turn("And the second one?")
    assert (first.model, leaning.model) == ("fulcrum-large", "fulcrum-large")
    assert "says nothing without those before it" in leaning.route.explanation
    stays = await turn("What is the capital of Norway?")
    assert stays.model == "fulcrum-large"
    assert "the session stays" in stays.route.explanation
    assert stays.usage.cached_input_tokens > 0
    turns.clear()
    assert (await turn("What is the capital of Norway?")).model == "fulcrum-small"


async def test_a_known_prefix_is_a_saving(suite: Suite) -> None:
    """Of a prompt that begins like an earlier one of its tenant less is read; the receipt says what that saved."""
    tenant = next(_tenants)
    strong = objective_pb2.Objective(allowed_models=["fulcrum-large"])
    for other in (tenant, next(_tenants)):
        _, first = await complete(suite, ask("What is the capital city of Denmark?", objective=strong), other)
        assert first.usage.cached_input_tokens == 0
        assert first.cost.levers[2].factor == 1.0
    _, second = await complete(suite, ask("What is the capital city of Portugal?", objective=strong), tenant)
    saving = second.cost.levers[2]
    assert saving.lever == receipt_pb2.LEVER_PREFIX_REUSE
    assert 0 < second.usage.cached_input_tokens < second.usage.input_tokens
    assert saving.saved_nano_usd > 0
    assert saving.factor < 1.0
    assert_adds_up(second)


async def test_tenants_never_meet(suite: Suite) -> None:
    """One tenant's answer is not another's, and the tenant comes from metadata alone."""
    first, second = next(_tenants), next(_tenants)
    await complete(suite, ask("What is the capital of Spain?"), first)
    _, receipt = await complete(suite, ask("What is the capital of Spain?"), second)
    assert receipt.cache.result == receipt_pb2.CACHE_RESULT_MISS
    if suite.binding == "grpc":  # a call from within the process is the process's own
        nobody, field = suite.edge.Complete(ask("x"), timeout=5), f"metadata.{TENANT_HEADER}"
        await refused(nobody, grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_MISSING", field)
    twice = suite.edge.Complete(ask("x"), metadata=((TENANT_HEADER, first), (TENANT_HEADER, second)), timeout=5)
    await refused(twice, grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID", f"metadata.{TENANT_HEADER}")


async def test_what_changes_an_answer_keeps_answers_apart(suite: Suite) -> None:
    """Another system prompt, sampling or model policy misses."""
    tenant = next(_tenants)
    prompt = "Reverse the word stone."
    await complete(suite, ask(prompt), tenant)
    with_system = pb.CompleteRequest(
        messages=[
            chat_pb2.Message(role=chat_pb2.ROLE_SYSTEM, content="Be brief."),
            chat_pb2.Message(role=chat_pb2.ROLE_USER, content=prompt),
        ]
    )
    others = (
        with_system,
        ask(prompt, sampling=chat_pb2.Sampling(max_output_tokens=40)),
        ask(prompt, objective=objective_pb2.Objective(allowed_models=["fulcrum-large"])),
        ask(prompt, objective=objective_pb2.Objective(max_quality_loss=0.3)),
    )
    for other in others:
        _, receipt = await complete(suite, other, tenant)
        assert receipt.cache.result == receipt_pb2.CACHE_RESULT_MISS, other


async def test_identical_requests_execute_once(suite: Suite) -> None:
    """Of ten identical requests at once one executes; the rest share its answer and pay nothing."""
    tenant = next(_tenants)
    answers = await asyncio.gather(*(complete(suite, ask("Reverse the word planet."), tenant) for _ in range(10)))
    assert len({text for text, _ in answers}) == 1
    results = [receipt.cache.result for _, receipt in answers]
    assert results.count(receipt_pb2.CACHE_RESULT_MISS) == 1
    reused = {receipt_pb2.CACHE_RESULT_SHARED, receipt_pb2.CACHE_RESULT_EXACT_HIT}
    assert set(results) <= {receipt_pb2.CACHE_RESULT_MISS, *reused}
    assert sum(receipt.cost.actual_nano_usd > 0 for _, receipt in answers) == 1


async def test_cache_control(suite: Suite) -> None:
    """no_store keeps nothing, no_cache executes although there is an answer, what is hot is kept on request alone."""
    tenant = next(_tenants)
    prompt = "What is the capital of Italy?"
    await complete(suite, ask(prompt, cache_control=pb.CacheControl(no_store=True)), tenant)
    _, second = await complete(suite, ask(prompt), tenant)
    assert second.cache.result == receipt_pb2.CACHE_RESULT_MISS
    _, third = await complete(suite, ask(prompt, cache_control=pb.CacheControl(no_cache=True)), tenant)
    assert third.cache.result == receipt_pb2.CACHE_RESULT_BYPASSED
    for kept, results in ((False, ["MISS", "MISS"]), (True, ["MISS", "EXACT_HIT"])):
        hot = ask(prompt, sampling=chat_pb2.Sampling(temperature=0.8, seed=int(kept)))
        hot.cache_control.store_sampled = kept
        found = [(await complete(suite, hot, tenant))[1].cache.result for _ in results]
        assert [receipt_pb2.CacheResult.Name(one).removeprefix("CACHE_RESULT_") for one in found] == results


async def test_only_if_cached(suite: Suite) -> None:
    """Nothing kept is NOT_FOUND with its reason; what is kept and young enough is served."""
    tenant = next(_tenants)
    asked = ask("What is the capital of Spain?", cache_control=pb.CacheControl(only_if_cached=True))

    async def told() -> None:
        call = suite.edge.Complete(asked, **as_tenant(tenant))
        await refused(anext(aiter(call)), grpc.StatusCode.NOT_FOUND, "NOT_CACHED", "cache_control.only_if_cached")

    await told()
    await complete(suite, ask("What is the capital of Spain?"), tenant)
    _, receipt = await complete(suite, asked, tenant)
    assert receipt.cache.result == receipt_pb2.CACHE_RESULT_EXACT_HIT
    asked.cache_control.max_age.FromMilliseconds(1)
    await told()


async def test_cancelling_reaches_the_model_and_stores_nothing(suite: Suite) -> None:
    """A client that leaves after the first delta frees the model, and its unfinished answer is not kept."""
    tenant = next(_tenants)
    whole = ask("Reverse the word stone.", objective=objective_pb2.Objective(allowed_models=[ENDLESS]))
    begin = time.perf_counter()
    _, receipt = await complete(suite, whole, tenant)
    whole_s = time.perf_counter() - begin
    assert receipt.finish_reason == chat_pb2.FINISH_REASON_LENGTH
    before = await suite.cache.Stats(cache_pb.StatsRequest(), timeout=5)
    call = suite.edge.Complete(whole, **as_tenant(tenant))
    await anext(aiter(call))
    call.cancel()
    begin = time.perf_counter()
    whole.sampling.max_output_tokens = 2
    await complete(suite, whole, tenant)
    assert time.perf_counter() - begin < whole_s / 2
    after = await suite.cache.Stats(cache_pb.StatsRequest(), timeout=5)
    assert after.entries == before.entries


@pytest.mark.parametrize(
    ("request_", "code", "reason", "field"),
    [
        (pb.CompleteRequest(), INVALID, "FIELD_INVALID", "messages"),
        (ask(""), INVALID, "FIELD_INVALID", "messages[0]"),
        (ask(" \n "), INVALID, "FIELD_INVALID", "messages[0].content"),
        (ask("word " * 500), INVALID, "PROMPT_TOO_LONG", "messages"),
        (ask("x", sampling=chat_pb2.Sampling(top_p=2.0)), INVALID, "FIELD_INVALID", "sampling.top_p"),
        (
            ask("x", objective=objective_pb2.Objective(max_quality_loss=2.0)),
            INVALID,
            "FIELD_INVALID",
            "objective.max_quality_loss",
        ),
        (
            ask("x", objective=objective_pb2.Objective(allowed_models=["gtp-4"])),
            grpc.StatusCode.NOT_FOUND,
            "MODEL_UNKNOWN",
            "objective.allowed_models",
        ),
        (
            ask("x", objective=objective_pb2.Objective(max_cost_nano_usd=0)),
            PRECONDITION,
            "OBJECTIVE_IMPOSSIBLE",
            "objective.max_cost_nano_usd",
        ),
        (
            ask("x", tools=[chat_pb2.Tool(name="f", parameters_json_schema="{}")]),
            PRECONDITION,
            "CAPABILITY_MISSING",
            "tools",
        ),
        (ask("x" * MAX_MESSAGE_BYTES), grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE", "message"),
    ],
)
async def test_refusals(
    suite: Suite, request_: pb.CompleteRequest, code: grpc.StatusCode, reason: str, field: str
) -> None:
    """Each bad request gets its canonical status and names the field; the server stays up and nothing is stored."""
    before = await suite.cache.Stats(cache_pb.StatsRequest(), timeout=5)
    await refused(suite.edge.Complete(request_, **as_tenant("refused")), code, reason, field)
    after = await suite.cache.Stats(cache_pb.StatsRequest(), timeout=5)
    assert after.entries == before.entries


async def test_expired_deadline(suite: Suite) -> None:
    """A deadline that passes on the way ends in DEADLINE_EXCEEDED, and nothing is stored."""
    endless = objective_pb2.Objective(allowed_models=[ENDLESS])
    before = await suite.cache.Stats(cache_pb.StatsRequest(), timeout=5)
    for timeout in (-1, 0.01, 0.1):
        metadata = ((TENANT_HEADER, "late"),)
        request = ask("Reverse the word stone.", objective=endless)
        call = suite.edge.Complete(request, metadata=metadata, timeout=timeout)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await drained(call)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    after = await suite.cache.Stats(cache_pb.StatsRequest(), timeout=5)
    assert after.entries == before.entries


async def test_usage_is_the_ledger_split_as_asked(suite: Suite) -> None:
    """Groups by tenant, model and day add up to the total, page by page, and hold nothing of another tenant."""
    tenant, other = next(_tenants), next(_tenants)
    receipts = [(await complete(suite, ask(f"Reverse the word {word}."), tenant))[1] for word in ("stone", "stone")]
    await complete(suite, ask("Reverse the word stone."), other)
    dimensions = [pb.USAGE_DIMENSION_TENANT, pb.USAGE_DIMENSION_MODEL, pb.USAGE_DIMENSION_DAY]
    usage = await suite.edge.GetUsage(pb.GetUsageRequest(group_by=dimensions, page_size=1), **as_tenant(tenant))
    (group,) = usage.groups
    assert (group.tenant, group.model, usage.next_page_token) == (tenant, receipts[0].model, "")
    assert group.totals == usage.total == usage.models[0].totals
    assert usage.total.actual_nano_usd == sum(receipt.cost.actual_nano_usd for receipt in receipts)
    assert (usage.total.requests, usage.total.exact_hits) == (2, 1)
    begin, day = group.day.ToDatetime(), datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    assert datetime.timedelta(0) <= day - begin < datetime.timedelta(days=2)
    past = pb.GetUsageRequest()
    past.end_time.FromDatetime(begin)
    assert (await suite.edge.GetUsage(past, **as_tenant(tenant))).total.requests == 0


async def test_usage_of_another_tenant_is_refused(suite: Suite) -> None:
    """Naming another tenant is denied, naming oneself is fine."""
    tenant = next(_tenants)
    denied = suite.edge.GetUsage(pb.GetUsageRequest(tenant="somebody"), **as_tenant(tenant))
    await refused(denied, grpc.StatusCode.PERMISSION_DENIED, "CALLER_NOT_ALLOWED", "tenant")
    own = await suite.edge.GetUsage(pb.GetUsageRequest(tenant=tenant), **as_tenant(tenant))
    assert own.total.requests == 0


async def test_a_page_token_of_any_day_is_a_place(suite: Suite) -> None:
    """A well-formed token that names no day of ours gives what comes after it, be it nothing."""
    for day in (-(10**24), 10**24):
        token = b64encode(f'["t", {day}, "m"]'.encode()).decode()
        asked = pb.GetUsageRequest(group_by=[pb.USAGE_DIMENSION_DAY], page_token=token)
        assert not (await suite.edge.GetUsage(asked, **as_tenant("nobody"))).groups


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"page_token": "x"}, "page_token"),
        ({"page_token": "W1tbW1tbW10="}, "page_token"),
        ({"page_token": b64encode(b'["\\ud800", 1, "m"]').decode()}, "page_token"),
        ({"page_size": 1001}, "page_size"),
        ({"group_by": [0]}, "group_by[0]"),
        ({"start_time": {"seconds": 86400 * 9}, "end_time": {"seconds": 86400 * 8}}, "end_time"),
    ],
)
async def test_usage_refusals(suite: Suite, fields: dict[str, Any], field: str) -> None:
    """A bad page, size, dimension or order of days names the field."""
    await refused(suite.edge.GetUsage(pb.GetUsageRequest(**fields), **as_tenant("t")), INVALID, "FIELD_INVALID", field)


async def test_an_answer_of_a_schema(suite: Suite) -> None:
    """A schema reaches the model, an answer is reused for the same schema alone, and what is none is refused."""
    tenant = next(_tenants)
    asked = [
        ask("What is the capital of France?", sampling=chat_pb2.Sampling(response_format={"json_schema": schema}))
        for schema in ('{"type": "boolean"}', '{"type": "boolean"}', '{"enum": ["Paris", "Rome"]}', "{")
    ]
    (first, made), (second, kept), (third, other) = [await complete(suite, one, tenant) for one in asked[:3]]
    assert first == second
    assert first in ("true", "false")
    assert third in ('"Paris"', '"Rome"')
    results = [one.cache.result for one in (made, kept, other)]
    miss = receipt_pb2.CACHE_RESULT_MISS
    assert results == [miss, receipt_pb2.CACHE_RESULT_EXACT_HIT, miss]
    call = suite.edge.Complete(asked[3], **as_tenant(tenant))
    await refused(call, INVALID, "FIELD_INVALID", "sampling.response_format.json_schema")


async def test_probabilities_pass_and_are_never_replayed(suite: Suite) -> None:
    """Probabilities come with each answer that asks for them, so none of these is one from the cache."""
    tenant = next(_tenants)
    asked = ask("What is the capital of Norway?", sampling=chat_pb2.Sampling(top_logprobs=2))
    for _ in range(2):
        events = await drained(suite.edge.Complete(asked, **as_tenant(tenant)))
        told = [one for event in events for one in event.text_delta.logprobs]
        assert b"".join(one.token for one in told).decode() == "".join(event.text_delta.text for event in events) != ""
        assert {len(one.alternatives) for one in told} == {2}
        assert events[-1].receipt.cache.result == receipt_pb2.CACHE_RESULT_BYPASSED
