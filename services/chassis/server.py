"""The one bootstrap of every server process: listen, health, reflection, metrics, drain."""

import argparse
import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast
from wsgiref.simple_server import WSGIServer

import grpc
import prometheus_client
import structlog
import uvloop
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client.registry import Collector

from services.chassis.access import in_words, risk
from services.chassis.guard import Guard
from services.chassis.health import Health
from services.chassis.local import LocalServer
from services.chassis.settings import ConfigError, Section, ServerSettings, load, read_file
from services.chassis.telemetry import RpcMetrics, configure_logging, watch_process
from services.chassis.tls import ServerCertificates
from services.chassis.tolerant_server import TolerantServer
from services.chassis.tracing import Tracer

_TRANSPORT_MESSAGE_FACTOR = 4  # above our own limit, so that our error, which names the field, is the one that is seen
_STREAMS_FACTOR = 2  # of one connection, so that beyond the limit our error is seen before its streams wait
_KEEPALIVE_MS = 30_000
_TURN_AWAY_S = 0.3  # in which who watches the health hears of the drain, and sends its calls elsewhere
_CLEAN_UP_S = 1.0  # time that handlers get to clean up once they are cancelled at the end of a drain


@dataclass(frozen=True)
class Component:
    """One service, wired and ready to be started and served.

    Args:
        name: short name for logs.
        services: full names of its gRPC services, for health and reflection.
        register: adds its servicers to a server.
        start: loads and warms up; the service is unhealthy until it returns.
        close: ends what `start` began.
        metrics: what it counts, made without a registry; the process that serves it registers them.
        for_tenants: names of the methods that a tenant may call; the others are for our services and operators.
        failed: names of its parts that did not start, while the others serve.
    """

    name: str
    services: tuple[str, ...]
    register: Callable[[grpc.aio.Server], None]
    start: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]
    metrics: tuple[Collector, ...] = ()
    for_tenants: frozenset[str] = frozenset()
    failed: Callable[[], Sequence[str]] = tuple


class ServerProcess:
    """What the components of one process share: metrics, guard, certificates, and a channel between them.

    Raises:
        ConfigError: keys or certificates cannot be read.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.registry = prometheus_client.CollectorRegistry()
        self.guard = Guard(settings, RpcMetrics(self.registry))
        self._certificates = ServerCertificates(settings.tls) if settings.tls else None
        self.metrics_port: int | None = None  # known once it serves
        self._log = structlog.get_logger("server")

    def local_channel(self, components: Sequence[Component]) -> grpc.aio.Channel:
        """A channel that reaches these components without a wire."""
        server = LocalServer(self.guard)
        for component in components:
            self.guard.open_to_tenants(component.services, component.for_tenants)
            component.register(cast(grpc.aio.Server, server))
        return server.channel()

    async def serve(
        self, components: Sequence[Component], stop: asyncio.Event, ready: Callable[[int], None] | None = None
    ) -> None:
        """Serves until `stop` is set, then drains; `ready` is told the port once every component has started.

        Raises:
            ConfigError: the address cannot be bound.
        """
        server, healthy = self._server(components)
        port = self._bind(server)
        for collector in (one for component in components for one in component.metrics):
            self.registry.register(collector)
        watch_process(self.registry)
        metrics = self._serve_metrics()
        self.guard.tracer = self._tracer(components)
        for name in ("", *(name for component in components for name in component.services)):
            healthy.tell(name, serving=False)
        await server.start()
        started: list[Component] = []
        try:
            for component in components:
                started.append(component)
                await component.start()
                for name in component.services:
                    healthy.tell(name, serving=True)
            healthy.tell("", serving=True)
            self.metrics_port = metrics.server_port if metrics else None
            self._log.info(
                "serving",
                host=self.settings.host,
                port=port,
                components=[c.name for c in components],
                callers=in_words(self.settings.host, self.settings.tls, self.settings.identity),
                metrics_port=self.metrics_port,
            )
            left_to_the_network = risk(self.settings.host, self.settings.tls, self.settings.identity)
            if left_to_the_network:
                self._log.warning("exposed", risk=left_to_the_network)
            gc.collect()
            gc.freeze()  # what was loaded stays: no later collection walks it again
            if ready:
                ready(port)
            await stop.wait()
        finally:
            healthy.drain()
            if healthy.watched:  # gRPC's core cancels what arrives once a stop has begun
                await asyncio.sleep(_TURN_AWAY_S)
            await server.stop(self.settings.drain_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.guard.idle.wait(), _CLEAN_UP_S)
            for component in reversed(started):
                await component.close()
            if self.guard.tracer:
                await self.guard.tracer.close()
            if metrics:
                await asyncio.to_thread(metrics.shutdown)
                metrics.server_close()
            self._log.info("stopped")

    def _server(self, components: Sequence[Component]) -> tuple[grpc.aio.Server, Health]:
        limit = self.settings.max_message_bytes * _TRANSPORT_MESSAGE_FACTOR
        server: grpc.aio.Server = TolerantServer(
            interceptors=[self.guard],
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_concurrent_streams", _STREAMS_FACTOR * self.settings.max_concurrent_calls),
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", limit),
                ("grpc.keepalive_time_ms", _KEEPALIVE_MS),  # so that a peer that vanished keeps nothing for long
                ("grpc.keepalive_timeout_ms", _KEEPALIVE_MS),
                ("grpc.http2.min_ping_interval_without_data_ms", 2_000),  # our own channels ping every 5 s
            ],
        )
        healthy = Health()
        health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
        names = [name for component in components for name in component.services]
        for component in components:
            self.guard.open_to_tenants(component.services, component.for_tenants)
            component.register(server)
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
        return server, healthy

    def _bind(self, server: grpc.aio.Server) -> int:
        address = f"{self.settings.host}:{self.settings.port}"
        try:
            if self._certificates:
                port = server.add_secure_port(address, self._certificates.credentials())
            else:
                port = server.add_insecure_port(address)
        except RuntimeError as error:
            raise ConfigError(
                f"server.host and server.port: got {address}, expected an address free to bind"
            ) from error
        return port

    def _tracer(self, components: Sequence[Component]) -> Tracer | None:
        settings = self.settings.tracing
        if settings.endpoint is None:
            return None
        from services.chassis.trace_export import TraceExport  # here, as only traces are worth its 0.2 s

        name = f"fulcrum-{components[0].name}" if len(components) == 1 else "fulcrum"
        return Tracer(settings.sample, TraceExport(settings, name, self.registry))

    def _serve_metrics(self) -> WSGIServer | None:
        if self.settings.metrics_port is None:
            return None
        host, port = self.settings.host, self.settings.metrics_port
        try:
            return prometheus_client.start_http_server(port, host, self.registry)[0]
        except OSError as error:
            raise ConfigError(f"server.metrics_port: got {host}:{port}, expected an address free to bind") from error


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


S = TypeVar("S", bound=Section)


def run_component(name: str, settings_class: type[S], assemble: Callable[[S], Component]) -> None:
    """Entry point of one service in a process of its own: `python -m services.<name> [--config FILE]`."""
    parser = argparse.ArgumentParser(prog=f"python -m services.{name}", description=f"Serve Fulcrum's {name} alone.")
    parser.add_argument("--config", type=Path, help="YAML settings; the environment FULCRUM_<SECTION>__<KEY> wins")
    path = parser.parse_args().config

    async def serve() -> None:
        sections = read_file(path)
        server_settings = load(ServerSettings, sections)
        configure_logging(server_settings)
        component = assemble(load(settings_class, sections))
        await ServerProcess(server_settings).serve([component], stop_on_signals())

    run_until_stopped(serve)


def run_until_stopped(serve: Callable[[], Awaitable[None]]) -> None:
    """Runs `serve` on uvloop; settings that cannot be used end the process with status 2 and an explanation."""

    async def main() -> None:
        await serve()

    try:
        uvloop.run(main())
    except ConfigError as error:
        print(f"fulcrum: {error}", file=sys.stderr)
        raise SystemExit(2) from error
