"""A unary call that is left ends at its server, and what gRPC worked on is cleaned up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from services.chassis.unary_answer import answer_of

_PATH = "/test.Service/Echo"


class Echo:
    """Answers with the request, in its time; `cancelled` counts those it was not allowed to."""

    def __init__(self) -> None:
        self.cancelled = 0
        self.asked = asyncio.Event()

    async def answer(self, request: bytes, context: Any) -> bytes:
        self.asked.set()
        if request == b"bad":
            await context.abort(grpc.StatusCode.DATA_LOSS, "bad")
        try:
            await asyncio.sleep(30 if request == b"slow" else 0)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return request


@asynccontextmanager
async def echo() -> AsyncIterator[tuple[Echo, Any]]:
    """A server, and its method on a channel."""
    service, server = Echo(), grpc.aio.server()
    handlers: dict[str, Any] = {"Echo": grpc.unary_unary_rpc_method_handler(service.answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield service, channel.unary_unary(_PATH)
    await server.stop(None)


async def test_an_answer_or_a_status() -> None:
    """Both come as if the call itself were awaited, in whatever number at a time."""
    async with echo() as (_, method):
        assert await asyncio.gather(*(answer_of(method(b"%d" % one)) for one in range(50))) == [
            b"%d" % one for one in range(50)
        ]
        with pytest.raises(grpc.aio.AioRpcError, match="DATA_LOSS"):
            await answer_of(method(b"bad"))
        with pytest.raises(grpc.aio.AioRpcError, match="DEADLINE_EXCEEDED"):
            await answer_of(method(b"slow", timeout=0.05))


async def test_a_call_that_core_does_not_begin() -> None:
    """Metadata that gRPC cannot send is an error at once, not a wait for ever."""
    async with echo() as (_, method):
        async with asyncio.timeout(5):
            with pytest.raises(Exception, match="execute_batch"):
                await answer_of(method(b"1", metadata=(("x-request-id", "caf\xe9"),), timeout=60))


async def test_who_leaves_ends_the_call_through_the_call() -> None:
    """The server's handler is cancelled; gRPC's own task of the call comes to its end and is not cancelled."""
    async with echo() as (service, method):
        call = method(b"slow", timeout=20)
        leaving = asyncio.create_task(answer_of(call))
        await service.asked.wait()
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert await call.code() == grpc.StatusCode.CANCELLED
        async with asyncio.timeout(5):
            await call._invocation_task
            while not service.cancelled:  # noqa: ASYNC110 - it is another side's
                await asyncio.sleep(0.01)
        assert call._invocation_task.cancelling() == 0
