"""A cache that is killed amid a purge of a tenant brings nothing back that went, and nothing of an acknowledged one."""

import asyncio
import random
from pathlib import Path
from typing import Any

import grpc
from fulcrum.cache.v1 import cache_service_pb2 as pb
from fulcrum.cache.v1.cache_service_pb2_grpc import CacheServiceStub

from services.cache.__main__ import main
from tests.faults.cache_model import vector
from tests.faults.test_cache_kill import FORKS, SOON_S, environment, port, serve

LIVES, ENTRIES = 8, 1000
MOMENT = random.Random(22)
ACME, RIVAL = pb.Scope(tenant="acme"), pb.Scope(tenant="rival")
FINGERPRINT = bytes(16)


async def fill(stub: Any, scope: pb.Scope, prompts: list[str]) -> None:
    for prompt in prompts:
        request = pb.StoreRequest(scope=scope, fingerprint=FINGERPRINT, text=prompt, embedding=vector(prompt))
        request.answer.text, request.answer.model = f"said {prompt}", "m"
        await stub.Store(request, timeout=SOON_S)


async def kept(stub: Any, scope: pb.Scope) -> list[str]:
    """The prompts that are there, the oldest first."""
    found: list[str] = []
    request = pb.ListEntriesRequest(scope=scope, page_size=1000)
    while True:
        page = await stub.ListEntries(request, timeout=SOON_S)
        found += [entry.text for entry in page.entries]
        request.page_token = page.next_page_token
        if not request.page_token:
            return found[::-1]


async def hits(stub: Any, prompts: list[str]) -> int:
    """How many are answered, by the same text or a similar one."""
    count = 0
    for prompt in prompts:
        for text in (prompt, f"Please, {prompt}"):
            asked = pb.LookupRequest(scope=ACME, fingerprint=FINGERPRINT, text=text, embedding=vector(prompt))
            count += (await stub.Lookup(asked, timeout=SOON_S)).HasField("hit")
    return count


async def test_killed_amid_a_purge(tmp_path: Path) -> None:
    """After each kill the oldest are gone and the rest is there; once the purge was acknowledged none is."""
    FORKS.set_forkserver_preload([main.__module__])
    prompts, theirs = [f"What is the colour of thing {number}?" for number in range(ENTRIES)], ["Who?", "Where?"]
    there, amid = 0, 0
    purge = pb.InvalidateRequest(scope=ACME, all=True)
    for life in range(LIVES + 2):
        log = tmp_path / f"log-{life}"
        process = FORKS.Process(target=serve, args=(log, environment(tmp_path)))
        process.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{await port(log, process.is_alive)}") as channel:
                stub: Any = CacheServiceStub(channel)
                found = await kept(stub, ACME)
                assert found == prompts[len(prompts) - len(found) :]
                assert len(found) <= there
                assert await hits(stub, prompts[: len(prompts) - len(found)][-20:]) == 0
                assert await hits(stub, found[:5]) >= len(found[:5])
                amid += 0 < len(found) < len(prompts)
                if life == LIVES + 1:
                    assert found == []
                    assert await kept(stub, RIVAL) == theirs
                    break
                if not life:
                    await fill(stub, RIVAL, theirs)
                if not found:
                    await fill(stub, ACME, prompts)
                there = len(await kept(stub, ACME))
                purging = asyncio.ensure_future(stub.Invalidate(purge, timeout=SOON_S))
                if life < LIVES:
                    for _ in range(life % 3):  # each is answered between two turns of the purge
                        await stub.ListEntries(pb.ListEntriesRequest(scope=RIVAL, page_size=1), timeout=SOON_S)
                    await asyncio.sleep(MOMENT.uniform(0.0, 0.02))
                else:
                    assert (await purging).removed == there
                process.kill()
                there = 0 if purging.done() and not purging.cancelled() and not purging.exception() else there
                await asyncio.gather(purging, return_exceptions=True)
        finally:
            process.kill()
            process.join()
    print("amid", amid)
    assert amid, "no kill fell amid a purge"
