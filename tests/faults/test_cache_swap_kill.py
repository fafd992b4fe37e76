"""A cache that is killed while its entries are embedded anew has each of them whole, by one encoder or the other."""

import asyncio
import itertools
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from fulcrum.cache.v1 import cache_service_pb2 as pb
from fulcrum.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from fulcrum.embedding.v1 import embedding_pb2

from services.cache.__main__ import main
from tests.faults.cache_model import DIMENSION, SCOPE, vector
from tests.faults.test_cache_kill import FINGERPRINT, FORKS, SOON_S, environment, port, serve
from tests.faults.test_cache_mixed_kill import files

KILLS = int(os.environ.get("FULCRUM_CACHE_KILLS", "8"))
ENTRIES, BATCH = 160, 24
NEW, WIDER = "cd" * 32, 2 * DIMENSION
MOMENT = random.Random(22)


def moved(prompt: str) -> embedding_pb2.Embedding:
    """The prompt's vector by the new encoder: of another length."""
    values = np.frombuffer(vector(prompt).values, "<f4")
    wide = (np.concatenate([values, -values]) / np.sqrt(2)).astype("<f4")
    return embedding_pb2.Embedding(values=wide.tobytes(), dimension=WIDER, encoder_digest=NEW)


def store(prompt: str) -> pb.StoreRequest:
    answer = pb.Answer(text=f"of {prompt}", model="m")
    return pb.StoreRequest(scope=SCOPE, fingerprint=FINGERPRINT, text=prompt, embedding=vector(prompt), answer=answer)


async def left(stub: Any, size: int = 1000) -> list[pb.StoredEntry]:
    """What has no vector by the new encoder yet."""
    page = await stub.ExportEntries(pb.ExportEntriesRequest(without_encoder_digest=NEW, page_size=size), timeout=SOON_S)
    return list(page.entries)


async def reembed(stub: Any, acknowledged: set[str], answered: asyncio.Semaphore | None = None) -> None:
    """What `fulcrum cache reembed` does: asks what is left, and gives it vectors, until the server is gone or done."""
    while found := await left(stub, BATCH):
        vectors = [
            pb.EntryVector(scope=one.scope, entry_id=one.entry.entry_id, embedding=moved(one.entry.text))
            for one in found
        ]
        done = await stub.EmbedEntries(pb.EmbedEntriesRequest(vectors=vectors), timeout=SOON_S)
        assert done.embedded == len(found)
        acknowledged.update(one.entry.text for one in found)
        if answered:
            answered.release()


async def ask_on(stub: Any, prompts: list[str]) -> None:
    """Asks for known texts until the server is gone: every one is an exact hit."""
    for prompt in itertools.cycle(prompts):
        found = await stub.Lookup(lookup(prompt, moved(prompt)), timeout=SOON_S)
        assert found.hit.answer.text == f"of {prompt}"
        await asyncio.sleep(0)


def lookup(prompt: str, embedding: embedding_pb2.Embedding) -> pb.LookupRequest:
    return pb.LookupRequest(scope=SCOPE, fingerprint=FINGERPRINT, text=prompt, embedding=embedding, max_wrong_share=1.0)


async def check(stub: Any, prompts: list[str], acknowledged: set[str]) -> int:
    """Holds every entry against what it may be; returns how many have moved."""
    page = await stub.ExportEntries(pb.ExportEntriesRequest(page_size=1000), timeout=SOON_S)
    by_encoder: Counter[str] = Counter()
    for one in page.entries:
        text, found = one.entry.text, one.embedding
        assert found.values == (moved(text) if found.encoder_digest == NEW else vector(text)).values
        assert found.encoder_digest == NEW or text not in acknowledged
        by_encoder[found.encoder_digest] += 1
        near = await stub.Lookup(lookup(f"Please, {text}", moved(text)), timeout=SOON_S)
        assert (near.hit.answer.text == f"of {text}") == (found.encoder_digest == NEW)
    assert sorted(one.entry.text for one in page.entries) == sorted(prompts)
    return by_encoder[NEW]


async def test_a_swap_that_is_killed_goes_on(tmp_path: Path) -> None:
    """After each kill every entry is there and found by one encoder, the new one where that was acknowledged.

    Exact hits go on all the while; what is left is found again, so that the swap ends.
    """
    FORKS.set_forkserver_preload([main.__module__])
    prompts = [f"What is the colour of thing {number}?" for number in range(ENTRIES)]
    acknowledged: set[str] = set()
    shares = []
    for life in range(KILLS + 1):
        log = tmp_path / f"log-{life}"
        process = FORKS.Process(target=serve, args=(log, environment(tmp_path)))
        process.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{await port(log, process.is_alive)}") as channel:
                stub: Any = CacheServiceStub(channel)
                if life == 0:
                    for prompt in prompts:
                        await stub.Store(store(prompt), timeout=SOON_S)
                shares.append(await check(stub, prompts, acknowledged))
                if life == KILLS:
                    await reembed(stub, acknowledged)
                    assert await check(stub, prompts, acknowledged) == ENTRIES
                    continue
                answered = asyncio.Semaphore(0)
                calls = reembed(stub, acknowledged, answered), ask_on(stub, prompts)
                calling = [asyncio.ensure_future(call) for call in calls]
                if life == 1:
                    await asyncio.wait_for(answered.acquire(), SOON_S)
                await asyncio.sleep(MOMENT.uniform(0.0, 0.04))
                process.kill()
                for ended in await asyncio.gather(*calling, return_exceptions=True):
                    assert ended is None or isinstance(ended, grpc.aio.AioRpcError), ended
        finally:
            process.kill()
            process.join()
    print(f"of {ENTRIES} entries moved at each start: {shares}")
    assert 0 < shares[2] < ENTRIES
    assert not files(tmp_path, "*.aside-*"), "a kill looked like damage"
