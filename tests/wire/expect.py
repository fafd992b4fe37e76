"""What a refused call must carry, whichever binding carried it."""

from collections.abc import AsyncIterable, Awaitable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from services.chassis.status import DETAILS_KEY, DOMAIN


async def drained(call: Awaitable[Any] | AsyncIterable[Any]) -> list[Any]:
    """Everything a call answers with, unary or streaming."""
    if isinstance(call, AsyncIterable):
        return [message async for message in call]
    return [await call]


async def refused(
    call: Awaitable[Any] | AsyncIterable[Any], code: grpc.StatusCode, reason: str, field: str
) -> grpc.aio.AioRpcError:
    """Asserts that the call ends with this status, and an ErrorInfo with this reason that names this field."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await drained(call)
    error = caught.value
    assert error.code() is code, f"{error.code()}: {error.details()}"
    info = detail(error, error_details_pb2.ErrorInfo)
    assert info is not None, error.details()
    assert (info.domain, info.reason, info.metadata["field"]) == (DOMAIN, reason, field), info
    assert info.metadata["expected"]
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        bad = detail(error, error_details_pb2.BadRequest)
        assert bad is not None
        assert field in [violation.field for violation in bad.field_violations]
    return error


def detail(error: grpc.aio.AioRpcError, cls: Any) -> Any:
    """The status detail of one kind, None where it is absent."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY:
            for packed in status_pb2.Status.FromString(value).details:
                if packed.Is(cls.DESCRIPTOR):
                    found = cls()
                    packed.Unpack(found)
                    return found
    return None
