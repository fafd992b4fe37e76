"""Tenants that race their budgets over several edges, and what each of their calls was told."""

import asyncio
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import grpc
from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from fulcrum.edge.v1 import receipt_pb2
from fulcrum.executor.v1 import chat_pb2

from services.chassis.status import error_from
from tests.processes import ServiceProcess

HEADER = "x-tenant"
TIMEOUT_S = 30.0
LINGER_S = 2.0
UNSENT = "failed to connect"  # how gRPC begins to say that there was no connection to send a call on
MOMENT = random.Random(3)


@dataclass
class Call:
    """One call and its fate: told, refused, cancelled, failed (by edge's own status), cut off or unsent.

    `twins` is what it may share an execution under: its own id where it wants nothing shared. `struck` is who was
    killed while it was under way, or just after it was cancelled: its own edge, or an executor.
    """

    request_id: str
    tenant: str
    edge: int
    twins: str
    fate: str = ""
    why: str = ""
    struck: set[str] = field(default_factory=set)
    begun: float = field(default_factory=time.monotonic)
    ended: float = 0.0
    receipt: receipt_pb2.Receipt | None = None


@dataclass(frozen=True)
class Refusal:
    """Which limit a tenant reached, and its other calls that may have been under way when that was decided."""

    limit: str
    beside: int


@dataclass
class Race:
    """Every call that was made, and those under way, by the index of their edge."""

    calls: list[Call] = field(default_factory=list)
    under_way: dict[int, list[Call]] = field(default_factory=lambda: {0: [], 1: []})
    refused: dict[str, Refusal] = field(default_factory=dict)  # by tenant

    @property
    def fates(self) -> Counter[str]:
        """How many calls had each fate."""
        return Counter(call.fate for call in self.calls)

    def kill_edge(self, number: int, edge: ServiceProcess) -> None:
        """SIGKILLs an edge: what is under way there at this very moment is all that the kill can cut off."""
        for call in (*self.under_way[number], *(call for call in self._lingering() if call.edge == number)):
            call.struck.add("edge")
        edge.send(signal.SIGKILL)

    def kill_executor(self, executor: ServiceProcess) -> None:
        """SIGKILLs an executor: what is under way at this moment is all that may lose a model in the middle."""
        for call in (call for calls in self.under_way.values() for call in calls):
            call.struck.add("executor")
        executor.send(signal.SIGKILL)

    def refuse(self, call: Call) -> None:
        """Notes that a tenant's budget is spent, as this call was told."""
        others = [one for one in self.calls if one.tenant == call.tenant and one is not call]
        self.refused.setdefault(call.tenant, Refusal(call.why, sum(_beside(one, call) for one in others)))

    def _lingering(self) -> list[Call]:
        """Cancelled calls whose edge may not have ended them yet."""
        since = time.monotonic() - LINGER_S
        return [call for call in self.calls if call.fate == "cancelled" and call.ended > since]

    async def ask(self, stubs: list[Any], tenant: str, number: int, caller: int) -> Call:
        """One call to some edge; every fourth may share its answer, every sixth is left after its first words."""
        shares, leaves = number % 4 == 0, number % 6 == 5
        edge = MOMENT.randrange(len(stubs))
        call = Call(f"{tenant}/{caller}/{number}", tenant, edge, f"{tenant}//{number}")
        call.twins = call.twins if shares else call.request_id
        request = edge_pb.CompleteRequest(
            messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content=f"What is {number} plus {len(tenant)}?")],
            sampling=chat_pb2.Sampling(max_output_tokens=16 if leaves else 2),
            cache_control=edge_pb.CacheControl(no_cache=not shares, no_store=not shares),
            request_id=call.request_id,
        )
        self.calls.append(call)
        self.under_way[edge].append(call)
        try:
            await _listen(call, stubs[edge].Complete(request, timeout=TIMEOUT_S, metadata=((HEADER, tenant),)), leaves)
        finally:
            self.under_way[edge].remove(call)
            call.ended = time.monotonic()
        return call


def _beside(one: Call, call: Call) -> bool:
    """Whether one call may have been under way while the other was: what was cancelled may have ended later."""
    return not one.ended or one.ended + (LINGER_S if one.fate == "cancelled" else 0.0) > call.begun


async def _listen(call: Call, stream: Any, leaves: bool) -> None:
    """Reads a stream to its end, or cancels it after its first words, and notes its fate."""
    try:
        async for event in stream:
            if leaves:
                stream.cancel()
            if event.HasField("receipt"):
                call.fate, call.receipt = "told", event.receipt
    except asyncio.CancelledError:
        if not stream.cancelled():
            raise
        call.fate = "cancelled"
    except grpc.aio.AioRpcError as error:
        refusal = error_from(error, "edge")
        call.why = f"{error.code().name} {refusal}"
        if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            call.fate, call.why = "refused", refusal.field if refusal.reason == "BUDGET_EXHAUSTED" else ""
        elif refusal.reason == "STARTING" and refusal.field in ("ledger", "prices"):
            call.fate = "unsent"  # its edge has just begun and took nothing in: it must leave no line
        elif not refusal.unanswered:
            call.fate = "failed"
        else:
            call.fate = "unsent" if (error.details() or "").startswith(UNSENT) else "cut off"
    if not call.fate:
        call.fate, call.why = "cut off", "a stream without an end"


async def race(run: Race, stubs: list[Any], tenant: str, caller: int, over: asyncio.Event) -> None:
    """One caller of a tenant: asks until a budget is spent or the race is over, whatever edge is there."""
    number = 0
    while not over.is_set() and tenant not in run.refused:
        number += 1
        call = await run.ask(stubs, tenant, number, caller)
        if call.fate == "refused" and call.why:
            run.refuse(call)
        elif call.fate in ("refused", "unsent", "cut off", "failed"):
            await asyncio.sleep(0.05)
