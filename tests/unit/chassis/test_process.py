"""A real child process: signals, exit codes and what it leaves on standard error."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from fulcrum.embedding.v1.embedding_service_pb2 import EmbedRequest, EmbedResponse
from fulcrum.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub

from services.chassis.call import REQUEST_ID_KEY
from tests.unit.chassis.parts import refused, texts

ROOT = Path(__file__).parents[3]
SOON_S = 20.0  # a Python process that imports gRPC starts slowly on a busy machine


@dataclass
class Child:
    """A running server process and what it has said."""

    process: asyncio.subprocess.Process
    lines: list[dict[str, Any]] = field(default_factory=list)

    async def log(self, event: str) -> dict[str, Any]:
        """The next line of its log with that event."""
        assert self.process.stderr
        while line := await asyncio.wait_for(self.process.stderr.readline(), SOON_S):
            self.lines.append(json.loads(line))
            if self.lines[-1]["event"] == event:
                return self.lines[-1]
        raise AssertionError(f"no {event} in {self.lines}")

    async def said(self) -> str:
        """The next line of its output."""
        assert self.process.stdout
        return (await asyncio.wait_for(self.process.stdout.readline(), SOON_S)).decode().strip()


@asynccontextmanager
async def child(*arguments: str, **settings: str) -> AsyncIterator[Child]:
    """A child server; killed where a test leaves it running."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.unit.chassis.child_server",
        *arguments,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}", "FULCRUM_SERVER__PORT": "0", **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Child(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_the_process(number: signal.Signals) -> None:
    """On a signal a running call is answered, new ones are refused, parts are closed and the exit is clean."""
    async with child(FULCRUM_CHILD__ANSWER_S="0.5") as server:
        port = (await server.log("serving"))["port"]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: Any = EmbeddingServiceStub(channel)
            running = stub.Embed(texts(), timeout=SOON_S)
            answer = asyncio.ensure_future(_await(running))
            assert await server.said() == "begun"
            server.process.send_signal(number)
            await asyncio.sleep(0.1)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as late:
                second: Any = EmbeddingServiceStub(late)
                error = await refused(second.Embed(texts(), timeout=SOON_S))
                assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert await answer == EmbedResponse()
        assert await server.said() == "closed"
        await server.log("stopped")
        assert await asyncio.wait_for(server.process.wait(), SOON_S) == 0


async def test_the_log_is_one_json_object_a_line_under_the_request_id() -> None:
    """Calls, refusals and defects are logged under the caller's request id, a defect with its traceback."""
    async with child(FULCRUM_SERVER__MAX_CONCURRENT_CALLS="1", FULCRUM_CHILD__ANSWER_S="0.5") as server:
        port = (await server.log("serving"))["port"]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: Any = EmbeddingServiceStub(channel)

            def ask(request_id: str, *given: str) -> Any:
                request = texts(*given) if given else EmbedRequest()
                return stub.Embed(request, timeout=SOON_S, metadata=((REQUEST_ID_KEY, request_id),))

            await refused(ask("bad"))
            await refused(ask("broken", "defect"))
            assert await server.said() == "begun"
            first = asyncio.ensure_future(_await(ask("fine", "x")))
            assert await server.said() == "begun"
            await refused(ask("too many", "x"))
            await first
        found: dict[str, Any] = {}
        while len(found) < 4:
            line = await server.log("call")
            found[line["request_id"]] = (line["code"], line.get("reason"))
        assert found == {
            "bad": ("INVALID_ARGUMENT", "FIELD_INVALID"),
            "broken": ("INTERNAL", "INTERNAL"),
            "too many": ("RESOURCE_EXHAUSTED", "OVERLOADED"),
            "fine": ("OK", None),
        }
        (defect,) = [line for line in server.lines if line["event"] == "defect"]
        assert defect["request_id"] == "broken"
        assert "Traceback" in defect["exception"]
        assert "child_server.py" in defect["exception"]
        assert all({"level", "timestamp"} <= line.keys() for line in server.lines)


async def test_settings_that_cannot_be_used_end_the_process(tmp_path: Path) -> None:
    """A mistake in the settings is explained on standard error, and the exit status is 2."""
    path = tmp_path / "settings.yaml"
    path.write_text("child: {answer_s: never}", encoding="utf-8")
    async with child("--config", str(path)) as server:
        _, errors = await asyncio.wait_for(server.process.communicate(), SOON_S)
        assert server.process.returncode == 2
        assert "child.answer_s (or FULCRUM_CHILD__ANSWER_S): got 'never'" in errors.decode()
        assert "Traceback" not in errors.decode()


async def _await(answer: Any) -> Any:
    return await answer
