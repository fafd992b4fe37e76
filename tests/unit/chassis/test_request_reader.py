"""A call whose request does not come is ended with a status, whoever serves it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from services.chassis import request_reader
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


async def test_who_leaves_before_the_request_asked_for_nothing() -> None:
    """A call that is cancelled before its request has come gives its place back, and leaves neither line nor count."""
    async with reached("grpc", max_concurrent_calls=1) as service:
        with capture_logs() as logs:
            call = called(service, *PATHS[0], never())
            await until(lambda: service.under_way() == 1)
            call.cancel()
            await until(lambda: service.under_way() == 0)
        assert [line for line in logs if line["event"] == "call"] == []
        assert not service.service.begun.is_set()
        labels = {"service": EMBEDDING, "method": "Embed"}
        assert service.sample("fulcrum_rpc_server_calls_total", **labels, code="CANCELLED") == 0
        await service.embedding.Embed(texts(), timeout=5)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - metrics notify nobody
            await asyncio.sleep(0.005)


async def test_a_call_without_its_request_has_its_place_and_deadline() -> None:
    """What waits for its request counts as a call under way, and the default deadline holds for it."""
    async with reached("grpc", max_concurrent_calls=1, default_deadline_s=0.5) as service:
        waiting = asyncio.ensure_future(refused(called(service, *PATHS[0], never())))
        await until(lambda: service.under_way() == 1)
        error = await refused(service.embedding.Embed(texts(), timeout=5))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await waiting).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await service.embedding.Embed(texts(), timeout=5)
