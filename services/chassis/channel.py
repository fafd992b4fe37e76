"""Channels to other services: balanced over replicas, each behind a breaker, unary calls tried again under a budget."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, cast

import grpc
import structlog
from pydantic import BaseModel, ConfigDict, Field, field_validator

from services.chassis.errors import Unavailable
from services.chassis.replica import Counts, Replica, pick
from services.chassis.retry_budget import RetryBudget
from services.chassis.status import is_elsewhere, raisable
from services.chassis.stream import BalancedStream
from services.chassis.tries import current_try

_BALANCED = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})  # over the addresses behind one name
_RETRY_RATIO, _RETRY_RESERVE = 0.2, 20.0
_LONGEST_PATIENCE_S = 0.9


class BackendSettings(BaseModel):
    """Where one service is reached."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    address: str = Field(
        "in-process",
        description="'in-process', or host:port, dns:///name:port, unix:path; several replicas separated by commas",
    )
    timeout_s: float = Field(30.0, gt=0, description="longest that one call may take")

    @field_validator("address")
    @classmethod
    def _whole(cls, address: str) -> str:
        parts = [part.strip() for part in address.split(",")]
        if not all(parts) or (len(parts) > 1 and "in-process" in parts):
            raise ValueError("'in-process', or addresses separated by single commas")
        return ",".join(parts)

    @property
    def in_process(self) -> bool:
        """Whether the service lives in this very process."""
        return self.address == "in-process"


def connect(
    address: str,
    retries: bool = False,
    max_message_bytes: int = 16 * 1024 * 1024,
    *,
    name: str = "",
    timeout_s: float = 30.0,
) -> grpc.aio.Channel:
    """A channel to `address`; it connects by itself, and again after a failure.

    Args:
        address: host:port, dns:///name:port or unix:path; several replicas separated by commas.
        retries: whether a unary call that nobody answered is tried once more; never for what runs a model.
        max_message_bytes: largest message sent or received.
        name: what the backend is called in errors, logs and metrics; without one nothing is logged.
        timeout_s: longest that its calls usually get; a replica silent for that long, or 0.9 s, counts as timed out.
    """
    patience_s = min(0.9 * timeout_s, _LONGEST_PATIENCE_S)
    replicas = [Replica(name, one, _open(one, max_message_bytes), patience_s) for one in address.split(",")]
    return cast(grpc.aio.Channel, BalancedChannel(name, replicas, retries))


def _open(address: str, max_message_bytes: int) -> grpc.aio.Channel:
    """The one place where a channel to one address is made."""
    return grpc.aio.insecure_channel(
        address,
        options=[
            ("grpc.service_config", _BALANCED),
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
            # A peer that is stopped, or a link that swallows everything, is noticed after 5 to 10 s of silence. The
            # ping timeout is gRPC's own pings', which hold keepalive's back while they wait: a minute by default.
            ("grpc.keepalive_time_ms", 5_000),
            ("grpc.keepalive_timeout_ms", 5_000),
            ("grpc.http2.ping_timeout_ms", 5_000),
            ("grpc.http2.max_pings_without_data", 0),  # no limit of ours: the server's is 2 s
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 3_000),  # which is how long one attempt to connect may take
            ("grpc.max_reconnect_backoff_ms", 2_000),
        ],
    )


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

    def stream_unary(self, path: str, *args: Any, **options: Any) -> Callable[..., Any]:
        """One replica's own; no service of ours has such methods."""
        return cast(Callable[..., Any], self.replicas[0].channel.stream_unary(path, *args, **options))

    def stream_stream(self, path: str, *args: Any, **options: Any) -> Callable[..., Any]:
        """One replica's own, as reflection needs it."""
        return cast(Callable[..., Any], self.replicas[0].channel.stream_stream(path, *args, **options))

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
            response = await method(request, timeout=timeout, **more)
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
