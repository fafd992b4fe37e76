"""Logs as structured lines on standard error, and the metrics that every call leaves."""

import asyncio
import logging
import sys
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from services.chassis.call import LOCAL, current
from services.chassis.settings import ServerSettings
from services.chassis.tracing import exemplar, trace_id


def configure_logging(settings: ServerSettings) -> None:
    """Sets up structlog for this process; call once, from an entry point."""
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            _add_call,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.log_level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _add_call(_logger: Any, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    call = current()
    if call:
        event["request_id"] = call.request_id
        if call.caller is not LOCAL and call.caller.tenant:
            event.setdefault("tenant", call.caller.tenant)
    trace = trace_id()
    if trace:
        event["trace_id"] = trace
    return event


def watch_process(registry: CollectorRegistry) -> None:
    """Registers what a leak would show in: this process's memory, descriptors and CPU, and the running loop's tasks."""
    ProcessCollector(registry=registry)
    loop = asyncio.get_running_loop()
    tasks = Gauge("fulcrum_event_loop_tasks", "Tasks of the event loop that have not ended.", registry=registry)
    tasks.set_function(lambda: len(asyncio.all_tasks(loop)))


class BoundedLabel:
    """Values of one label, from sources that are bounded but not ours: the first `limit` by name, others as 'other'."""

    def __init__(self, limit: int = 100) -> None:
        self._limit = limit
        self._seen: set[str] = set()

    def __call__(self, value: str) -> str:
        """The value to label with."""
        if value not in self._seen:
            if len(self._seen) >= self._limit:
                return "other"
            self._seen.add(value)
        return value


class RpcMetrics:
    """Counts and times of calls by service, method and canonical code; the labels come from the contracts alone."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter(
            "fulcrum_rpc_server_calls", "Calls ended.", ["service", "method", "code"], registry=registry
        )
        self._seconds = Histogram(
            "fulcrum_rpc_server_seconds",
            "Seconds from arrival to end.",
            ["service", "method"],
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=registry,
        )
        self._refusals = Counter(
            "fulcrum_rpc_server_refusals",
            "Calls answered with an error, by the reason of fulcrum.error.v1 that it carries.",
            ["service", "method", "reason"],
            registry=registry,
        )
        self._reasons = BoundedLabel()
        self._active = Gauge("fulcrum_rpc_server_active", "Calls under way.", ["service"], registry=registry)

        self._by_method: dict[tuple[str, str], tuple[Gauge, Histogram]] = {}
        self._by_code: dict[tuple[str, str, str], Counter] = {}

    def begin(self, service: str, method: str) -> None:
        """Notes that a call arrived."""
        self._of(service, method)[0].inc()

    def end(self, service: str, method: str, code: str, seconds: float, reason: str = "") -> None:
        """Notes that a call ended, and with which error's reason if it had one."""
        active, duration = self._of(service, method)
        active.dec()
        duration.observe(seconds, exemplar())
        key = (service, method, code)
        calls = self._by_code.get(key)
        if calls is None:
            calls = self._by_code[key] = self._calls.labels(*key)
        calls.inc()
        if reason:
            self._refusals.labels(service, method, self._reasons(reason)).inc()

    def _of(self, service: str, method: str) -> tuple[Gauge, Histogram]:
        found = self._by_method.get((service, method))
        if found is None:  # looking up labels costs more than counting
            found = (self._active.labels(service), self._seconds.labels(service, method))
            self._by_method[service, method] = found
        return found
