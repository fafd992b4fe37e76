"""Who watches a server's health takes nothing from others, and does not hold up its end."""

import asyncio
import time
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.chassis import health
from services.chassis.server import ServerProcess
from services.chassis.settings import ServerSettings
from tests.unit.chassis.parts import EMBEDDING, Scripted, details_of, reached, refused, serving, texts

SOON_S = 5.0
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


def watch(channel: Any, service: str = "") -> Any:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    return stub.Watch(health_pb2.HealthCheckRequest(service=service))


@pytest.mark.parametrize("bound", ["MOST_WATCHES", "MOST_OF_ONE"])
async def test_watches_are_few_and_leave_calls_alone(monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    """Beyond the bound a watch is refused with when to come back; calls are served meanwhile, and a place is reused."""
    monkeypatch.setattr(health, bound, 3)
    async with reached("grpc", max_concurrent_calls=2) as service:
        open_ones = [watch(service.channel) for _ in range(3)]
        for one in open_ones:
            assert (await anext(aiter(one))).status == SERVING
        error = await refused(watch(service.channel))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        details = details_of(error)
        assert (details["ErrorInfo"].reason, details["ErrorInfo"].metadata["field"]) == ("OVERLOADED", "health watches")
        assert details["RetryInfo"].retry_delay.ToNanoseconds() > 0
        await service.embedding.Embed(texts(), timeout=5)
        open_ones[0].cancel()
        async with asyncio.timeout(SOON_S):
            while True:
                try:
                    again = watch(service.channel)
                    assert (await anext(aiter(again))).status == SERVING
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.01)


async def test_one_connection_leaves_watches_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has as many as one may have is refused another, and nobody else."""
    monkeypatch.setattr(health, "MOST_OF_ONE", 3)
    async with reached("grpc") as service:
        open_ones = [aiter(watch(service.channel)) for _ in range(3)]
        assert [(await anext(one)).status for one in open_ones] == [SERVING] * 3
        assert (await refused(watch(service.channel))).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        target = service.channel.replicas[0].address  # type: ignore[attr-defined]
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(target, options=options) as other:
            assert (await anext(aiter(watch(other)))).status == SERVING


async def test_a_watch_is_told_of_every_service_it_may_ask_for() -> None:
    """A service that is not here is SERVICE_UNKNOWN to a watch, NOT_FOUND to a check."""
    async with reached("grpc") as service:
        assert (await anext(aiter(watch(service.channel, "nobody")))).status == UNKNOWN
        stub: Any = health_pb2_grpc.HealthStub(service.channel)
        error = await refused(stub.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=5))
        assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_a_drain_does_not_wait_for_watches() -> None:
    """A server with an open watch and no call ends at once: the watch hears NOT_SERVING, then its end."""
    process = ServerProcess(ServerSettings(port=0, drain_s=60))
    async with serving(process, Scripted().component()) as port:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        watching = aiter(watch(channel, EMBEDDING))
        assert (await anext(watching)).status == SERVING
        begin = time.monotonic()
    assert time.monotonic() - begin < SOON_S
    assert [answer.status async for answer in watching] == [NOT_SERVING]
    await channel.close()
