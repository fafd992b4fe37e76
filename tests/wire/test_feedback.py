"""A client's word on an answer, through edge: what becomes of it in the cache and the router."""

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from fulcrum.cache.v1 import cache_service_pb2 as cache_pb
from fulcrum.edge.v1 import edge_service_pb2 as pb
from fulcrum.edge.v1 import receipt_pb2

from services.cache.__main__ import assemble as assemble_cache
from services.cache.settings import CacheSettings
from services.chassis.server import Component, ServerProcess
from services.chassis.settings import ServerSettings
from services.edge.bindings import CacheBinding, RouterBinding
from services.edge.chat import Message, Objective, Request
from services.edge.ports import CacheKey, Circumstances, Hit, StoredAnswer
from services.router.__main__ import assemble as assemble_router
from tests.wire.expect import refused
from tests.wire.suites import Suite
from tests.wire.suites import settings as suite_of
from tests.wire.test_edge import as_tenant, ask, complete

CACHED = pb.CacheControl(only_if_cached=True)
NOT_FOUND = grpc.StatusCode.NOT_FOUND
_tenants = (f"feedback-{number}" for number in itertools.count())


def word(receipt: receipt_pb2.Receipt, right: bool = False) -> pb.FeedbackRequest:
    return pb.FeedbackRequest(
        lookup_id=receipt.cache.lookup_id,
        decision_id=receipt.route.decision_id,
        model=receipt.model,
        verdict=pb.VERDICT_RIGHT if right else pb.VERDICT_WRONG,
    )


async def promise(suite: Suite, tenant: str) -> cache_pb.Promise:
    stats: cache_pb.StatsResponse = await suite.cache.Stats(cache_pb.StatsRequest(), timeout=10)
    return next(one for one in stats.promises if one.tenant == tenant)


async def test_a_similar_hit_told_wrong_counts_in_the_promise(suite: Suite) -> None:
    """It counts as one wrong answer, through another edge than the one that gave it, and once however often it is
    told; the entry is withdrawn."""
    tenant = next(_tenants)
    await complete(suite, ask("What is the capital of France?"), tenant)
    paraphrase = ask("Tell me the capital city of France.", cache_control=CACHED)
    _, receipt = await complete(suite, paraphrase, tenant)
    assert receipt.cache.result == receipt_pb2.CACHE_RESULT_SEMANTIC_HIT
    before = await promise(suite, tenant)
    for _ in range(2):
        await suite.another_edge.Feedback(word(receipt), **as_tenant(tenant))
        after = await promise(suite, tenant)
        told = (after.realised - before.realised) * after.requests
        assert told == pytest.approx(receipt.cache.probability)  # beside the doubt that it was served with
    for gone in (paraphrase, ask("What is the capital of France?", cache_control=CACHED)):
        await refused(
            suite.edge.Complete(gone, **as_tenant(tenant)), NOT_FOUND, "NOT_CACHED", "cache_control.only_if_cached"
        )


@pytest.mark.parametrize("right", [True, False])
async def test_an_answer_that_a_model_made(suite: Suite, right: bool) -> None:
    """Told wrong, what was stored of it is withdrawn; told right, it is served on. Neither is an error twice."""
    tenant = next(_tenants)
    _, receipt = await complete(suite, ask("What is the capital of Norway?"), tenant)
    assert receipt.cache.lookup_id
    assert receipt.route.decision_id
    for edge in (suite.edge, suite.another_edge):
        await edge.Feedback(word(receipt, right), **as_tenant(tenant))
    again = ask("What is the capital of Norway?", cache_control=CACHED)
    if right:
        assert (await complete(suite, again, tenant))[1].cache.result == receipt_pb2.CACHE_RESULT_EXACT_HIT
    else:
        call = suite.edge.Complete(again, **as_tenant(tenant))
        await refused(call, NOT_FOUND, "NOT_CACHED", "cache_control.only_if_cached")


async def test_another_tenants_answer_is_not_found(suite: Suite) -> None:
    """Whoever holds another tenant's receipt learns nothing by it and changes nothing."""
    tenant = next(_tenants)
    _, receipt = await complete(suite, ask("What is the capital of Spain?"), tenant)
    whole = word(receipt)
    looked = pb.FeedbackRequest(lookup_id=whole.lookup_id, verdict=whole.verdict)
    decided = pb.FeedbackRequest(decision_id=whole.decision_id, model=whole.model, verdict=whole.verdict)
    for told, field in ((whole, "lookup_id"), (looked, "lookup_id"), (decided, "decision_id")):
        call = suite.edge.Feedback(told, **as_tenant("another"))
        error = await refused(call, NOT_FOUND, "ID_UNKNOWN", field)
        assert tenant not in str(error.details())
        assert "of a receipt of yours" in str(error.details())
    kept = ask("What is the capital of Spain?", cache_control=CACHED)
    assert (await complete(suite, kept, tenant))[1].cache.result == receipt_pb2.CACHE_RESULT_EXACT_HIT


async def test_what_one_part_forgot_the_other_is_told(suite: Suite) -> None:
    """A decision that nobody knows is named, and the cache has heard the word all the same."""
    tenant = next(_tenants)
    _, receipt = await complete(suite, ask("What is the capital of Poland?"), tenant)
    told = word(receipt)
    told.decision_id = "never"
    await refused(suite.edge.Feedback(told, **as_tenant(tenant)), NOT_FOUND, "ID_UNKNOWN", "decision_id")
    gone = ask("What is the capital of Poland?", cache_control=CACHED)
    call = suite.edge.Complete(gone, **as_tenant(tenant))
    await refused(call, NOT_FOUND, "NOT_CACHED", "cache_control.only_if_cached")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "lookup_id"),
        ({"model": "fulcrum-small"}, "lookup_id"),
        ({"decision_id": "x"}, "model"),
        ({"lookup_id": "x" * 201}, "lookup_id"),
        ({"lookup_id": "x", "verdict": pb.VERDICT_UNSPECIFIED}, "verdict"),
        ({"lookup_id": "x", "verdict": 3}, "verdict"),
    ],
)
async def test_bad_fields(suite: Suite, fields: dict[str, Any], field: str) -> None:
    """A word on nothing, on nobody's answer, too long or unsaid is refused by the name of its field."""
    told = pb.FeedbackRequest(**{"verdict": pb.VERDICT_WRONG, **fields})
    call = suite.edge.Feedback(told, **as_tenant("x"))
    await refused(call, grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID", field)


async def test_a_model_that_was_not_planned(suite: Suite) -> None:
    """It is named with those that were."""
    tenant = next(_tenants)
    _, receipt = await complete(suite, ask("What is the capital of Italy?"), tenant)
    told = word(receipt)
    told.model = "gpt-9"
    error = await refused(suite.edge.Feedback(told, **as_tenant(tenant)), NOT_FOUND, "MODEL_UNKNOWN", "model")
    assert receipt.model in str(error.details())


async def test_who_shows_no_credentials_is_not_heard(suite: Suite) -> None:
    """Over a wire: as for every method."""
    if suite.binding == "grpc":
        call = suite.edge.Feedback(pb.FeedbackRequest(lookup_id="x", verdict=pb.VERDICT_WRONG), timeout=5)
        await refused(call, grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_MISSING", "metadata.x-tenant")


@asynccontextmanager
async def reaching(component: Component) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to one started component."""
    await component.start()
    try:
        yield ServerProcess(ServerSettings()).local_channel([component])
    finally:
        await component.close()


async def test_a_word_through_edge_is_its_callers_own(tmp_path: Path) -> None:
    """Whoever caused an entry in quarantine does not confirm it through edge either, though edge itself is trusted."""
    settings = CacheSettings(database=tmp_path / "cache.sqlite", confirmed_for_trust=1)
    async with reaching(assemble_cache(settings)) as channel:
        cache = CacheBinding(channel, 5.0)
        own, others = (CacheKey("acme", bytes(16), "x", principal) for principal in ("a", "b"))
        await cache.store(own, None, StoredAnswer("42", "m", 1, 1, None), None, "")
        found = await cache.lookup(own, None, 0.01, None)
        for principal, serves in (("a", False), ("b", True)):
            await cache.report("acme", principal, found.lookup_id, right=True)
            assert isinstance(await cache.lookup(others, None, 0.01, None), Hit) is serves


async def test_the_routers_log_has_a_clients_word(tmp_path: Path) -> None:
    """The first on an answer, told from our own scores by its source."""
    log = tmp_path / "outcomes.jsonl"
    async with reaching(assemble_router(suite_of(tmp_path).router.model_copy(update={"outcome_log": log}))) as channel:
        router = RouterBinding(channel, 5.0)
        asked = Request("r", "acme", (Message("user", "What is the capital of Norway?"),))
        plan = await router.route(asked, None, Objective(), Circumstances())
        for right in (False, True):
            await router.report("acme", plan.decision_id, "fulcrum-large", right)
    (line,) = map(json.loads, log.read_text().splitlines())
    assert (line["decision_id"], line["planned"]["model"]) == (plan.decision_id, "fulcrum-large")
    assert (line["score"], line["source"], line["sampled"]) == (0, "client", None)
