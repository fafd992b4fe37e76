"""The two clients, for threads and for coroutines: each opens calls and waits its own way, all else is shared."""

import asyncio
import datetime
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from types import TracebackType
from typing import Self, TypeVar, Unpack

import grpc
import grpc.aio
from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from fulcrum.edge.v1 import receipt_pb2
from fulcrum.edge.v1.edge_service_pb2_grpc import EdgeServiceStub

from fulcrum_client.answers import Answer, AsyncStream, Stream
from fulcrum_client.connection import Connection, Tls
from fulcrum_client.exchange import Exchange, Retries
from fulcrum_client.requests import GroupBy, Options, Pages, Turn, complete_request, feedback_request, usage_request

R = TypeVar("R")


class _Suite:
    """A suite at one address; close it, or use it as a context.

    Args:
        address: host:port, dns:///name:port or unix:path.
        api_key: travels with every call as `authorization: Bearer`; never logged, never in an error.
        tls: True for the system's authorities, or Tls; a key travels without only to this very machine.
        timeout_s: longest that a call may take, its retries included; each call may say otherwise.
        retries: of calls that failed before their first event.
        plaintext_key: lets a key travel unencrypted to another machine, where something on the way encrypts.

    Raises:
        ValueError: a key would travel in the clear, or half of a certificate and key is missing.
        OSError: a certificate cannot be read.
    """

    def __init__(
        self,
        address: str,
        api_key: str | None = None,
        tls: Tls | bool = False,
        timeout_s: float = 120.0,
        retries: Retries | None = None,
        plaintext_key: bool = False,
    ) -> None:
        self._connection = Connection(address, api_key, tls, plaintext_key)
        self._timeout_s = timeout_s
        self._retries = retries or Retries()
        self._open()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._connection!r})"

    def _open(self) -> None:
        """Makes the channel; connects with the first call."""
        raise NotImplementedError

    def _exchange(self, request_id: str, timeout_s: float | None) -> tuple[Exchange, tuple[tuple[str, str], ...]]:
        exchange = Exchange(request_id, self._timeout_s if timeout_s is None else timeout_s, self._retries)
        return exchange, self._connection.metadata(request_id)


class Client(_Suite):
    """A suite at one address, for threads."""

    def _open(self) -> None:
        self._channel = self._connection.channel()
        self._edge = EdgeServiceStub(self._channel)

    def complete(
        self, prompt: str | Sequence[Turn], *, timeout_s: float | None = None, **options: Unpack[Options]
    ) -> Answer:
        """One answer, whole.

        Raises:
            CallError: its subclasses say how it failed.
        """
        with self.stream(prompt, timeout_s=timeout_s, **options) as stream:
            for _ in stream:
                pass
            return stream.answer

    def stream(
        self, prompt: str | Sequence[Turn], *, timeout_s: float | None = None, **options: Unpack[Options]
    ) -> Stream:
        """One answer as it comes: iterate the pieces of text, then read its `receipt`; asked with the first piece."""
        return Stream(self._events(complete_request(prompt, **options), timeout_s))

    def usage(
        self,
        start: datetime.datetime | None = None,
        end: datetime.datetime | None = None,
        *,
        tenant: str = "",
        group_by: Sequence[GroupBy] = (),
        timeout_s: float | None = None,
    ) -> edge_pb.GetUsageResponse:
        """Sums of the ledger, every page of groups together; times without a zone are UTC.

        Raises:
            CallError: its subclasses say how it failed.
        """
        pages = Pages(usage_request(start, end, tenant, group_by))
        while (request := pages.wanted()) is not None:
            pages.take(self._ask(self._edge.GetUsage, request, timeout_s))
        return pages.whole

    def feedback(self, receipt: receipt_pb2.Receipt, right: bool, *, timeout_s: float | None = None) -> None:
        """Tells whether the answer with this receipt was right; saying it again does no harm.

        Raises:
            CallError: its subclasses say how it failed; NotFound where the answer is forgotten by now.
        """
        self._ask(self._edge.Feedback, feedback_request(receipt, right), timeout_s)

    def close(self) -> None:
        """Ends every call and the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _events(
        self, request: edge_pb.CompleteRequest, timeout_s: float | None
    ) -> Generator[edge_pb.CompleteResponse, None, None]:
        exchange, metadata = self._exchange(request.request_id, timeout_s)
        while True:
            call = self._edge.Complete(request, timeout=exchange.begin(), metadata=metadata)
            try:
                for event in call:
                    exchange.answered = True
                    yield event
                return
            except grpc.RpcError as failure:
                pause = exchange.pause_after(failure)
            finally:
                call.cancel()
            time.sleep(pause)

    def _ask(self, method: Callable[..., R], request: object, timeout_s: float | None) -> R:
        exchange, metadata = self._exchange(uuid.uuid4().hex, timeout_s)
        while True:
            try:
                return method(request, timeout=exchange.begin(), metadata=metadata)
            except grpc.RpcError as failure:
                pause = exchange.pause_after(failure)
            time.sleep(pause)


class AsyncClient(_Suite):
    """A suite at one address, for coroutines: Client with await; made where an event loop runs."""

    def _open(self) -> None:
        self._channel = self._connection.aio_channel()
        self._edge = EdgeServiceStub(self._channel)

    async def complete(
        self, prompt: str | Sequence[Turn], *, timeout_s: float | None = None, **options: Unpack[Options]
    ) -> Answer:
        """As Client.complete."""
        async with self.stream(prompt, timeout_s=timeout_s, **options) as stream:
            async for _ in stream:
                pass
            return stream.answer

    def stream(
        self, prompt: str | Sequence[Turn], *, timeout_s: float | None = None, **options: Unpack[Options]
    ) -> AsyncStream:
        """As Client.stream, for `async for`."""
        return AsyncStream(self._events(complete_request(prompt, **options), timeout_s))

    async def usage(
        self,
        start: datetime.datetime | None = None,
        end: datetime.datetime | None = None,
        *,
        tenant: str = "",
        group_by: Sequence[GroupBy] = (),
        timeout_s: float | None = None,
    ) -> edge_pb.GetUsageResponse:
        """As Client.usage."""
        pages = Pages(usage_request(start, end, tenant, group_by))
        while (request := pages.wanted()) is not None:
            pages.take(await self._ask(self._edge.GetUsage, request, timeout_s))
        return pages.whole

    async def feedback(self, receipt: receipt_pb2.Receipt, right: bool, *, timeout_s: float | None = None) -> None:
        """As Client.feedback."""
        await self._ask(self._edge.Feedback, feedback_request(receipt, right), timeout_s)

    async def close(self) -> None:
        """Ends every call and the connection."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def _events(
        self, request: edge_pb.CompleteRequest, timeout_s: float | None
    ) -> AsyncGenerator[edge_pb.CompleteResponse, None]:
        exchange, metadata = self._exchange(request.request_id, timeout_s)
        while True:
            call = self._edge.Complete(request, timeout=exchange.begin(), metadata=metadata)
            try:
                async for event in call:
                    exchange.answered = True
                    yield event
                return
            except grpc.aio.AioRpcError as failure:
                pause = exchange.pause_after(failure)
            finally:
                call.cancel()
            await asyncio.sleep(pause)

    async def _ask(self, method: Callable[..., Awaitable[R]], request: object, timeout_s: float | None) -> R:
        exchange, metadata = self._exchange(uuid.uuid4().hex, timeout_s)
        while True:
            try:
                return await method(request, timeout=exchange.begin(), metadata=metadata)
            except grpc.aio.AioRpcError as failure:
                pause = exchange.pause_after(failure)
            await asyncio.sleep(pause)
