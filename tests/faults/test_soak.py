"""Hours of everything that clients do leave nothing behind: memory, descriptors, threads and tasks stay flat.

`make soak` runs it for an hour; FULCRUM_SOAK_S says for how many seconds, two minutes where it is unset. The first half
fills what grows by design until its bound (the cache and the prefixes that engines keep, both made small here, what
cache and router remember of late calls, metrics' series, allocators); the second half is looked at.
"""

import asyncio
import json
import os
import re
import time
import urllib.request
from pathlib import Path

import grpc
from fulcrum.edge.v1.edge_service_pb2_grpc import EdgeServiceStub
from rich.console import Console

from services.chassis.key_file import KeyFile
from tests.faults.soak_growth import MIB, Growth, Sample, sample
from tests.faults.soak_traffic import MAY_END, Traffic
from tests.processes import Fleet, ServiceProcess, fleet
from tests.telemetry.collector import collector

SOAK_S = float(os.environ.get("FULCRUM_SOAK_S", "120"))
CALLERS = 6
SAMPLE_S = max(0.5, SOAK_S / 240)
LEAST_A_SECOND = 5.0  # answers; two busy cores give three times as many
ENTRIES = 200
REST_S = 3.0  # after which nothing of the traffic is left
REST_TASKS = 5  # more than at the start, as what is made with the first call stays
TASKS = "fulcrum_event_loop_tasks"
SMALL = {
    "FULCRUM_CACHE__MAX_ENTRIES": str(ENTRIES),
    "FULCRUM_CACHE__REMEMBERED_LOOKUPS": "500",
    "FULCRUM_ROUTER__REMEMBERED_DECISIONS": "500",
    "FULCRUM_EXECUTOR__MODELS": json.dumps(
        {name: {"folder": f"models/{name}", "prefix_memory_mb": 2} for name in ("fulcrum-small", "fulcrum-large")}
    ),
}
Samples = dict[str, list[Sample]]


def metric(process: ServiceProcess, name: str) -> int:
    """A gauge of the process."""
    (serving,) = process.logged("serving")
    with urllib.request.urlopen(f"http://127.0.0.1:{serving['metrics_port']}/metrics", timeout=10) as page:
        found = re.search(rf"^{name} (\S+)$", page.read().decode(), re.M)
    assert found
    return int(float(found[1]))


async def tasks_of(running: Fleet) -> dict[str, int]:
    """How many tasks each process has."""
    return {process.log.stem: await asyncio.to_thread(metric, process, TASKS) for process in running.all}


async def watch(running: Fleet, until: float, samples: Samples, entries: list[int]) -> None:
    """Samples every process until that moment; `entries` are the cache's, at half of the time and at the end."""
    console, begin = Console(stderr=True), time.monotonic()
    half = (begin + until) / 2
    while time.monotonic() < until:
        await asyncio.sleep(SAMPLE_S)
        for process in running.all:
            tasks = await asyncio.to_thread(metric, process, TASKS)
            samples.setdefault(process.log.stem, []).append(sample(process, tasks))
        if len(entries) < (time.monotonic() > half) + (time.monotonic() > until):
            entries.append(await asyncio.to_thread(metric, running.cache, "fulcrum_cache_entries"))
        if console.is_terminal:
            sizes = ", ".join(f"{name} {seen[-1].rss / MIB:.0f} MiB" for name, seen in samples.items())
            console.print(f"{time.monotonic() - begin:6.0f} of {SOAK_S:.0f} s: {sizes}", end="\r")


async def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """Hits, misses, refusals, strangers, missed deadlines and clients that leave: every process stays as it is."""
    keys = KeyFile(tmp_path / "keys.json")
    traffic = Traffic(keys.create("acme", "", False, None)[1], keys.create("modest", "", False, None)[1])
    samples: Samples = {}
    entries: list[int] = []
    edge = {
        "FULCRUM_SERVER__IDENTITY__ACCEPT": "keys",
        "FULCRUM_SERVER__IDENTITY__KEYS": str(tmp_path / "keys.json"),
        "FULCRUM_EDGE__TENANTS": json.dumps({"modest": {"requests_per_second": 0.5}}),
    }
    with collector(most=1) as spans:
        environment = {
            **SMALL,
            "FULCRUM_SERVER__METRICS_PORT": "0",
            "FULCRUM_SERVER__TRACING__ENDPOINT": spans.url,
        }
        async with fleet(tmp_path, executors=2, environment=environment, edge_environment=edge) as running:
            idle = await tasks_of(running)
            begin = time.monotonic()
            until = begin + SOAK_S
            async with grpc.aio.insecure_channel(running.edge.address) as channel:
                stub = EdgeServiceStub(channel)
                asking = (traffic.keep_asking(stub, until) for _ in range(CALLERS))
                await asyncio.gather(watch(running, until, samples, entries), *asking)
                await asyncio.sleep(REST_S)
                idle_again = await tasks_of(running)
            assert all(process.running for process in running.all)
            assert not any('"event": "defect"' in process.log.read_text() for process in running.all)
            await running.edge.stop()
            (asked,) = running.edge.logged("models asked")
    growths = [Growth.of(name, seen, begin + SOAK_S / 2) for name, seen in samples.items()]
    print({kind: dict(codes) for kind, codes in traffic.ended.items()}, asked, f"{spans.received} exports", sep="\n")
    print(*growths, sep="\n")
    check_traffic(traffic, asked)
    assert entries == [ENTRIES, ENTRIES]  # full before anything is measured
    assert spans.received > SOAK_S / 10
    assert not [growth for growth in growths if growth.leaks]
    print(f"tasks at rest: {idle}, then {idle_again}")
    assert not [name for name, count in idle_again.items() if count > idle[name] + REST_TASKS]


def check_traffic(traffic: Traffic, asked: dict[str, int]) -> None:
    """Every kind of call came, ended as it may, and none in so small a number that it shows nothing."""
    for kind, may in MAY_END.items():
        assert traffic.sent(kind), kind
        assert set(traffic.ended[kind]) <= may, (kind, traffic.ended[kind])
    for kind, code in (("limited", "RESOURCE_EXHAUSTED"), ("leaving", "CANCELLED"), ("hurried", "DEADLINE_EXCEEDED")):
        assert traffic.ended[kind][code], kind
    answered = sum(codes["OK"] for codes in traffic.ended.values())
    assert answered >= LEAST_A_SECOND * SOAK_S
    assert asked["hedges"] > 0
