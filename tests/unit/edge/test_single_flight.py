"""Identical requests under way share one execution, which lives as long as anyone listens."""

import asyncio
import gc
import weakref
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from services.chassis.errors import FulcrumError, Unavailable
from services.edge.single_flight import SingleFlight

SOON_S = 5.0


class Source:
    """Numbers that come when told to; counts its executions and how they ended."""

    def __init__(self, *, error: Exception | None = None) -> None:
        self.started = 0
        self.finished = 0
        self.cancelled = 0
        self.error = error
        self._gates: list[asyncio.Event] = [asyncio.Event() for _ in range(4)]

    async def events(self) -> AsyncGenerator[int, None]:
        self.started += 1
        try:
            for number, gate in enumerate(self._gates):
                await gate.wait()
                if self.error and number == 3:
                    raise self.error
                yield number
            self.finished += 1
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def release(self, count: int) -> None:
        """Lets the first `count` numbers come, and everyone hear them."""
        for gate in self._gates[:count]:
            gate.set()
        for _ in range(10):
            await asyncio.sleep(0)


def listen(flights: SingleFlight[int], source: Source, into: list[int]) -> asyncio.Task[bool]:
    """A subscriber as a task of its own; its result is whether it pays, the first that heard the end."""

    async def run() -> bool:
        events, claim = flights.join("key", source.events)
        async with aclosing(events):
            async for event in events:
                into.append(event)
        return claim()

    return asyncio.create_task(run())


async def leave(task: asyncio.Task[bool]) -> None:
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_one_execution_for_many() -> None:
    """A hundred subscribers cause one execution, one of them pays, and each hears everything."""
    flights, source = SingleFlight[int](), Source()
    heard: list[list[int]] = [[] for _ in range(100)]
    tasks = [listen(flights, source, into) for into in heard]
    await source.release(4)
    pays = await asyncio.wait_for(asyncio.gather(*tasks), SOON_S)
    assert (source.started, source.finished, sum(pays)) == (1, 1, 1)
    assert heard == [[0, 1, 2, 3]] * 100
    assert not flights._flights


async def test_a_late_subscriber_hears_the_beginning() -> None:
    """Whoever joins midway hears all events from the first, in order, and then the rest as they come."""
    flights, source = SingleFlight[int](), Source()
    early, late = list[int](), list[int]()
    first = listen(flights, source, early)
    await source.release(2)
    second = listen(flights, source, late)
    await source.release(2)
    assert (early, late) == ([0, 1], [0, 1])
    await source.release(4)
    assert [await first, await second] == [True, False]
    assert early == late == [0, 1, 2, 3]


async def test_a_slow_subscriber_holds_up_nobody() -> None:
    """One who takes nothing keeps neither the execution nor the others waiting, and misses nothing."""
    flights, source = SingleFlight[int](), Source()
    heard: list[int] = []
    slow, _ = flights.join("key", source.events)
    pending = asyncio.ensure_future(anext(slow))
    fast = listen(flights, source, heard)
    await source.release(4)
    await asyncio.wait_for(fast, SOON_S)
    assert heard == [0, 1, 2, 3]
    assert [await pending, *[event async for event in slow]] == [0, 1, 2, 3]


async def test_the_last_to_leave_ends_the_execution() -> None:
    """When nobody listens any more the execution is cancelled before leaving returns, and the key is free again."""
    flights, source = SingleFlight[int](), Source()
    tasks = [listen(flights, source, []) for _ in range(3)]
    await source.release(1)
    for task in tasks[:2]:
        await leave(task)
        assert source.cancelled == 0
    await leave(tasks[2])
    assert (source.cancelled, source.finished) == (1, 0)
    assert not flights._flights
    again, heard = Source(), list[int]()
    task = listen(flights, again, heard)
    await again.release(4)
    assert await task
    assert heard == [0, 1, 2, 3]


@pytest.mark.parametrize("leaver", [0, 1], ids=["leader", "follower"])
async def test_one_of_two_may_leave(leaver: int) -> None:
    """Leader or follower: who leaves takes nothing from the other, who hears everything."""
    flights, source = SingleFlight[int](), Source()
    heard: list[list[int]] = [[], []]
    tasks = [listen(flights, source, into) for into in heard]
    await source.release(1)
    await leave(tasks[leaver])
    await source.release(4)
    await asyncio.wait_for(tasks[1 - leaver], SOON_S)
    assert heard[1 - leaver] == [0, 1, 2, 3]
    assert (source.started, source.finished, source.cancelled) == (1, 1, 0)


async def test_leaving_between_two_events() -> None:
    """A subscriber that breaks off while it holds an event counts as gone."""
    flights, source = SingleFlight[int](), Source()
    events, _ = flights.join("key", source.events)
    release = asyncio.create_task(source.release(2))
    async with aclosing(events):
        async for _ in events:
            break
    await release
    assert source.cancelled == 1
    assert not flights._flights


@pytest.mark.parametrize("error", [Unavailable("executor", "gone", "there"), KeyError("a defect")])
async def test_an_error_reaches_everyone(error: Exception) -> None:
    """Every subscriber hears what came before the error, then the error; the next request starts anew."""
    flights, source = SingleFlight[int](), Source(error=error)
    heard: list[list[int]] = [[] for _ in range(3)]
    tasks = [listen(flights, source, into) for into in heard]
    await source.release(4)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results == [error] * 3
    assert heard == [[0, 1, 2]] * 3
    assert not flights._flights


async def test_an_error_goes_with_the_last_who_heard_it() -> None:
    """No circle keeps it until a garbage collection, which stops everyone."""
    flights, errors = SingleFlight[int](), [Unavailable("executor", "gone", "there")]
    gone = weakref.ref(errors[0])

    async def events() -> AsyncGenerator[int, None]:
        yield 1
        raise errors.pop()

    async def hear() -> None:
        stream, _ = flights.join("key", events)
        with pytest.raises(Unavailable):
            async for _ in stream:
                pass

    gc.disable()
    try:
        await asyncio.gather(hear(), hear())
        assert not errors
        assert gone() is None
    finally:
        gc.enable()


async def test_an_execution_that_is_cancelled_from_within_does_not_look_complete() -> None:
    """Where the execution itself is cancelled, subscribers get an error, never a stream that just ends."""
    flights = SingleFlight[int]()

    async def events() -> AsyncGenerator[int, None]:
        yield 1
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    heard: list[int] = []

    async def run() -> None:
        stream, _ = flights.join("key", events)
        async with aclosing(stream):
            async for event in stream:
                heard.append(event)

    with pytest.raises(FulcrumError):
        await asyncio.wait_for(asyncio.create_task(run()), SOON_S)
    assert heard == [1]
    assert not flights._flights


async def test_keys_do_not_share() -> None:
    """Different keys are different executions."""
    flights, one, other = SingleFlight[int](), Source(), Source()
    first, claim_first = flights.join("one", one.events)
    second, claim_second = flights.join("other", other.events)
    await one.release(4)
    await other.release(4)
    assert claim_first()
    assert claim_second()
    assert [event async for event in first] == [event async for event in second] == [0, 1, 2, 3]


async def test_nothing_is_left() -> None:
    """Neither flights nor tasks are left after streams that end, fail and are left, in any mixture."""
    flights = SingleFlight[int]()
    before = asyncio.all_tasks()
    for round_ in range(30):
        source = Source(error=KeyError("x") if round_ % 3 == 0 else None)
        tasks = [listen(flights, source, []) for _ in range(3)]
        await source.release(round_ % 4)
        for task in tasks[: round_ % 5]:
            task.cancel()
        await source.release(4)
        await asyncio.wait(tasks)
        assert not flights._flights
    gc.collect()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
