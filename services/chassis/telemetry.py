"""Logs as structured lines on standard error, and the metrics that every call leaves."""

import logging
import sys
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.chassis.call import current
from services.chassis.settings import ServerSettings


def configure_logging(settings: ServerSettings) -> None:
    """Sets up structlog for this process; call once, from an entry point."""
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            _add_request_id,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.log_level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _add_request_id(_logger: Any, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    call = current()
    if call:
        event["request_id"] = call.request_id
    return event


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
        self._active = Gauge("fulcrum_rpc_server_active", "Calls under way.", ["service"], registry=registry)

        self._by_method: dict[tuple[str, str], tuple[Gauge, Histogram]] = {}
        self._by_code: dict[tuple[str, str, str], Counter] = {}

    def begin(self, service: str, method: str) -> None:
        """Notes that a call arrived."""
        self._of(service, method)[0].inc()

    def end(self, service: str, method: str, code: str, seconds: float) -> None:
        """Notes that a call ended."""
        active, duration = self._of(service, method)
        active.dec()
        duration.observe(seconds)
        key = (service, method, code)
        calls = self._by_code.get(key)
        if calls is None:
            calls = self._by_code[key] = self._calls.labels(*key)
        calls.inc()

    def _of(self, service: str, method: str) -> tuple[Gauge, Histogram]:
        found = self._by_method.get((service, method))
        if found is None:  # looking up labels costs more than counting
            found = (self._active.labels(service), self._seconds.labels(service, method))
            self._by_method[service, method] = found
        return found
