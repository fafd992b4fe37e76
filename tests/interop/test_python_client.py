"""fulcrum_client against a running suite, with threads and with coroutines."""

import asyncio
import socket
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
import pytest_asyncio
from fulcrum.edge.v1 import receipt_pb2
from fulcrum.executor.v1 import chat_pb2
from fulcrum_client import (
    Answer,
    AsyncClient,
    Client,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    ResourceExhausted,
    Retries,
    Unavailable,
)

from tests.interop.conftest import Running
from tests.interop.test_clients import busy, ended, eventually
from tests.wire.suites import ENDLESS

PROMPT = "What is the capital of Norway?"
AT_LENGTH: dict[str, Any] = {"allowed_models": [ENDLESS], "no_cache": True, "no_store": True}
ONCE = Retries(attempts=1)


class Both:
    """Client and AsyncClient behind one face, so that each test tries both."""

    def __init__(self, kind: str, address: str, **more: Any) -> None:
        self._threads = Client(address, **more) if kind == "threads" else None
        self._coroutines = AsyncClient(address, **more) if kind == "coroutines" else None

    async def complete(self, prompt: Any, **options: Any) -> Answer:
        if self._threads:
            return await asyncio.to_thread(self._threads.complete, prompt, **options)
        assert self._coroutines
        return await self._coroutines.complete(prompt, **options)

    async def pieces(self, prompt: Any, most: int = 10**9, **options: Any) -> tuple[list[str], Any]:
        """At most so many pieces, then leaves; and the stream."""
        if self._threads:
            return await asyncio.to_thread(self._pieces, prompt, most, options)
        assert self._coroutines
        found: list[str] = []
        async with self._coroutines.stream(prompt, **options) as stream:
            async for piece in stream:
                found.append(piece)
                if len(found) == most:
                    break
        return found, stream

    def _pieces(self, prompt: Any, most: int, options: dict[str, Any]) -> tuple[list[str], Any]:
        assert self._threads
        found: list[str] = []
        with self._threads.stream(prompt, **options) as stream:
            for piece in stream:
                found.append(piece)
                if len(found) == most:
                    break
        return found, stream

    async def usage(self, **options: Any) -> Any:
        if self._threads:
            return await asyncio.to_thread(self._threads.usage, **options)
        assert self._coroutines
        return await self._coroutines.usage(**options)

    async def feedback(self, receipt: receipt_pb2.Receipt, right: bool) -> None:
        if self._threads:
            await asyncio.to_thread(self._threads.feedback, receipt, right)
        if self._coroutines:
            await self._coroutines.feedback(receipt, right)

    async def close(self) -> None:
        if self._threads:
            self._threads.close()
        if self._coroutines:
            await self._coroutines.close()


@pytest_asyncio.fixture(params=["threads", "coroutines"])
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Both]]:
    """Makes clients of one kind, and closes them."""
    made: list[Both] = []

    def one(address: str, **more: Any) -> Both:
        made.append(Both(request.param, address, **more))
        return made[-1]

    yield one
    for client in made:
        await client.close()


async def test_whole_and_streamed(running: Running, connect: Callable[..., Both]) -> None:
    """An answer whole, and the same in pieces that its receipt follows; every form of a conversation will do."""
    client = connect(running.address)
    answer = await client.complete(PROMPT, max_quality_loss=0.0)
    assert answer.text == "Oslo"
    assert answer.receipt.model == "fulcrum-large"
    assert answer.receipt.quality.max_quality_loss == 0.0
    for turns in (
        [{"role": "user", "content": PROMPT}],
        [("user", PROMPT)],
        [chat_pb2.Message(role=chat_pb2.ROLE_USER, content=PROMPT)],
    ):
        pieces, stream = await client.pieces(turns, no_cache=True, max_quality_loss=0.0)
        assert "".join(pieces) == stream.text == stream.answer.text == "Oslo"
        assert stream.receipt.cost.priced
    # Pieces that a busy reader has not taken yet come as one, so that a short answer may come whole.
    pieces, stream = await client.pieces(PROMPT, max_output_tokens=200, **AT_LENGTH)
    assert len(pieces) > 1
    assert "".join(pieces) == stream.text == stream.answer.text


async def test_usage(running: Running, connect: Callable[..., Both]) -> None:
    """Sums of the ledger."""
    client = connect(running.address)
    before = await client.usage()
    await client.complete(PROMPT)
    assert (await client.usage()).total.requests == before.total.requests + 1


async def test_feedback(running: Running, connect: Callable[..., Both]) -> None:
    """An answer told right is given on, one told wrong is not; what nobody remembers is not found."""
    client = connect(running.address)
    prompt = f"Reverse the word {uuid.uuid4().hex[:8]}."
    answer = await client.complete(prompt)
    await client.feedback(answer.receipt, right=True)
    cached = await client.complete(prompt, only_if_cached=True)
    await client.feedback(cached.receipt, right=False)
    with pytest.raises(NotFound):
        await client.complete(prompt, only_if_cached=True)
    cached.receipt.cache.lookup_id = "never"
    with pytest.raises(NotFound) as caught:
        await client.feedback(cached.receipt, right=False)
    assert caught.value.field == "lookup_id"


async def test_leaving_cancels(running: Running, connect: Callable[..., Both]) -> None:
    """Leaving the block after the first piece ends the call down to the model; there is no receipt then."""
    request_id = uuid.uuid4().hex
    pieces, stream = await connect(running.address).pieces("x", 1, request_id=request_id, **AT_LENGTH)
    assert len(pieces) == 1
    with pytest.raises(RuntimeError, match="read to its end"):
        _ = stream.receipt
    await eventually(lambda: bool(ended(running, request_id, "executor")))
    assert ended(running, request_id, "executor") == ["CANCELLED"]


async def test_deadline(running: Running, connect: Callable[..., Both]) -> None:
    """The time given is for the whole call, and its end a typed error that names the request."""
    request_id = uuid.uuid4().hex
    begin = time.perf_counter()
    with pytest.raises(DeadlineExceeded) as caught:
        await connect(running.address).complete("x", timeout_s=0.5, request_id=request_id, **AT_LENGTH)
    assert time.perf_counter() - begin < 5
    assert caught.value.request_id == request_id
    assert request_id in str(caught.value)


async def test_the_request_id_is_the_receipts_and_the_logs(running: Running, connect: Callable[..., Both]) -> None:
    """Given or made, one id names the request in the receipt and in every log."""
    answer = await connect(running.address).complete(PROMPT, no_cache=True)
    request_id = answer.receipt.request_id
    await eventually(lambda: bool(ended(running, request_id, "edge")))
    assert ended(running, request_id, "executor") == ["OK"]


async def test_a_bad_field_is_typed(running: Running, connect: Callable[..., Both]) -> None:
    """The exception says which fields are wrong and what was expected, and quotes no prompt."""
    with pytest.raises(InvalidRequest) as caught:
        await connect(running.address).complete("a secret", top_p=7, top_k=-1)
    error = caught.value
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert (error.field, error.value) == ("sampling.top_p", "7.0")
    assert error.expected
    assert [one.field for one in error.violations] == ["sampling.top_p", "sampling.top_k"]
    assert "secret" not in str(error)
    with pytest.raises(NotFound, match="gtp-4"):
        await connect(running.address).complete(PROMPT, allowed_models=["gtp-4"])


async def _until_refused(call: Callable[[], Awaitable[Answer]]) -> ResourceExhausted:
    async with asyncio.timeout(20):
        while True:
            try:
                await call()
            except ResourceExhausted as error:
                return error


async def test_overload_is_typed_and_retried(running: Running, connect: Callable[..., Both]) -> None:
    """A full server is reported with its delay, or asked again after it: here it has room by then."""
    once = connect(running.narrow.address, retries=ONCE)
    again = connect(running.narrow.address, retries=Retries(attempts=30))
    request_id = uuid.uuid4().hex
    async with busy(running.narrow.address):
        error = await _until_refused(lambda: once.complete(PROMPT))
        assert (error.reason, error.retry_after_s) == ("OVERLOADED", 1.0)
        waiting = asyncio.create_task(again.complete(PROMPT, request_id=request_id))
        await eventually(lambda: "RESOURCE_EXHAUSTED" in _narrow(running, request_id))
    assert (await waiting).text == "Oslo"
    await eventually(lambda: "OK" in _narrow(running, request_id))


def _narrow(running: Running, request_id: str) -> list[object]:
    return [line["code"] for line in running.narrow.lines() if line.get("request_id") == request_id and "code" in line]


async def test_a_server_that_is_not_there_yet(running: Running, connect: Callable[..., Both]) -> None:
    """UNAVAILABLE is reported after a bounded number of tries, and outlasted where more are allowed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Unavailable):
        await connect(f"127.0.0.1:{port}", retries=Retries(attempts=2)).complete(PROMPT)
    late = running.another_edge(f"late-{port}")
    late.port = port
    patient = connect(f"127.0.0.1:{port}", retries=Retries(attempts=100, first_pause_s=0.05, longest_pause_s=0.5))
    waiting = asyncio.create_task(patient.complete(PROMPT))
    try:
        await asyncio.sleep(0.2)
        await late.start()
        assert (await waiting).text == "Oslo"
    finally:
        waiting.cancel()
        await late.kill()
