"""Malformed, oversize and random messages, metadata and frames do each service no harm.

FULCRUM_FUZZ_MESSAGES says how many messages each service gets (8,000 where unset: two minutes on two busy cores; a
release gets 100,000), FULCRUM_FUZZ_SEED which. One that went wrong is fired again alone by `tests.faults.fuzz_calls`.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.faults.fuzz_calls import OVERSIZE, fire
from tests.faults.fuzz_frames import shoot, volley
from tests.faults.fuzz_seeds import SEEDS
from tests.processes import Fleet, ServiceProcess, fleet

MESSAGES = int(os.environ.get("FULCRUM_FUZZ_MESSAGES", "8000"))
SEED = int(os.environ.get("FULCRUM_FUZZ_SEED", "0"))
CONNECTIONS = max(200, MESSAGES // 50)
AT_ONCE = 50
GROWTH_BYTES = 24 * 2**20  # of resident memory after the first half: allocators settle late, leaks go on
SMALL = {
    "FULCRUM_SERVER__MAX_MESSAGE_BYTES": str(OVERSIZE),
    "FULCRUM_CACHE__MAX_ENTRIES": "200",
    "FULCRUM_CACHE__REMEMBERED_LOOKUPS": "500",
    "FULCRUM_ROUTER__REMEMBERED_DECISIONS": "500",
}


@pytest_asyncio.fixture(scope="module")
async def target(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    """Real processes whose stores are soon full, so that what goes on growing is a leak."""
    async with fleet(tmp_path_factory.mktemp("fuzz"), environment=SMALL) as made:
        yield made


def process_of(made: Fleet, service: str) -> ServiceProcess:
    """Who serves it."""
    found = {"cache": made.cache, "router": made.router, "edge": made.edge}
    return found.get(service.split(".")[1], made.executors[0])


def assert_unharmed(process: ServiceProcess, log_start: int) -> None:
    """It runs, and its log since then holds no defect and no traceback."""
    logged = process.log.read_bytes()[log_start:].decode(errors="replace")
    assert process.running, logged[-4000:]
    assert "Traceback" not in logged, logged[max(0, logged.index("Traceback") - 2000) :][:4000]
    for word in ('"event": "defect"', '"code": "INTERNAL"', '"code": "UNKNOWN"'):
        assert word not in logged


@pytest.mark.parametrize("service", sorted(SEEDS))
async def test_messages_and_metadata(target: Fleet, service: str) -> None:
    """Whatever a message or its metadata holds, the answer is a status that explains, and memory stays flat."""
    process = process_of(target, service)
    log_start = process.log.stat().st_size
    half = MESSAGES // 2
    first = await fire(process.address, service, range(half), SEED)
    settled = process.rss_bytes()
    second = await fire(process.address, service, range(half, MESSAGES), SEED)
    assert not first.wrong + second.wrong, "\n".join(first.wrong + second.wrong)
    codes = first.codes + second.codes
    assert codes.total() == MESSAGES
    for code in ("OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED"):
        assert codes[code] > MESSAGES / 500, codes  # the mix reaches what it is meant to reach
    assert_unharmed(process, log_start)
    grown = process.rss_bytes() - settled
    print(f"{service}: {MESSAGES} in {first.seconds + second.seconds:.0f} s, {grown / 2**20:+.1f} MiB, {dict(codes)}")
    assert grown < GROWTH_BYTES


@pytest.mark.parametrize("service", sorted(SEEDS))
async def test_frames(target: Fleet, service: str) -> None:
    """Garbage, half frames and impossible headers on the port; afterwards the service answers as ever."""
    process = process_of(target, service)
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
    assert_unharmed(process, log_start)
    after = await fire(process.address, service, range(100), SEED)
    assert after.codes["OK"], after
    assert not after.wrong
    assert_unharmed(process, log_start)
