"""A balanced channel over real servers: where calls go, what counts as failure, and how much is tried again."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import grpc
import pytest
from fulcrum.embedding.v1.embedding_service_pb2 import EmbedResponse
from fulcrum.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from fulcrum.executor.v1.executor_service_pb2_grpc import ExecutorServiceStub

from services.chassis import call as calls
from services.chassis.balanced import BalancedChannel
from services.chassis.channel import BackendSettings, connect
from services.chassis.errors import FulcrumError, NotFound, Overloaded, Unavailable
from services.chassis.server import ServerProcess
from services.chassis.settings import ServerSettings
from services.chassis.status import error_from
from services.chassis.tries import Try, begin_try
from tests.unit.chassis.parts import EMBEDDING, Scripted, delta, prompt, refused, serving, texts

SOON_S = 5.0


@dataclass
class Many:
    """Servers, and a channel over them and any further addresses."""

    services: list[Scripted]
    channel: BalancedChannel
    embedding: Any
    executor: Any

    @property
    def states(self) -> list[str]:
        return ["open" if replica.breaker.is_open else "closed" for replica in self.channel.replicas]


@asynccontextmanager
async def many(count: int, *others: str, retries: bool = True, timeout_s: float = 30.0) -> AsyncIterator[Many]:
    """A channel over `others`, then `count` servers."""
    services = [Scripted() for _ in range(count)]
    async with AsyncExitStack() as stack:
        ports = [
            await stack.enter_async_context(
                serving(ServerProcess(ServerSettings(port=0, drain_s=0.1)), one.component())
            )
            for one in services
        ]
        addresses = [*others, *(f"127.0.0.1:{port}" for port in ports)]
        channel = connect(",".join(addresses), retries, name="encoder", timeout_s=timeout_s)
        stack.push_async_callback(channel.close)
        balanced = cast(BalancedChannel, channel)
        yield Many(services, balanced, EmbeddingServiceStub(channel), ExecutorServiceStub(channel))


@asynccontextmanager
async def nobody() -> AsyncIterator[str]:
    """An address where connections are refused."""
    listener = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    yield f"127.0.0.1:{port}"


@asynccontextmanager
async def stopped() -> AsyncIterator[str]:
    """An address where connections are taken, and nothing is ever said."""
    taken: list[asyncio.StreamWriter] = []
    listener = await asyncio.start_server(lambda _, writer: taken.append(writer), "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        for writer in taken:
            writer.close()


async def never(_: Any) -> EmbedResponse:
    await asyncio.Event().wait()
    raise AssertionError


def failing(error: FulcrumError) -> Any:
    async def embed(_: Any) -> EmbedResponse:
        raise error

    return embed


async def embed(many: Many, timeout: float = 10.0) -> EmbedResponse:
    return cast(EmbedResponse, await many.embedding.Embed(texts(), timeout=timeout))


async def test_the_least_loaded_replica_is_asked() -> None:
    """While one replica is at work the others get what comes; without load, calls go round."""
    async with many(2) as two:
        both = [asyncio.Event(), asyncio.Event()]

        def counting(event: asyncio.Event) -> Any:
            async def embed(_: Any) -> EmbedResponse:
                event.set()
                return EmbedResponse()

            return embed

        for service, event in zip(two.services, both, strict=True):
            service.embed = counting(event)
        await embed(two)
        await embed(two)
        assert all(event.is_set() for event in both)
        for service in two.services:
            service.embed = never
        stuck = asyncio.ensure_future(embed(two))
        await asyncio.sleep(0)
        (busy,) = [number for number, replica in enumerate(two.channel.replicas) if replica.outstanding]
        two.services[1 - busy].embed = counting(both[1 - busy])
        for _ in range(5):
            await embed(two)
        stuck.cancel()
        await asyncio.wait([stuck])
        assert [replica.outstanding for replica in two.channel.replicas] == [0, 0]


async def test_a_dead_replica_costs_no_call() -> None:
    """With one of two replicas gone every call is answered, by trying once more until the dead one is set aside."""
    async with nobody() as dead, many(1, dead) as two:
        for _ in range(60):
            await embed(two)
        assert two.states == ["open", "closed"]
        assert 12 <= two.channel.counts.failures == two.channel.counts.retries <= 60 * 0.2 + 20


async def test_load_is_not_multiplied() -> None:
    """Where every attempt fails, further attempts stay within a fifth of the calls and a small reserve."""
    received = 0

    async def abort(_: Any, context: Any) -> None:
        nonlocal received
        received += 1
        await context.abort(grpc.StatusCode.UNAVAILABLE, "as a proxy says it: without our details")

    server = grpc.aio.server()
    handler: Any = grpc.unary_unary_rpc_method_handler(abort)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(EMBEDDING, {"Embed": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with connect(f"127.0.0.1:{port}", True, name="encoder") as channel:
        stub: Any = EmbeddingServiceStub(channel)
        balanced = cast(BalancedChannel, channel)
        for _ in range(300):
            balanced.replicas[0].breaker.succeeded()  # or it would be set aside long before
            await refused(stub.Embed(texts(), timeout=5))
        assert 300 < received == 300 + balanced.counts.retries <= 300 * 1.2 + 20
    await server.stop(0)


@pytest.mark.parametrize(
    "error",
    [
        NotFound("model", "x", "y"),
        Overloaded("queue", "full", "room", retry_after_s=1.0),
        Unavailable("disk", "x", "y"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_answer_of_ours_is_a_sign_of_life(error: FulcrumError) -> None:
    """Whatever our own server refuses, it is alive: it is not set aside, and not asked twice."""
    async with many(1) as one:
        one.services[0].embed = failing(error)
        for _ in range(30):
            found = error_from(await refused(one.embedding.Embed(texts(), timeout=5)), "encoder")
            assert (type(found), found.unanswered) == (type(error), False)
        assert one.states == ["closed"]
        assert (one.channel.counts.retries, one.channel.counts.failures) == (0, 0)


async def test_a_replica_that_still_starts_is_not_needed() -> None:
    """One that has not loaded yet hands its calls to the other, and is set aside for a moment."""
    async with many(2) as two:
        two.services[0].embed = failing(Unavailable("encoder", "still loading", "x", reason="STARTING"))
        for _ in range(40):
            await embed(two)
        assert two.states == ["open", "closed"]


async def test_a_hurried_caller_says_nothing_of_the_replica() -> None:
    """Deadlines shorter than the backend's usual time do not count against it."""
    async with stopped() as silent, many(1, silent) as two:
        waits = await asyncio.gather(*(embed(two, timeout=0.1) for _ in range(20)), return_exceptions=True)
        assert sum(isinstance(wait, grpc.aio.AioRpcError) for wait in waits) >= 10
        assert two.states == ["closed", "closed"]
        assert two.channel.counts.failures == 0


async def test_silence_sets_a_replica_aside_while_another_is_there() -> None:
    """Three timeouts in a row of a stopped replica are enough; from then on no call waits for it."""
    async with stopped() as silent, many(1, silent, timeout_s=0.2) as two:
        waits = await asyncio.gather(*(embed(two, timeout=0.2) for _ in range(6)), return_exceptions=True)
        assert sum(isinstance(wait, grpc.aio.AioRpcError) for wait in waits) == 3
        assert two.states == ["open", "closed"]
        two.channel.replicas[0].breaker._probe_at += 60
        for _ in range(20):
            await embed(two)


async def test_silence_alone_never_sets_the_last_replica_aside() -> None:
    """A backend with one replica that is slow is still asked."""
    async with stopped() as silent, many(0, silent, timeout_s=0.1) as one:
        waits = await asyncio.gather(*(embed(one, timeout=0.1) for _ in range(20)), return_exceptions=True)
        assert all(isinstance(w, grpc.aio.AioRpcError) and w.code().name == "DEADLINE_EXCEEDED" for w in waits)
        assert one.states == ["closed"]


async def test_without_any_replica_calls_fail_at_once_until_one_is_back() -> None:
    """All set aside: UNAVAILABLE with RetryInfo and no attempt; a connection that is back ends that before its time."""
    async with nobody() as dead, connect(dead, True, name="encoder") as channel:
        stub: Any = EmbeddingServiceStub(channel)
        executor: Any = ExecutorServiceStub(channel)
        balanced = cast(BalancedChannel, channel)
        while not balanced.replicas[0].breaker.is_open:
            await refused(stub.Embed(texts(), timeout=5))
        for refusal in (stub.Embed(texts(), timeout=5), executor.Generate(prompt(), timeout=5)):
            error = error_from(await refused(refusal), "encoder")
            assert isinstance(error, Unavailable)
            assert not error.unanswered
            assert error.field == "encoder"
            assert error.retry_after_s
            assert 0 < error.retry_after_s <= 10
        assert balanced.counts.refused == 2
        balanced.replicas[0].breaker._probe_at += 3600
        port = int(dead.rsplit(":", 1)[1])
        async with serving(ServerProcess(ServerSettings(port=port, drain_s=0.1)), Scripted().component()):
            async with asyncio.timeout(20):
                while balanced.replicas[0].breaker.is_open:
                    await asyncio.wait([asyncio.ensure_future(stub.Embed(texts(), timeout=5))])
                    await asyncio.sleep(0.02)
            await stub.Embed(texts(), timeout=5)


async def test_a_try_goes_where_none_went_before() -> None:
    """Tries that know of one another go to different replicas; one that lost to another counts as a timeout."""

    async def silent(_: Any) -> Any:
        await asyncio.Event().wait()
        yield delta("late")

    async with many(2) as two:
        two.services[0].generate = two.services[1].generate = silent
        been: set[object] = set()
        tries = [Try(been), Try(been)]
        streams = []
        for one in tries:
            begin_try(one)
            streams.append(two.executor.Generate(prompt(), timeout=30))
        begin_try(None)
        assert been == set(two.channel.replicas)
        assert [replica.outstanding for replica in two.channel.replicas] == [1, 1]
        tries[0].lost = True
        for stream in streams:
            assert stream.cancel()
            assert not stream.cancel()
        assert [replica.outstanding for replica in two.channel.replicas] == [0, 0]
        assert two.channel.counts.failures == 1


async def test_a_forgotten_stream_gives_its_place_back() -> None:
    """A stream that nobody reads or cancels does not count as load for ever."""
    async with many(1) as one:
        stream = one.executor.Generate(prompt(), timeout=30)
        assert one.channel.replicas[0].outstanding == 1
        del stream
        gc.collect()
        assert one.channel.replicas[0].outstanding == 0


@pytest.mark.parametrize("address", ["", "a:1,", "a:1,,b:2", "in-process,a:1"])
def test_addresses_must_be_whole(address: str) -> None:
    """An address list with holes, or one that mixes this process with others, is refused."""
    with pytest.raises(ValueError, match="separated by single commas"):
        BackendSettings(address=address)
    assert BackendSettings(address="a:1, b:2").address == "a:1,b:2"


async def test_each_hop_has_less_time_than_the_one_before() -> None:
    """A deadline shrinks on its way: the third service sees less than the second, the second less than the first."""
    left: list[float] = []

    def note() -> None:
        call = calls.current()
        assert call
        left.append(call.deadline - time.monotonic())

    async with many(1) as last, many(1) as middle, many(1) as first:

        def passing_on(to: Many) -> Any:
            async def embed(request: Any) -> Any:
                note()
                await asyncio.sleep(0.02)
                timeout, metadata = calls.outgoing(60.0)
                return await to.embedding.Embed(request, timeout=timeout, metadata=metadata)

            return embed

        async def end(_: Any) -> EmbedResponse:
            note()
            return EmbedResponse()

        first.services[0].embed = passing_on(middle)
        middle.services[0].embed = passing_on(last)
        last.services[0].embed = end
        await embed(first, timeout=4.0)
        assert len(left) == 3
        assert 4.0 > left[0] > left[1] + 0.02 > left[2] + 0.04

        last.services[0].embed = never
        error = error_from(await refused(first.embedding.Embed(texts(), timeout=0.4)), "first")
        assert error.reason == "DEADLINE_EXCEEDED"
        await asyncio.wait_for(last.services[0].ended.wait(), SOON_S)
