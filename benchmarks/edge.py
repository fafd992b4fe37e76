"""What a request costs beside its model: CPU microseconds and latency through edge, in one process and over gRPC.

In process, client, edge, cache, router and executor share one process and one event loop. Over gRPC, each of the four
services is a process of its own on loopback, and the CPU is theirs without the client's. `cpu_us` leaves out what the
models take, the sentence encoder and the decoder, measured by asking them alone for the same texts in the same run;
`model_cpu_us` is that part. Latencies are the whole request's, as the client sees them, models included. Answers are
not compared (`edge.judge.at_once: 0`): else the cache has a share of similar prompts executed, which are no hits then.
What is to be a hit by similarity may be wrong, as its request says: else the cache brakes what nobody judges.
"""

import argparse
import json
import logging
import os
import random
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import structlog
import uvloop
from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from fulcrum.edge.v1 import receipt_pb2
from fulcrum.edge.v1.edge_service_pb2_grpc import EdgeServiceStub
from fulcrum.embedding.v1 import embedding_service_pb2 as embedding_pb
from fulcrum.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from fulcrum.executor.v1 import chat_pb2
from fulcrum.executor.v1 import executor_service_pb2 as executor_pb
from fulcrum.executor.v1.executor_service_pb2_grpc import ExecutorServiceStub

from benchmarks.suite_process import suite_process
from models.tasks import Question, paraphrases, sample
from services.chassis.channel import connect
from services.cli.assembly import assemble_suite, suite_settings

_TICKS = os.sysconf("SC_CLK_TCK")
_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Suite:
    """Channels to a running suite, and the CPU seconds that its processes have spent."""

    edge: grpc.aio.Channel
    executor: grpc.aio.Channel
    cpu_s: Callable[[], float]


@asynccontextmanager
async def in_process(folder: Path) -> AsyncIterator[Suite]:
    """Everything, the client too, in this process."""
    overrides: dict[str, dict[str, Any]] = {
        "cache": {"database": str(folder / "cache.sqlite")},
        "edge": {"ledger": {"database": str(folder / "ledger.sqlite")}, "judge": {"at_once": 0}},
        "server": {"log_level": "error"},
    }
    process, components = assemble_suite(suite_settings(Path("deploy/local.yaml"), overrides))
    for component in components:
        await component.start()
    channel = process.local_channel(components)
    yield Suite(channel, channel, time.process_time)
    for component in reversed(components):
        await component.close()


@asynccontextmanager
async def over_grpc(folder: Path) -> AsyncIterator[Suite]:
    """Each service in a process of its own."""
    async with AsyncExitStack() as stack:
        addresses: dict[str, str] = {}
        processes: list[int] = []
        for service in ("executor", "cache", "router", "edge"):
            (folder / service).mkdir()
            backends = {f"FULCRUM_EDGE__{name.upper()}__ADDRESS": address for name, address in addresses.items()}
            backends["FULCRUM_EDGE__JUDGE__AT_ONCE"] = "0"
            if "executor" in addresses:
                backends["FULCRUM_EDGE__ENCODER__ADDRESS"] = addresses["executor"]
            started = suite_process(folder / service, "serve", service, environment=backends)
            running = await stack.enter_async_context(started)
            addresses[service] = running.address
            processes.append(running.process.pid)
        edge, executor = connect(addresses["edge"]), connect(addresses["executor"])
        stack.push_async_callback(edge.close)
        stack.push_async_callback(executor.close)
        yield Suite(edge, executor, lambda: sum(_cpu_s(pid) for pid in processes))


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@dataclass(frozen=True)
class Measured:
    """CPU seconds a request, and every request's latency in seconds."""

    cpu_s: float
    latencies_s: Sequence[float]


async def _measure(suite: Suite, calls: Sequence[Callable[[], Awaitable[None]]]) -> Measured:
    latencies = []
    cpu = suite.cpu_s()
    for call in calls:
        begin = time.perf_counter()
        await call()
        latencies.append(time.perf_counter() - begin)
    return Measured((suite.cpu_s() - cpu) / len(calls), latencies)


class Calls:
    """The calls that are measured, each checked to have gone the way it is counted as."""

    def __init__(self, suite: Suite) -> None:
        self._edge: Any = EdgeServiceStub(suite.edge)
        self._encoder: Any = EmbeddingServiceStub(suite.executor)
        self._executor: Any = ExecutorServiceStub(suite.executor)
        self.models: list[str] = []

    def complete(self, prompt: str, expected: "receipt_pb2.CacheResult") -> Callable[[], Awaitable[None]]:
        """One request through edge."""

        async def call() -> None:
            request = edge_pb.CompleteRequest(messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content=prompt)])
            if expected == receipt_pb2.CACHE_RESULT_SEMANTIC_HIT:
                request.objective.max_quality_loss = 1.0
            async for event in self._edge.Complete(request, timeout=_TIMEOUT_S):
                receipt = event.receipt
            if receipt.cache.result != expected:
                raise RuntimeError(f"{prompt!r} went another way than it is counted as: {receipt}")
            self.models.append(receipt.model)

        return call

    def embed(self, prompt: str) -> Callable[[], Awaitable[None]]:
        """The same prompt's embedding, alone."""

        async def call() -> None:
            await self._encoder.Embed(embedding_pb.EmbedRequest(texts=[prompt]), timeout=_TIMEOUT_S)

        return call

    def generate(self, prompt: str, model: str) -> Callable[[], Awaitable[None]]:
        """The same prompt's answer, straight from the executor."""

        async def call() -> None:
            message = chat_pb2.Message(role=chat_pb2.ROLE_USER, content=prompt)
            request = executor_pb.GenerateRequest(model=model, messages=[message])
            async for _ in self._executor.Generate(request, timeout=_TIMEOUT_S):
                pass

        return call


def _summary(whole: Measured, models: Sequence[Measured]) -> dict[str, float]:
    ordered = sorted(whole.latencies_s)
    model_cpu_s = sum(model.cpu_s for model in models)
    return {
        "cpu_us": round((whole.cpu_s - model_cpu_s) * 1e6, 1),
        "model_cpu_us": round(model_cpu_s * 1e6, 1),
        "p50_ms": round(ordered[len(ordered) // 2] * 1000, 3),
        "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1000, 3),
    }


async def measure(suite: Suite, exact: int, other: int) -> dict[str, dict[str, float]]:
    """Misses, then exact hits and semantic hits on what the misses left in the cache."""
    calls = Calls(suite)
    questions = _questions(other)
    missed = [calls.complete(question.prompt, receipt_pb2.CACHE_RESULT_MISS) for question in questions]
    miss = await _measure(suite, missed)
    models = list(calls.models)
    embeds = await _measure(suite, [calls.embed(question.prompt) for question in questions])
    generated = [calls.generate(q.prompt, model) for q, model in zip(questions, models, strict=True)]
    generates = await _measure(suite, generated)
    hits = [questions[i % other] for i in range(exact)]
    exact_hits = [calls.complete(question.prompt, receipt_pb2.CACHE_RESULT_EXACT_HIT) for question in hits]
    await _measure(suite, exact_hits[: exact // 10])  # warm
    exact_hit = await _measure(suite, exact_hits)
    similar = [q.prompt for question in questions[: other // 4] for q in paraphrases(question, phrasings="heldout")]
    similar = await _served(calls, similar)
    semantic_hit = await _measure(suite, [calls.complete(p, receipt_pb2.CACHE_RESULT_SEMANTIC_HIT) for p in similar])
    again = await _measure(suite, [calls.embed(prompt) for prompt in similar])
    return {
        "exact_hit": _summary(exact_hit, []),
        "semantic_hit": _summary(semantic_hit, [again]),
        "miss": _summary(miss, [embeds, generates]),
    }


async def _served(calls: Calls, prompts: Sequence[str]) -> list[str]:
    """Those of the prompts that the cache serves by similarity (a hit stores nothing, so they will be again)."""
    served = []
    for prompt in prompts:
        try:
            await calls.complete(prompt, receipt_pb2.CACHE_RESULT_SEMANTIC_HIT)()
        except RuntimeError:
            continue
        served.append(prompt)
    if not served:
        raise RuntimeError("no paraphrase was served from the cache")
    return served


def _questions(count: int) -> list[Question]:
    rng = random.Random(3)
    found: dict[tuple[str, str], Question] = {}
    while len(found) < count:
        question = sample(rng, phrasings="train")
        found.setdefault((question.task, question.key), question)
    return list(found.values())


async def run(exact: int, other: int) -> dict[str, dict[str, dict[str, float]]]:
    """Both bindings, one after the other."""
    results = {}
    for name, start in (("in_process", in_process), ("grpc", over_grpc)):
        with tempfile.TemporaryDirectory() as folder:
            async with start(Path(folder)) as suite:
                results[name] = await measure(suite, exact, other)
    return results


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.edge", description=__doc__)
    parser.add_argument("--exact", type=int, default=3000, help="exact hits to measure (default: %(default)s)")
    parser.add_argument("--other", type=int, default=120, help="misses to measure (default: %(default)s)")
    parser.add_argument("--json", default="-", help="file for the result; - prints it as the last line")
    chosen = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    result = json.dumps(uvloop.run(run(chosen.exact, chosen.other)))
    if chosen.json == "-":
        print(result)
    else:
        Path(chosen.json).write_text(result + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
