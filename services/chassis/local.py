"""Calls within one process: generated stubs on one side, registered servicers on the other, no wire between."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, NoReturn, cast

import grpc
from google.protobuf.message import Message

from services.chassis.guard import Guard, Handler

Metadata = Sequence[tuple[str, str | bytes]]


class LocalServer:
    """The part of a gRPC server that generated `add_*_to_server` functions need; keeps the guarded handlers."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self.handlers: dict[str, Handler] = {}

    def add_generic_rpc_handlers(self, handlers: Sequence[object]) -> None:
        """Does nothing: the registered methods below are the same handlers by name."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Takes one service's handlers, by method name."""
        for method, handler in handlers.items():
            path = f"/{service}/{method}"
            self.handlers[path] = self._guard.wrap(path, handler, log_level="debug")

    def channel(self) -> grpc.aio.Channel:
        """A channel that calls these handlers directly."""
        return cast(grpc.aio.Channel, LocalChannel(self.handlers))


class LocalChannel:
    """The part of a gRPC channel that generated stubs need, calling handlers with the very messages given."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        self._closing: set[asyncio.Task[None]] = set()

    def unary_unary(self, path: str, *_: Any, **__: Any) -> Callable[..., Any]:
        """A callable that awaits the method's answer."""

        async def call(request: Message, timeout: float | None = None, metadata: Metadata = ()) -> Message:
            handler = self._handler(path)
            return cast(Message, await handler.unary_unary(request, LocalContext(timeout, metadata)))  # type: ignore[misc, arg-type]

        return call

    def unary_stream(self, path: str, *_: Any, **__: Any) -> Callable[..., Any]:
        """A callable that returns the method's stream."""

        def call(request: Message, timeout: float | None = None, metadata: Metadata = ()) -> "LocalStream":
            handler = self._handler(path)
            responses = handler.unary_stream(request, LocalContext(timeout, metadata))  # type: ignore[misc, arg-type]
            return LocalStream(responses, self._closing)

        return call

    async def close(self, grace: float | None = None) -> None:
        """Waits until every cancelled stream has ended."""
        await asyncio.gather(*self._closing)

    def _handler(self, path: str) -> Handler:
        handler = self._handlers.get(path)
        if handler is None:
            raise _error(grpc.StatusCode.UNIMPLEMENTED, f"{path} is not served by this process")
        return handler


class LocalStream:
    """A stream under way; the consumer's own task drives it, so cancelling that task reaches the leaf at once."""

    def __init__(self, responses: Any, closing: set[asyncio.Task[None]]) -> None:
        self._responses = responses
        self._closing = closing
        self._ended = False

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        if self._ended:
            raise StopAsyncIteration
        try:
            return cast(Message, await anext(self._responses))
        except BaseException:
            self._ended = True
            raise

    def cancel(self) -> bool:
        """Ends the stream; False where it had ended already."""
        if self._ended:
            return False
        self._ended = True
        task = asyncio.ensure_future(self._responses.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        return True


class LocalContext:
    """The part of a servicer's context that the guard uses."""

    in_process = True

    def __init__(self, timeout: float | None, metadata: Metadata) -> None:
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._metadata = metadata

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, None where there is none."""
        return None if self._deadline is None else self._deadline - time.monotonic()

    def invocation_metadata(self) -> Metadata:
        """Metadata as the caller gave it."""
        return self._metadata

    async def send_initial_metadata(self, metadata: Metadata) -> None:
        """Nothing: within a process nobody waits for it."""

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        """Ends the call with a status, raised to the caller as from a wire."""
        raise _error(code, details, trailing_metadata)


def _error(code: grpc.StatusCode, details: str, trailing_metadata: Metadata = ()) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing_metadata), details)
