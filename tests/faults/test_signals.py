"""Parts that are killed, told to end or stopped under load cost no request, and come back by themselves."""

import asyncio
import json
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from fulcrum.cache.v1 import cache_service_pb2 as cache_pb
from fulcrum.cache.v1.cache_service_pb2_grpc import CacheServiceStub

from services.chassis.channel import connect
from tests.load import Report, fresh, kept, loaded
from tests.processes import ServiceProcess, fleet

CALLERS = 6
DOWN_S = 2.0
SOON_S = 120.0  # far above the ten seconds that an open breaker waits at most: a busy machine fails nothing
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)


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
    """Losing one of two executors, however it goes, fails at most one request in a thousand, and it returns."""
    async with fleet(tmp_path, executors=2) as running, connect(running.edge.address) as channel:
        async with loaded(channel, CALLERS, fresh) as report:
            await healthy_again(report)
            for turn, number in enumerate(SIGNALS):
                victim = running.executors[turn % 2]
                await strike(victim, number, lambda: True)
                await until(partial(answered, victim, answered(victim) + 30))
            await until(lambda: len(report.answers) >= 3_000, 600.0)
        await running.edge.stop()
        (counts,) = running.edge.logged("models asked")
        print(report, counts)
        assert report.failed_share <= 0.001, report.failed
        assert counts["retries"] > 0  # of the killed
        assert counts["hedges_won"] > 0  # of the stopped
        asked = counts["calls"] + counts["retries"] + counts["hedges"]
        assert asked <= 1.5 * counts["calls"]


def answered(executor: ServiceProcess, count: int = 0) -> int:
    """How many generations it has answered, once they are so many; 0 before."""
    lines = executor.log.read_bytes().splitlines()
    found = sum(b'"Generate"' in line and b'"OK"' in line for line in lines)
    return found if found >= count else 0


def serves_again(edge: ServiceProcess) -> bool:
    """Whether it has answered since it last started."""
    return bool(edge.logged("call")[-1]["timestamp"] > edge.logged("serving")[-1]["timestamp"])


async def test_one_of_two_edges_drains(tmp_path: Path) -> None:
    """An edge that is told to end finishes what it began: a plain gRPC client that knows both loses nothing."""
    balanced = ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]}))
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
                await until(partial(serves_again, edge))
        print(report)
        assert not report.failed, report.failed
