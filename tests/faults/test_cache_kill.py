"""A cache server that is killed at random moments loses nothing that it acknowledged."""

import asyncio
import json
import multiprocessing
import os
import random
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from fulcrum.cache.v1 import cache_service_pb2 as pb
from fulcrum.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from fulcrum.embedding.v1 import embedding_pb2

from services.cache.__main__ import main

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("FULCRUM_CACHE_KILLS", "24"))
SOON_S = 20.0
CALLERS = 6
MOMENT = random.Random(20)
SCOPE = pb.Scope(tenant="acme")
FINGERPRINT = bytes(16)
# The children are forked from a process that has imported the server, which saves them a second each.
FORKS = multiprocessing.get_context("forkserver")


def serve(log: Path, environment: dict[str, str]) -> None:
    """What `python -m services.cache` does, in a forked child."""
    os.environ.update(environment)
    sys.argv = ["cache"]
    with log.open("ab", buffering=0) as stream:
        os.dup2(stream.fileno(), 2)
    main()


@dataclass
class Kept:
    """What was sent to the server, by prompt: the answer, and whether it was acknowledged."""

    sent: dict[str, str] = field(default_factory=dict)
    acknowledged: dict[str, str] = field(default_factory=dict)

    def next(self) -> str:
        prompt = f"What is {len(self.sent)} + {len(self.sent)}?"
        self.sent[prompt] = f"{2 * len(self.sent)} " + "because " * MOMENT.randrange(200)
        return prompt


def environment(folder: Path) -> dict[str, str]:
    return {
        "FULCRUM_SERVER__PORT": "0",
        "FULCRUM_SERVER__LOG_LEVEL": "info",
        "FULCRUM_SERVER__DRAIN_S": "0.5",
        "FULCRUM_CACHE__DATABASE": str(folder / "cache.sqlite"),
    }


async def port(log: Path, alive: Callable[[], bool]) -> int:
    """The port of the server that logs to this file, once it serves."""
    for _ in range(int(SOON_S / 0.005)):
        found = _logged_port(log)
        if found:
            return found
        assert alive(), "the server ended before it served"
        await asyncio.sleep(0.005)
    raise AssertionError("the server did not start")


def _logged_port(log: Path) -> int | None:
    lines = log.read_text().splitlines() if log.exists() else []
    return next((json.loads(line)["port"] for line in lines if '"event": "serving"' in line), None)


def request(prompt: str, answer: str) -> pb.StoreRequest:
    vector = np.random.default_rng(len(prompt)).standard_normal(384).astype("<f4")
    values = (vector / np.linalg.norm(vector)).astype("<f4").tobytes()
    return pb.StoreRequest(
        scope=SCOPE,
        fingerprint=FINGERPRINT,
        text=prompt,
        embedding=embedding_pb2.Embedding(values=values, dimension=384, encoder_digest="ab" * 32),
        answer=pb.Answer(text=answer, model="m"),
        request_id=prompt,
    )


async def keep_storing(stub: Any, kept: Kept, acknowledged: asyncio.Semaphore) -> None:
    """Stores until the server is gone; releases `acknowledged` once an answer."""
    while True:
        prompt = kept.next()
        try:
            stored = await stub.Store(request(prompt, kept.sent[prompt]), timeout=SOON_S)
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                raise
            return
        kept.acknowledged[prompt] = stored.entry_id
        acknowledged.release()


async def verify(stub: Any, kept: Kept, prompts: list[str]) -> None:
    """Acknowledged prompts are found whole under their ids; the others are found whole or not at all."""
    for prompt in prompts:
        lookup = pb.LookupRequest(scope=SCOPE, fingerprint=FINGERPRINT, text=prompt)
        found = await stub.Lookup(lookup, timeout=SOON_S)
        if found.WhichOneof("outcome") == "hit":
            assert found.hit.answer.text == kept.sent[prompt]
        if prompt in kept.acknowledged:
            assert found.WhichOneof("outcome") == "hit", f"{prompt} was acknowledged and is gone"
            assert found.hit.entry_id == kept.acknowledged[prompt]


async def repeat(stub: Any, kept: Kept) -> None:
    """A store whose answer never came is repeated under its request id, and is then there like any other."""
    for prompt in kept.sent.keys() - kept.acknowledged.keys():
        stored = await stub.Store(request(prompt, kept.sent[prompt]), timeout=SOON_S)
        kept.acknowledged[prompt] = stored.entry_id


async def store_until(stub: Any, kept: Kept, end: Callable[[], None]) -> None:
    """Repeats what was not answered, then stores until `end` strikes at a random moment."""
    await repeat(stub, kept)
    acknowledged = asyncio.Semaphore(0)
    callers = [asyncio.ensure_future(keep_storing(stub, kept, acknowledged)) for _ in range(CALLERS)]
    for _ in range(MOMENT.randrange(40)):
        await asyncio.wait_for(acknowledged.acquire(), SOON_S)
    await asyncio.sleep(MOMENT.uniform(0.0, 0.002))
    end()
    await asyncio.gather(*callers)


async def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    """Every Store that was answered is found after SIGKILL and restart, whole and under its id, time after time."""
    FORKS.set_forkserver_preload([main.__module__])
    kept, seen = Kept(), 0
    for life in range(KILLS + 1):
        log = tmp_path / f"log-{life}"
        process = FORKS.Process(target=serve, args=(log, environment(tmp_path)))
        process.start()
        try:
            if life % 5 == 4:  # killed while it starts
                await asyncio.sleep(MOMENT.uniform(0.0, 0.2))
                continue
            async with grpc.aio.insecure_channel(f"127.0.0.1:{await port(log, process.is_alive)}") as channel:
                stub: Any = CacheServiceStub(channel)
                sent = list(kept.sent)
                await verify(stub, kept, sent if life == KILLS else sent[seen:])
                seen = len(sent)
                if life < KILLS:
                    await store_until(stub, kept, process.kill)
        finally:
            process.kill()
            process.join()
    assert len(kept.acknowledged) > 10 * KILLS
    assert not _set_aside(tmp_path)


async def test_the_command_itself(tmp_path: Path) -> None:
    """The same holds for `python -m services.cache`, killed or ended by SIGTERM, which it obeys with status 0."""
    kept = Kept()
    variables = {**os.environ, **environment(tmp_path), "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"}
    for life, end in enumerate((signal.SIGKILL, signal.SIGTERM, signal.SIGTERM)):
        log = tmp_path / f"log-{life}"
        with log.open("ab") as stream:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "services.cache"), cwd=tmp_path, env=variables, stderr=stream
            )
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{await port(log, partial(_runs, process))}") as channel:
                stub: Any = CacheServiceStub(channel)
                await verify(stub, kept, list(kept.sent))
                await store_until(stub, kept, partial(process.send_signal, end))
            code = await asyncio.wait_for(process.wait(), SOON_S)
            assert code == (0 if end is signal.SIGTERM else -signal.SIGKILL)
        finally:
            if _runs(process):
                process.kill()
                await process.wait()
    assert kept.acknowledged


def _set_aside(folder: Path) -> list[Path]:
    return list(folder.glob("*.aside-*"))


def _runs(process: asyncio.subprocess.Process) -> bool:
    return process.returncode is None
