"""More than the models can do: what they can do goes on, the rest is refused at once, and it passes."""

import asyncio
import itertools
import os
import time
from pathlib import Path

import yaml

from benchmarks.suite_process import suite_process
from services.chassis.channel import connect
from tests.load import Report, closed_loop, kept, open_loop, probed
from tests.processes import fleet
from tests.unit.executor.chat_server import Reply, chat_server, delta, streaming, usage

PLACES, ANSWER_S = 8, 0.4  # capacity: 20 a second, so that the flood leaves a slow machine time for it
PEAK_REQUESTS = 200
OVERLOAD_S = 15.0
TIMES = 5.0
AFTER_S = 5.0
LOCAL_CALLERS, LOCAL_PEAK, LOCAL_CALM = 8, 600, 100
LOCAL_TIMES, LOCAL_FLOOD_S = 3.0, 8.0
RECOVERED_S = 2.0
HEALTH_CHECKS = 3.0  # a refusal takes no longer than so many of them at the same time, whatever the machine does else


def slow_model() -> Reply:
    """A provider that takes its time, whatever this machine is busy with; no answer will do for two prompts."""
    numbers = itertools.count()

    async def reply(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(ANSWER_S)
        await streaming([delta(content=f"number {next(numbers)}"), delta("stop"), usage(20, 1)])(writer)

    return reply


def settings(folder: Path, base_url: str) -> dict[str, Path]:
    """A suite whose one model is that provider, with few places."""
    price = {
        "input_usd_per_million_tokens": 1.0,
        "cached_input_usd_per_million_tokens": 1.0,
        "cache_write_usd_per_million_tokens": 1.0,
        "output_usd_per_million_tokens": 2.0,
    }
    model = {"name": "slow", "context_tokens": 8192, "default": True, "price": {"list": price}}
    (folder / "catalogue.yaml").write_text(yaml.safe_dump({"models": [model]}))
    remote = {"base_url": base_url, "places": PLACES, "waiting_limit": PLACES}
    content = {
        "router": {"catalogue": str(folder / "catalogue.yaml"), "predictor": None},
        "executor": {"models": {"slow": remote}},
    }
    (folder / "settings.yaml").write_text(yaml.safe_dump(content))
    return dict.fromkeys(("executor", "router"), folder / "settings.yaml")


async def test_goodput_holds_and_rejects_are_quick(tmp_path: Path) -> None:
    """At five times capacity goodput stays near its peak, rejects carry RetryInfo and come at once, and it recovers."""
    async with chat_server() as provider:
        provider.reply = slow_model()
        async with fleet(tmp_path, configs=settings(tmp_path, provider.base_url)) as running:
            assert nice(running.executors[0].pid) > nice(running.edge.pid)
            channel = connect(running.edge.address)
            await closed_loop(channel, 2 * PLACES, PLACES, kept)
            begin = time.monotonic()
            peak = await closed_loop(channel, PEAK_REQUESTS, PLACES + 2, lambda n: kept(n + 1_000))
            capacity = PEAK_REQUESTS / (time.monotonic() - begin)
            assert not peak.failed
            begin = time.monotonic()
            async with probed(channel) as probes:
                flood = await open_loop(channel, TIMES * capacity, OVERLOAD_S, lambda n: kept(n + 10_000))
            goodput = flood.codes["OK"] / (time.monotonic() - begin)
            over = time.monotonic()
            after = await open_loop(channel, capacity / 2, AFTER_S, lambda n: kept(n + 1_000_000))
            await channel.close()
    print(f"capacity {capacity:.0f}/s, goodput {goodput:.0f}/s, {refusals(flood, probes)}\n{flood}\n{after}")
    assert set(flood.codes) == {"OK", "RESOURCE_EXHAUSTED"}
    assert all(answer.error.retry_after_s for answer in flood.answers if answer.error)
    assert goodput >= 0.9 * capacity
    recovered = after.since(over + 2.0)
    assert set(recovered.codes) == {"OK"}
    assert recovered.percentile_s(0.5) <= 1.5 * peak.percentile_s(0.5)
    assert quick(flood, probes)


def nice(pid: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, pid)


def quick(flood: Report, probes: Report) -> bool:
    """Whether refusals came at once: within a few health checks, at the median and in the tail."""
    return all(
        flood.percentile_s(share, "RESOURCE_EXHAUSTED") <= HEALTH_CHECKS * probes.percentile_s(share)
        for share in (0.5, 0.95, 0.99)
    )


def refusals(flood: Report, probes: Report) -> str:
    """What refusals took, and the health checks beside them."""

    def times(report: Report, code: str) -> str:
        return "/".join(f"{report.percentile_s(share, code) * 1000:.1f}" for share in (0.5, 0.95, 0.99))

    rejects, checks = times(flood, "RESOURCE_EXHAUSTED"), times(probes, "OK")
    return f"rejects p50/p95/p99 {rejects} ms, health checks {checks} ms"


async def test_local_models_in_one_process(tmp_path: Path) -> None:
    """At three times what the shipped models do, refusals are quick and have RetryInfo; two seconds later all is well.

    Client and suite share the machine's cores, so that goodput and the tail are printed and not judged.
    """
    async with suite_process(tmp_path) as suite:
        channel = connect(suite.address)
        await closed_loop(channel, 50, LOCAL_CALLERS, kept)
        before = await closed_loop(channel, LOCAL_CALM, 1, lambda n: kept(n + 1_000))
        begin = time.monotonic()
        peak = await closed_loop(channel, LOCAL_PEAK, LOCAL_CALLERS, lambda n: kept(n + 2_000))
        capacity = LOCAL_PEAK / (time.monotonic() - begin)
        begin = time.monotonic()
        async with probed(channel) as probes:
            flood = await open_loop(channel, LOCAL_TIMES * capacity, LOCAL_FLOOD_S, lambda n: kept(n + 10_000))
        goodput = flood.codes["OK"] / (time.monotonic() - begin)
        await asyncio.sleep(RECOVERED_S)
        after = await closed_loop(channel, LOCAL_CALM, 1, lambda n: kept(n + 1_000_000))
        await channel.close()
    print(f"capacity {capacity:.0f}/s, goodput {goodput:.0f}/s, {refusals(flood, probes)}")
    print(before, flood, after, sep="\n")
    assert set(before.codes) == set(peak.codes) == set(after.codes) == {"OK"}
    assert set(flood.codes) == {"OK", "RESOURCE_EXHAUSTED"}
    assert all(answer.error.retry_after_s for answer in flood.answers if answer.error)
    assert quick(flood, probes)
    assert after.percentile_s(0.5) <= 1.5 * before.percentile_s(0.5)
