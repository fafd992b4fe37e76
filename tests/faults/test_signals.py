"""Parts that are killed, told to end or stopped under load cost no request, and come back by themselves."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from fulcrum.cache.v1 import cache_service_pb2 as cache_pb
from fulcrum.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from fulcrum_client import AsyncClient, CallError, Unavailable

from services.chassis.channel import connect
from tests.load import Report, fresh, kept, loaded
from tests.processes import ServiceProcess, fleet

CALLERS = 6
DOWN_S = 2.0
SOON_S = 120.0  # far above the ten seconds that an open breaker waits at most: a busy machine fails nothing
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)
REQUESTS, REQUESTS_A_STRIKE = 3_000, 500


async def until(holds: Callable[[], object], soon_s: float = SOON_S) -> None:
    """Waits until it holds."""
    async with asyncio.timeout(soon_s):
        while not holds():  # noqa: ASYNC110 - other processes notify nobody
            await asyncio.sleep(0.05)


async def strike(victim: ServiceProcess, number: signal.Signals, noticed: Callable[[], object]) -> None:
    """Signals the victim, waits until that is noticed, and brings it back as whatever watches over it would."""
    victim.send(number)
    down = time.monotonic() + DOWN_S
    await until(lambda: time.monotonic() > down and noticed())
    if number is signal.SIGSTOP:
        victim.send(signal.SIGCONT)
    else:
        await victim.ended()
        await victim.start()


async def healthy_again(report: Report, count: int = 30) -> None:
    """Waits until so many requests in a row, sent from now on, had every part."""
    back = time.monotonic()

    def whole() -> bool:
        recent = [answer for answer in report.answers[-count:] if answer.at > back]
        return len(recent) == count and not any(answer.degraded or answer.error for answer in recent)

    await until(whole)


async def test_cache_router_and_encoder(tmp_path: Path) -> None:
    """Without cache, router or encoder every request is answered, its receipt says what was missing, and it returns."""
    async with fleet(tmp_path, own_encoder=True) as running, connect(running.edge.address) as channel:
        assert running.encoder
        victims = {"CACHE": running.cache, "ROUTER": running.router, "ENCODER": running.encoder}
        async with loaded(channel, CALLERS, kept) as report:
            await healthy_again(report)
            for part, victim in victims.items():
                for number in SIGNALS:
                    begin = time.monotonic()

                    def told(begin: float = begin, part: str = part) -> bool:
                        return any(one.startswith(part) for one in report.since(begin).degraded)

                    await strike(victim, number, told)
                    await healthy_again(report)
        assert not report.failed, report.failed[:3]
        assert {one.split()[0] for one in report.degraded} == victims.keys()
        print(report)


async def test_a_stopped_process_is_noticed(tmp_path: Path) -> None:
    """A backend that takes connections and says nothing soon costs no call its time, although it is the only one."""
    cache = ServiceProcess("cache", tmp_path, {"FULCRUM_CACHE__DATABASE": str(tmp_path / "cache.sqlite")})
    async with connect(await address(cache), True, name="cache", timeout_s=1.0) as channel:
        stub: Any = CacheServiceStub(channel)
        try:
            await stub.Stats(cache_pb.StatsRequest(), timeout=SOON_S)
            cache.send(signal.SIGSTOP)
            took = SOON_S
            async with asyncio.timeout(SOON_S):
                while took > 0.2:
                    begin = time.monotonic()
                    with pytest.raises(grpc.aio.AioRpcError):
                        await stub.Stats(cache_pb.StatsRequest(), timeout=1.0)
                    took = time.monotonic() - begin
        finally:
            await cache.stop()


async def address(process: ServiceProcess) -> str:
    """Where it serves, once it does."""
    return (await process.start()).address


async def test_one_of_two_executors(tmp_path: Path) -> None:
    """Struck every 500 requests, one of two executors costs at most one request in a thousand, and always returns."""
    async with fleet(tmp_path, executors=2) as running, connect(running.edge.address) as channel:
        async with loaded(channel, CALLERS, fresh) as report:
            await healthy_again(report)
            for strikes in range(1, REQUESTS // REQUESTS_A_STRIKE + 1):
                victim = running.executors[strikes % 2]
                await strike(victim, SIGNALS[strikes % 3], lambda: True)
                await until(partial(answered, victim, "Generate", answered(victim, "Generate") + 30))
                await until(partial(many, report, strikes * REQUESTS_A_STRIKE), 600.0)
        await running.edge.stop()
        (counts,) = running.edge.logged("models asked")
        print(f"{strikes} strikes", report, counts)
        assert len(report.failed) <= strikes * REQUESTS_A_STRIKE / 1000, report.failed
        assert counts["retries"] > 0  # of the killed
        assert counts["hedges_won"] > 0  # of the stopped
        asked = counts["calls"] + counts["retries"] + counts["hedges"]
        assert asked <= 1.5 * counts["calls"]


def many(report: Report, count: int) -> bool:
    """Whether so many requests have ended."""
    return len(report.answers) >= count


def answered(process: ServiceProcess, method: str, count: int = 0) -> int:
    """How many calls of a method it has answered, once they are so many; 0 before."""
    lines = process.log.read_bytes().splitlines()
    found = sum(f'"{method}"'.encode() in line and b'"OK"' in line for line in lines)
    return found if found >= count else 0


@dataclass
class Asked:
    """A request of the Python client: whether its answer had begun, and what it failed with."""

    request_id: str
    begun: bool = False
    error: CallError | None = None


@asynccontextmanager
async def asking(client: AsyncClient, callers: int) -> AsyncIterator[list[Asked]]:
    """Callers that ask one request after the other until the end of the block; the list grows meanwhile."""
    found: list[Asked] = []
    over = asyncio.Event()

    async def call(caller: int) -> None:
        while not over.is_set():
            one = Asked(f"edges-{caller}-{len(found)}")
            prompt = f"Reverse the word {one.request_id}."
            try:
                async for _ in client.stream(prompt, request_id=one.request_id, no_cache=True, no_store=True):
                    one.begun = True
            except CallError as error:
                one.error = error
            found.append(one)

    async with asyncio.TaskGroup() as group:
        for caller in range(callers):
            group.create_task(call(caller))
        try:
            yield found
        finally:
            over.set()


async def test_one_of_two_edges(tmp_path: Path) -> None:
    """A client that retries loses what had begun on a killed edge and nothing else; a stopped edge costs time alone."""
    kills = 0
    async with fleet(tmp_path, edges=2) as running:
        both = "ipv4:" + ",".join(edge.address for edge in running.edges)
        async with AsyncClient(both, timeout_s=SOON_S) as client, asking(client, CALLERS) as asked:
            await until(lambda: len(asked) >= 30)
            for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGKILL):
                for edge in running.edges:
                    kills += number is signal.SIGKILL
                    await strike(edge, number, lambda: True)
                    await until(partial(answered, edge, "Complete", answered(edge, "Complete") + 30))
        ended = {line["request_id"] for edge in running.edges for line in edge.logged("call")}
    failed = [one for one in asked if one.error]
    print(f"{len(asked)} requests, {kills} kills: {len(failed)} failed", *(one.error for one in failed[:2]), sep="\n")
    assert len(failed) <= kills * CALLERS
    for one in failed:
        assert one.begun, one
        assert one.request_id not in ended, one  # no edge ended it: it was on one that was killed
        assert isinstance(one.error, Unavailable), one
        assert one.error.request_id == one.request_id
        assert one.error.message


async def test_one_of_two_edges_drains(tmp_path: Path) -> None:
    """An edge that is told to end finishes what it began: a client that watches the health of both loses nothing."""
    watching = {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}
    balanced = ("grpc.service_config", json.dumps(watching))
    async with fleet(tmp_path, edges=2) as running:
        both = "ipv4:" + ",".join(edge.address for edge in running.edges)
        async with (
            grpc.aio.insecure_channel(both, options=[balanced]) as channel,
            loaded(channel, CALLERS, fresh) as report,
        ):
            await healthy_again(report)
            for edge in running.edges:
                edge.send(signal.SIGTERM)
                assert await edge.ended() == 0
                await edge.start()
                await until(partial(answered, edge, "Complete", answered(edge, "Complete") + 1))
        print(report)
        assert not report.failed, report.failed
