"""Hours of everything that clients do leave nothing behind: memory, descriptors, threads and tasks stay flat.

`make soak` runs it for an hour; FULCRUM_SOAK_S says for how many seconds, two minutes where it is unset.
"""

import asyncio
import os
import random
import re
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from fulcrum.edge.v1.edge_service_pb2_grpc import EdgeServiceStub
from fulcrum.executor.v1 import chat_pb2
from fulcrum.router.v1 import objective_pb2
from rich.console import Console

from tests.processes import Fleet, ServiceProcess, fleet

SOAK_S = float(os.environ.get("FULCRUM_SOAK_S", "120"))
CALLERS = 6
SAMPLE_S = max(1.0, SOAK_S / 120)
WARM_SHARE = 0.4  # of the time, until caches and allocators are at their size
GROWTH = 0.05  # of memory, over what is left of the time
SLACK_BYTES = 12 * 2**20
EXPECTED = {"RESOURCE_EXHAUSTED", "CANCELLED", "DEADLINE_EXCEEDED", "INVALID_ARGUMENT", "NOT_FOUND", "UNAVAILABLE"}
CHANCE = random.Random(5)


@dataclass(frozen=True)
class Sample:
    """One process at one moment."""

    at: float
    rss: int
    descriptors: int
    threads: int
    tasks: int


def sample(process: ServiceProcess) -> Sample:
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port(process)}/metrics", timeout=10) as page:
        found = re.search(r"^fulcrum_event_loop_tasks (\S+)$", page.read().decode(), re.M)
    assert found
    tasks = int(float(found[1]))
    return Sample(time.monotonic(), process.rss_bytes(), process.descriptors(), process.threads(), tasks)


def metrics_port(process: ServiceProcess) -> object:
    return next(line["metrics_port"] for line in process.lines() if line.get("event") == "serving")


def anything() -> tuple[edge_pb.CompleteRequest, float, bool]:
    """A request of some kind, its deadline in seconds, and whether its caller leaves midway."""
    number = CHANCE.randrange(10**9)
    prompt = CHANCE.choice(
        [
            f"What is {number} plus 2?",
            f"Reverse the word {number:x}.",
            "What is the capital of France?",
            "Tell me the capital city of France.",
            "x" * CHANCE.randrange(1, 4000),
        ]
    )
    request = edge_pb.CompleteRequest(messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content=prompt)])
    match CHANCE.randrange(10):
        case 0:
            request.objective.CopyFrom(objective_pb2.Objective(allowed_models=[f"no-such-{number}"]))
        case 1:
            request.sampling.top_p = 7.0
        case 2:
            request.cache_control.no_cache = True
        case 3:
            return request, CHANCE.choice([0.001, 0.02, 0.05]), False
        case 4:
            return request, 30.0, True
    return request, 30.0, False


async def keep_asking(stub: Any, until: float, codes: dict[str, int]) -> None:
    while time.monotonic() < until:
        request, timeout_s, leaves = anything()
        call = stub.Complete(request, timeout=timeout_s)
        code = "OK"
        try:
            async for _ in call:
                if leaves:
                    call.cancel()
        except grpc.aio.AioRpcError as error:
            code = error.code().name
        except asyncio.CancelledError:  # how grpc.aio tells the reader of its own cancelling
            code = "CANCELLED"
        codes[code] = codes.get(code, 0) + 1


async def watch(running: Fleet, until: float, samples: dict[str, list[Sample]]) -> None:
    console, begin = Console(stderr=True), time.monotonic()
    while time.monotonic() < until:
        await asyncio.sleep(SAMPLE_S)
        for process in running.all:
            samples.setdefault(process.log.stem, []).append(await asyncio.to_thread(sample, process))
        if console.is_terminal:
            sizes = ", ".join(f"{name} {seen[-1].rss / 2**20:.0f} MB" for name, seen in samples.items())
            console.print(f"{time.monotonic() - begin:6.0f} of {SOAK_S:.0f} s: {sizes}", end="\r")


def check_flat(name: str, seen: Sequence[Sample]) -> str:
    """Asserts that nothing grows once warm; the figures."""
    begin, end = seen[0].at, seen[-1].at
    warm = [one for one in seen if one.at >= begin + WARM_SHARE * (end - begin)]
    half = len(warm) // 2
    slope = float(np.polyfit([one.at for one in warm], [one.rss for one in warm], 1)[0])
    grown = slope * (warm[-1].at - warm[0].at)
    assert grown <= GROWTH * warm[0].rss + SLACK_BYTES, f"{name} grows by {slope * 3600 / 2**20:.1f} MB an hour"
    for what in ("descriptors", "threads", "tasks"):
        early, late = (sorted(getattr(one, what) for one in part) for part in (warm[:half], warm[half:]))
        assert late[len(late) // 2] <= early[len(early) // 2] * 1.1 + 4, f"{name}: {what} grow: {early} then {late}"
    return f"{name}: {warm[-1].rss / 2**20:.0f} MB, {slope * 3600 / 2**20:+.1f} MB/h, {warm[-1]}"


async def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """Hits, misses, refusals, missed deadlines and clients that leave, all at once: every process stays as it is."""
    environment = {
        "FULCRUM_SERVER__METRICS_PORT": "0",
        "FULCRUM_SERVER__LOG_LEVEL": "info",
        "FULCRUM_CACHE__MAX_ENTRIES": "500",
    }
    samples: dict[str, list[Sample]] = {}
    codes: dict[str, int] = {}
    async with fleet(tmp_path, environment=environment) as running:
        until = time.monotonic() + SOAK_S
        async with grpc.aio.insecure_channel(running.edge.address) as channel:
            stub = EdgeServiceStub(channel)
            await asyncio.gather(
                watch(running, until, samples), *(keep_asking(stub, until, codes) for _ in range(CALLERS))
            )
        assert all(process.running for process in running.all)
        assert not any("defect" in process.log.read_text() for process in running.all)
    print(codes, *(check_flat(name, seen) for name, seen in samples.items()), sep="\n")
    assert codes["OK"] > SOAK_S
    assert set(codes) <= EXPECTED | {"OK"}
