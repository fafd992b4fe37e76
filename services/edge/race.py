"""One attempt at a model's first event, and the first of several."""

import asyncio
import time
from collections.abc import AsyncGenerator

from services.chassis.errors import Unavailable
from services.chassis.tries import Try, begin_try
from services.edge.chat import Delta, Finish
from services.edge.ports import EXECUTOR

_LOST = 3  # times longer than the winner took: such a loser was not merely second

Event = Delta | Finish
Stream = AsyncGenerator[Event, None]


class Attempt:
    """One stream, until its first event."""

    def __init__(self, stream: Stream, been: set[object]) -> None:
        self.stream = stream
        self.been = been
        self.began = time.monotonic()
        self.silent_s = 0.0
        self._try = Try(been)
        self._task: asyncio.Task[Event] | None = None

    async def event(self) -> Event:
        """The first event; an end without one is as if nobody had answered."""
        begin_try(self._try)
        try:
            return await anext(self.stream)
        except StopAsyncIteration:
            error = Unavailable(EXECUTOR, "a stream without an event", "an answer")
            error.unanswered = True
            raise error from None
        finally:
            begin_try(None)
            self.silent_s = time.monotonic() - self.began

    def start(self) -> "asyncio.Task[Event]":
        """The task that waits for the first event."""
        if self._task is None:
            self._task = asyncio.create_task(self.event())
        return self._task

    async def leave(self, winner_s: float | None) -> None:
        """Ends it, as the caller went or another took only `winner_s` seconds."""
        self._try.lost = winner_s is not None and time.monotonic() - self.began > _LOST * winner_s
        self.start().cancel()
        await asyncio.gather(self.start(), return_exceptions=True)
        await self.stream.aclose()


async def first_of(running: list[Attempt]) -> Attempt:
    """The first attempt with an event; the last one's error where none has."""
    waiting = {one.start(): one for one in running}
    while True:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            one = waiting.pop(task)
            if task.exception() is None:
                return one
            if not waiting:
                task.result()
