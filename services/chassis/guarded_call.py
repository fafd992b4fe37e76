"""One guarded call from arrival to end: its caller, its deadline, what is said of it, and what it leaves behind."""

import asyncio
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
from google.protobuf.message import Message

from services.chassis import status
from services.chassis.call import LOCAL, REQUEST_ID_KEY, Call, current, enter, new_request_id
from services.chassis.errors import DeadlineExceeded, FulcrumError, Internal
from services.chassis.identity import UNKNOWN
from services.chassis.tracing import Span

if TYPE_CHECKING:
    from services.chassis.guard import Guard

Failure: TypeAlias = tuple[grpc.StatusCode, str, tuple[tuple[str, bytes], ...]]
_REQUEST_ID = re.compile("[ -~]{1,200}")  # what gRPC's metadata can hand on


class GuardedCall:
    """One call of a guarded handler, from its beginning to the end of the block; `failure` is what it is aborted with.

    The failure is told after the block, where the error and the frames that it went through are gone: kept beside what
    gRPC keeps of an aborted call they were a circle, 90 objects for each refusal, and left to the garbage collector,
    which stops the process for tens of milliseconds.
    """

    def __init__(self, guard: "Guard", path: str, log_level: str) -> None:
        self._guard = guard
        self._path = path
        _, self._service, self._method = path.split("/")
        self._log_level = log_level
        self._code = "OK"
        self._reason = ""
        self._counted = False
        self.failure: Failure | None = None
        self._call: Call | None = None
        self._span: Span | None = None
        self._begin = time.perf_counter()
        guard.metrics.begin(self._service, self._method)

    async def admit(self, request: Any, parse: Callable[[bytes], Message], context: Any) -> tuple[Message, float]:
        """Makes this the current call once its caller is known, then looks at the request, which from outside is read.

        Returns:
            The request's message, and the call's deadline on the loop's clock.
        """
        left: float | None = context.time_remaining()
        if left is None:
            left = self._guard.settings.default_deadline_s
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
        if left <= 0:
            raise TimeoutError
        deadline = asyncio.get_running_loop().time() + left
        if from_outside:
            request = await self._guard.requests.next(context, left)
            self._guard.admit_one()
            self._counted = True
        return self._guard.contracts.check(request, parse), deadline

    def _begin_call(self, context: Any, left: float, from_outside: bool) -> None:
        metadata = context.invocation_metadata() or ()
        given = dict(metadata).get(REQUEST_ID_KEY)
        request_id = given if isinstance(given, str) and _REQUEST_ID.fullmatch(given) else new_request_id()
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

    def __enter__(self) -> "GuardedCall":
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        """Ends it; an error becomes the failure that the caller is told of, but for a cancelled call's."""
        told = error is None or self._judge(error)
        self._end()
        return told

    def _judge(self, error: BaseException) -> bool:
        """Notes how the error is answered, and whether it still has to be; a defect is logged with its traceback."""
        if isinstance(error, grpc.aio.AbortError):  # the request did not come, and the caller has been told
            self._code, self._reason = "DEADLINE_EXCEEDED", DeadlineExceeded.default_reason
            return False
        if not isinstance(error, Exception):
            self._code = "CANCELLED"
            return False
        if isinstance(error, TimeoutError):
            spent = time.perf_counter() - self._begin
            error = DeadlineExceeded("deadline", f"{spent:.3f} s spent", "time enough to finish")
        elif not isinstance(error, FulcrumError):
            self._guard.log.error("defect", service=self._service, method=self._method, exc_info=error)
            error = Internal("request", type(error).__name__, "no defect; see the server's log under the request id")
        code = status.code_of(error)
        self._code, self._reason = code.name, error.reason
        self.failure = code, str(error), status.trailers(error)
        return True

    def _end(self) -> None:
        """Leaves the log line, the metrics and the span."""
        self.resume()  # a stream may be closed between two messages
        if self._counted:
            self._guard.release_one()
        self._tell()
        self.suspend()
        if self._span and self._guard.tracer:
            self._guard.tracer.end(self._span, self._code, self._reason)

    def _tell(self) -> None:
        seconds = time.perf_counter() - self._begin
        self._guard.metrics.end(self._service, self._method, self._code, seconds, self._reason)
        fields = {"reason": self._reason} if self._reason else {}
        if self._call and self._call.caller not in (LOCAL, UNKNOWN):
            fields.update(tenant=self._call.caller.tenant, caller=self._call.caller.principal)
        log = getattr(self._guard.log, self._log_level)
        log(
            "call",
            service=self._service,
            method=self._method,
            code=self._code,
            ms=round(seconds * 1000, 3),
            **fields,
        )
