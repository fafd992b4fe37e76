"""The local channel and a real server behave alike, scenario by scenario."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import pytest
from fulcrum.embedding.v1.embedding_service_pb2 import EmbedResponse

from services.chassis import call
from services.chassis.errors import FulcrumError, InvalidField, NotFound, Overloaded, Unavailable
from services.chassis.status import error_from
from tests.unit.chassis.parts import Reached, delta, heard, prompt, reached, texts

SOON_S = 2.0  # far above what any of this takes, so that a busy machine does not fail a test


async def forever(_: Any) -> AsyncGenerator[Any, None]:
    """One message, then nothing until cancelled."""
    yield delta("first")
    await asyncio.Event().wait()


async def sleep(_: Any) -> Any:
    await asyncio.Event().wait()


async def ended(reached: Reached) -> None:
    """Fails unless the handler's own clean-up has run."""
    await asyncio.wait_for(reached.service.ended.wait(), SOON_S)


async def idle(reached: Reached) -> None:
    """Fails unless every call has left the metrics."""
    async with asyncio.timeout(SOON_S):
        while reached.under_way():  # noqa: ASYNC110 - metrics notify nobody
            await asyncio.sleep(0.005)


async def test_unary_answer(either: Reached) -> None:
    """A unary call returns the handler's answer."""
    response = await either.embedding.Embed(texts(), timeout=5)
    assert response.embeddings[0].dimension == 3


async def test_stream_in_order(either: Reached) -> None:
    """A stream brings every message in order, and then ends."""
    found = [event.text_delta.text async for event in either.executor.Generate(prompt(), timeout=5)]
    assert found == ["one", "two", "three"]
    await ended(either)
    await idle(either)


async def test_empty_stream(either: Reached) -> None:
    """A stream without messages ends without an error."""

    async def nothing(_: Any) -> AsyncGenerator[Any, None]:
        return
        yield

    either.service.generate = nothing
    assert [event async for event in either.executor.Generate(prompt(), timeout=5)] == []


@pytest.mark.parametrize(
    "error",
    [
        InvalidField("a.b", 7, "less"),
        NotFound("model", "gtp", "gpt", reason="MODEL_UNKNOWN"),
        Overloaded("queue", "64 waiting", "at most 64", retry_after_s=0.25),
        Unavailable("cache", "gone", "there"),
    ],
)
async def test_domain_errors_come_back_as_raised(either: Reached, error: FulcrumError) -> None:
    """A caller finds class, reason, field, value, expectation and retry delay as the handler raised them."""

    async def fail(_: Any) -> Any:
        raise error

    async def fail_late(_: Any) -> AsyncGenerator[Any, None]:
        yield delta("first")
        raise error

    either.service.embed, either.service.generate = fail, fail_late
    with pytest.raises(grpc.aio.AioRpcError) as unary:
        await either.embedding.Embed(texts(), timeout=5)
    stream = either.executor.Generate(prompt(), timeout=5)
    said: list[str] = []
    with pytest.raises(grpc.aio.AioRpcError) as streamed:
        await heard(stream, said)
    assert said == ["first"]
    for caught in (unary.value, streamed.value):
        back = error_from(caught, "backend")
        assert type(back) is type(error)
        assert vars(back) == vars(error)
        assert str(back) == str(error)
    await idle(either)


async def test_cancelling_a_stream_ends_the_handler(either: Reached) -> None:
    """cancel() between two messages runs the handler's finally at once."""
    either.service.generate = forever
    stream = either.executor.Generate(prompt(), timeout=60)
    assert (await anext(aiter(stream))).text_delta.text == "first"
    assert stream.cancel()
    await ended(either)
    await idle(either)


async def test_cancelling_the_consumer_ends_the_handler(either: Reached) -> None:
    """Cancelling a task that waits for the next message runs the handler's finally at once."""
    either.service.generate = forever
    first = asyncio.Event()

    async def consume() -> None:
        async for _ in either.executor.Generate(prompt(), timeout=60):
            first.set()

    consumer = asyncio.create_task(consume())
    await asyncio.wait_for(first.wait(), SOON_S)
    consumer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consumer
    await ended(either)
    await idle(either)


async def test_leaving_a_stream_early_ends_the_handler(either: Reached) -> None:
    """A consumer that breaks off and cancels, as edge's binding does, leaves no handler and no defect behind."""

    async def endless(_: Any) -> AsyncGenerator[Any, None]:
        while True:
            yield delta("x" * 1000)
            await asyncio.sleep(0)

    either.service.generate = endless
    stream = either.executor.Generate(prompt(), timeout=60)
    async for _ in stream:
        break
    stream.cancel()
    await ended(either)
    await idle(either)
    done = {"service": "fulcrum.executor.v1.ExecutorService", "method": "Generate"}
    assert either.sample("fulcrum_rpc_server_calls_total", code="CANCELLED", **done) == 1
    assert either.sample("fulcrum_rpc_server_calls_total", code="INTERNAL", **done) == 0


async def test_cancelling_reaches_a_handler_that_is_held_up_by_its_reader(either: Reached) -> None:
    """A handler whose messages nobody takes is ended by a cancellation while it is being held up."""

    async def endless(_: Any) -> AsyncGenerator[Any, None]:
        while True:
            yield delta("x" * 100_000)

    either.service.generate = endless
    stream = either.executor.Generate(prompt(), timeout=60)
    await anext(aiter(stream))
    await asyncio.sleep(0.05)
    stream.cancel()
    await ended(either)
    await idle(either)


async def test_cancelling_before_the_first_message(either: Reached) -> None:
    """A stream that is cancelled before anyone listened leaves nothing behind."""
    either.service.generate = forever
    stream = either.executor.Generate(prompt(), timeout=60)
    assert stream.cancel()
    await idle(either)


async def test_cancelling_a_unary_call(either: Reached) -> None:
    """Cancelling the caller of a unary call cancels the handler."""
    either.service.embed = sleep
    caller = asyncio.ensure_future(_await(either.embedding.Embed(texts(), timeout=60)))
    await asyncio.wait_for(either.service.begun.wait(), SOON_S)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await ended(either)
    await idle(either)


async def test_a_deadline_ends_a_unary_call(either: Reached) -> None:
    """A unary call over its deadline ends as DEADLINE_EXCEEDED, and so does its handler."""
    either.service.embed = sleep
    begin = time.monotonic()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await either.embedding.Embed(texts(), timeout=0.3)
    assert time.monotonic() - begin < SOON_S
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert error_from(caught.value, "executor").reason == "DEADLINE_EXCEEDED"
    await ended(either)
    await idle(either)


async def test_a_deadline_ends_a_stream_midway(either: Reached) -> None:
    """A stream over its deadline keeps what was sent and ends as DEADLINE_EXCEEDED, handler included."""
    either.service.generate = forever
    said: list[str] = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await heard(either.executor.Generate(prompt(), timeout=0.3), said)
    assert said == ["first"]
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert error_from(caught.value, "executor").reason == "DEADLINE_EXCEEDED"
    await ended(either)
    await idle(either)


async def test_a_deadline_ends_a_handler_that_never_waits(either: Reached) -> None:
    """A stream that always has a next message ready is ended by its deadline all the same."""

    async def busy(_: Any) -> AsyncGenerator[Any, None]:
        while True:
            yield delta("x")

    either.service.generate = busy
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(heard(either.executor.Generate(prompt(), timeout=0.3), []), SOON_S)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await ended(either)
    await idle(either)


@pytest.mark.parametrize("binding", ["local", "grpc"])
async def test_a_call_without_deadline_gets_the_servers(binding: str) -> None:
    """A caller who gives no deadline gets the server's default one."""
    async with reached(binding, default_deadline_s=0.1) as service:
        service.service.embed = sleep
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(_await(service.embedding.Embed(texts())), SOON_S)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_request_id_and_deadline_are_handed_on(either: Reached) -> None:
    """A handler's own calls carry the caller's request id and at most what is left of the caller's time."""
    seen: list[tuple[float, dict[str, str]]] = []

    async def look(_: Any) -> Any:
        timeout, metadata = call.outgoing(100)
        seen.append((timeout, dict(metadata)))
        return EmbedResponse()

    either.service.embed = look
    await either.embedding.Embed(texts(), timeout=5, metadata=((call.REQUEST_ID_KEY, "r-1"),))
    await either.embedding.Embed(texts(), timeout=5)
    (first_timeout, first), (_, second) = seen
    assert first == {call.REQUEST_ID_KEY: "r-1"}
    assert 0 < first_timeout <= 5
    assert len(second[call.REQUEST_ID_KEY]) == 32
    assert call.current() is None


async def test_a_stream_keeps_its_call_between_messages(either: Reached) -> None:
    """A streaming handler sees its own call at every step, and the consumer sees none of it."""
    seen = []

    async def look(_: Any) -> AsyncGenerator[Any, None]:
        try:
            for _ in range(3):
                found = call.current()
                seen.append(found.request_id if found else None)
                yield delta("x")
        finally:
            found = call.current()
            seen.append(found.request_id if found else None)

    either.service.generate = look
    async for _ in either.executor.Generate(prompt(), timeout=5, metadata=((call.REQUEST_ID_KEY, "r-2"),)):
        assert call.current() is None
    await ended(either)
    assert seen == ["r-2"] * 4
    assert call.current() is None


async def test_an_unknown_method_is_unimplemented(either: Reached) -> None:
    """A method that nobody serves is UNIMPLEMENTED."""
    unknown: Any = either.channel.unary_unary(
        "/fulcrum.cache.v1.CacheService/Lookup",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=lambda message: message,
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await unknown(texts(), timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def _await(answer: Any) -> Any:
    return await answer
