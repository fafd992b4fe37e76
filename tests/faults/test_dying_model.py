"""A remote model that dies, on the wire: before its first token, after it, and again and again."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fulcrum.cache.v1 import cache_service_pb2 as cache_pb
from fulcrum.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from fulcrum.edge.v1 import receipt_pb2
from fulcrum.edge.v1.edge_service_pb2_grpc import EdgeServiceStub
from fulcrum.executor.v1 import chat_pb2
from fulcrum.router.v1 import objective_pb2

from services.chassis.channel import connect
from services.chassis.errors import Unavailable
from tests.load import ask
from tests.processes import Fleet, fleet
from tests.unit.executor.chat_server import ChatServer, chat_server, delta, refusing, streaming, usage

REMOTE, LOCAL = "fulcrum-small", "fulcrum-large"  # the router knows both, and prefers the first


@dataclass
class Suite:
    """A fleet whose small model is on a server of the test's own."""

    fleet: Fleet
    provider: ChatServer
    edge: Any
    cache: Any

    async def entries(self) -> int:
        """How many answers the cache keeps."""
        return int((await self.cache.Stats(cache_pb.StatsRequest(), timeout=10)).entries)


@asynccontextmanager
async def suite(folder: Path) -> AsyncIterator[Suite]:
    async with chat_server() as provider:
        config = folder / "executor.json"  # JSON is YAML too
        models = {REMOTE: {"base_url": provider.base_url}, LOCAL: {"folder": f"models/{LOCAL}"}}
        config.write_text(json.dumps({"executor": {"models": models}}))
        async with (
            fleet(folder, configs={"executor": config}) as running,
            connect(running.edge.address) as edge,
            connect(running.cache.address) as cache,
        ):
            yield Suite(running, provider, EdgeServiceStub(edge), CacheServiceStub(cache))


def question(number: int, *allowed: str) -> edge_pb.CompleteRequest:
    return edge_pb.CompleteRequest(
        messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content=f"What is {number} plus 5?")],
        objective=objective_pb2.Objective(max_quality_loss=1.0, allowed_models=allowed),
        sampling=chat_pb2.Sampling(max_output_tokens=4),
    )


async def test_a_model_that_dies(tmp_path: Path) -> None:
    """Before its first token another model answers; after it the stream ends with a status and nothing is kept."""
    async with suite(tmp_path) as running:
        provider = running.provider
        provider.reply = streaming([delta(content="12"), delta("stop"), usage(5, 1)])
        well = await ask(running.edge, question(7))
        assert well.receipt
        assert (well.text, well.receipt.model, well.degraded) == ("12", REMOTE, set())
        kept = await running.entries()
        assert kept == 1

        provider.reply = streaming([delta(content="1")], end="cut")
        died = await ask(running.edge, question(8))
        assert (died.text, died.code) == ("1", "UNAVAILABLE")
        assert isinstance(died.error, Unavailable)
        assert died.error.field == f"provider of {REMOTE}"
        assert await running.entries() == kept

        provider.reply = streaming([], end="cut")
        replaced = await ask(running.edge, question(8))
        assert replaced.receipt
        assert replaced.receipt.cache.result == receipt_pb2.CACHE_RESULT_MISS
        assert (replaced.receipt.model, replaced.degraded) == (LOCAL, {"MODEL UNAVAILABLE"})


async def test_a_provider_that_is_down(tmp_path: Path) -> None:
    """It is not asked by every request, nor for long after it is back; where nothing else may answer, RetryInfo."""
    async with suite(tmp_path) as running:
        provider = running.provider
        provider.reply = refusing(500)
        for number in range(40):
            answer = await ask(running.edge, question(number))
            assert answer.receipt, answer.error
            assert answer.receipt.model == LOCAL
        assert 12 <= len(provider.bodies) <= 20

        alone = [await ask(running.edge, question(number, REMOTE)) for number in range(100, 110)]
        assert {answer.code for answer in alone} == {"UNAVAILABLE"}
        waits = [answer.error.retry_after_s for answer in alone if answer.error]
        assert any(wait is not None and 0 < wait <= 10 for wait in waits)

        provider.reply = streaming([delta(content="12"), delta("stop"), usage(5, 1)])
        for number in range(1_000, 100_000):  # each takes a while, and the longest pause is ten seconds
            answer = await ask(running.edge, question(number))
            assert answer.receipt
            if answer.receipt.model == REMOTE:
                return
