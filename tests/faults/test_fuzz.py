"""Malformed, oversize and random messages, metadata and frames do each service no harm.

FULCRUM_FUZZ_MESSAGES says how many messages each service gets (8,000 where unset: two minutes on two busy cores; a
release gets 100,000), FULCRUM_FUZZ_SEED which. One that went wrong is fired again alone by `tests.faults.fuzz_calls`.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from google.protobuf import descriptor_pool

from tests.faults.fuzz_calls import OVERSIZE, fire
from tests.faults.fuzz_frames import shoot, volley
from tests.faults.fuzz_keys import Keys
from tests.faults.fuzz_seeds import SEEDS
from tests.processes import ServiceProcess, fleet

MESSAGES = int(os.environ.get("FULCRUM_FUZZ_MESSAGES", "8000"))
SEED = int(os.environ.get("FULCRUM_FUZZ_SEED", "0"))
NUMBERS = {"nothing": range(MESSAGES * 3 // 4), "keys": range(MESSAGES * 3 // 4, MESSAGES)}  # by what is asked for
CONNECTIONS = max(200, MESSAGES // 50)
AT_ONCE = 50
GROWTH_BYTES = 24 * 2**20  # of resident memory after the first half: allocators settle late, leaks go on
SMALL = {
    "FULCRUM_SERVER__MAX_MESSAGE_BYTES": str(OVERSIZE),
    "FULCRUM_CACHE__MAX_ENTRIES": "200",
    "FULCRUM_CACHE__REMEMBERED_LOOKUPS": "500",
    "FULCRUM_ROUTER__REMEMBERED_DECISIONS": "500",
}


@dataclass(frozen=True)
class Target:
    """Open services, and the same services where every caller has to show a key."""

    open: Mapping[str, ServiceProcess]
    keyed: Mapping[str, ServiceProcess]
    keys: Keys

    def processes(self, asks: str) -> Mapping[str, ServiceProcess]:
        """Those that ask for nothing, or for keys; by the first word of the service's package."""
        return self.keyed if asks == "keys" else self.open


@pytest_asyncio.fixture(scope="module")
async def target(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    """Real processes whose stores are soon full, so that what goes on growing is a leak."""
    folder = tmp_path_factory.mktemp("fuzz")
    keys = Keys.make(folder / "keys.json")
    asking = {"FULCRUM_SERVER__IDENTITY__ACCEPT": "keys", "FULCRUM_SERVER__IDENTITY__KEYS": str(keys.path)}
    async with fleet(folder, environment=SMALL) as made:
        backends = {"cache": made.cache, "router": made.router, "executor": made.executors[0]}
        keyed = {name: again(process, folder, asking) for name, process in (*backends.items(), ("edge", made.edge))}
        try:
            await asyncio.gather(*(process.start() for process in keyed.values()))
            yield Target(by_package({**backends, "edge": made.edge}), by_package(keyed), keys)
        finally:
            for process in keyed.values():
                await process.kill()


def again(process: ServiceProcess, folder: Path, more: Mapping[str, str]) -> ServiceProcess:
    """A second process of the same service, which asks for keys; a second edge has the first one's backends."""
    own = {**process.environment, "FULCRUM_CACHE__DATABASE": str(folder / "keyed-cache.sqlite"), **more}
    return ServiceProcess(process.service, folder, own, label=f"keyed-{process.service}")


def by_package(processes: dict[str, ServiceProcess]) -> Mapping[str, ServiceProcess]:
    """By the word after `fulcrum.` in a service's name; the executor embeds."""
    return {**processes, "embedding": processes["executor"]}


def assert_unharmed(process: ServiceProcess, log_start: int, keys: Keys) -> None:
    """It runs, and its log since then holds no defect, no traceback and no key."""
    logged = process.log.read_bytes()[log_start:].decode(errors="replace")
    assert process.running, logged[-4000:]
    assert "Traceback" not in logged, logged[max(0, logged.index("Traceback") - 2000) :][:4000]
    for word in ('"event": "defect"', '"code": "INTERNAL"', '"code": "UNKNOWN"'):
        assert word not in logged
    for secret in keys.secrets:
        assert secret not in logged


@pytest.mark.parametrize("service", sorted(SEEDS))
def test_every_method_is_fuzzed(service: str) -> None:
    """A method without a message to begin with would never be called."""
    methods = descriptor_pool.Default().FindServiceByName(service).methods
    assert {method.name for method in methods} == set(SEEDS[service])


@pytest.mark.parametrize("asks", sorted(NUMBERS))
@pytest.mark.parametrize("service", sorted(SEEDS))
async def test_messages_and_metadata(target: Target, service: str, asks: str) -> None:
    """Whatever a message, its metadata or its key holds, the status explains, and memory stays flat."""
    process, numbers = target.processes(asks)[service.split(".")[1]], NUMBERS[asks]
    log_start, keys = process.log.stat().st_size, target.keys if asks == "keys" else None
    half = len(numbers) // 2
    first = await fire(process.address, service, numbers[:half], SEED, keys=keys)
    settled = process.rss_bytes()
    second = await fire(process.address, service, numbers[half:], SEED, keys=keys)
    assert not first.wrong + second.wrong, "\n".join(first.wrong + second.wrong)
    codes = first.codes + second.codes
    assert codes.total() == len(numbers)
    for code in (
        "OK",
        "INVALID_ARGUMENT",
        "RESOURCE_EXHAUSTED",
        "UNIMPLEMENTED",
        *(("UNAUTHENTICATED",) if keys else ()),
    ):
        assert codes[code] > len(numbers) / 500, codes  # the mix reaches what it is meant to reach
    assert_unharmed(process, log_start, target.keys)
    grown, took_s = process.rss_bytes() - settled, first.seconds + second.seconds
    if grown >= GROWTH_BYTES:  # an allocator that settled later, or a leak, which grows by as much once more
        settled = process.rss_bytes()
        third = await fire(process.address, service, numbers[half:], SEED + 1, keys=keys)
        assert not third.wrong, "\n".join(third.wrong)
        grown = process.rss_bytes() - settled
    print(f"{service}, asks for {asks}: {len(numbers)} in {took_s:.0f} s, {grown / 2**20:+.1f} MiB, {dict(codes)}")
    assert grown < GROWTH_BYTES


@pytest.mark.parametrize("service", sorted(SEEDS))
async def test_frames(target: Target, service: str) -> None:
    """Garbage, half frames and impossible headers on the port; afterwards the service answers as ever."""
    process = target.keyed[service.split(".")[1]]
    log_start, rng = process.log.stat().st_size, random.Random(SEED)
    path = f"/{service}/{sorted(SEEDS[service])[0]}".encode()
    volleys = [volley(path, rng) for _ in range(CONNECTIONS)]
    places = asyncio.Semaphore(AT_ONCE)

    async def one(content: bytes) -> None:
        async with places:
            await shoot("127.0.0.1", process.port, content)

    half = CONNECTIONS // 2
    await asyncio.gather(*(one(content) for content in volleys[:half]))
    settled = process.rss_bytes()
    await asyncio.gather(*(one(content) for content in volleys[half:]))
    assert process.rss_bytes() - settled < GROWTH_BYTES
    assert process.descriptors() < 200
    assert_unharmed(process, log_start, target.keys)
    # Many: messages to the executor may have unloaded the model, and then few of those to edge can be right.
    after = await fire(process.address, service, range(300), SEED, keys=target.keys)
    assert after.codes["OK"], after
    assert not after.wrong
    assert_unharmed(process, log_start, target.keys)
