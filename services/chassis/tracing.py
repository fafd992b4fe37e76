"""Traces: a span around every call, its W3C trace context taken from and handed on in metadata; off until an endpoint
is set, and then only a sampled call pays for more than two random numbers."""

import contextvars
import random
import re
from collections.abc import Mapping
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

TRACEPARENT_KEY, TRACESTATE_KEY = "traceparent", "tracestate"
_TRACEPARENT = re.compile("([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1  # the one flag that the W3C recommendation gives a meaning
_TRACESTATE = re.compile("[ -~]{1,512}")  # so much must be handed on at least, and gRPC hands on no other characters
# What counts as an error of the server by the semantic conventions; any other status is the caller's own doing.
_SERVER_ERRORS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})

Attribute = str | bool | int | float | list[str]


class TracingSettings(BaseModel):
    """Where spans go, and how many."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    endpoint: str | None = Field(
        None, pattern="^https?://", description="OTLP/HTTP collector, such as http://localhost:4318; no traces if unset"
    )
    sample: float = Field(1.0, ge=0, le=1, description="share of traces begun here that are recorded")
    service_name: str | None = Field(None, min_length=1, description="fulcrum-<service>, or fulcrum, where unset")
    queue_spans: int = Field(4096, ge=512, description="spans that may wait for export; more are dropped and counted")
    flush_s: float = Field(2.0, ge=0, description="time that waiting spans get to be exported at the end")


class Record(Protocol):
    """The part of an OpenTelemetry span that is used here."""

    def set_attributes(self, attributes: Mapping[str, Attribute]) -> None:
        """Adds attributes."""

    def end(self) -> None:
        """Hands the span to the exporter."""


class Exporter(Protocol):
    """What makes recorded spans and carries them away; see trace_export."""

    def start(self, name: str, parent: "Span | None", attributes: Mapping[str, Attribute]) -> tuple[Record, int, int]:
        """A span under way, its trace id and its own id."""

    def mark_failed(self, record: Record, code: str) -> None:
        """Says that the call failed."""

    async def close(self) -> None:
        """Exports what waits, within a bound."""


class Span:
    """One call's place in a trace; `record` is None where the trace is not sampled."""

    __slots__ = ("_outer", "record", "span_id", "state", "trace_id")

    def __init__(self, trace_id: int, span_id: int, record: Record | None, state: str = "") -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.record = record
        self.state = state
        self._outer: Span | None = None

    @property
    def traceparent(self) -> str:
        """The span as the parent of the calls that it makes."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{_SAMPLED if self.record else 0:02x}"

    def enter(self) -> None:
        """Makes this the running task's span; once it is, doing so again changes nothing."""
        outer = _current.get()
        if outer is not self:
            self._outer = outer
            _current.set(self)

    def leave(self) -> None:
        """Gives the running task the span back that it had before."""
        _current.set(self._outer)


_current: contextvars.ContextVar[Span | None] = contextvars.ContextVar("span", default=None)


def trace_metadata() -> tuple[tuple[str, str], ...]:
    """Metadata that makes a call part of the running task's trace; empty outside of one."""
    span = _current.get()
    if span is None:
        return ()
    own = (TRACEPARENT_KEY, span.traceparent)
    return (own, (TRACESTATE_KEY, span.state)) if span.state else (own,)


def trace_id() -> str:
    """The running task's trace in hex, empty outside of one."""
    span = _current.get()
    return f"{span.trace_id:032x}" if span else ""


def exemplar() -> dict[str, str] | None:
    """What links a measurement to the recorded trace that it was taken in, None outside of one."""
    span = _current.get()
    return {"trace_id": f"{span.trace_id:032x}"} if span and span.record else None


def recording() -> bool:
    """Whether attributes are worth computing."""
    span = _current.get()
    return span is not None and span.record is not None


def annotate(attributes: Mapping[str, Attribute | None]) -> None:
    """Adds attributes to the running task's span where it is recorded, None left out; never prompt, answer or key."""
    span = _current.get()
    if span is None or span.record is None:
        return
    span.record.set_attributes({key: value for key, value in attributes.items() if value is not None})


class Tracer:
    """Begins and ends the spans of one process."""

    def __init__(self, sample: float, exporter: Exporter) -> None:
        self._sample = sample
        self._exporter = exporter

    def begin(self, name: str, metadata: Mapping[str, Any], request_id: str, trusted: bool = True) -> Span:
        """A span below the one that the metadata names, recorded where that one is; else the root of a new trace.

        A caller who is not `trusted` gives the trace its id, but cannot have it recorded: that is left to chance.
        """
        parent, sampled = _parent_of(metadata)
        if parent is None or not trusted:
            sampled = random.random() < self._sample  # noqa: S311 - no secret
        state = parent.state if parent else ""
        if not sampled:
            found = parent.trace_id if parent else random.getrandbits(128)
            return Span(found, random.getrandbits(64) or 1, None, state)
        attributes = {"rpc.system.name": "grpc", "rpc.method": name, "fulcrum.request_id": request_id}
        record, found, span_id = self._exporter.start(name, parent, attributes)
        return Span(found, span_id, record, state)

    def end(self, span: Span, code: str, reason: str) -> None:
        """Ends a span with its call's canonical code, and the reason of its error if it had one."""
        record = span.record
        if record is None:
            return
        attributes = {"rpc.response.status_code": code}
        if reason:
            attributes["fulcrum.reason"] = reason
        if code in _SERVER_ERRORS:
            attributes["error.type"] = code
            self._exporter.mark_failed(record, code)
        record.set_attributes(attributes)
        record.end()

    async def close(self) -> None:
        """Exports what waits, within its bound."""
        await self._exporter.close()


def _parent_of(metadata: Mapping[str, Any]) -> tuple[Span | None, bool]:
    """The caller's span and whether it is sampled; None where its context is absent or malformed."""
    given = metadata.get(TRACEPARENT_KEY)
    found = _TRACEPARENT.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        return None, False
    version, trace, span, flags, more = found.groups()
    wrong_version = version == "ff" or (version == "00" and more)
    if wrong_version or not int(trace, 16) or not int(span, 16):
        return None, False
    state = metadata.get(TRACESTATE_KEY)
    kept = state if isinstance(state, str) and _TRACESTATE.fullmatch(state) else ""
    return Span(int(trace, 16), int(span, 16), None, kept), bool(int(flags, 16) & _SAMPLED)
