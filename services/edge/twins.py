"""Across edges, twins execute once: one holds the cache's lease and executes, the others wait for its answer."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import structlog

from services.chassis.call import outlive_deadline
from services.chassis.errors import FulcrumError
from services.edge.ports import Cache, Embedding, Hit, Lease, Miss, Wait
from services.edge.work import Work

_RENEWALS = 3  # within the time that a lease lasts
_KNOWN = 64  # the last executions
_PATIENCE = 2.0  # times the longest of them
_LEAST_PATIENCE_S, _FIRST_PATIENCE_S = 1.0, 10.0  # while executions are short, and before the first
_LEFT = 0.5  # of a request's time, which is kept for executing it after all


class Twins:
    """Waits for leases of others, at most one a request, and holds those of this edge."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._took_s: deque[float] = deque(maxlen=_KNOWN)
        self._ending: set[asyncio.Task[None]] = set()

    async def find(self, work: Work, embedding: Embedding | None, judges: bool) -> Hit | Miss:
        """What the cache has for a request that is executed otherwise, after a wait for whoever executes a twin.

        Nobody waits for much longer than an execution takes, nor for more than half of the time that a request has.
        """
        asked = work.key, embedding, work.budget.cache_share, work.request.cache_control.max_age_s, judges
        begin = time.monotonic()
        until = min(begin + self._patience_s, begin + _LEFT * max(work.deadline - begin, 0.0))
        waited_for = ""
        while True:
            found = await self._cache.lookup_or_wait(*asked, waited_for)
            if not isinstance(found, Wait):
                return found
            left = until - time.monotonic()
            if left <= 0:
                return await self._cache.lookup(*asked)
            waited_for = found.lease_id
            await asyncio.sleep(min(found.retry_after_s, left))

    @asynccontextmanager
    async def holding(self, work: Work) -> AsyncGenerator[None, None]:
        """Renews the lease, if any, of a request while it is executed; ends it where nothing was kept."""
        lease = work.missed.lease if work.missed else None
        begin = time.monotonic()
        renewing = asyncio.create_task(self._renew(work.request.tenant, lease)) if lease else None
        try:
            yield
            self._took_s.append(time.monotonic() - begin)
        finally:
            if renewing and lease:
                renewing.cancel()
                if not work.kept:
                    ending = asyncio.create_task(self._end(work.request.tenant, lease))
                    self._ending.add(ending)
                    ending.add_done_callback(self._ending.discard)
                await asyncio.wait([renewing])

    async def close(self) -> None:
        """Waits for what is under way."""
        await asyncio.gather(*self._ending)

    @property
    def _patience_s(self) -> float:
        return max(_PATIENCE * max(self._took_s), _LEAST_PATIENCE_S) if self._took_s else _FIRST_PATIENCE_S

    async def _renew(self, tenant: str, lease: Lease) -> None:
        outlive_deadline()
        held = True
        while held:
            await asyncio.sleep(lease.lasts_s / _RENEWALS)
            try:
                held = await self._cache.hold(tenant, lease.lease_id, end=False)
            except FulcrumError:  # the cache is away: the next renewal may reach it
                continue

    async def _end(self, tenant: str, lease: Lease) -> None:
        outlive_deadline()
        try:
            await self._cache.hold(tenant, lease.lease_id, end=True)
        except FulcrumError as error:
            structlog.get_logger("edge").info("a lease lapses by itself", error=str(error))
