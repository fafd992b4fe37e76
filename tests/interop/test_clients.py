"""What every foreign client sees of a running suite: the same, whoever asks."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.interop.buf_curl import ABSENT, BufProbe
from tests.interop.conftest import ENDLESS_TOKENS, Running
from tests.interop.node import NodeProbe
from tests.interop.outcome import Outcome, Probe
from tests.interop.stubs import StubProbe
from tests.wire.suites import ENDLESS

COMPLETE = "fulcrum.edge.v1.EdgeService/Complete"
USAGE = "fulcrum.edge.v1.EdgeService/GetUsage"
HEALTH = "grpc.health.v1.Health/Check"
WAIT_S = 20.0


@pytest.fixture(params=["stubs", "node", "buf"])
def probe(request: pytest.FixtureRequest, node: NodeProbe, tmp_path: Any) -> Probe:
    """Each client in turn."""
    probes: dict[str, Probe] = {"stubs": StubProbe(), "node": node, "buf": BufProbe(tmp_path)}
    return probes[request.param]


def ask(prompt: str, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "ROLE_USER", "content": prompt}], **fields}


def ask_at_length(tokens: int = ENDLESS_TOKENS) -> dict[str, Any]:
    """A request that takes seconds, whose answer is nobody's to share."""
    return ask(
        "Reverse the word stone.",
        objective={"allowed_models": [ENDLESS]},
        sampling={"max_output_tokens": tokens},
        cache_control={"no_cache": True, "no_store": True},
    )


@asynccontextmanager
async def busy(address: str) -> AsyncIterator[None]:
    """An edge that has a long answer under way; another follows where one ends."""

    async def work() -> None:
        while True:
            await StubProbe().call(address, COMPLETE, ask_at_length())

    task = asyncio.create_task(work())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def eventually(holds: Callable[[], bool]) -> None:
    """Waits until it holds."""
    async with asyncio.timeout(WAIT_S):
        while not holds():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.05)


async def until(outcome: Callable[[], Awaitable[Outcome]], code: str) -> Outcome:
    """Calls until the call ends so."""
    async with asyncio.timeout(WAIT_S):
        while (found := await outcome()).code != code:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return found


def ended(running: Running, request_id: str, service: str) -> list[object]:
    """The codes with which the calls of this request ended, by the log of edge or executor."""
    process = running.fleet.edge if service == "edge" else running.fleet.executors[0]
    return [
        line["code"]
        for line in process.lines()
        if line.get("request_id") == request_id and line.get("method") in ("Complete", "Generate")
    ]


async def test_streaming(running: Running, probe: Probe) -> None:
    """An answer comes in pieces, which a busy client may get together where it is short, and one receipt ends it."""
    assert len((await probe.call(running.address, COMPLETE, ask_at_length(64))).messages) > 2
    prompt = "What is the capital of Norway?"
    found = await probe.call(running.address, COMPLETE, ask(prompt, cache_control={"no_cache": True}))
    assert found.code == "OK", found
    assert found.text == "Oslo"
    assert [bool(one.get("receipt")) for one in found.messages].count(True) == 1
    cost = found.receipt["cost"]
    saved = sum(int(lever.get("saved_nano_usd", 0)) for lever in cost["levers"])
    assert int(cost["baseline_nano_usd"]) - saved == int(cost["actual_nano_usd"]) > 0


async def test_unary(running: Running, probe: Probe) -> None:
    """Usage counts what was asked."""
    await probe.call(running.address, COMPLETE, ask("What is the capital of Norway?"))
    found = await probe.call(running.address, USAGE, {})
    assert found.code == "OK", found
    (usage,) = found.messages
    assert int(usage["total"]["requests"]) >= 1
    assert len(usage["total"]["levers"]) == 4


async def test_cancel_after_the_first_message(running: Running, probe: Probe) -> None:
    """Who leaves after the first message frees the model: the call ends down to the executor, the next is served."""
    request_id = uuid.uuid4().hex
    left = await probe.call(
        running.address, COMPLETE, ask_at_length(), metadata={"x-request-id": request_id}, cancel_after=1
    )
    assert (left.code, len(left.messages) >= 1) == ("CANCELLED", True), left
    await eventually(lambda: bool(ended(running, request_id, "executor")))
    assert ended(running, request_id, "executor") == ["CANCELLED"]
    begin = time.perf_counter()
    assert (await StubProbe().call(running.address, COMPLETE, ask_at_length(2))).code == "OK"
    assert time.perf_counter() - begin < 2.0  # a whole answer of that model takes longer, and it has one place


async def test_deadline(running: Running, probe: Probe) -> None:
    """A deadline ends the call at the client and down to the executor."""
    request_id = uuid.uuid4().hex
    metadata = {"x-request-id": request_id}
    found = await probe.call(running.address, COMPLETE, ask_at_length(), metadata=metadata, timeout_s=0.8)
    assert found.code == "DEADLINE_EXCEEDED", found
    await eventually(lambda: bool(ended(running, request_id, "executor")))
    (code,) = ended(running, request_id, "executor")
    assert code in ("DEADLINE_EXCEEDED", "CANCELLED")


async def test_metadata(running: Running, probe: Probe) -> None:
    """The caller's x-request-id is the receipt's, and that of every log line of the request, behind edge too."""
    request_id = f"interop {uuid.uuid4().hex}"
    request = ask("Reverse the word planet.", cache_control={"no_cache": True})
    found = await probe.call(running.address, COMPLETE, request, metadata={"x-request-id": request_id})
    assert found.receipt["request_id"] == request_id
    await eventually(lambda: bool(ended(running, request_id, "edge")))
    assert ended(running, request_id, "edge") == ended(running, request_id, "executor") == ["OK"]


@pytest.mark.parametrize("service", ABSENT)
async def test_unimplemented(running: Running, probe: Probe, service: str) -> None:
    """A method or a service that is not there is UNIMPLEMENTED."""
    found = await probe.call(running.address, f"{service}/Nothing", {})
    assert found.code == "UNIMPLEMENTED", found


async def test_a_bad_field_is_explained(running: Running, probe: Probe) -> None:
    """ErrorInfo and BadRequest arrive, and that client's own tools read them."""
    request = ask("x", sampling={"top_p": 7, "top_k": -1})
    found = await probe.call(running.address, COMPLETE, request)
    assert found.code == "INVALID_ARGUMENT", found
    info = found.details["ErrorInfo"]
    assert (info["reason"], info["domain"]) == ("FIELD_INVALID", "fulcrum.dev")
    assert info["metadata"]["field"] == "sampling.top_p"
    assert info["metadata"]["value"] == "7.0"
    assert info["metadata"]["expected"]
    fields = [one["field"] for one in found.details["BadRequest"]["field_violations"]]
    assert fields == ["sampling.top_p", "sampling.top_k"]
    assert found.message


async def test_an_unknown_model(running: Running, probe: Probe) -> None:
    """Another status, with the same explanation."""
    found = await probe.call(running.address, COMPLETE, ask("x", objective={"allowed_models": ["gtp-4"]}))
    assert (found.code, found.details["ErrorInfo"]["reason"]) == ("NOT_FOUND", "MODEL_UNKNOWN"), found


async def test_overload_says_when_to_come_back(running: Running, probe: Probe) -> None:
    """A server that is full refuses at once, with RetryInfo."""
    async with busy(running.narrow.address):
        found = await until(
            lambda: probe.call(running.narrow.address, COMPLETE, ask("What is the capital of Norway?")),
            "RESOURCE_EXHAUSTED",
        )
    assert found.details["ErrorInfo"]["reason"] == "OVERLOADED"
    delay = found.details["RetryInfo"]["retry_delay"]  # an object in Node, text in JSON
    assert (float(delay["seconds"]) if isinstance(delay, dict) else float(delay.removesuffix("s"))) == 1.0


async def test_reflection(running: Running, probe: Probe) -> None:
    """A client that has no contract finds out what is served."""
    services = await probe.services(running.address)
    assert {"fulcrum.edge.v1.EdgeService", "grpc.health.v1.Health"} <= set(services)


@pytest.mark.parametrize("service", ["", "fulcrum.edge.v1.EdgeService"])
async def test_health(running: Running, probe: Probe, service: str) -> None:
    """The server as a whole is healthy, and each service by its name."""
    found = await probe.call(running.address, HEALTH, {"service": service})
    assert found.messages == [{"status": "SERVING"}], found


async def test_health_of_an_unknown_service(running: Running, probe: Probe) -> None:
    """A service that is not there is NOT_FOUND, as the protocol says."""
    found = await probe.call(running.address, HEALTH, {"service": "fulcrum.cache.v1.CacheService"})
    assert found.code == "NOT_FOUND", found
