"""Trace context in metadata, and the span of a call that ends in the middle."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import structlog
from fulcrum.executor.v1.executor_service_pb2 import GenerateRequest, GenerateResponse
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from services.chassis.call import Call, enter, outgoing
from services.chassis.settings import ConfigError, ServerSettings, load
from services.chassis.telemetry import BoundedLabel, configure_logging
from services.chassis.trace_export import TraceExport
from services.chassis.tracing import Span, Tracer, TracingSettings, trace_id, trace_metadata
from tests.telemetry.collector import collector
from tests.unit.chassis.parts import delta, prompt, reached

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Unrecorded:
    """No exporter: the traces below are not sampled, so none may be asked for one."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} of a trace that is not sampled")


def begun(metadata: dict[str, Any]) -> Span:
    exporter: Any = Unrecorded()
    return Tracer(0.0, exporter).begin("a.B/C", metadata, "r")


def test_the_callers_trace_goes_on() -> None:
    """A valid context, of a later version too, gives the trace id, the state, and not the span id, onwards."""
    for header in (f"00-{TRACE}-{SPAN}-00", f"01-{TRACE}-{SPAN}-00-more", f"00-{TRACE}-{SPAN}-02"):
        span = begun({"traceparent": header, "tracestate": "vendor=x"})
        assert f"{span.trace_id:032x}" == TRACE
        assert span.traceparent == f"00-{TRACE}-{span.span_id:016x}-00"
        assert span.traceparent[36:52] != SPAN
        assert span.state == "vendor=x"


def test_a_tenant_cannot_have_a_trace_recorded() -> None:
    """A caller who is not trusted gives the trace its id; whether it is recorded is the operator's share alone."""
    exporter: Any = Unrecorded()
    metadata = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
    span = Tracer(0.0, exporter).begin("a.B/C", metadata, "r", trusted=False)
    assert (f"{span.trace_id:032x}", span.record) == (TRACE, None)
    with pytest.raises(AssertionError, match="not sampled"):
        Tracer(0.0, exporter).begin("a.B/C", metadata, "r", trusted=True)


@pytest.mark.parametrize(
    "header",
    [
        "",
        TRACE,
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        b"\x00",
        7,
    ],
)
def test_a_malformed_context_begins_a_new_trace(header: object) -> None:
    """What is no W3C context is left aside, its state with it."""
    span = begun({"traceparent": header, "tracestate": "vendor=x"})
    assert span.trace_id not in (0, int(TRACE, 16))
    assert span.state == ""


@given(st.dictionaries(st.sampled_from(["traceparent", "tracestate"]), st.text() | st.binary()))
def test_no_metadata_fails_a_call(metadata: dict[str, Any]) -> None:
    """Whatever a caller sends, a span begins and hands on a context that is well formed."""
    span = begun(metadata)
    assert begun({"traceparent": span.traceparent}).trace_id == span.trace_id
    assert len(span.state) <= 512


def test_a_task_gets_its_span_back() -> None:
    """Leaving gives the outer span back, entering twice is entering once, and outside of any nothing is sent."""
    assert trace_metadata() == ()
    outer, inner = begun({}), begun({})
    outer.enter()
    inner.enter()
    inner.enter()
    assert trace_id() == f"{inner.trace_id:032x}"
    inner.leave()
    assert trace_id() == f"{outer.trace_id:032x}"
    outer.leave()
    assert trace_metadata() == ()


def test_outgoing_calls_carry_the_span() -> None:
    """Metadata of a call made within a span names it as the parent."""
    span = begun({"traceparent": f"00-{TRACE}-{SPAN}-00", "tracestate": "vendor=x"})
    enter(Call("r", 1e12))
    span.enter()
    _, metadata = outgoing(1.0)
    span.leave()
    enter(None)
    assert metadata == (("x-request-id", "r"), ("traceparent", span.traceparent), ("tracestate", "vendor=x"))


async def endless(_: GenerateRequest) -> AsyncGenerator[GenerateResponse, None]:
    yield delta("one")
    await asyncio.Event().wait()


@pytest.mark.parametrize("binding", ["local", "grpc"])
async def test_a_stream_left_early_is_a_cancelled_span_and_line(
    binding: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever leaves between two messages leaves a whole span and a log line with both ids, and no span behind."""
    with collector() as spans:
        configure_logging(ServerSettings(log_level="debug"))
        registry = CollectorRegistry()
        async with reached(binding) as service:
            tracing = TraceExport(TracingSettings(endpoint=spans.url, flush_s=10), "test", registry)
            service.process.guard.tracer = Tracer(1.0, tracing)
            service.service.generate = endless
            metadata = (("x-request-id", "r-1"), ("traceparent", f"00-{TRACE}-{SPAN}-01"))
            stream = service.executor.Generate(prompt(), timeout=5, metadata=metadata)
            assert (await anext(aiter(stream))).text_delta.text == "one"
            stream.cancel()
            async with asyncio.timeout(5):
                while service.under_way():  # noqa: ASYNC110 - metrics notify nobody
                    await asyncio.sleep(0.01)
            assert trace_id() == ""
        await service.process.guard.tracer.close()
        structlog.reset_defaults()
        (span,) = spans.spans
    assert (span.trace_id, span.parent_id) == (TRACE, SPAN)
    assert span.attributes["rpc.response.status_code"] == "CANCELLED"
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if '"call"' in line]
    assert [(line["code"], line["request_id"], line["trace_id"]) for line in lines] == [("CANCELLED", "r-1", TRACE)]


def test_settings_that_make_no_sense_are_explained() -> None:
    """An endpoint that is no URL and a share above 1 name key, value and what was expected."""
    for given_, key in (({"endpoint": "localhost:4317"}, "endpoint"), ({"sample": 2}, "sample")):
        with pytest.raises(ConfigError) as caught:
            load(ServerSettings, {"server": {"tracing": given_}})
        assert f"server.tracing.{key}" in str(caught.value)
        assert str(next(iter(given_.values()))) in str(caught.value)


def test_a_label_is_bounded() -> None:
    """The first values keep their names, later ones share one."""
    label = BoundedLabel(2)
    assert [label(value) for value in ("a", "b", "c", "a", "d")] == ["a", "b", "other", "a", "other"]
