"""deploy/envoy in front of running edges: JSON and gRPC on one port, and edges that come and go."""

import asyncio
import json
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2

from tests.interop.conftest import Running
from tests.interop.envoy import envoy, write_edges
from tests.interop.outcome import Outcome
from tests.interop.stubs import StubProbe
from tests.interop.test_clients import COMPLETE, USAGE, ask, ask_at_length, busy, ended, eventually
from tests.processes import ServiceProcess

AT_ONCE = 8


@pytest_asyncio.fixture(scope="session")
async def door(running: Running, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Envoy before both edges; its address."""
    edges = [edge.address for edge in running.fleet.edges]
    async with envoy(tmp_path_factory.mktemp("envoy"), edges) as address:
        yield address


@pytest_asyncio.fixture
async def http(door: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{door}", timeout=30) as client:
        yield client


async def test_json_streams_an_answer(running: Running, http: httpx.AsyncClient) -> None:
    """POST /v1/complete answers one JSON object a line, the receipt last, under the caller's own id."""
    request_id = uuid.uuid4().hex
    request = ask("What is the capital of Norway?", cache_control={"no_cache": True})
    found = await http.post("/v1/complete", json=request, headers={"x-request-id": request_id})
    assert found.status_code == 200
    assert found.headers["content-type"] == "application/json"
    *pieces, last = [json.loads(line) for line in found.text.splitlines() if line]
    assert "".join(piece["text_delta"]["text"] for piece in pieces) == "Oslo"
    assert last["receipt"]["request_id"] == request_id
    assert int(last["receipt"]["cost"]["actual_nano_usd"]) > 0


async def test_json_comes_as_it_is_made(running: Running, http: httpx.AsyncClient) -> None:
    """The first lines are there while the model is at work; a caller that leaves then frees the model."""
    request_id = uuid.uuid4().hex
    async with http.stream("POST", "/v1/complete", json=ask_at_length(), headers={"x-request-id": request_id}) as found:
        lines = found.aiter_lines()
        for _ in range(2):
            assert json.loads(await anext(lines))["text_delta"]["text"]
        assert not ended(running, request_id, "executor")
    await eventually(lambda: bool(ended(running, request_id, "executor")))
    assert ended(running, request_id, "executor") == ["CANCELLED"]


async def test_json_usage(http: httpx.AsyncClient) -> None:
    """GET /v1/usage takes the request's fields from the query."""
    found = await http.get("/v1/usage", params={"group_by": "USAGE_DIMENSION_MODEL", "page_size": 5})
    assert found.status_code == 200
    assert len(found.json()["total"]["levers"]) == 4
    unknown = await http.get("/v1/usage", params={"no_such_field": 1})
    assert (unknown.status_code, "no_such_field" in unknown.text) == (400, True)


async def test_json_feedback(http: httpx.AsyncClient) -> None:
    """POST /v1/feedback tells of an answer by its receipt, at whichever edge; a verdict that is none is refused."""
    prompt = f"Reverse the word {uuid.uuid4().hex[:8]}."
    found = await http.post("/v1/complete", json=ask(prompt))
    receipt = json.loads(found.text.splitlines()[-1])["receipt"]
    named = {"lookup_id": receipt["cache"]["lookup_id"], "decision_id": receipt["route"]["decision_id"]}
    for _ in range(4):
        told = await http.post("/v1/feedback", json={**named, "model": receipt["model"], "verdict": "VERDICT_WRONG"})
        assert (told.status_code, told.json()) == (200, {})
    assert (
        await http.post("/v1/complete", json=ask(prompt, cache_control={"only_if_cached": True}))
    ).status_code == 404
    unsaid = await http.post("/v1/feedback", json={**named, "model": receipt["model"]})
    details = {one["@type"].rpartition(".")[2]: one for one in unsaid.json()["details"]}
    assert (unsaid.status_code, details["ErrorInfo"]["metadata"]["field"]) == (400, "verdict")


@pytest.mark.parametrize(
    ("request_", "status", "code", "reason", "field"),
    [
        (ask("x", sampling={"top_p": 7}), 400, 3, "FIELD_INVALID", "sampling.top_p"),
        (ask("x", objective={"allowed_models": ["gtp-4"]}), 404, 5, "MODEL_UNKNOWN", ""),
    ],
)
async def test_json_errors(
    http: httpx.AsyncClient, request_: dict[str, Any], status: int, code: int, reason: str, field: str
) -> None:
    """An error is a google.rpc.Status as JSON, its details with it."""
    found = await http.post("/v1/complete", json=request_)
    assert found.status_code == status, found.text
    told = found.json()
    details = {one["@type"].rpartition(".")[2]: one for one in told["details"]}
    assert (told["code"], details["ErrorInfo"]["reason"]) == (code, reason)
    assert details["ErrorInfo"]["metadata"]["expected"]
    if field:
        assert details["ErrorInfo"]["metadata"]["field"] == field
        assert [one["field"] for one in details["BadRequest"]["field_violations"]] == [field]


async def test_json_overload(running: Running, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Overload is 429 with RetryInfo."""
    folder = tmp_path_factory.mktemp("envoy-narrow")
    narrow = running.narrow.address
    async with envoy(folder, [narrow]) as address, busy(narrow), httpx.AsyncClient(timeout=30) as http:
        async with asyncio.timeout(20):
            while True:
                found = await http.post(f"http://{address}/v1/complete", json=ask("What is the capital of Norway?"))
                if found.status_code != 200:
                    break
    assert found.status_code == 429, found.text
    details = {one["@type"].rpartition(".")[2]: one for one in found.json()["details"]}
    assert details["RetryInfo"]["retry_delay"] == "1s"


async def test_grpc_passes_as_it_is(door: str) -> None:
    """Streams, unary calls and errors with their details are what they are without Envoy."""
    probe = StubProbe()
    answer = await probe.call(door, COMPLETE, ask("What is the capital of Norway?"))
    assert answer.text == "Oslo"
    assert (await probe.call(door, USAGE, {})).code == "OK"
    refused = await probe.call(door, COMPLETE, ask("x", sampling={"top_p": 7}))
    assert (refused.code, refused.details["ErrorInfo"]["reason"]) == ("INVALID_ARGUMENT", "FIELD_INVALID")
    late = await probe.call(door, COMPLETE, ask_at_length(), timeout_s=0.5)
    assert late.code == "DEADLINE_EXCEEDED"
    assert "fulcrum.edge.v1.EdgeService" in await probe.services(door)


async def test_a_key_reaches_edge_as_it_came(tmp_path_factory: pytest.TempPathFactory) -> None:
    """`authorization` passes through both doors, and so do the caller's id and the time it gives."""
    async with _recording() as (server, seen), envoy(tmp_path_factory.mktemp("envoy-key"), [server]) as address:
        sent = {"authorization": "Bearer fk_ab_cd", "x-request-id": "mine"}
        await StubProbe().call(address, USAGE, {}, metadata=sent)
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"http://{address}/v1/usage", headers=sent)).status_code == 200
    assert len(seen) == 2
    for metadata in seen:
        assert (metadata["authorization"], metadata["x-request-id"]) == ("Bearer fk_ab_cd", "mine")


@asynccontextmanager
async def _recording() -> AsyncIterator[tuple[str, list[dict[str, str | bytes]]]]:
    """A server in an edge's place that is healthy, answers anything with nothing, and keeps the metadata it got."""
    seen: list[dict[str, str | bytes]] = []

    async def answer(_: bytes, context: Any) -> bytes:
        seen.append(dict(context.invocation_metadata()))
        return b""

    async def check(_: bytes, __: Any) -> bytes:
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING).SerializeToString()

    class Everything(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> Any:
            health = details.method.startswith("/grpc.health.")
            return grpc.unary_unary_rpc_method_handler(check if health else answer)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers([Everything()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}", seen
    finally:
        await server.stop(None)


def _served(edge: ServiceProcess) -> int:
    return sum(line.get("method") == "Complete" and line.get("code") == "OK" for line in edge.lines())


async def test_edges_come_and_go(running: Running, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Requests are spread over the edges that edges.yaml names; one that is told to end, and one that starts again
    on its place, fail none of them."""
    folder = tmp_path_factory.mktemp("envoy-edges")
    first, second = (running.another_edge(f"behind-envoy-{number}") for number in range(2))
    codes: Counter[str] = Counter()
    try:
        await asyncio.gather(first.start(), second.start())
        async with envoy(folder, [first.address]) as address, _load(address, codes):
            await eventually(lambda: _served(first) > 20)
            assert _served(second) == 0
            write_edges(folder, [first.address, second.address])
            await eventually(lambda: _served(second) > 20)
            first.send(signal.SIGTERM)
            assert await first.ended() == 0
            before = _served(second)
            await eventually(lambda: _served(second) > before + 20)
            gone = _served(first)
            await first.start()
            await eventually(lambda: _served(first) > gone + 20)
    finally:
        await first.kill()
        await second.kill()
    assert set(codes) == {"OK"}, codes
    assert codes["OK"] > 80


@asynccontextmanager
async def _load(address: str, codes: Counter[str]) -> AsyncIterator[None]:
    """Clients that ask over gRPC, one after the other, until the block ends."""
    done = asyncio.Event()

    async def client(number: int) -> None:
        probe, asked = StubProbe(), 0
        while not done.is_set():
            asked += 1
            prompt = f"What is {number} plus {asked % 10}?"
            found: Outcome = await probe.call(address, COMPLETE, ask(prompt, sampling={"max_output_tokens": 2}))
            codes[f"{found.code} {found.message}".strip()] += 1

    tasks = [asyncio.create_task(client(number)) for number in range(AT_ONCE)]
    try:
        yield
    finally:
        done.set()
        await asyncio.gather(*tasks)
