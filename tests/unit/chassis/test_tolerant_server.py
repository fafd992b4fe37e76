"""A call with an unreadable path is refused alone; the server goes on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from fulcrum.embedding.v1.embedding_service_pb2 import EmbedRequest
from fulcrum.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub

from services.chassis.server import ServerProcess
from services.chassis.settings import ServerSettings
from tests.faults.fuzz_frames import PREFACE, frame, headers
from tests.unit.chassis.parts import EMBEDDING, Scripted, serving

HEADERS, SETTINGS = 1, 4
END_HEADERS_AND_STREAM = 0x5


def call(path: bytes) -> bytes:
    pairs = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"x"),
        (b"te", b"trailers"),
    ]
    pairs.append((b"content-type", b"application/grpc"))
    return PREFACE + frame(SETTINGS, 0, 0, b"") + frame(HEADERS, END_HEADERS_AND_STREAM, 1, headers(pairs))


@asynccontextmanager
async def running() -> AsyncIterator[tuple[int, grpc.aio.Channel]]:
    process = ServerProcess(ServerSettings(port=0, drain_s=0.2))
    async with (
        serving(process, Scripted().component()) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield port, channel


@pytest.mark.parametrize("path", [b"/\xff\xfe/x", b"\xed\xa0\x80", b"/" + EMBEDDING.encode() + b"/\x80"])
async def test_an_unreadable_path_ends_nothing(path: bytes) -> None:
    """The call is answered UNIMPLEMENTED; others on the same server, before and after, are served."""
    async with running() as (port, channel):
        stub = EmbeddingServiceStub(channel)
        await stub.Embed(EmbedRequest(texts=["before"]), timeout=5)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(call(path))
        await writer.drain()
        answer = b""
        async with asyncio.timeout(5):
            while b"Method not found!" not in answer:
                answer += await reader.read(1 << 16)
        writer.close()
        await stub.Embed(EmbedRequest(texts=["after"]), timeout=5)


async def test_a_method_that_is_not_there() -> None:
    """It is UNIMPLEMENTED by any readable name."""
    async with running() as (_, channel):
        for path in (f"/{EMBEDDING}/Nothing", "/", "/x", "nothing"):
            method: Any = channel.unary_unary(path)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await method(b"", timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    "path",
    [
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ],
)
async def test_health_and_reflection_refuse_what_does_not_parse(path: str) -> None:
    """Bytes that are no message are the caller's fault; a message is answered as ever."""
    async with running() as (_, channel):
        method: Any = channel.unary_stream(path)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(aiter(method(b"\x0a\x05x", timeout=5)))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        call = method(b"\x3a\x00" if "reflection" in path else b"", timeout=5)  # list_services, or the whole server
        assert await anext(aiter(call))
        call.cancel()
