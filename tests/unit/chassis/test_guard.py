"""What the guard adds to every call: checks, limits, statuses, a log line and metrics."""

import asyncio
import gc
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import pytest
from fulcrum.embedding.v1.embedding_service_pb2 import EmbedRequest, EmbedResponse
from fulcrum.executor.v1 import chat_pb2
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from services.chassis.call import REQUEST_ID_KEY, current
from services.chassis.errors import NotFound
from services.chassis.guard import Guard
from services.chassis.settings import ServerSettings
from services.chassis.telemetry import RpcMetrics
from tests.unit.chassis.parts import EMBEDDING, EXECUTOR, Reached, delta, details_of, prompt, reached, refused, texts

SOON_S = 2.0


async def test_every_broken_field_is_listed(either: Reached) -> None:
    """A request that breaks its contract is refused before the handler; every broken field is listed, none quoted."""
    request = prompt("secret words", model="")
    request.messages.add(role=chat_pb2.ROLE_UNSPECIFIED, content="more secrets")
    request.sampling.top_p = 1.5
    request.sampling.stop.extend(["fine", ""])
    error = await refused(either.executor.Generate(request, timeout=5))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = details_of(error)
    found = {one.field: one.description for one in details["BadRequest"].field_violations}
    assert found.keys() == {"model", "messages[1].role", "sampling.top_p", "sampling.stop[1]"}
    assert "1.5" in found["sampling.top_p"]
    assert details["ErrorInfo"].reason == "FIELD_INVALID"
    assert details["ErrorInfo"].metadata["field"] in found
    assert "secret" not in str(error.details()) + str(details)
    assert not either.service.begun.is_set()


async def test_a_broken_list_is_described_by_its_length(either: Reached) -> None:
    """A list with too few or too many items is described by how many it has."""
    error = await refused(either.embedding.Embed(EmbedRequest(), timeout=5))
    assert "0 items" in str(error.details()), error.details()
    error = await refused(either.embedding.Embed(texts(*["x"] * 257), timeout=5))
    assert "257 items" in str(error.details()), error.details()


async def test_a_rule_over_a_whole_message_names_that_message(either: Reached) -> None:
    """A rule that concerns a message as a whole is reported under that message's path."""
    request = prompt("x")
    request.messages.add(role=chat_pb2.ROLE_USER)
    error = await refused(either.executor.Generate(request, timeout=5))
    (one,) = details_of(error)["BadRequest"].field_violations
    assert one.field == "messages[1]"
    assert "content must not be empty" in one.description


@pytest.mark.parametrize("binding", ["local", "grpc"])
async def test_an_oversize_message_is_refused(binding: str) -> None:
    """A message over the limit is refused with its size and the limit, and one below it is not."""
    async with reached(binding, max_message_bytes=2000) as service:
        await service.embedding.Embed(texts("x" * 1900), timeout=5)
        error = await refused(service.embedding.Embed(texts("x" * 3000), timeout=5))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        info = details_of(error)["ErrorInfo"]
        assert (info.reason, info.metadata["field"]) == ("MESSAGE_TOO_LARGE", "message")
        assert info.metadata["expected"] == "at most 2000 bytes"


async def test_a_message_far_over_the_limit_is_refused_by_the_transport() -> None:
    """What is too large even to look at is RESOURCE_EXHAUSTED as well, and the server lives on."""
    async with reached("grpc", max_message_bytes=2000) as service:
        error = await refused(service.embedding.Embed(texts("x" * 100_000), timeout=5))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await service.embedding.Embed(texts(), timeout=5)


async def test_a_defect_is_logged_and_not_told(either: Reached) -> None:
    """A defect becomes INTERNAL without its text; the log has the exception."""

    async def fail(_: Any) -> EmbedResponse:
        raise KeyError("the customer's secret")

    async def fail_late(_: Any) -> AsyncGenerator[Any, None]:
        yield delta("first")
        raise KeyError("the customer's secret")

    either.service.embed, either.service.generate = fail, fail_late
    with capture_logs() as logs:
        unary = await refused(either.embedding.Embed(texts(), timeout=5))
        stream = either.executor.Generate(prompt(), timeout=5)
        await anext(aiter(stream))
        streamed = await refused(stream)
    for error in (unary, streamed):
        assert error.code() is grpc.StatusCode.INTERNAL
        info = details_of(error)["ErrorInfo"]
        assert info.reason == "INTERNAL"
        told = f"{error.details()} {info} {error.trailing_metadata()!r}"
        assert "KeyError" in told
        assert not [word for word in ("secret", "Traceback", ".py") if word in told]
    defects = [entry for entry in logs if entry["event"] == "defect"]
    assert [type(entry["exc_info"]) for entry in defects] == [KeyError, KeyError]
    assert [entry["method"] for entry in defects] == ["Embed", "Generate"]


async def test_calls_beyond_the_limit_are_refused_at_once() -> None:
    """Beyond the limit a call is refused with RetryInfo; a place that is given back is used again."""
    async with reached("grpc", max_concurrent_calls=2) as service:
        release = asyncio.Event()

        async def wait(_: Any) -> EmbedResponse:
            await release.wait()
            return EmbedResponse()

        async def stream(_: Any) -> AsyncGenerator[Any, None]:
            yield delta("x")
            await release.wait()

        service.service.embed, service.service.generate = wait, stream
        unary = asyncio.ensure_future(_await(service.embedding.Embed(texts(), timeout=30)))
        streamed = service.executor.Generate(prompt(), timeout=30)
        await anext(aiter(streamed))
        await asyncio.wait_for(service.service.begun.wait(), SOON_S)
        for _ in range(3):
            error = await refused(service.embedding.Embed(texts(), timeout=5))
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            details = details_of(error)
            assert details["ErrorInfo"].reason == "OVERLOADED"
            assert details["RetryInfo"].retry_delay.ToNanoseconds() > 0
        release.set()
        await unary
        assert [event async for event in streamed] == []
        for _ in range(5):
            await service.embedding.Embed(texts(), timeout=5)


async def test_places_are_given_back_however_a_call_ends() -> None:
    """Refused, failed, cancelled and late calls leave their places to others."""
    async with reached("grpc", max_concurrent_calls=1) as service:

        async def fail(request: EmbedRequest) -> EmbedResponse:
            if request.texts[0] == "missing":
                raise NotFound("x", 1, "y")
            await asyncio.Event().wait()
            raise AssertionError

        service.service.embed = fail
        await refused(service.embedding.Embed(EmbedRequest(), timeout=5))
        await refused(service.embedding.Embed(texts("missing"), timeout=5))
        await refused(service.embedding.Embed(texts("late"), timeout=0.1))
        service.service.begun.clear()
        service.service.ended.clear()
        waiter = asyncio.ensure_future(_await(service.embedding.Embed(texts("cancelled"), timeout=5)))
        await asyncio.wait_for(service.service.begun.wait(), SOON_S)
        waiter.cancel()
        await asyncio.wait([waiter])
        await asyncio.wait_for(service.service.ended.wait(), SOON_S)
        error = await refused(service.embedding.Embed(texts("missing"), timeout=5))
        assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_calls_within_the_process_are_not_counted_against_the_limit() -> None:
    """A call that one service makes of another in the same process takes no second place, so that none can starve."""
    async with reached("local", max_concurrent_calls=1) as service:
        release = asyncio.Event()

        async def wait(_: Any) -> EmbedResponse:
            await release.wait()
            return EmbedResponse()

        service.service.embed = wait
        calls = [asyncio.ensure_future(_await(service.embedding.Embed(texts(), timeout=5))) for _ in range(3)]
        await asyncio.sleep(0)
        release.set()
        await asyncio.gather(*calls)


@pytest.mark.parametrize("given", ["", "x" * 201])
async def test_a_request_id_that_cannot_be_used_is_replaced(either: Reached, given: str) -> None:
    """An empty or an endless request id is replaced by one of ours."""
    seen = []

    async def look(_: Any) -> EmbedResponse:
        found = current()
        seen.append(found.request_id if found else "")
        return EmbedResponse()

    either.service.embed = look
    await either.embedding.Embed(texts(), timeout=5, metadata=((REQUEST_ID_KEY, given),))
    assert seen[0] != given
    assert len(seen[0]) == 32


async def test_each_call_leaves_one_line_and_its_metrics(either: Reached) -> None:
    """A call is logged once with service, method, code and reason, and counted by the same labels."""

    async def fail(_: Any) -> EmbedResponse:
        raise NotFound("model", "x", "y", reason="MODEL_UNKNOWN")

    with capture_logs() as logs:
        await either.embedding.Embed(texts(), timeout=5)
        assert len([event async for event in either.executor.Generate(prompt(), timeout=5)]) == 3
        either.service.embed = fail
        await refused(either.embedding.Embed(texts(), timeout=5))
        async with asyncio.timeout(SOON_S):
            while either.under_way():  # noqa: ASYNC110 - metrics notify nobody
                await asyncio.sleep(0.005)
    lines = [entry for entry in logs if entry["event"] == "call"]
    assert [(line["service"], line["method"], line["code"], line.get("reason")) for line in lines] == [
        (EMBEDDING, "Embed", "OK", None),
        (EXECUTOR, "Generate", "OK", None),
        (EMBEDDING, "Embed", "NOT_FOUND", "MODEL_UNKNOWN"),
    ]
    assert all(line["ms"] >= 0 for line in lines)
    calls = "fulcrum_rpc_server_calls_total"
    assert either.sample(calls, service=EMBEDDING, method="Embed", code="OK") == 1
    assert either.sample(calls, service=EMBEDDING, method="Embed", code="NOT_FOUND") == 1
    assert either.sample(calls, service=EXECUTOR, method="Generate", code="OK") == 1
    assert either.sample("fulcrum_rpc_server_seconds_count", service=EMBEDDING, method="Embed") == 2


async def test_unknown_methods_make_no_metrics(wire: Reached) -> None:
    """Whatever a client invents as a method name becomes no label."""
    for name in ("/fulcrum.cache.v1.CacheService/Lookup", f"/{EMBEDDING}/Invented", "/x.Y/Z"):
        invented: Any = wire.channel.unary_unary(name, request_serializer=lambda message: message.SerializeToString())
        error = await refused(invented(texts(), timeout=5))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    gauge = next(one for one in wire.process.registry.collect() if one.name == "fulcrum_rpc_server_calls")
    assert gauge.samples == []


async def test_refusals_leave_nothing_to_the_garbage_collector(wire: Reached) -> None:
    """The errors of refused calls are gone as soon as the calls are: a collection stops everyone."""

    async def fail(_: Any) -> EmbedResponse:
        raise NotFound("model", "x", "y")

    async def fail_late(_: Any) -> AsyncGenerator[Any, None]:
        yield delta("first")
        raise NotFound("model", "x", "y")

    wire.service.embed, wire.service.generate = fail, fail_late
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            await refused(wire.embedding.Embed(texts(), timeout=5))
            stream = wire.executor.Generate(prompt(), timeout=5)
            await anext(aiter(stream))
            await refused(stream)
        await asyncio.sleep(0.05)
        kept = [one for one in gc.get_objects() if isinstance(one, NotFound | grpc.aio.AbortError)]
    finally:
        gc.enable()
    assert not kept


async def _await(answer: Any) -> Any:
    return await answer


class _Late:
    """The context of a call whose time is up."""

    def __init__(self) -> None:
        self.told: list[grpc.StatusCode] = []

    def time_remaining(self) -> float:
        return -0.001

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def auth_context(self) -> dict[str, Any]:
        return {}

    async def abort(self, code: grpc.StatusCode, *_: Any) -> None:
        self.told.append(code)
        raise grpc.aio.AbortError


async def test_who_is_too_late_is_told_nothing_that_core_cannot_send() -> None:
    """Core cancels such a call by itself; only where it does not, the guard ends it."""
    guard = Guard(ServerSettings(), RpcMetrics(CollectorRegistry()))
    handler: Any = grpc.unary_unary_rpc_method_handler(
        unreachable, EmbedRequest.FromString, EmbedResponse.SerializeToString
    )
    wrapped: Any = guard.wrap("/fulcrum.embedding.v1.EmbeddingService/Embed", handler)
    late = _Late()
    call = asyncio.create_task(wrapped.unary_unary(b"", late))
    await asyncio.sleep(0.01)
    call.cancel()  # as core does
    with pytest.raises(asyncio.CancelledError):
        await call
    assert late.told == []
    with pytest.raises(grpc.aio.AbortError):
        await wrapped.unary_unary(b"", late)
    assert late.told == [grpc.StatusCode.DEADLINE_EXCEEDED]


async def unreachable(*_: Any) -> EmbedResponse:
    raise AssertionError("a call without time was begun")
