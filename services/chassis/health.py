"""The health of a server and its services, open to everyone: few streams of it, which end as the server drains."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.chassis import status
from services.chassis.errors import Overloaded

MOST_WATCHES, MOST_OF_ONE = 1_000, 10  # in all, and of one connection
_RETRY_AFTER_S = 5.0
_Answer = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):
    """grpc.health.v1.Health over what it was last told of each service; the empty name is the server itself."""

    def __init__(self) -> None:
        self._statuses: dict[str, int] = {}
        self._changed = asyncio.Event()  # a new one for each change
        self._draining = False
        self._watches: Counter[str] = Counter()  # by connection

    def tell(self, service: str, serving: bool) -> None:
        """Takes up the health of a service, unless the server drains."""
        if not self._draining:
            self._statuses[service] = _Answer.SERVING if serving else _Answer.NOT_SERVING
            self._tell_watches()

    @property
    def watched(self) -> bool:
        """Whether anybody is told of changes."""
        return bool(self._watches)

    def drain(self) -> None:
        """Nothing is served from now on; who watches is told so, and that this is the end."""
        self._draining = True
        self._statuses = dict.fromkeys(self._statuses, _Answer.NOT_SERVING)
        self._tell_watches()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Any) -> health_pb2.HealthCheckResponse:
        """The health of one service."""
        found = self._statuses.get(request.service)
        if found is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"service: got {request.service[:100]!r}, expected one here")
        return _Answer(status=found)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> AsyncIterator[_Answer]:
        """The health of one service, now and at each change."""
        peer = context.peer()
        if self._watches.total() >= MOST_WATCHES or self._watches[peer] >= MOST_OF_ONE:
            many = f"{self._watches[peer]} of this connection, {self._watches.total()} in all"
            limit = f"less than {MOST_OF_ONE}, {MOST_WATCHES} in all"
            error = Overloaded("health watches", many, limit, retry_after_s=_RETRY_AFTER_S)
            await context.abort(status.code_of(error), str(error), status.trailers(error))
        self._watches[peer] += 1
        try:
            told: int | None = None
            while True:
                changed, draining = self._changed, self._draining  # before the status, so that no change is missed
                found = self._statuses.get(request.service, _Answer.SERVICE_UNKNOWN)
                if found != told:
                    yield _Answer(status=found)
                    told = found
                if draining:
                    return
                await changed.wait()
        finally:
            self._watches[peer] -= 1
            if not self._watches[peer]:
                del self._watches[peer]

    def _tell_watches(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
