"""What one incoming call hands on to the calls it makes: its request id and what is left of its deadline."""

import contextvars
import math
import random
import time
from dataclasses import dataclass, replace

from services.chassis.errors import DeadlineExceeded
from services.chassis.tracing import trace_metadata

REQUEST_ID_KEY = "x-request-id"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, as this server found out, never as a message claims.

    Args:
        tenant: whose data, limits and bill these are.
        principal: which key or certificate of the tenant; for logs and quotas, no secret.
        trusted: whether it acts for every tenant, as an operator, a service of ours or a process on this machine does.
    """

    tenant: str
    principal: str
    trusted: bool


LOCAL = Caller("local", "local", True)


@dataclass(frozen=True, slots=True)
class Call:
    """An incoming call: its id, its deadline on the monotonic clock in seconds, and who makes it."""

    request_id: str
    deadline: float
    caller: Caller = LOCAL


_current: contextvars.ContextVar[Call | None] = contextvars.ContextVar("call", default=None)


def enter(call: Call | None) -> None:
    """Makes `call` the current one of this task; None ends it."""
    _current.set(call)


def current() -> Call | None:
    """The call that this task serves, or None outside of one."""
    return _current.get()


def caller() -> Caller:
    """Who makes the current call; this process itself outside of one."""
    call = _current.get()
    return call.caller if call else LOCAL


def tenant_of(claimed: str) -> str:
    """The tenant that the current call is about: what its message claims counts for trusted callers alone."""
    found = caller()
    return claimed if found.trusted else found.tenant


def new_request_id() -> str:
    """A request id of our own: 128 random bits in hex, unique but no secret."""
    return f"{random.getrandbits(128):032x}"  # the system's own source costs 20 us


def outlive_deadline() -> None:
    """Frees the running task of its call's deadline: what further callers wait for must not end with the first."""
    call = _current.get()
    if call:
        _current.set(replace(call, deadline=math.inf))


def outgoing(limit_s: float) -> tuple[float, tuple[tuple[str, str], ...]]:
    """Timeout in seconds, at most `limit_s`, and metadata for a call made on behalf of the current one.

    Raises:
        DeadlineExceeded: nothing is left of the deadline.
    """
    call = _current.get()
    if call is None:
        return limit_s, ((REQUEST_ID_KEY, new_request_id()), *trace_metadata())
    left = call.deadline - time.monotonic()
    if left <= 0:
        raise DeadlineExceeded("deadline", f"{left:.3f} s left", "time enough to finish")
    return min(left, limit_s), ((REQUEST_ID_KEY, call.request_id), *trace_metadata())
