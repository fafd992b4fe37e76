"""Reading a call's request in time: while it has not come, a call does nothing but take up memory.

grpc reads the request of a unary call before it calls the handler, and waits for it for as long as the client likes, or
for ever where the client has closed its side without one. So handlers are streaming ones to grpc, which makes no
difference on the wire, and read their request themselves.
"""

import asyncio
import math
from collections import Counter
from typing import Any

import grpc

from services.chassis import status
from services.chassis.call import caller
from services.chassis.errors import DeadlineExceeded, FulcrumError, InvalidField, Overloaded
from services.chassis.untorn import untorn

WAIT_S = 30.0
MOST_UNREAD = 256  # calls of one tenant on one connection, which may be a proxy's, whose request has not come
CANCELLED_WITHIN_S = 0.1  # how soon after the end of requests, or of a call's time, core tells that it was cancelled


class RequestReader:
    """Reads the requests of one server's calls, of which few of one tenant on one connection may be without."""

    def __init__(self) -> None:
        self._unread: Counter[str] = Counter()

    async def next(self, context: Any, within_s: float = math.inf) -> bytes:
        """The next request of a call from outside, whose handler has no deserialiser; it has `within_s`, at most 30 s.

        Raises:
            AbortError: it did not come in time, and its client has been told.
            InvalidField: the client has closed its side without one.
            Overloaded: too many calls of its tenant and connection are without a request.
        """
        request = await self.next_or_end(context, within_s)
        if request is None:
            await asyncio.sleep(CANCELLED_WITHIN_S)  # a call that its client, or core, gave up is cancelled meanwhile
            raise InvalidField("request", "nothing", "one message")
        return request

    async def next_or_end(self, context: Any, within_s: float = math.inf) -> bytes | None:
        """The next request, or None where the client has closed its side.

        A read that is cancelled while grpc works on it loses 2 kB: one that takes too long is ended through its call.

        Raises:
            AbortError: neither came in time, and the client has been told.
            Overloaded: too many calls of its tenant and connection are without a request.
        """
        whose = f"{caller().tenant} {context.peer()}"
        if self._unread[whose] >= MOST_UNREAD:
            found = f"{self._unread[whose]} of this tenant and connection"
            raise Overloaded("calls without a request", found, f"at most {MOST_UNREAD}", retry_after_s=1.0)
        self._unread[whose] += 1
        try:
            return await _read(context, min(within_s, WAIT_S))
        finally:
            self._unread[whose] -= 1
            if not self._unread[whose]:
                del self._unread[whose]


async def _read(context: Any, limit_s: float) -> bytes | None:
    loop, telling = asyncio.get_running_loop(), []
    timer = loop.call_later(limit_s, lambda: telling.append(loop.create_task(_tell(context, limit_s))))
    try:
        request: Any = await untorn(context.read())
    finally:
        timer.cancel()
        told = await telling[0] if telling else None
    if told:  # it came as its client was told that it was too late
        raise told
    return None if request is grpc.aio.EOF else request


async def _tell(context: Any, waited_s: float) -> BaseException:
    error: FulcrumError = DeadlineExceeded("request", f"nothing in {waited_s:.3g} s", "a message soon after the call")
    try:
        await context.abort(status.code_of(error), str(error), status.trailers(error))
    except grpc.aio.AbortError as aborted:
        return aborted
    except grpc.aio.InternalError:  # the client left at the same moment
        return asyncio.CancelledError()
    raise AssertionError("abort always raises")
