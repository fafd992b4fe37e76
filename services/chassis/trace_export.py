"""Recorded spans, by the OpenTelemetry SDK, and their way to a collector on a thread; imported where traces are on."""

import asyncio
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import cast
from urllib.parse import urlsplit

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from prometheus_client import CollectorRegistry, Counter

from services.chassis.tracing import Attribute, Record, Span, TracingSettings

_BATCH_SPANS = 512
_INTERVAL_MS = 1000
_REQUEST_TIMEOUT_S = 5.0
_SAMPLED = trace.TraceFlags(trace.TraceFlags.SAMPLED)


class TraceExport:
    """Makes recorded spans; implements tracing.Exporter."""

    def __init__(self, settings: TracingSettings, service_name: str, registry: CollectorRegistry) -> None:
        spans = Counter(
            "fulcrum_trace_spans",
            "Recorded spans by what became of them: exported, failed (refused by the collector) or dropped.",
            ["result"],
            registry=registry,
        )
        silence = logging.getLogger("opentelemetry")  # we log its failures ourselves, once, as structured lines
        silence.addHandler(logging.NullHandler())
        silence.propagate = False
        self._settings = settings
        self._collector = _Collector(_endpoint(settings.endpoint or ""), spans)
        self._processor = _Bounded(self._collector, settings.queue_spans, spans)
        provider = TracerProvider(
            sampler=ALWAYS_ON,  # whether a trace is recorded was decided before
            resource=Resource.create({"service.name": settings.service_name or service_name}),
            shutdown_on_exit=False,
        )
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("fulcrum")

    def start(self, name: str, parent: Span | None, attributes: Mapping[str, Attribute]) -> tuple[Record, int, int]:
        """A span under way, its trace id and its own id."""
        context = None
        if parent:
            state = trace.TraceState.from_header([parent.state]) if parent.state else None
            above = trace.SpanContext(parent.trace_id, parent.span_id, True, _SAMPLED, state)
            context = trace.set_span_in_context(trace.NonRecordingSpan(above))
        span = self._tracer.start_span(name, context, trace.SpanKind.SERVER, attributes)
        own = span.get_span_context()
        return cast(Record, span), own.trace_id, own.span_id

    def mark_failed(self, record: Record, code: str) -> None:
        """Says that the call failed."""
        cast(trace.Span, record).set_status(trace.StatusCode.ERROR, code)

    async def close(self) -> None:
        """Exports what waits for as long as the settings say; what is left then is lost with the process."""
        ending = threading.Thread(target=self._processor.shutdown, daemon=True, name="trace-flush")
        ending.start()
        await asyncio.to_thread(ending.join, self._settings.flush_s)
        if ending.is_alive():
            structlog.get_logger("tracing").warning("spans lost: the collector did not take them in time")


class _Bounded(BatchSpanProcessor):
    """Hands no more spans to the SDK's queue than it holds, so that what is dropped is counted."""

    def __init__(self, collector: "_Collector", limit: int, spans: Counter) -> None:
        super().__init__(collector, limit, _INTERVAL_MS, _BATCH_SPANS, _REQUEST_TIMEOUT_S * 1000)
        self._collector = collector
        self._limit = limit
        self._ended = 0
        self._dropped = spans.labels("dropped")

    def on_end(self, span: ReadableSpan) -> None:
        """Queues an ended span unless as many wait as may."""
        if self._ended - self._collector.taken >= self._limit:
            self._dropped.inc()
            return
        self._ended += 1
        super().on_end(span)


class _Collector(OTLPSpanExporter):
    """The way to the collector, its successes and failures counted; runs on the processor's thread."""

    def __init__(self, endpoint: str, spans: Counter) -> None:
        super().__init__(endpoint=endpoint, timeout=_REQUEST_TIMEOUT_S)
        self.taken = 0  # spans that left the queue
        self._url = endpoint
        self._failing = False
        self._log = structlog.get_logger("tracing")
        self._counts = {
            result: spans.labels("exported" if result is SpanExportResult.SUCCESS else "failed")
            for result in SpanExportResult
        }

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends one batch, retried for as long as its timeout lasts."""
        self.taken += len(spans)
        result = super().export(spans)
        self._counts[result].inc(len(spans))
        failing = result is not SpanExportResult.SUCCESS
        if failing and not self._failing:
            self._log.warning("spans cannot be exported", endpoint=self._url)
        elif self._failing and not failing:
            self._log.info("spans are exported again", endpoint=self._url)
        self._failing = failing
        return result


def _endpoint(given: str) -> str:
    """The URL of the collector's traces; a URL without a path is taken for the collector's own."""
    return given if urlsplit(given).path.strip("/") else f"{given.rstrip('/')}/v1/traces"
