"""What edge's channels, breakers and budgets show at a scrape."""

import asyncio
import socket
from typing import Any, cast

import grpc
from fulcrum.router.v1.router_service_pb2 import ListModelsRequest
from fulcrum.router.v1.router_service_pb2_grpc import RouterServiceStub
from prometheus_client import CollectorRegistry

from services.chassis.balanced import BalancedChannel
from services.chassis.channel import connect
from services.chassis.errors import Unavailable
from services.edge.__main__ import _counts_of
from services.edge.attempts import MAX_TRIES, Attempts
from services.edge.metrics import EdgeMetrics
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
    assert asking.counts.retries + asking.refused <= 20 * MAX_TRIES


async def test_models_set_aside_show_by_name() -> None:
    """How often each model was set aside is read from its breaker."""
    metrics, registry = EdgeMetrics(), CollectorRegistry()
    registry.register(metrics.backends)
    times = {"large": 0}
    metrics.backends.register_models(lambda: times)
    assert registry.get_sample_value("fulcrum_edge_model_set_aside_total", {"model": "large"}) == 0
    times["large"] = 2
    assert registry.get_sample_value("fulcrum_edge_model_set_aside_total", {"model": "large"}) == 2
