"""Reads a gRPC stream in a task of its own, so that whoever waits for a message may leave without tearing a read."""

import asyncio
from typing import Any

from services.chassis.untorn import cancel

_AHEAD = 16  # messages that are read before they are asked for
_WAKE = object()


class StreamReader:
    """The messages of one call.

    A read that is cancelled while gRPC still works on it is never cleaned up (grpcio 1.85.1: about 2 kB are lost for
    each), where a call that is cancelled ends its read as it should.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._found: asyncio.Queue[Any] = asyncio.Queue(_AHEAD)
        self._end: BaseException | None = None
        self._left = False
        self._reading = asyncio.create_task(self._read())

    async def next(self) -> Any:
        """The next message; raises what the stream ended with, StopAsyncIteration where that was no error."""
        if self._end is None or not self._found.empty():
            message = await self._found.get()
            if message is not _WAKE:
                return message
        assert self._end  # noqa: S101 - what wakes comes after it
        if isinstance(self._end, StopAsyncIteration):
            raise StopAsyncIteration  # another one, as that which is raised leads back here through its traceback
        raise self._end

    def leave(self) -> bool:
        """Cancels the call, and with it the reading; False where it had ended."""
        self._left = True
        while not self._found.empty():  # so that a reader that is ahead goes on, to the end
            self._found.get_nowait()
        return cancel(self._call)

    async def _read(self) -> None:
        try:
            async for message in self._call:
                if not self._left:
                    await self._found.put(message)
            self._end = StopAsyncIteration()
        except BaseException as end:  # noqa: BLE001 - raised where the messages are asked for
            self._end = end
        if not self._found.full():  # else nobody waits
            self._found.put_nowait(_WAKE)
