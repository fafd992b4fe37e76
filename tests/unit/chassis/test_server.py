"""A server process: health from the first moment on, reflection, metrics, failures at the start, and the way out."""

import asyncio
import random
import socket
import time
import urllib.request
from contextlib import suppress
from typing import Any

import grpc
import pytest
from fulcrum.embedding.v1.embedding_service_pb2 import EmbedResponse
from fulcrum.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.chassis.channel import connect
from services.chassis.server import ServerProcess
from services.chassis.settings import ConfigError, ServerSettings
from tests.unit.chassis.parts import EMBEDDING, EXECUTOR, Reached, Scripted, refused, serving, texts

SOON_S = 5.0
NAMES = ("", EMBEDDING, EXECUTOR)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def free_port() -> int:
    """A port that is free, and below those that the system gives to who asks for any."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


async def health(channel: grpc.aio.Channel, name: str) -> int:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5, wait_for_ready=True)
    return int(answer.status)


async def test_health_tells_loading_from_ready() -> None:
    """While components start, the server and every service say NOT_SERVING; then each says SERVING."""
    loaded, port = asyncio.Event(), free_port()

    async def load() -> None:
        await loaded.wait()

    stop, ready = asyncio.Event(), asyncio.Event()
    process = ServerProcess(ServerSettings(port=port))
    server = asyncio.create_task(process.serve([Scripted().component(load)], stop, lambda _: ready.set()))
    async with connect(f"127.0.0.1:{port}") as channel:
        assert [await health(channel, name) for name in NAMES] == [NOT_SERVING] * 3
        assert not ready.is_set()
        loaded.set()
        await asyncio.wait_for(ready.wait(), SOON_S)
        assert [await health(channel, name) for name in NAMES] == [SERVING] * 3
        stop.set()
        await asyncio.wait_for(server, SOON_S)


async def test_health_says_so_when_draining() -> None:
    """Who watches the health of a service learns that it drains while a call is still being answered."""
    scripted, release = Scripted(), asyncio.Event()

    async def wait(_: Any) -> EmbedResponse:
        await release.wait()
        return EmbedResponse()

    scripted.embed = wait
    stop: asyncio.Event = asyncio.Event()
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    process = ServerProcess(ServerSettings(port=0, drain_s=1.0))
    server = asyncio.create_task(process.serve([scripted.component()], stop, port.set_result))
    async with connect(f"127.0.0.1:{await port}") as channel:
        watcher: Any = health_pb2_grpc.HealthStub(channel)
        watch = aiter(watcher.Watch(health_pb2.HealthCheckRequest(service=EMBEDDING)))
        assert (await anext(watch)).status == SERVING
        stub: Any = EmbeddingServiceStub(channel)
        call = asyncio.ensure_future(stub.Embed(texts(), timeout=30))
        await asyncio.wait_for(scripted.begun.wait(), SOON_S)
        stop.set()
        assert (await asyncio.wait_for(anext(watch), SOON_S)).status == NOT_SERVING
        assert not server.done()
        release.set()
        assert await call == EmbedResponse()
        await asyncio.wait_for(server, SOON_S)


async def test_reflection_lists_the_services(wire: Reached) -> None:
    """A client without our files can list the services and read their contracts."""
    channel: Any = wire.channel
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=EMBEDDING),
    ]
    listed, described = [answer async for answer in stub.ServerReflectionInfo(iter(asked), timeout=5)]
    names = {service.name for service in listed.list_services_response.service}
    assert names == {EMBEDDING, EXECUTOR, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    assert described.file_descriptor_response.file_descriptor_proto


async def test_a_busy_address_is_a_mistake_in_the_settings() -> None:
    """A port that someone else holds is explained as a setting, for gRPC and for metrics alike."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        for settings, key in (
            ({"port": port}, "server.port"),
            ({"port": 0, "metrics_port": port}, "server.metrics_port"),
        ):
            process = ServerProcess(ServerSettings(**settings))
            with pytest.raises(ConfigError, match=f"{key}.*{port}"):
                await asyncio.wait_for(process.serve([Scripted().component()], asyncio.Event()), SOON_S)


async def test_metrics_are_served_and_given_up_with_the_process() -> None:
    """The metrics page shows the calls, and its port is free again afterwards."""
    process = ServerProcess(ServerSettings(port=0, metrics_port=0))

    def page(port: int) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text: str = answer.read().decode()
            return text

    async with serving(process, Scripted().component()) as grpc_port, connect(f"127.0.0.1:{grpc_port}") as channel:
        stub: Any = EmbeddingServiceStub(channel)
        await stub.Embed(texts(), timeout=5)
        port = process.metrics_port
        assert port
        shown = await asyncio.to_thread(page, port)
    assert f'fulcrum_rpc_server_calls_total{{code="OK",method="Embed",service="{EMBEDDING}"}} 1.0' in shown
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


async def test_a_component_that_cannot_start_ends_the_process() -> None:
    """A failing start ends serve with that error, after closing what was begun, last first."""
    closed = []

    def closing(name: str) -> Any:
        async def close() -> None:
            closed.append(name)

        return close

    async def fail() -> None:
        raise RuntimeError("no weights")

    async def never() -> None:
        raise AssertionError("starts after a failure")

    parts = [Scripted().component(None, closing("first"))]
    broken = Scripted().component(fail, closing("broken"))
    process = ServerProcess(ServerSettings(port=0, drain_s=0))
    unregistered = type(broken)("broken", (), lambda _: None, broken.start, broken.close)
    last = type(broken)("last", (), lambda _: None, never, closing("last"))
    with pytest.raises(RuntimeError, match="no weights"):
        await asyncio.wait_for(process.serve([*parts, unregistered, last], asyncio.Event()), SOON_S)
    assert closed == ["broken", "first"]


async def test_a_call_that_outlasts_the_drain_is_ended() -> None:
    """The drain has a bound: a call that never ends is cancelled after it, and the component closed after that."""
    scripted, order = Scripted(), []

    async def hang(_: Any) -> EmbedResponse:
        try:
            await asyncio.Event().wait()
        finally:
            order.append("handler")
        raise AssertionError

    async def close() -> None:
        order.append("closed")

    scripted.embed = hang
    process = ServerProcess(ServerSettings(port=0, drain_s=0.2))
    async with serving(process, scripted.component(None, close)) as port:
        channel = connect(f"127.0.0.1:{port}")
        stub: Any = EmbeddingServiceStub(channel)
        call = asyncio.ensure_future(refused(stub.Embed(texts(), timeout=30)))
        await asyncio.wait_for(scripted.begun.wait(), SOON_S)
        begin = time.monotonic()
    assert 0.15 < time.monotonic() - begin < SOON_S
    assert order == ["handler", "closed"]
    with suppress(asyncio.CancelledError):
        await asyncio.wait_for(call, SOON_S)
    await channel.close()
