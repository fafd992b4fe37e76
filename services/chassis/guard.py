"""What happens around every call: id, caller, size, constraints, deadline, errors to statuses, a log line, metrics."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
import structlog
from google.protobuf.message import Message

from services.chassis.call import Caller
from services.chassis.contracts import Contracts
from services.chassis.errors import Overloaded, PermissionDenied
from services.chassis.guarded_call import Failure, GuardedCall
from services.chassis.identity import Identity
from services.chassis.reflection_gate import REFLECTION, for_callers
from services.chassis.request_reader import CANCELLED_WITHIN_S, RequestReader
from services.chassis.settings import ServerSettings
from services.chassis.telemetry import RpcMetrics
from services.chassis.tracing import Tracer
from services.chassis.untorn import untorn

OURS = "/fulcrum."
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Guard(grpc.aio.ServerInterceptor):
    """Wraps the handlers of our own services; health passes untouched, reflection once the caller is known.

    Raises:
        ConfigError: the file of keys cannot be read.
    """

    def __init__(self, settings: ServerSettings, metrics: RpcMetrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self.contracts = Contracts(settings.max_message_bytes)
        self.identity = Identity(settings.identity)
        self.requests = RequestReader()
        self.log = structlog.get_logger("rpc").bind()  # once: a call's own binding costs 10 us
        self.tracer: Tracer | None = None
        self._wrapped: dict[str, Handler] = {}
        self._for_tenants: set[str] = set()
        self._admitted = 0
        self.idle = asyncio.Event()  # set while no call from outside is under way
        self.idle.set()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """The wrapped handler of the method, made once."""
        path = handler_call_details.method
        wrapped = self._wrapped.get(path)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None or not path.startswith((OURS, REFLECTION)):
                return handler
            wrapped = self._wrapped[path] = self._for_wire(path, handler)
        return wrapped

    def wrap(self, path: str, handler: Handler, log_level: str = "info") -> Handler:
        """The handler of `path` with this guard around it, which reads the request of a call from outside by itself."""
        parse: Callable[[bytes], Message] = handler.request_deserializer  # type: ignore[assignment]
        if handler.response_streaming:
            stream: Callable[..., AsyncIterator[Message]] = handler.unary_stream  # type: ignore[assignment]

            async def unary_stream(request: Any, context: Any) -> AsyncIterator[Message]:
                with GuardedCall(self, path, log_level) as call:
                    message, deadline = await call.admit(request, parse, context)
                    responses = stream(message, context)
                    try:
                        while (response := await _next_before(responses, deadline)) is not None:
                            call.suspend()
                            yield response
                            call.resume()
                    finally:
                        await responses.aclose()  # type: ignore[attr-defined]
                if call.failure:
                    try:
                        await _abort(context, call.failure)
                    finally:
                        del request, context  # the abort's traceback has this frame, and they have the abort

            return grpc.unary_stream_rpc_method_handler(unary_stream)

        unary: Callable[..., Awaitable[Message]] = handler.unary_unary  # type: ignore[assignment]

        async def unary_unary(request: Any, context: Any) -> Message:
            with GuardedCall(self, path, log_level) as call:
                message, deadline = await call.admit(request, parse, context)
                async with asyncio.timeout_at(deadline):
                    return await unary(message, context)
            assert call.failure  # noqa: S101 - what else could have ended the block
            try:
                await _abort(context, call.failure)
                raise AssertionError("abort always raises")
            finally:
                del request, context  # as above

        return grpc.unary_unary_rpc_method_handler(unary_unary)

    def open_to_tenants(self, services: Iterable[str], methods: Iterable[str]) -> None:
        """Lets tenants call these methods of these services; all others want one of our services or an operator."""
        methods = tuple(methods)
        self._for_tenants.update(f"/{service}/{method}" for service in services for method in methods)

    def check_allowed(self, path: str, caller: Caller) -> None:
        """Raises PermissionDenied where a tenant calls what is not for tenants."""
        if not caller.trusted and path not in self._for_tenants:
            raise PermissionDenied("caller", caller.tenant, "one of our services, or an operator")

    def admit_one(self) -> None:
        """Counts one call from outside in; raises Overloaded beyond the limit."""
        limit = self.settings.max_concurrent_calls
        if self._admitted >= limit:
            raise Overloaded("calls", f"{self._admitted} under way", f"at most {limit}", retry_after_s=1.0)
        self._admitted += 1
        self.idle.clear()

    def release_one(self) -> None:
        """Counts one call from outside out."""
        self._admitted -= 1
        if not self._admitted:
            self.idle.set()

    def _for_wire(self, path: str, handler: Handler) -> Handler:
        if path.startswith(REFLECTION):
            return for_callers(handler, self.identity)
        guarded: Any = self.wrap(path, handler)
        codec = {"response_serializer": handler.response_serializer}  # requests are parsed once the caller is known
        if guarded.unary_stream:
            return grpc.stream_stream_rpc_method_handler(_written(guarded.unary_stream), **codec)
        return grpc.stream_unary_rpc_method_handler(guarded.unary_unary, **codec)


def _written(stream: Callable[[Any, Any], AsyncGenerator[Message, None]]) -> Callable[[Any, Any], Awaitable[None]]:
    """The stream, writing its messages itself, so that who leaves tears none."""

    async def write(request: Any, context: Any) -> None:
        try:
            async with aclosing(stream(request, context)) as messages:
                async for message in messages:
                    await untorn(context.write(message))
        finally:
            del request, context  # an abort's traceback has this frame, and they have the abort

    return write


async def _abort(context: Any, failure: Failure) -> None:
    """Tells the caller; one whose time is up hears nothing, and core cancels its call at any moment.

    A status that core cannot send any more is never cleaned up (grpcio 1.85.1: 130 B are lost for each).
    """
    left = context.time_remaining()
    try:
        if left is not None and left <= 0 and not getattr(context, "in_process", False):
            await asyncio.sleep(CANCELLED_WITHIN_S)
        await context.abort(*failure)
    finally:
        del context  # as there


async def _next_before(responses: AsyncIterator[Message], deadline: float) -> Message | None:
    if asyncio.get_running_loop().time() >= deadline:  # a handler that never waits lets no timer fire
        raise TimeoutError
    async with asyncio.timeout_at(deadline):
        return await anext(responses, None)
