"""Suites with every kind of telemetry on: one process, or four real ones."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
from fulcrum.edge.v1 import edge_service_pb2 as pb
from fulcrum.edge.v1 import receipt_pb2
from fulcrum.edge.v1.edge_service_pb2_grpc import EdgeServiceStub
from fulcrum.executor.v1 import chat_pb2

from services.chassis.channel import connect
from services.cli.assembly import assemble_suite, suite_settings
from tests.processes import fleet
from tests.telemetry.collector import Collector
from tests.unit.chassis.parts import serving

METRICS = "/metrics"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_METRICS_PORT = re.compile(r'"metrics_port": (\d+)')


@dataclass(frozen=True)
class Running:
    """A suite, what it logged so far, and what it counted."""

    edge: Any
    collector: Collector | None
    metrics_ports: tuple[int, ...]
    logs: tuple[Path, ...] = ()

    async def scrape(self, openmetrics: bool = False) -> str:
        """Every process's metrics, one after the other."""
        headers = {"Accept": OPENMETRICS} if openmetrics else {}
        async with httpx.AsyncClient(trust_env=False) as client:
            pages = [
                (await client.get(f"http://127.0.0.1:{port}{METRICS}", headers=headers)).text
                for port in self.metrics_ports
            ]
        return "\n".join(pages)

    async def complete(
        self, prompt: str, system: str = "", metadata: tuple[tuple[str, str | bytes], ...] = (), **fields: Any
    ) -> tuple[str, receipt_pb2.Receipt]:
        """The answer and its receipt."""
        turns = [chat_pb2.Message(role=chat_pb2.ROLE_SYSTEM, content=system)] if system else []
        turns.append(chat_pb2.Message(role=chat_pb2.ROLE_USER, content=prompt))
        call = self.edge.Complete(pb.CompleteRequest(messages=turns, **fields), timeout=60, metadata=metadata)
        events = [event async for event in call]
        assert events[-1].WhichOneof("event") == "receipt"
        return "".join(event.text_delta.text for event in events[:-1]), events[-1].receipt


@asynccontextmanager
async def one_process(folder: Path, spans: Collector | None, **server: Any) -> AsyncIterator[Running]:
    """Everything in this very process, served on a port, the parts calling one another without a wire."""
    tracing = {"endpoint": spans.url} if spans else {}
    overrides: dict[str, dict[str, Any]] = {
        "server": {"port": 0, "metrics_port": 0, "log_level": "error", "tracing": tracing, **server},
        "cache": {"database": str(folder / "cache.sqlite")},
    }
    process, components = assemble_suite(suite_settings(Path("deploy/local.yaml"), overrides))
    async with serving(process, *components) as port:
        channel = connect(f"127.0.0.1:{port}")
        yield Running(EdgeServiceStub(channel), spans, (process.metrics_port or 0,))
        await channel.close()


@asynccontextmanager
async def four_processes(folder: Path, spans: Collector | None, **server: Any) -> AsyncIterator[Running]:
    """A fleet of real processes; `server` is how edge serves."""
    environment = {"FULCRUM_SERVER__METRICS_PORT": "0"}
    if spans:
        environment["FULCRUM_SERVER__TRACING__ENDPOINT"] = spans.url
    edge = {f"FULCRUM_SERVER__{key.upper()}": json.dumps(value) for key, value in server.items()}
    async with fleet(folder, environment=environment, edge_environment=edge) as running:
        channel: grpc.aio.Channel = connect(running.edge.address)
        logs = tuple(process.log for process in running.all)
        ports = tuple(int(_METRICS_PORT.findall(log.read_text())[-1]) for log in logs)
        yield Running(EdgeServiceStub(channel), spans, ports, logs)
        await channel.close()
        await asyncio.gather(*(process.stop() for process in running.all))
