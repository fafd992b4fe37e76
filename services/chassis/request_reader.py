"""Reading a call's request in time: while it has not come, a call does nothing but take up a place.

grpc reads the request of a unary call before it calls the handler, and waits for it for as long as the client likes, or
for ever where the client has closed its side without one. So handlers are streaming ones to grpc, which makes no
difference on the wire, and read their request themselves.
"""

import asyncio
from typing import Any

import grpc

from services.chassis.errors import DeadlineExceeded, InvalidField

WAIT_S = 30.0
_CANCELLED_WITHIN_S = 0.1  # how soon after the end of requests core tells that the call was cancelled


async def next_request(context: Any) -> bytes:
    """The next request of a call from outside, whose handler has no deserialiser.

    Raises:
        DeadlineExceeded: it did not come in time.
        InvalidField: the client has closed its side without one.
    """
    request = await next_or_end(context)
    if request is None:
        await asyncio.sleep(_CANCELLED_WITHIN_S)  # a call that its client, or core, gave up is cancelled meanwhile
        raise InvalidField("request", "nothing", "one message")
    return request


async def next_or_end(context: Any) -> bytes | None:
    """The next request, or None where the client has closed its side.

    Raises:
        DeadlineExceeded: neither came in time.
    """
    try:
        async with asyncio.timeout(WAIT_S):
            request: Any = await context.read()
    except TimeoutError:
        raise DeadlineExceeded("request", f"nothing in {WAIT_S:g} s", "a message soon after the call") from None
    return None if request is grpc.aio.EOF else request
