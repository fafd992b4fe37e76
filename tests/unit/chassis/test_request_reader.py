"""A call whose request does not come is ended with a status, whoever serves it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from fulcrum.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from structlog.testing import capture_logs

from services.chassis import request_reader
from services.chassis.call import Call, Caller, enter
from services.chassis.errors import Overloaded
from tests.unit.chassis.parts import EMBEDDING, EXECUTOR, Reached, details_of, reached, refused, texts

PATHS = (
    ("stream_unary", f"/{EMBEDDING}/Embed"),
    ("stream_stream", f"/{EXECUTOR}/Generate"),
    ("stream_unary", "/grpc.health.v1.Health/Check"),
    ("stream_stream", "/grpc.health.v1.Health/Watch"),
    ("stream_stream", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"),
)


async def never() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


async def nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def called(service: Reached, kind: str, path: str, requests: AsyncIterator[bytes], **more: Any) -> Any:
    """A call as no generated stub makes it, on a plain channel to the same server."""
    return getattr(service.channel.replicas[0].channel, kind)(path)(requests, **more)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("kind", "path"), PATHS)
async def test_a_request_that_does_not_come(monkeypatch: pytest.MonkeyPatch, kind: str, path: str) -> None:
    """Without a request in time the call ends with DEADLINE_EXCEEDED that says what was missing; others go on."""
    monkeypatch.setattr(request_reader, "WAIT_S", 0.2)
    async with reached("grpc", max_concurrent_calls=1) as service:
        error = await asyncio.wait_for(refused(called(service, kind, path, never())), 5)
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert details_of(error)["ErrorInfo"].metadata["field"] == "request"
        await service.embedding.Embed(texts(), timeout=5)
        assert service.under_way() == 0


@pytest.mark.parametrize("path", [f"/{EMBEDDING}/Embed", "/grpc.health.v1.Health/Check"])
async def test_a_side_closed_without_a_request(path: str) -> None:
    """A client that closes its side without a request is told that it sent nothing."""
    async with reached("grpc") as service:
        error = await refused(called(service, "stream_unary", path, nothing(), timeout=5))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "nothing" in str(error.details())


async def test_who_leaves_before_the_request_is_counted() -> None:
    """A call that is cancelled before its request has come ends as any that is cancelled, and reached no handler."""
    async with reached("grpc") as service:
        with capture_logs() as logs:
            call = called(service, *PATHS[0], never())
            await until(lambda: service.under_way() == 1)
            call.cancel()
            await until(lambda: service.under_way() == 0)
        assert [line["code"] for line in logs if line["event"] == "call"] == ["CANCELLED"]
        assert not service.service.begun.is_set()
        labels = {"service": EMBEDDING, "method": "Embed"}
        assert service.sample("fulcrum_rpc_server_calls_total", **labels, code="CANCELLED") == 1


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - metrics notify nobody
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(("kind", "path"), PATHS)
async def test_calls_without_a_request_take_nobodys_place(
    monkeypatch: pytest.MonkeyPatch, kind: str, path: str
) -> None:
    """However many a connection opens, others are served, and beyond a bound it is refused itself."""
    monkeypatch.setattr(request_reader, "MOST_UNREAD", 5)
    async with reached("grpc", max_concurrent_calls=10) as service:
        silent = [called(service, kind, path, never()) for _ in range(5)]
        await asyncio.sleep(0.1)
        error = await asyncio.wait_for(refused(called(service, kind, path, never())), 5)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert details_of(error)["ErrorInfo"].metadata["field"] == "calls without a request"
        options = [("grpc.use_local_subchannel_pool", 1)]
        target = service.channel.replicas[0].address  # type: ignore[attr-defined]
        async with grpc.aio.insecure_channel(target, options=options) as other:
            await EmbeddingServiceStub(other).Embed(texts(), timeout=5)
        for one in silent:
            one.cancel()
        async with asyncio.timeout(5):
            while True:
                try:
                    await service.embedding.Embed(texts(), timeout=5)
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.01)


async def test_tenants_behind_one_proxy_do_not_count_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one tenant leaves unread on a connection is counted against no other one on it."""
    monkeypatch.setattr(request_reader, "MOST_UNREAD", 1)
    reader, first, others = request_reader.RequestReader(), LateContext(), LateContext()

    async def read(context: LateContext, tenant: str) -> bytes:
        enter(Call("r", time.monotonic() + 9, Caller(tenant, f"key {tenant}", False)))
        return await reader.next(context)

    silent = asyncio.create_task(read(first, "acme"))
    await asyncio.sleep(0)
    others.came.set()
    with pytest.raises(Overloaded):
        await asyncio.create_task(read(others, "acme"))
    assert await asyncio.create_task(read(others, "globex")) == b"late"
    first.came.set()
    assert await silent == b"late"
    assert not reader._unread


async def test_the_default_deadline_holds_for_the_request() -> None:
    """A request that does not come within the server's deadline for calls without one ends the call."""
    async with reached("grpc", default_deadline_s=0.5) as service:
        waiting = asyncio.ensure_future(refused(called(service, *PATHS[0], never())))
        assert (await asyncio.wait_for(waiting, 5)).code() is grpc.StatusCode.DEADLINE_EXCEEDED


class LateContext:
    """A call whose request comes in the very turn of the loop in which it is given up."""

    def __init__(self) -> None:
        self.came = asyncio.Event()
        self.told: list[grpc.StatusCode] = []

    def peer(self) -> str:
        return "somebody"

    async def read(self) -> bytes:
        await self.came.wait()
        return b"late"

    async def abort(self, code: grpc.StatusCode, *_: Any) -> None:
        self.told.append(code)
        raise grpc.aio.AbortError("told")


async def test_a_request_that_comes_as_it_is_given_up() -> None:
    """What the client was told is what counts: the request is not answered as well."""
    context, reader = LateContext(), request_reader.RequestReader()
    reading = asyncio.create_task(reader.next(context, 0.05))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.06, context.came.set)
    time.sleep(0.1)  # noqa: ASYNC251 - both fall due within one turn
    with pytest.raises(grpc.aio.AbortError):
        await reading
    assert context.told == [grpc.StatusCode.DEADLINE_EXCEEDED]
    assert not reader._unread
