"""Load on running edges: concurrent requests, and what became of each."""

import asyncio
import gc
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from fulcrum.edge.v1 import receipt_pb2
from fulcrum.edge.v1.edge_service_pb2_grpc import EdgeServiceStub
from fulcrum.executor.v1 import chat_pb2
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from services.chassis.errors import FulcrumError
from services.chassis.status import error_from

PROBES_EVERY_S = 0.02

Make = Callable[[int], edge_pb.CompleteRequest]


@dataclass(frozen=True, slots=True)
class Answer:
    """One request's fate; times are seconds, `at` on the monotonic clock, when it was sent."""

    at: float
    took_s: float
    code: str
    error: FulcrumError | None = None
    receipt: receipt_pb2.Receipt | None = None
    text: str = ""

    @property
    def degraded(self) -> set[str]:
        """Parts that were done without, and how they failed: CACHE UNAVAILABLE."""
        found = self.receipt.degradations if self.receipt else ()
        return {f"{receipt_pb2.Part.Name(one.part).removeprefix('PART_')} {one.status}" for one in found}


@dataclass
class Report:
    """Every request that has ended so far, in the order of their ends."""

    answers: list[Answer] = field(default_factory=list)

    def since(self, at: float) -> "Report":
        """Those sent after `at`, monotonic seconds."""
        return Report([answer for answer in self.answers if answer.at >= at])

    @property
    def codes(self) -> Counter[str]:
        """How many ended with each canonical code."""
        return Counter(answer.code for answer in self.answers)

    @property
    def degraded(self) -> Counter[str]:
        """How many receipts told of each degradation."""
        return Counter(one for answer in self.answers for one in answer.degraded)

    @property
    def failed(self) -> list[str]:
        """Every error."""
        return [str(answer.error) for answer in self.answers if answer.error]

    @property
    def failed_share(self) -> float:
        """Errors of all."""
        return len(self.failed) / max(1, len(self.answers))

    def percentile_s(self, share: float, code: str = "OK") -> float:
        """The latency that this share of those with `code` did not exceed, in seconds."""
        took = sorted(answer.took_s for answer in self.answers if answer.code == code)
        return took[min(len(took) - 1, int(len(took) * share))] if took else 0.0

    def __str__(self) -> str:
        times = ", ".join(f"p{share * 100:.0f} {self.percentile_s(share) * 1000:.0f} ms" for share in (0.5, 0.95, 0.99))
        return f"{len(self.answers)} requests, {dict(self.codes)}, {times}, degraded {dict(self.degraded)}"


def fresh(number: int) -> edge_pb.CompleteRequest:
    """A request that shares nothing with any other and leaves nothing, of two tokens."""
    return edge_pb.CompleteRequest(
        messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content=f"What is {number} plus {number % 7}?")],
        sampling=chat_pb2.Sampling(max_output_tokens=2),
        cache_control=edge_pb.CacheControl(no_cache=True, no_store=True),
    )


def kept(number: int) -> edge_pb.CompleteRequest:
    """A request that looks into the cache and finds nothing."""
    request = fresh(number)
    request.ClearField("cache_control")
    return request


async def ask(stub: Any, request: edge_pb.CompleteRequest, timeout_s: float = 60.0) -> Answer:
    """One request to its end, whatever that is."""
    begin = time.monotonic()
    text = ""
    try:
        async for event in stub.Complete(request, timeout=timeout_s):
            if event.WhichOneof("event") == "receipt":
                return Answer(begin, time.monotonic() - begin, "OK", receipt=event.receipt, text=text)
            text += event.text_delta.text
    except grpc.aio.AioRpcError as error:
        return Answer(begin, time.monotonic() - begin, error.code().name, error_from(error, "edge"), text=text)
    lost = FulcrumError("edge", "a stream without a receipt", "a receipt")
    return Answer(begin, time.monotonic() - begin, "LOST", lost, text=text)


async def closed_loop(channel: grpc.aio.Channel, count: int, callers: int, make: Make = fresh) -> Report:
    """`count` requests, `callers` of them at a time."""
    async with loaded(channel, callers, make, count) as report:
        pass
    return report


@asynccontextmanager
async def loaded(channel: grpc.aio.Channel, callers: int, make: Make = fresh, count: int = 0) -> AsyncIterator[Report]:
    """Callers that ask one request after the other; the report grows meanwhile.

    At the end of the block each ends the request it is at; with a `count`, so many are asked in all, block or not.
    """
    stub, report, over = EdgeServiceStub(channel), Report(), asyncio.Event()
    numbers = itertools.count()

    async def call() -> None:
        for number in numbers:
            if number >= count and (count or over.is_set()):
                return
            report.answers.append(await ask(stub, make(number)))
            if not count and over.is_set():
                return

    running = [asyncio.create_task(call()) for _ in range(callers)]
    try:
        yield report
    finally:
        over.set()
        await asyncio.gather(*running)


async def open_loop(channel: grpc.aio.Channel, rate: float, seconds: float, make: Make = fresh) -> Report:
    """`rate` requests a second for so many seconds, whether the earlier ones have ended or not."""
    stub, report = EdgeServiceStub(channel), Report()
    gc.collect()
    gc.freeze()  # what other tests left is not walked while times are taken
    begin = time.monotonic()

    async def one(number: int) -> None:
        report.answers.append(await ask(stub, make(number)))

    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
            group.create_task(one(number))
    gc.unfreeze()
    return report


@asynccontextmanager
async def probed(channel: grpc.aio.Channel) -> AsyncIterator[Report]:
    """Health checks beside what the block does: what the least of calls takes there, by client, wire and server."""
    stub: Any = HealthStub(channel)
    report, over = Report(), asyncio.Event()

    async def check() -> None:
        begin = time.monotonic()
        await stub.Check(health_pb2.HealthCheckRequest())
        report.answers.append(Answer(begin, time.monotonic() - begin, "OK"))

    async def probe() -> None:
        async with asyncio.TaskGroup() as group:
            while not over.is_set():
                group.create_task(check())
                await asyncio.sleep(PROBES_EVERY_S)

    probing = asyncio.create_task(probe())
    try:
        yield report
    finally:
        over.set()
        await probing
