"""A stream under way on one replica, which tells the replica's breaker how it went."""

import time
from collections.abc import AsyncIterator
from typing import Any, Protocol

import grpc

from services.chassis.replica import Replica
from services.chassis.stream_reader import StreamReader
from services.chassis.tries import Try
from services.chassis.untorn import cancel


class Judge(Protocol):
    """Who is told how a stream went."""

    def failed(self, replica: Replica, error: grpc.aio.AioRpcError, silent_s: float) -> None:
        """It ended with this status."""

    def silent(self, replica: Replica) -> None:
        """It lost to another after a long silence."""


class BalancedStream:
    """The part of a gRPC stream that its readers need.

    Args:
        replica: where it runs; None where no replica could be asked.
        call: the stream of that replica's channel, or the status to raise without one.
        one: the try that it is, where it is one of several.
        judge: told how it went.
    """

    def __init__(self, replica: Replica | None, call: Any, one: Try | None, judge: Judge) -> None:
        self._replica = replica
        self._call = call
        self._try = one
        self._judge = judge
        self._began = time.monotonic()
        self._heard = False
        self._reader: StreamReader | None = None
        if replica:
            replica.outstanding += 1

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if self._reader is None:
            if isinstance(self._call, grpc.aio.AioRpcError):
                raise self._call
            self._reader = StreamReader(self._call)
        try:
            message = await self._reader.next()
        except grpc.aio.AioRpcError as error:
            replica = self._end()
            if replica:
                self._judge.failed(replica, error, 0.0 if self._heard else time.monotonic() - self._began)
            raise
        except StopAsyncIteration:
            replica = self._end()
            if replica:
                replica.answered()
            raise
        except BaseException:
            self._leave()
            raise
        if not self._heard and self._replica:
            self._heard = True
            self._replica.answered()
        return message

    def cancel(self) -> bool:
        """Ends the stream; False where it had ended already."""
        if self._replica is None:
            return False
        return self._leave()

    def __del__(self) -> None:
        self._leave()

    def _leave(self) -> bool:
        """The reader goes, which says nothing of the replica unless another was faster while this one was silent."""
        replica = self._end()
        if replica is None:
            return False
        if not self._heard:
            if self._try and self._try.lost:
                self._judge.silent(replica)
            else:
                replica.breaker.released()
        return self._reader.leave() if self._reader else cancel(self._call)

    def _end(self) -> Replica | None:
        """The replica, the first time that this is asked."""
        replica, self._replica = self._replica, None
        if replica:
            replica.outstanding -= 1
        return replica
