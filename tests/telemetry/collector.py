"""An OTLP/HTTP collector on loopback that keeps every span it is sent."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue


@dataclass(frozen=True)
class Kept:
    """One span; ids in hex, `parent_id` empty at a root."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    failed: bool
    attributes: dict[str, Any]


class Collector:
    """What was received so far: its last bodies, and how many there were."""

    def __init__(self, url: str, most: int | None) -> None:
        self.url = url
        self.bodies: deque[bytes] = deque(maxlen=most)
        self.received = 0

    @property
    def spans(self) -> list[Kept]:
        return [span for body in list(self.bodies) for span in _spans(body)]

    def trace(
        self, trace_id: str, at_least: int, without: str = "", timeout_s: float = 20.0, including: str = ""
    ) -> list[Kept]:
        """The spans of one trace, `without` one name, once there are so many and one of the name `including`, or those
        that came until time is over."""
        until = time.monotonic() + timeout_s
        while True:
            found = [span for span in self.spans if span.trace_id == trace_id and span.name != without]
            enough = len(found) >= at_least and (not including or including in {span.name for span in found})
            if enough or time.monotonic() > until:
                return found
            time.sleep(0.05)


@contextmanager
def collector(answer_after: threading.Event | None = None, most: int | None = None) -> Iterator[Collector]:
    """A running collector; with `answer_after` it answers nothing before that is set, with `most` it keeps no more."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            assert self.headers["Content-Type"] == "application/x-protobuf"
            if answer_after:
                answer_after.wait(30)
            kept.bodies.append(body)
            kept.received += 1
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    kept = Collector(f"http://127.0.0.1:{server.server_port}", most)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()
        serving.join()


def _spans(body: bytes) -> Iterator[Kept]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        named = {one.key: _value(one.value) for one in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Kept(
                    str(named["service.name"]),
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.status.code == 2,
                    {one.key: _value(one.value) for one in span.attributes},
                )


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind) if kind else None
