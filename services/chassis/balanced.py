"""A channel over replicas: each behind a breaker, the least loaded asked, unary calls tried again under a budget."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, cast

import grpc
import structlog

from services.chassis.errors import Unavailable
from services.chassis.replica import Counts, Replica, pick
from services.chassis.retry_budget import RetryBudget
from services.chassis.status import is_elsewhere, raisable
from services.chassis.stream import BalancedStream
from services.chassis.tries import current_try
from services.chassis.unary_answer import answer_of

_RETRY_RATIO, _RETRY_RESERVE = 0.2, 20.0


class BalancedChannel:
    """The part of a gRPC channel that generated stubs need; every call chooses its replica.

    Args:
        name: the backend's name.
        replicas: at least one.
        retries: whether a unary call that nobody answered is tried once more.
    """

    def __init__(self, name: str, replicas: Sequence[Replica], retries: bool) -> None:
        self.name = name
        self.counts = Counts()
        self.replicas = tuple(replicas)
        self._replicas = list(replicas)
        self._log = structlog.get_logger("backend")
        self._budget = RetryBudget(_RETRY_RATIO, _RETRY_RESERVE) if retries else None

    def unary_unary(self, path: str, *args: Any, **options: Any) -> Callable[..., Any]:
        """A callable that returns the method's answer as a coroutine: the call begins once that is awaited."""
        methods = {replica: replica.channel.unary_unary(path, *args, **options) for replica in self.replicas}

        async def call(request: Any, timeout: float | None = None, **more: Any) -> Any:
            self._count()
            began = time.monotonic()
            replica = self._pick(None)
            try:
                return await self._once(methods[replica], replica, request, timeout, more)
            except grpc.aio.AioRpcError as error:
                if timeout is not None:
                    timeout -= time.monotonic() - began
                if not self._may_retry(error, timeout):
                    raise
            replica = self._pick({replica})
            return await self._once(methods[replica], replica, request, timeout, more)

        return call

    def unary_stream(self, path: str, *args: Any, **options: Any) -> Callable[..., Any]:
        """A callable that returns the method's stream; it is never tried again here."""
        methods = {replica: replica.channel.unary_stream(path, *args, **options) for replica in self.replicas}

        def call(request: Any, **more: Any) -> BalancedStream:
            self._count()
            one = current_try()
            try:
                replica = self._pick(one.been if one else None)
            except grpc.aio.AioRpcError as error:
                return BalancedStream(None, error, one, self)
            return BalancedStream(replica, methods[replica](request, **more), one, self)

        return call

    def stream_stream(self, path: str, *args: Any, **options: Any) -> Callable[..., Any]:
        """One replica's own, as reflection needs it."""
        return cast(Callable[..., Any], self.replicas[0].channel.stream_stream(path, *args, **options))

    @property
    def unpaid(self) -> int:
        """Retries that the budget did not allow, so far."""
        return self._budget.refused if self._budget else 0

    async def close(self, grace: float | None = None) -> None:
        """Closes every replica's channel, and logs what was done."""
        if self.name:
            self._log.info("channel closed", backend=self.name, **asdict(self.counts))
        await asyncio.gather(*(replica.channel.close(grace) for replica in self.replicas))

    async def __aenter__(self) -> "BalancedChannel":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def failed(self, replica: Replica, error: grpc.aio.AioRpcError, silent_s: float) -> None:
        """Judges a call's status."""
        if replica.failed(error, silent_s, self._replaceable(replica)):
            self.counts.failures += 1

    def silent(self, replica: Replica) -> None:
        """Judges a call that lost to another after a long silence."""
        if self._replaceable(replica):
            self.counts.failures += 1
            replica.timed_out()

    def _count(self) -> None:
        self.counts.calls += 1
        if self._budget:
            self._budget.earn()

    async def _once(self, method: Any, replica: Replica, request: Any, timeout: float | None, more: Any) -> Any:
        began = time.monotonic()
        replica.outstanding += 1
        try:
            response = await answer_of(method(request, timeout=timeout, **more))
        except grpc.aio.AioRpcError as error:
            self.failed(replica, error, time.monotonic() - began)
            raise
        except asyncio.CancelledError:
            replica.breaker.released()
            raise
        finally:
            replica.outstanding -= 1
        replica.answered()
        return response

    def _may_retry(self, error: grpc.aio.AioRpcError, timeout: float | None) -> bool:
        if self._budget is None or not is_elsewhere(error) or (timeout is not None and timeout <= 0):
            return False
        if not self._budget.take():
            return False
        self.counts.retries += 1
        return True

    def _pick(self, been: set[object] | None) -> Replica:
        replica = pick(self._replicas, been)
        if replica is None:
            self.counts.refused += 1
            after_s = min(replica.breaker.retry_after_s() for replica in self.replicas)
            expected = "a replica that answers"
            raise raisable(
                Unavailable(self.name or "server", "every replica is set aside", expected, retry_after_s=after_s)
            )
        return replica

    def _replaceable(self, replica: Replica) -> bool:
        return any(not other.breaker.is_open for other in self.replicas if other is not replica)
