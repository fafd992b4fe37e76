"""One request is one trace, whether its parts share a process or not, and tells nothing of what was said."""

import asyncio
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from fulcrum.edge.v1 import receipt_pb2
from fulcrum.executor.v1 import chat_pb2
from prometheus_client import CollectorRegistry

from services.chassis.trace_export import TraceExport
from services.chassis.tracing import Tracer, TracingSettings
from tests.telemetry.collector import Collector, Kept, collector
from tests.telemetry.running import Running, four_processes, one_process

COMPLETE = "fulcrum.edge.v1.EdgeService/Complete"
LOOKUP = "fulcrum.cache.v1.CacheService/Lookup"
FEEDBACK = "fulcrum.cache.v1.CacheService/Feedback"
STORE = "fulcrum.cache.v1.CacheService/Store"
EMBED = "fulcrum.embedding.v1.EmbeddingService/Embed"
ROUTE = "fulcrum.router.v1.RouterService/Route"
GENERATE = "fulcrum.executor.v1.ExecutorService/Generate"
MISS = Counter([LOOKUP, LOOKUP, EMBED, ROUTE, GENERATE, STORE])
MARKER = "zanzibarquokka"
KEY = "fk_0123456789abcdef_wombatsecret"


@pytest.fixture(scope="module")
def spans() -> Iterator[Collector]:
    with collector() as running:
        yield running


@pytest_asyncio.fixture(scope="module", params=["one process", "four processes"])
async def suite(
    request: pytest.FixtureRequest, spans: Collector, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Running]:
    start = one_process if request.param == "one process" else four_processes
    async with start(tmp_path_factory.mktemp("suite"), spans) as running:
        yield running


def context(sampled: bool = True) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """A caller's trace id and span id, and the metadata that carries them."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return trace, span, (("traceparent", f"00-{trace}-{span}-0{int(sampled)}"), ("tracestate", "vendor=x"))


async def kept(suite: Running, trace: str, at_least: int, including: str = "") -> dict[str, list[Kept]]:
    """What belongs to the answer; a near miss is compared after it, if there was one."""
    assert suite.collector
    found: dict[str, list[Kept]] = {}
    for span in await asyncio.to_thread(suite.collector.trace, trace, at_least, FEEDBACK, including=including):
        found.setdefault(span.name, []).append(span)
    return found


async def test_a_request_is_one_trace(suite: Running) -> None:
    """Below the caller's span stands edge's, and below edge's one of every call that it made, on both bindings."""
    trace, caller, metadata = context()
    _, receipt = await suite.complete("What is the capital of Norway?", metadata=metadata)
    assert receipt.cache.result == receipt_pb2.CACHE_RESULT_MISS
    found = await kept(suite, trace, 7)
    (edge,) = found.pop(COMPLETE)
    assert edge.parent_id == caller
    assert Counter({name: len(calls) for name, calls in found.items()}) == MISS
    assert {span.parent_id for calls in found.values() for span in calls} == {edge.span_id}
    if suite.logs:
        services = {span.name: span.service for calls in found.values() for span in calls}
        assert edge.service == "fulcrum-edge"
        assert (services[LOOKUP], services[ROUTE]) == ("fulcrum-cache", "fulcrum-router")
        assert services[EMBED] == services[GENERATE] == "fulcrum-executor"


async def test_spans_tell_model_tokens_and_savings(suite: Running) -> None:
    """Edge's and the executor's spans carry the GenAI conventions' attributes, and edge's the receipt's figures."""
    trace, _, metadata = context()
    _, receipt = await suite.complete("What is the capital of Sweden?", metadata=metadata)
    found = await kept(suite, trace, 7)
    (edge,), (generate,) = found[COMPLETE], found[GENERATE]
    for span in (edge, generate):
        told = span.attributes
        assert told["rpc.system.name"] == "grpc"
        assert told["rpc.method"] == span.name
        assert told["rpc.response.status_code"] == "OK"
        assert told["gen_ai.operation.name"] == "chat"
        assert told["gen_ai.provider.name"] == "fulcrum"
        assert told["gen_ai.response.model"] == receipt.model
        assert told["gen_ai.response.finish_reasons"] == ["stop"]
        assert told["gen_ai.usage.input_tokens"] == receipt.usage.input_tokens > 0
        assert told["gen_ai.usage.output_tokens"] == receipt.usage.output_tokens > 0
    assert edge.attributes["fulcrum.cache.result"] == "miss"
    assert edge.attributes["fulcrum.cost.actual_nano_usd"] == receipt.cost.actual_nano_usd
    saved = [edge.attributes[f"fulcrum.saved.{lever}_nano_usd"] for lever in ("routing", "answer_reuse")]
    assert saved == [lever.saved_nano_usd for lever in receipt.cost.levers[:2]]
    assert generate.attributes["gen_ai.request.model"] == receipt.model
    assert found[ROUTE][0].attributes["fulcrum.route.model"] == receipt.model
    assert {span.attributes["fulcrum.request_id"] for calls in found.values() for span in calls} == {receipt.request_id}


async def test_a_hit_is_two_spans(suite: Running) -> None:
    """An exact hit asks the cache alone."""
    await suite.complete("What is the capital of Denmark?")
    trace, _, metadata = context()
    _, receipt = await suite.complete("What is the capital of Denmark?", metadata=metadata)
    assert receipt.cache.result == receipt_pb2.CACHE_RESULT_EXACT_HIT
    found = await kept(suite, trace, 2)
    assert {name: len(calls) for name, calls in found.items()} == {COMPLETE: 1, LOOKUP: 1}
    assert found[LOOKUP][0].attributes["fulcrum.cache.outcome"] == "exact hit"
    assert found[COMPLETE][0].attributes["fulcrum.cache.result"] == "exact_hit"


async def test_what_the_caller_does_not_sample_is_not_recorded(suite: Running) -> None:
    """A caller's decision against recording holds through every hop; the next trace is recorded as usual."""
    silent, _, metadata = context(sampled=False)
    await suite.complete("What is the capital of Finland?", metadata=metadata)
    heard, _, metadata = context()
    await suite.complete("What is the capital of Iceland?", metadata=metadata)
    assert len(await kept(suite, heard, 7)) == 6
    assert suite.collector
    assert silent not in {span.trace_id for span in suite.collector.spans}


async def test_a_refused_request_is_a_failed_span_of_the_caller(suite: Running) -> None:
    """A refusal carries its code and reason; what is the caller's own doing does not count as the server's error."""
    trace, _, metadata = context()
    with pytest.raises(grpc.aio.AioRpcError):
        await suite.complete("   ", metadata=metadata)
    found = await kept(suite, trace, 1)
    (edge,) = found[COMPLETE]
    assert edge.attributes["rpc.response.status_code"] == "INVALID_ARGUMENT"
    assert edge.attributes["fulcrum.reason"] == "FIELD_INVALID"
    assert not edge.failed


async def test_nothing_said_and_no_key_is_told(suite: Running) -> None:
    """Prompt, system prompt, answer, tool text, stop sequence and keys are in no span, metric or log line."""
    trace, _, metadata = context()
    keys = (("authorization", f"Bearer {KEY}"), ("x-api-key", KEY))
    said, receipt = await suite.complete(
        f"Reverse the word {MARKER}.",
        system=f"You know of {MARKER}.",
        metadata=(*metadata, *keys),
        sampling=chat_sampling(f"{MARKER}!"),
    )
    assert said
    assert len(await kept(suite, trace, 7)) == 6
    assert suite.collector
    bodies = b"\n".join(suite.collector.bodies)
    pages = (await suite.scrape() + await suite.scrape(openmetrics=True)).encode()
    logged = b"\n".join(log.read_bytes() for log in suite.logs)
    for place in (bodies, pages, logged):
        for secret in (MARKER, KEY, KEY[-12:], *([said] if len(said) > 6 else [])):
            assert secret.encode() not in place
    assert receipt.request_id.encode() in bodies
    assert receipt.request_id.encode() not in pages


async def test_log_lines_carry_request_and_trace(suite: Running) -> None:
    """Each service's line of a call has the request's id and its trace's; there is one line a call."""
    if not suite.logs:
        pytest.skip("one process logs through pytest's own stderr; the same code runs in four processes")
    trace, _, metadata = context()
    _, receipt = await suite.complete("What is the capital of Estonia?", metadata=metadata)
    lines = [json.loads(line) for log in suite.logs for line in log.read_text().splitlines() if line.startswith("{")]
    calls = [line for line in lines if line.get("trace_id") == trace and line["event"] == "call"]
    names = Counter(f"{line['service']}/{line['method']}" for line in calls)
    assert names - Counter([FEEDBACK]) == MISS + Counter([COMPLETE])
    assert {line["request_id"] for line in calls} == {receipt.request_id}


def chat_sampling(stop: str) -> chat_pb2.Sampling:
    return chat_pb2.Sampling(max_output_tokens=40, stop=[stop], temperature=0)


async def test_a_share_of_traces_is_recorded(tmp_path: Path) -> None:
    """With a share of 0 nothing that begins here is recorded; what a caller samples is."""
    with collector() as spans:
        async with one_process(tmp_path, spans, tracing={"endpoint": spans.url, "sample": 0}) as suite:
            await suite.complete("What is the capital of Spain?")
            trace, _, metadata = context()
            await suite.complete("What is the capital of Italy?", metadata=metadata)
            await kept(suite, trace, 7)
        assert {span.trace_id for span in spans.spans} == {trace}


def _ended(tracer: Tracer, count: int) -> None:
    for _ in range(count):
        tracer.end(tracer.begin("a.B/C", {}, "r"), "OK", "")


async def test_a_collector_that_does_not_answer_costs_spans_and_nothing_else() -> None:
    """Beyond the bound spans are dropped and counted; ending takes no longer than it may."""
    answer, registry = threading.Event(), CollectorRegistry()
    with collector(answer) as spans:
        settings = TracingSettings(endpoint=spans.url, queue_spans=600, flush_s=0.5)
        tracer = Tracer(1.0, TraceExport(settings, "test", registry))
        begin = time.monotonic()
        _ended(tracer, 3000)
        assert time.monotonic() - begin < 5, "spans waited for the collector"
        dropped = registry.get_sample_value("fulcrum_trace_spans_total", {"result": "dropped"}) or 0
        assert 3000 - 600 - 512 <= dropped <= 3000 - 600
        begin = time.monotonic()
        await tracer.close()
        assert time.monotonic() - begin < 5
        answer.set()


async def test_a_collector_that_is_away_is_counted_as_failures() -> None:
    """Spans that no collector took are counted, and ending still flushes within its bound."""
    registry = CollectorRegistry()
    settings = TracingSettings(endpoint="http://127.0.0.1:9", flush_s=10)
    tracer = Tracer(1.0, TraceExport(settings, "test", registry))
    _ended(tracer, 5)
    await tracer.close()
    assert registry.get_sample_value("fulcrum_trace_spans_total", {"result": "failed"}) == 5


async def test_the_last_spans_are_flushed_at_the_end() -> None:
    """What ended just before the process does is exported."""
    registry = CollectorRegistry()
    with collector() as spans:
        tracer = Tracer(1.0, TraceExport(TracingSettings(endpoint=spans.url, flush_s=10), "test", registry))
        _ended(tracer, 5)
        await tracer.close()
        assert len(spans.spans) == 5
    assert registry.get_sample_value("fulcrum_trace_spans_total", {"result": "exported"}) == 5
