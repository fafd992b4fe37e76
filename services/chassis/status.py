"""The one table from errors to canonical statuses, and the way back."""

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from services.chassis import errors

DOMAIN = "fulcrum.dev"
DETAILS_KEY = "grpc-status-details-bin"

STATUS: dict[type[errors.FulcrumError], grpc.StatusCode] = {
    errors.InvalidField: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Internal: grpc.StatusCode.INTERNAL,
}
_ERRORS = {code: cls for cls, code in STATUS.items()}
# What a broken connection, a process that ends or a proxy answers with; our own servers add an ErrorInfo to each.
_TRANSPORT = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL}
)


def code_of(error: errors.FulcrumError) -> grpc.StatusCode:
    """The canonical code of an error."""
    return STATUS[type(error)]


def trailers(error: errors.FulcrumError) -> tuple[tuple[str, bytes], ...]:
    """Trailing metadata that carries ErrorInfo, BadRequest for bad fields and RetryInfo where known."""
    info = error_details_pb2.ErrorInfo(
        reason=error.reason,
        domain=DOMAIN,
        metadata={"field": error.field, "value": error.value, "expected": error.expected},
    )
    details = [_packed(info)]
    if isinstance(error, errors.InvalidField):
        bad = error_details_pb2.BadRequest()
        for one in (error, *error.others):
            bad.field_violations.add(field=one.field, description=f"got {one.value!r}, expected {one.expected}")
        details.append(_packed(bad))
    if error.retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    status = status_pb2.Status(code=code_of(error).value[0], message=str(error), details=details)
    return ((DETAILS_KEY, status.SerializeToString()),)


def error_from(rpc_error: grpc.aio.AioRpcError, backend: str) -> errors.FulcrumError:
    """The error that a call of `backend` answered with; keeps field, reason and retry delay where they were sent."""
    info, retry_after_s = _details_of(rpc_error)
    cls = _ERRORS.get(rpc_error.code(), errors.Unavailable)
    if info is None:
        error = cls(backend, rpc_error.details() or rpc_error.code().name, "an answer", retry_after_s=retry_after_s)
        error.unanswered = rpc_error.code() in _TRANSPORT
        return error
    found = info.metadata
    return cls(
        found.get("field", backend),
        found.get("value", ""),
        found.get("expected", "an answer"),
        reason=info.reason,
        retry_after_s=retry_after_s,
    )


def is_unanswered(rpc_error: grpc.aio.AioRpcError) -> bool:
    """Whether no server of ours made this status, which is then not told from its details."""
    return _details_of(rpc_error)[0] is None


def is_elsewhere(rpc_error: grpc.aio.AioRpcError) -> bool:
    """Whether another replica may well answer: nobody did here, or one that has not loaded yet."""
    info, _ = _details_of(rpc_error)
    return rpc_error.code() in _TRANSPORT if info is None else info.reason == "STARTING"


def raisable(error: errors.FulcrumError) -> grpc.aio.AioRpcError:
    """The status of an error as a caller would get it over the wire."""
    trailing = grpc.aio.Metadata(*trailers(error))
    return grpc.aio.AioRpcError(code_of(error), grpc.aio.Metadata(), trailing, str(error))


def _details_of(rpc_error: grpc.aio.AioRpcError) -> tuple[error_details_pb2.ErrorInfo | None, float | None]:
    info: error_details_pb2.ErrorInfo | None = None
    retry_after_s: float | None = None
    for key, value in rpc_error.trailing_metadata() or ():
        if key != DETAILS_KEY or not isinstance(value, bytes):
            continue
        try:
            status = status_pb2.Status.FromString(value)
        except DecodeError:
            continue
        for detail in status.details:
            if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
                info = error_details_pb2.ErrorInfo()
                detail.Unpack(info)
            elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
                retry = error_details_pb2.RetryInfo()
                detail.Unpack(retry)
                retry_after_s = retry.retry_delay.ToNanoseconds() / 1e9
    return info, retry_after_s


def _packed(
    message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
