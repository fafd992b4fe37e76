"""Streams are read to their end whatever becomes of who waits for them."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator

import pytest

from services.chassis.stream_reader import StreamReader


class Call:
    """A stream of numbers that stays open after the last one, until it is cancelled or told to end."""

    def __init__(self, count: int, end: BaseException | None = None) -> None:
        self.torn = False
        self._count, self._end = count, end
        self._over = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[int]:
        for number in range(self._count):
            yield number
        try:
            await self._over.wait()
        except asyncio.CancelledError:
            self.torn = True
            raise
        if self._end:
            raise self._end

    def _cancel(self, _: str) -> bool:
        """Ends the read under way, as gRPC's core does."""
        already = self._over.is_set()
        self._end = self._end or asyncio.CancelledError()
        self._over.set()
        return not already

    def finish(self) -> None:
        self._over.set()


async def test_messages_then_the_end_again_and_again() -> None:
    """Every message comes once and in order, more than are read ahead; the end is told as often as it is asked."""
    call = Call(50)
    reader = StreamReader(call)
    call.finish()
    assert [await reader.next() for _ in range(50)] == list(range(50))
    for _ in range(3):
        with pytest.raises(StopAsyncIteration):
            await reader.next()


async def test_an_error_comes_after_what_was_said_before_it() -> None:
    """A stream that fails gives what came first, and then its error."""
    call = Call(20, OSError("gone"))
    reader = StreamReader(call)
    call.finish()
    assert [await reader.next() for _ in range(20)] == list(range(20))
    with pytest.raises(OSError, match="gone"):
        await reader.next()


@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize("count", [0, 3, 16, 40])
async def test_who_leaves_tears_no_read(count: int, reads: bool) -> None:
    """Cancelling who waits, and then the call, ends the read through the call; no task is left."""
    before = asyncio.all_tasks()
    call = Call(count)
    reader = StreamReader(call)
    waiting = asyncio.create_task(_all(reader) if reads else asyncio.sleep(1))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert reader.leave()
    assert not reader.leave()
    await asyncio.sleep(0.01)
    assert not call.torn
    assert asyncio.all_tasks() <= before


async def test_a_stream_that_ended_keeps_nothing() -> None:
    """No circle keeps it until a garbage collection, which stops everyone."""
    gc.disable()
    try:
        call = Call(3)
        call.finish()
        reader = StreamReader(call)
        with pytest.raises(StopAsyncIteration):
            await _all(reader)
        await asyncio.sleep(0)
        gone = weakref.ref(reader)
        del reader
        assert gone() is None
    finally:
        gc.enable()


async def _all(reader: StreamReader) -> None:
    while True:
        await reader.next()
