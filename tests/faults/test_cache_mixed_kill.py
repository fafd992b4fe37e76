"""A cache that is killed amid stores, evictions, snapshots and rebuilds holds what it acknowledged, or evicted."""

import asyncio
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
from fulcrum.cache.v1 import cache_service_pb2 as pb
from fulcrum.cache.v1.cache_service_pb2_grpc import CacheServiceStub

from services.cache import faiss_nearest, nearest, vector_index
from services.cache.__main__ import main
from tests.faults.cache_model import Known, Model, said, vector
from tests.faults.test_cache_kill import FORKS, SOON_S, environment, port, serve

KILLS = int(os.environ.get("FULCRUM_CACHE_KILLS", "64"))
SCANNED, LARGE = 24, 64  # vectors from which an index has codes, and clusters; anew at four times as many
MOST, MOST_DEAR = 300, 60
CALLERS = 6
MOMENT = random.Random(21)
PARAPHRASE = "Please, {}"


def serve_small(log: Path, variables: dict[str, str]) -> None:
    """A server whose indexes have codes soon, and are large at once."""
    nearest.SCANNED, nearest.LARGE = SCANNED, LARGE
    vector_index._WORTH_CODES, faiss_nearest._WEIGHED = 3, 20
    serve(log, variables)


class Caller:
    """One who stores, replaces, purges and asks, one call at a time, each about prompts of its own."""

    def __init__(self, model: Model, number: int) -> None:
        self._model = model
        self._rng = random.Random(number)
        self._mine: list[Known] = []
        self._calls = 0
        self._number = number
        self.done: Counter[str] = Counter()

    async def run(self, stub: Any, fingerprint: bytes, answered: asyncio.Semaphore) -> None:
        """Calls until the server is gone."""
        while True:
            self._mine = [one for one in self._mine if one.sure]  # what may be gone is settled at the next start
            try:
                kind = await self._call(stub, fingerprint)
            except grpc.aio.AioRpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                    raise
                return
            self.done[kind] += 1
            answered.release()

    async def _call(self, stub: Any, fingerprint: bytes) -> str:
        drawn, dear = self._rng.random(), [one for one in self._mine if one.dear]
        if drawn < 0.1 and dear:
            return await self._ask(stub, self._rng.choice(dear))
        if drawn < 0.2 and dear:
            await self._store(stub, self._rng.choice(dear))
            return "replace"
        if drawn < 0.25 and self._mine:
            return await self._purge(stub, self._rng.choice(self._mine))
        new = self._model.new(drawn < 0.4 and len(dear) < MOST_DEAR / CALLERS, fingerprint)
        await self._store(stub, new)
        self._model.stored += 1
        self._mine.append(new)
        return "store"

    async def _store(self, stub: Any, known: Known) -> None:
        self._calls += 1
        answer = said(self._rng, self._number * 10**6 + self._calls)
        stored = await stub.Store(known.store(answer), timeout=SOON_S)
        known.entry_id, known.may_be = stored.entry_id, {answer}

    async def _purge(self, stub: Any, known: Known) -> str:
        self._model.purged += 1
        await stub.Invalidate(known.purge(), timeout=SOON_S)
        known.may_be = {None}
        return "purge"

    async def _ask(self, stub: Any, known: Known) -> str:
        await served(stub, known)
        return "ask"


async def served(stub: Any, known: Known) -> None:
    """A dear answer is found by its text and by its vector."""
    near = known.lookup(PARAPHRASE, embedding=vector(known.prompt))
    for asked, kind in ((known.lookup(), pb.MATCH_KIND_EXACT), (near, pb.MATCH_KIND_SEMANTIC)):
        found = await stub.Lookup(asked, timeout=SOON_S)
        assert found.hit.answer.text in known.may_be, (known, found)
        assert found.hit.kind == kind


async def exported(stub: Any) -> list[pb.StoredEntry]:
    found: list[pb.StoredEntry] = []
    request = pb.ExportEntriesRequest(page_size=1000)
    while True:
        page = await stub.ExportEntries(request, timeout=SOON_S)
        found += page.entries
        request.page_token = page.next_page_token
        if not request.page_token:
            return found


async def strike(stub: Any, callers: list[Caller], fingerprint: bytes, process: Any) -> None:
    """Lets the callers call, and kills the server at a random moment."""
    answered = asyncio.Semaphore(0)
    calling = [asyncio.ensure_future(caller.run(stub, fingerprint, answered)) for caller in callers]
    for _ in range(MOMENT.randrange(150)):
        await asyncio.wait_for(answered.acquire(), SOON_S)
    await asyncio.sleep(MOMENT.uniform(0.0, 0.004))
    process.kill()
    await asyncio.gather(*calling)


def files(folder: Path, pattern: str) -> list[Path]:
    return list(folder.glob(pattern))


async def test_what_was_acknowledged_is_there_or_was_evicted(tmp_path: Path) -> None:
    """After each kill every acknowledged answer is there whole, or was evicted in its turn because the cache was full.

    Cheap answers are the first to go, the oldest first, so that those that are there have no gap; dear ones all stay;
    what was purged stays away; nothing was evicted while there was room.
    """
    FORKS.set_forkserver_preload([main.__module__])
    model = Model(MOST)
    callers = [Caller(model, number) for number in range(CALLERS)]
    variables, written = {**environment(tmp_path), "FULCRUM_CACHE__MAX_ENTRIES": str(MOST)}, 0
    for life in range(KILLS + 1):
        log = tmp_path / f"log-{life}"
        process = FORKS.Process(target=serve_small, args=(log, variables))
        process.start()
        try:
            if life % 6 == 5:  # killed while it starts
                await asyncio.sleep(MOMENT.uniform(0.0, 0.3))
                continue
            async with grpc.aio.insecure_channel(f"127.0.0.1:{await port(log, process.is_alive)}") as channel:
                stub: Any = CacheServiceStub(channel)
                model.check(await exported(stub))
                for known in MOMENT.sample(model.there(), min(5, len(model.there()))):
                    await served(stub, known)
                if life < KILLS:
                    await strike(stub, callers, bytes([life // 8]) * 16, process)
        finally:
            process.kill()
            process.join()
            written += bool(files(tmp_path, "cache.sqlite.index/*.clusters"))  # a last purge removes it
    done = sum((caller.done for caller in callers), Counter())
    print(done, f"{model.evicted} evicted, {model.held} there, an index written after {written} kills")
    assert not files(tmp_path, "*.aside-*"), "a kill looked like damage"
    assert written > KILLS / 4
    assert model.evicted > min(MOST, model.stored - model.purged - 2 * MOST), "too few evictions for what was stored"
