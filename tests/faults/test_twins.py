"""Twins over several edges execute once, which no holder that is killed and no cache that is away turns into a wait."""

import asyncio
import itertools
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import yaml
from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from fulcrum.edge.v1 import receipt_pb2
from fulcrum.edge.v1.edge_service_pb2_grpc import EdgeServiceStub
from fulcrum.executor.v1 import chat_pb2

from tests.load import Answer, ask
from tests.processes import Fleet, fleet
from tests.unit.executor.chat_server import ChatServer, chat_server, delta, streaming, usage

LEASE_S = 1.0
SOON_S = 30.0
TWINS = 6
FRANCE, TOLD = "What is the capital of France?", "Tell me the capital city of France."


@dataclass
class Provider:
    """A model that answers once it may, and each time something else."""

    server: ChatServer
    may: asyncio.Event = field(default_factory=asyncio.Event)
    numbers: Any = field(default_factory=itertools.count)

    @property
    def calls(self) -> int:
        return len(self.server.bodies)

    async def reply(self, writer: asyncio.StreamWriter) -> None:
        number = next(self.numbers)
        await self.may.wait()
        await streaming([delta(content=f"answer {number}"), delta("stop"), usage(20, 2)])(writer)

    async def called(self, times: int) -> None:
        async with asyncio.timeout(SOON_S):
            while self.calls < times:  # noqa: ASYNC110 - another process notifies nobody
                await asyncio.sleep(0.01)


@asynccontextmanager
async def suite(folder: Path) -> AsyncIterator[tuple[Fleet, Provider, list[Any]]]:
    """Two edges, one cache and a model behind them, and a stub for each edge."""
    async with chat_server() as server:
        provider = Provider(server)
        server.reply = provider.reply
        names = ("input", "cached_input", "cache_write", "output")
        price = {f"{name}_usd_per_million_tokens": 1.0 for name in names}
        model = {"name": "m", "context_tokens": 8192, "default": True, "price": {"list": price}}
        (folder / "catalogue.yaml").write_text(yaml.safe_dump({"models": [model]}))
        content = {
            "router": {"catalogue": str(folder / "catalogue.yaml"), "predictor": None},
            "executor": {"models": {"m": {"base_url": server.base_url}}},
            "cache": {"lease_s": LEASE_S},
            "edge": {"judge": {"at_once": 0}},  # no would-be hit is executed, to audit it
        }
        (folder / "settings.yaml").write_text(yaml.safe_dump(content))
        configs = dict.fromkeys(("executor", "router", "cache", "edge"), folder / "settings.yaml")
        async with (
            fleet(folder, edges=2, configs=configs) as running,
            grpc.aio.insecure_channel(running.edges[0].address) as one,
            grpc.aio.insecure_channel(running.edges[1].address) as other,
        ):
            yield running, provider, [EdgeServiceStub(one), EdgeServiceStub(other)]


def asked(text: str) -> edge_pb.CompleteRequest:
    return edge_pb.CompleteRequest(messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content=text)])


def begin(stub: Any, text: str) -> "asyncio.Task[Answer]":
    return asyncio.create_task(ask(stub, asked(text), SOON_S))


def result(answer: Answer) -> str:
    assert answer.receipt, answer.error
    return receipt_pb2.CacheResult.Name(answer.receipt.cache.result).removeprefix("CACHE_RESULT_")


async def test_twins_over_two_edges(tmp_path: Path) -> None:
    """Twins execute once, whichever edge they ask; a holder or a cache that is killed keeps nobody waiting for long."""
    async with suite(tmp_path) as (running, provider, stubs):
        await execute_once(provider, stubs)
        await without_the_holder(running, provider, stubs)
        await without_the_cache(running, provider, stubs)


async def execute_once(provider: Provider, stubs: list[Any]) -> None:
    """Equal prompts at the same moment, and one that means the same, cost one execution; everyone has its answer."""
    twins = [begin(stub, FRANCE) for _ in range(TWINS) for stub in stubs]
    await provider.called(1)
    twins += [begin(stub, TOLD) for stub in stubs]
    await asyncio.sleep(2 * LEASE_S)  # longer than a lease that is not renewed
    provider.may.set()
    answers = await asyncio.gather(*twins)
    provider.may.clear()
    results = [result(one) for one in answers]
    print(results)
    assert provider.calls == 1
    assert {one.text for one in answers} == {"answer 0"}
    assert results.count("MISS") == 1
    assert {"EXACT_HIT", "SEMANTIC_HIT"} <= set(results)


async def without_the_holder(running: Fleet, provider: Provider, stubs: list[Any]) -> None:
    """When the edge that executes is killed, its twin on the other edge executes once the lease has lapsed."""
    first, second = await one_waits(provider, stubs, "What is the capital of Norway?")
    running.edges[0].send(signal.SIGKILL)
    killed, before = time.monotonic(), provider.calls
    await provider.called(before + 1)
    took = time.monotonic() - killed
    print(f"executed {took:.2f} s after the kill")
    assert took <= LEASE_S + 1.5
    provider.may.set()
    assert (await first).code == "UNAVAILABLE"
    assert result(await second) == "MISS"
    provider.may.clear()
    await running.edges[0].ended()
    await running.edges[0].start()


async def without_the_cache(running: Fleet, provider: Provider, stubs: list[Any]) -> None:
    """A cache that is killed while a twin is waited for keeps nobody waiting."""
    first, second = await one_waits(provider, stubs, "What is the capital of Spain?")
    running.cache.send(signal.SIGKILL)
    await provider.called(provider.calls + 1)
    provider.may.set()
    assert [result(await one) for one in (first, second)] == ["MISS", "MISS"]
    assert "CACHE UNAVAILABLE" in (await second).degraded


async def one_waits(provider: Provider, stubs: list[Any], text: str) -> list["asyncio.Task[Answer]"]:
    """A request that the model is asked for, and its twin on the other edge, which waits."""
    before = provider.calls
    twins = [begin(stubs[0], text)]
    await provider.called(before + 1)
    twins.append(begin(stubs[1], text))
    await asyncio.sleep(LEASE_S / 2)
    assert provider.calls == before + 1
    return twins
