"""What traces cost: CPU microseconds of an exact hit in one process, traces off, on and not sampled, on and sampled.

Client, edge and cache share one process and one event loop, without a wire. The three ways take turns, so that what
else the machine does reaches all of them; each figure is the median of its turns. A sampled hit leaves two spans, and
its figure includes their way to a collector on loopback, which is a process of its own.
"""

import argparse
import json
import multiprocessing
import random
import statistics
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import structlog
import uvloop
from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from fulcrum.edge.v1 import receipt_pb2
from fulcrum.edge.v1.edge_service_pb2_grpc import EdgeServiceStub
from fulcrum.executor.v1 import chat_pb2
from prometheus_client import CollectorRegistry

from services.chassis.trace_export import TraceExport
from services.chassis.tracing import Tracer, TracingSettings
from services.cli.assembly import assemble_suite, suite_settings


class _Swallow(BaseHTTPRequestHandler):
    """Takes spans and keeps none."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answers that all were taken."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def _collect(port: Connection) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Swallow)
    port.send(server.server_port)
    server.serve_forever()


async def _measure(url: str, turns: int, requests: int, seed: int) -> dict[str, Any]:
    registry = CollectorRegistry()
    export = TraceExport(TracingSettings(endpoint=url, queue_spans=100_000, flush_s=30), "benchmark", registry)
    ways: dict[str, Tracer | None] = {"off": None, "unsampled": Tracer(0.0, export), "sampled": Tracer(1.0, export)}
    spent: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        overrides: dict[str, dict[str, Any]] = {
            "cache": {"database": str(Path(folder) / "cache.sqlite")},
            "server": {"log_level": "error"},
        }
        process, components = assemble_suite(suite_settings(Path("deploy/local.yaml"), overrides))
        for component in components:
            await component.start()
        edge: Any = EdgeServiceStub(process.local_channel(components))
        turn = chat_pb2.Message(role=chat_pb2.ROLE_USER, content="What is the capital of Norway?")
        request = edge_pb.CompleteRequest(messages=[turn])
        for _ in range(200):
            last = [event async for event in edge.Complete(request, timeout=60)][-1]
        assert last.receipt.cache.result == receipt_pb2.CACHE_RESULT_EXACT_HIT
        order = list(ways)
        for _ in range(turns):
            random.Random(seed).shuffle(order)
            for name in order:
                process.guard.tracer = ways[name]
                begin = time.process_time()
                for _ in range(requests):
                    async for _event in edge.Complete(request, timeout=60):
                        pass
                time.sleep(1.5 if name == "sampled" else 0)  # noqa: ASYNC251 - the thread exports, and is counted
                spent[name].append((time.process_time() - begin) / requests * 1e6)
        await export.close()
        for component in reversed(components):
            await component.close()
    figures: dict[str, Any] = {f"{name}_cpu_us": round(statistics.median(all_), 1) for name, all_ in spent.items()}
    for result in ("exported", "dropped", "failed"):
        figures[result] = registry.get_sample_value("fulcrum_trace_spans_total", {"result": result}) or 0
    return figures


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--requests", type=int, default=1000, help="exact hits a turn")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    ours, theirs = multiprocessing.Pipe()
    collector = multiprocessing.Process(target=_collect, args=(theirs,), daemon=True)
    collector.start()
    url = f"http://127.0.0.1:{ours.recv()}"
    print(json.dumps(uvloop.run(_measure(url, arguments.turns, arguments.requests, arguments.seed))))
    collector.terminate()


if __name__ == "__main__":
    main()
