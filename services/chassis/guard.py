"""What happens around every call: id, caller, size, constraints, deadline, errors to statuses, a log line, metrics."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, TypeAlias

import grpc
import structlog
from google.protobuf.message import Message

from services.chassis import status
from services.chassis.call import LOCAL, REQUEST_ID_KEY, Call, Caller, current, enter, new_request_id
from services.chassis.contracts import Contracts
from services.chassis.errors import DeadlineExceeded, FulcrumError, Internal, Overloaded, PermissionDenied
from services.chassis.identity import UNKNOWN, Identity
from services.chassis.reflection_gate import REFLECTION, for_callers
from services.chassis.settings import ServerSettings
from services.chassis.telemetry import RpcMetrics
from services.chassis.tracing import Span, Tracer

OURS = "/fulcrum."
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Guard(grpc.aio.ServerInterceptor):
    """Wraps the handlers of our own services; health passes untouched, reflection once the caller is known.

    Raises:
        ConfigError: the file of keys cannot be read.
    """

    def __init__(self, settings: ServerSettings, metrics: RpcMetrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self.contracts = Contracts(settings.max_message_bytes)
        self.identity = Identity(settings.identity)
        self._log = structlog.get_logger("rpc").bind()  # once: a call's own binding costs 10 us
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
            if handler is None or not path.startswith(OURS):
                return for_callers(handler, self.identity) if handler and path.startswith(REFLECTION) else handler
            wrapped = self._wrapped[path] = self.wrap(path, handler)
        return wrapped

    def wrap(self, path: str, handler: Handler, log_level: str = "info") -> Handler:
        """The handler of `path` with this guard around it."""
        parse: Callable[[bytes], Message] = handler.request_deserializer  # type: ignore[assignment]
        codec = {"response_serializer": handler.response_serializer}  # bytes are parsed once the caller is known
        if handler.response_streaming:
            stream: Callable[..., AsyncIterator[Message]] = handler.unary_stream  # type: ignore[assignment]

            async def unary_stream(request: Message | bytes, context: Any) -> AsyncIterator[Message]:
                watch = _Watch(self, path, log_level)
                try:
                    message, deadline = watch.admit(request, parse, context)
                    responses = stream(message, context)
                    try:
                        while (response := await _next_before(responses, deadline)) is not None:
                            watch.suspend()
                            yield response
                            watch.resume()
                    finally:
                        await responses.aclose()  # type: ignore[attr-defined]
                except BaseException as error:  # noqa: BLE001 - the edge of the process: every error becomes a status
                    await watch.fail(error, context)
                finally:
                    watch.end()

            return grpc.unary_stream_rpc_method_handler(unary_stream, **codec)

        unary: Callable[..., Awaitable[Message]] = handler.unary_unary  # type: ignore[assignment]

        async def unary_unary(request: Message | bytes, context: Any) -> Message:
            watch = _Watch(self, path, log_level)
            try:
                message, deadline = watch.admit(request, parse, context)
                async with asyncio.timeout_at(deadline):
                    return await unary(message, context)
            except BaseException as error:
                await watch.fail(error, context)
                raise
            finally:
                watch.end()

        return grpc.unary_unary_rpc_method_handler(unary_unary, **codec)

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
        limit = self._settings.max_concurrent_calls
        if self._admitted >= limit:
            raise Overloaded("calls", f"{self._admitted} under way", f"at most {limit}", retry_after_s=1.0)
        self._admitted += 1
        self.idle.clear()

    def release_one(self) -> None:
        """Counts one call from outside out."""
        self._admitted -= 1
        if not self._admitted:
            self.idle.set()


class _Watch:
    """One call from arrival to end."""

    def __init__(self, guard: Guard, path: str, log_level: str) -> None:
        self._guard = guard
        self._path = path
        _, self._service, self._method = path.split("/")
        self._log_level = log_level
        self._code = "OK"
        self._reason = ""
        self._counted = False
        self._call: Call | None = None
        self._span: Span | None = None
        self._begin = time.perf_counter()
        guard._metrics.begin(self._service, self._method)

    def admit(self, request: Message | bytes, parse: Callable[[bytes], Message], context: Any) -> tuple[Message, float]:
        """Makes this the current call once its caller is known, then looks at the request.

        Returns:
            The request's message, and the call's deadline on the loop's clock.
        """
        left: float | None = context.time_remaining()
        if left is None:
            left = self._guard._settings.default_deadline_s
        from_outside = not getattr(context, "in_process", False)
        if from_outside:
            left -= min(0.02, left * 0.1)  # so that our answer arrives before the caller's own clock ends the call
        if from_outside or current() is None:
            self._begin_call(context, left, from_outside)
        if self._guard.tracer and (call := self._call or current()):
            metadata = dict(context.invocation_metadata() or ())
            name, trusted = f"{self._service}/{self._method}", call.caller.trusted
            self._span = self._guard.tracer.begin(name, metadata, call.request_id, trusted)
            self.resume()
        if from_outside:
            self._guard.admit_one()
            self._counted = True
        if left <= 0:
            raise TimeoutError
        message = self._guard.contracts.check(request, parse)
        return message, asyncio.get_running_loop().time() + left

    def _begin_call(self, context: Any, left: float, from_outside: bool) -> None:
        metadata = context.invocation_metadata() or ()
        given = dict(metadata).get(REQUEST_ID_KEY)
        request_id = given if isinstance(given, str) and 0 < len(given) <= 200 else new_request_id()
        deadline = time.monotonic() + left
        self._call = Call(request_id, deadline, UNKNOWN)  # so that a refusal is logged under its id
        self.resume()
        identity = self._guard.identity
        found = identity.of_wire(metadata, context.auth_context) if from_outside else identity.of_process(metadata)
        self._call = Call(request_id, deadline, found)
        self.resume()
        self._guard.check_allowed(self._path, found)

    def resume(self) -> None:
        """Makes this the current call of the running task, unless it is part of another."""
        if self._call:
            enter(self._call)
        if self._span:
            self._span.enter()

    def suspend(self) -> None:
        """Gives the running task back to its own work, between two messages or at the end."""
        if self._call:
            enter(None)
        if self._span:
            self._span.leave()

    async def fail(self, error: BaseException, context: Any) -> None:
        """Answers with the error's status; a defect is logged with its traceback and answered as INTERNAL."""
        if isinstance(error, TimeoutError):
            spent = time.perf_counter() - self._begin
            error = DeadlineExceeded("deadline", f"{spent:.3f} s spent", "time enough to finish")
        if not isinstance(error, FulcrumError):
            if not isinstance(error, Exception):
                self._code = "CANCELLED"
                raise error
            self._guard._log.error("defect", service=self._service, method=self._method, exc_info=error)
            error = Internal("request", type(error).__name__, "no defect; see the server's log under the request id")
        code = status.code_of(error)
        self._code, self._reason = code.name, error.reason
        await context.abort(code, str(error), status.trailers(error))

    def end(self) -> None:
        """Leaves the log line, the metrics and the span."""
        self.resume()  # a stream may be closed between two messages
        if self._counted:
            self._guard.release_one()
        seconds = time.perf_counter() - self._begin
        self._guard._metrics.end(self._service, self._method, self._code, seconds, self._reason)
        fields = {"reason": self._reason} if self._reason else {}
        if self._call and self._call.caller not in (LOCAL, UNKNOWN):
            fields.update(tenant=self._call.caller.tenant, caller=self._call.caller.principal)
        log = getattr(self._guard._log, self._log_level)
        log(
            "call",
            service=self._service,
            method=self._method,
            code=self._code,
            ms=round(seconds * 1000, 3),
            **fields,
        )
        self.suspend()
        if self._span and self._guard.tracer:
            self._guard.tracer.end(self._span, self._code, self._reason)


async def _next_before(responses: AsyncIterator[Message], deadline: float) -> Message | None:
    if asyncio.get_running_loop().time() >= deadline:  # a handler that never waits lets no timer fire
        raise TimeoutError
    async with asyncio.timeout_at(deadline):
        return await anext(responses, None)
