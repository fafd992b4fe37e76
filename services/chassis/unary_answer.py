"""The answer of a unary gRPC call, which may be left without tearing the call."""

import asyncio
from typing import Any

from services.chassis.untorn import cancel


async def answer_of(call: Any) -> Any:
    """The call's answer; where the waiting is cancelled, so is the call.

    gRPC works on a call in a task of its own, which it cancels together with whoever awaits the call, and what it was
    working on is then never cleaned up (grpcio 1.85.1: 1 kB is lost for each). So that task's end is waited for here,
    and a call that is left is cancelled in core alone, which ends the task as it should.

    Raises:
        AioRpcError: the call's status.
        Exception: core did not begin the call.
    """
    try:
        await asyncio.wait((call._invocation_task,))  # which, unlike awaiting it, does not cancel it
    except asyncio.CancelledError:
        cancel(call)
        raise
    return await call
