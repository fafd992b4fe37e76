"""Reading a call's request in time: while it has not come, a call does nothing but take up a place.

grpc reads the request of a unary call before it calls the handler, and waits for it for as long as the client likes, or
for ever where the client has closed its side without one. So handlers are streaming ones to grpc, which makes no
difference on the wire, and read their request themselves.
"""

import asyncio
import math
from typing import Any

import grpc

from services.chassis import status
from services.chassis.errors import DeadlineExceeded, InvalidField

WAIT_S = 30.0
_CANCELLED_WITHIN_S = 0.1  # how soon after the end of requests core tells that the call was cancelled


async def next_request(context: Any, within_s: float = math.inf) -> bytes:
    """The next request of a call from outside, whose handler has no deserialiser; it has `within_s`, at most 30 s.

    Raises:
        AbortError: it did not come in time, and its client has been told.
        InvalidField: the client has closed its side without one.
    """
    request = await next_or_end(context, within_s)
    if request is None:
        await asyncio.sleep(_CANCELLED_WITHIN_S)  # a call that its client, or core, gave up is cancelled meanwhile
        raise InvalidField("request", "nothing", "one message")
    return request


async def next_or_end(context: Any, within_s: float = math.inf) -> bytes | None:
    """The next request, or None where the client has closed its side.

    A read that is cancelled while grpc works on it loses 2 kB, so one that takes too long is ended through its call.

    Raises:
        AbortError: neither came in time, and the client has been told.
    """
    loop, telling = asyncio.get_running_loop(), []
    limit_s = min(within_s, WAIT_S)
    timer = loop.call_later(limit_s, lambda: telling.append(loop.create_task(_tell(context, limit_s))))
    try:
        request: Any = await context.read()
    finally:
        timer.cancel()
        if telling:
            await telling[0]
    return None if request is grpc.aio.EOF else request


async def _tell(context: Any, waited_s: float) -> None:
    error = DeadlineExceeded("request", f"nothing in {waited_s:.3g} s", "a message soon after the call")
    try:
        await context.abort(status.code_of(error), str(error), status.trailers(error))
    except (grpc.aio.AbortError, grpc.aio.InternalError):
        return  # the reader gets the first too; the second says that the client left at the same moment
