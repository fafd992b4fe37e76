"""What edge's channels, breakers and budgets show at a scrape."""

import asyncio
import socket
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from fulcrum.router.v1.router_service_pb2 import ListModelsRequest
from fulcrum.router.v1.router_service_pb2_grpc import RouterServiceStub
from prometheus_client import CollectorRegistry

from services.chassis.balanced import BalancedChannel
from services.chassis.breaker import LIMIT, REFUSED, Breaker
from services.chassis.channel import connect
from services.chassis.errors import Unavailable
from services.edge import __main__ as edge_main
from services.edge.__main__ import _counts_of
from services.edge.attempts import Attempts
from services.edge.metrics import EdgeMetrics
from services.edge.pipeline import Pipeline
from services.edge.settings import EdgeSettings
from tests.unit.edge.parts import Bench, request
from tests.unit.edge.test_attempts import Replicas, unanswered


async def test_replicas_set_aside_and_retries_without_a_budget_show() -> None:
    """A backend's breaker that opened, and retries that its budget did not allow, are counted under its name."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # nobody listens there
        channel = cast(BalancedChannel, connect(f"127.0.0.1:{held.getsockname()[1]}", True, name="router"))
        metrics = EdgeMetrics()
        metrics.backends.register("router", _counts_of(channel, None))
        registry = CollectorRegistry()
        registry.register(metrics.backends)
        stub: Any = RouterServiceStub(cast(grpc.aio.Channel, channel))
        assert channel._budget
        while channel._budget.take():
            pass
        while not channel.replicas[0].breaker.is_open:
            await asyncio.gather(stub.ListModels(ListModelsRequest(), timeout=5), return_exceptions=True)
        await channel.close()
    found = {"backend": "router"}
    assert registry.get_sample_value("fulcrum_edge_backend_set_aside_total", found) == 1
    assert registry.get_sample_value("fulcrum_edge_backend_open_replicas", found) == 1
    assert (registry.get_sample_value("fulcrum_edge_refused_attempts_total", found) or 0) > 1


async def test_attempts_without_a_budget_are_counted() -> None:
    """Further attempts on a model that the budget did not allow are told."""
    bench = Bench()
    await bench.catalogue.start()
    await bench.catalogue.close()
    asking = Attempts(Replicas(lambda _: [unanswered()]), bench.catalogue)

    async def ask() -> None:
        async for _ in asking.generate("large", request(), lambda: None):
            pass

    asked = await asyncio.gather(*(ask() for _ in range(20)), return_exceptions=True)
    assert all(isinstance(one, Unavailable) for one in asked)
    assert asking.refused > 0
    assert asking.counts.retries <= 20 * 1.48 + 50


async def test_models_set_aside_show_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """How often each model was set aside is read from its breaker, in edge as it is put together."""
    made: list[Pipeline] = []

    class Kept(Pipeline):
        def __init__(self, *parts: Any) -> None:
            super().__init__(*parts)
            made.append(self)

    monkeypatch.setattr(edge_main, "Pipeline", Kept)
    backends = {name: {"address": "127.0.0.1:1"} for name in ("cache", "router", "executor", "encoder")}
    settings = EdgeSettings.model_validate({"ledger": {"database": tmp_path / "ledger.sqlite"}, **backends})
    component = edge_main.assemble(settings)
    registry = CollectorRegistry()
    for one in component.metrics:
        registry.register(one)
    made[0].attempts.breakers["large"] = breaker = Breaker()
    assert registry.get_sample_value("fulcrum_edge_model_set_aside_total", {"model": "large"}) == 0
    for _ in range(LIMIT):
        breaker.failed(REFUSED)
    assert registry.get_sample_value("fulcrum_edge_model_set_aside_total", {"model": "large"}) == 1
    await component.close()
