"""Statuses as exceptions: what went wrong, where, what was expected, and when to come back."""

from collections.abc import Iterable
from dataclasses import dataclass

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "fulcrum.dev"
_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True)
class FieldViolation:
    """One field that breaks its contract."""

    field: str
    description: str


class CallError(Exception):
    """A call that failed.

    Args:
        code: canonical status.
        message: one sentence; never holds a prompt, an answer or a key.
        reason: name of a fulcrum.error.v1.ErrorReason without its prefix; empty where the server is not Fulcrum's.
        field: what is at fault, such as "messages[0].role"; empty where unknown.
        value: what was found there.
        expected: what would have been right.
        retry_after_s: seconds after which a retry may help; None where nothing is known to.
        violations: every broken field of a refused request.
        request_id: finds the call in the server's log.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        reason: str = "",
        field: str = "",
        value: str = "",
        expected: str = "",
        retry_after_s: float | None = None,
        violations: tuple[FieldViolation, ...] = (),
        request_id: str = "",
    ) -> None:
        super().__init__(f"{code.name}: {message}" + (f" (request {request_id})" if request_id else ""))
        self.code = code
        self.message = message
        self.reason = reason
        self.field = field
        self.value = value
        self.expected = expected
        self.retry_after_s = retry_after_s
        self.violations = violations
        self.request_id = request_id


class InvalidRequest(CallError):
    """A field of the request is wrong: `violations` lists every such field."""


class NotFound(CallError):
    """The request names something that is not there, such as a model."""


class FailedPrecondition(CallError):
    """The request cannot be met as the suite is: an impossible objective, a missing capability."""


class Unauthenticated(CallError):
    """No key or certificate was shown, or one that is not known."""


class PermissionDenied(CallError):
    """The caller is known, and may not do this."""


class ResourceExhausted(CallError):
    """Overload, a rate or a budget; `retry_after_s` says when to come back. Or a message too large."""


class Unavailable(CallError):
    """The suite or its models could not be reached."""


class DeadlineExceeded(CallError):
    """No answer in the time given."""


class InternalError(CallError):
    """A defect of the server; its log has the details under the request id."""


_CLASSES: dict[grpc.StatusCode, type[CallError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.INTERNAL: InternalError,
}


def error_from(
    code: grpc.StatusCode, message: str, trailers: Iterable[tuple[str, str | bytes]], request_id: str = ""
) -> CallError:
    """The exception of a status and its trailing metadata."""
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    found = _unpack(trailers, (info, bad, retry))
    return _CLASSES.get(code, CallError)(
        code,
        message,
        reason=info.reason,
        field=info.metadata.get("field", ""),
        value=info.metadata.get("value", ""),
        expected=info.metadata.get("expected", ""),
        retry_after_s=retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9 if retry in found else None,
        violations=tuple(FieldViolation(one.field, one.description) for one in bad.field_violations),
        request_id=request_id,
    )


def _unpack(trailers: Iterable[tuple[str, str | bytes]], into: tuple[Message, ...]) -> list[Message]:
    """Fills each message from the details of the status; those that were there."""
    found: list[Message] = []
    for key, value in trailers:
        if key != _DETAILS_KEY or not isinstance(value, bytes):
            continue
        try:
            details = status_pb2.Status.FromString(value).details
            found += [message for message in into for detail in details if detail.Unpack(message)]
        except DecodeError:  # a proxy's: the code and the message still say what there is to say
            continue
    return found
