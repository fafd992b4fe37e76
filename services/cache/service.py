"""CacheService on the wire: messages to the domain and back."""

import asyncio
from functools import partial
from typing import Any

import structlog
from fulcrum.cache.v1 import cache_service_pb2, cache_service_pb2_grpc

from services.cache import messages, requests
from services.cache.answer_cache import AnswerCache
from services.cache.leases import Found, Leases
from services.cache.query import NotKept, Query, Stats
from services.cache.scope_memory import Promise
from services.cache.warm_up import lessons
from services.cache.worker import Worker
from services.chassis.call import caller, tenant_of
from services.chassis.errors import FailedPrecondition, InvalidField, Unavailable

_DEFAULT_PAGE = 100
_PIECE = 50  # entries of an export read at once
_PAGE_BYTES = 1 << 20
_FIRST = 2**63 - 1
_LONG = 20_000  # characters whose normalising and hashing would hold the event loop for half a millisecond
_COMPARED = (cache_service_pb2.VERDICT_SAME, cache_service_pb2.VERDICT_DIFFERENT)
_NOT_KEPT = {
    NotKept.QUOTA: cache_service_pb2.NOT_KEPT_QUOTA,
    NotKept.PERSONAL_DATA: cache_service_pb2.NOT_KEPT_PERSONAL_DATA,
    NotKept.OUTLIVED: cache_service_pb2.NOT_KEPT_OUTLIVED,
}


class CacheServicer(cache_service_pb2_grpc.CacheServiceServicer):
    """Serves a cache once it is open; whatever touches disk or index runs on the worker."""

    def __init__(self, worker: Worker, leases: Leases) -> None:
        self._worker = worker
        self._leases = leases
        self._opened: AnswerCache | None = None

    def open(self, cache: AnswerCache) -> None:
        """Serves this cache from now on."""
        self._opened = cache

    async def close(self) -> None:
        """Ends what is under way, and the cache if one was opened."""
        await self._worker.close(self._opened.close if self._opened else None)

    def counted(self) -> Stats | None:
        """Counts and sizes, None until a cache is open; in any thread."""
        return self._opened.stats() if self._opened else None

    def promised(self) -> list[Promise]:
        """Where the promises of the tenants in memory stand; in any thread."""
        return self._opened.promises() if self._opened else []

    @property
    def _cache(self) -> AnswerCache:
        if self._opened is None:
            raise Unavailable("cache", "still loading", "a cache that has loaded", reason="STARTING", retry_after_s=1.0)
        return self._opened

    async def _look(self, query: Query) -> Found:
        if len(query.text) > _LONG:
            return await self._worker.run(self._cache.lookup, query)
        found = self._cache.recall(query)
        return found if found is not None else await self._worker.run(self._cache.search, query)

    async def Lookup(self, request: cache_service_pb2.LookupRequest, context: Any) -> cache_service_pb2.LookupResponse:
        """Finds by memory alone where that decides."""
        query = requests.query(request)
        if not request.lease or not caller().trusted:
            return messages.found(await self._look(query))
        found, lease = await self._leases.look(query, request.waited_for, partial(self._look, query))
        return messages.found(found, lease)

    async def HoldLease(
        self, request: cache_service_pb2.HoldLeaseRequest, context: Any
    ) -> cache_service_pb2.HoldLeaseResponse:
        """Renews a lease, or ends it."""
        held = self._leases.hold(request.scope.tenant, request.lease_id, request.end)
        return cache_service_pb2.HoldLeaseResponse(held=held)

    async def Store(self, request: cache_service_pb2.StoreRequest, context: Any) -> cache_service_pb2.StoreResponse:
        """Keeps an answer."""
        submission = requests.submission(request)
        kept = await self._worker.run(self._cache.store, submission)
        self._leases.stored(submission.partition.tenant, submission.lookup_id)
        if isinstance(kept, NotKept):
            return cache_service_pb2.StoreResponse(not_kept=_NOT_KEPT[kept])
        return cache_service_pb2.StoreResponse(entry_id=kept)

    async def Feedback(
        self, request: cache_service_pb2.FeedbackRequest, context: Any
    ) -> cache_service_pb2.FeedbackResponse:
        """Withdraws what was wrong, and learns from what was compared."""
        tenant, verdict, judge = tenant_of(request.scope.tenant), request.verdict, requests.judge(request)
        if verdict in _COMPARED:
            same = verdict == cache_service_pb2.VERDICT_SAME
            await self._worker.run(self._cache.compared, tenant, request.lookup_id, same, judge is None)
            return cache_service_pb2.FeedbackResponse()
        right = verdict == cache_service_pb2.VERDICT_RIGHT
        withdrawn = await self._worker.run(self._cache.judge, tenant, request.lookup_id, right, judge)
        if withdrawn:
            structlog.get_logger("cache").info("entry withdrawn", lookup_id=request.lookup_id, source=request.source)
        return cache_service_pb2.FeedbackResponse()

    async def Invalidate(
        self, request: cache_service_pb2.InvalidateRequest, context: Any
    ) -> cache_service_pb2.InvalidateResponse:
        """Removes entries, some at a time."""
        selector = requests.selector(request)
        removed = await self._worker.run_in_turns(selector.tenant, self._cache.kept.purge(selector))
        return cache_service_pb2.InvalidateResponse(removed=removed)

    async def ListEntries(
        self, request: cache_service_pb2.ListEntriesRequest, context: Any
    ) -> cache_service_pb2.ListEntriesResponse:
        """A page that fits a message; the token is the last entry's place."""
        response, size = cache_service_pb2.ListEntriesResponse(), request.page_size or _DEFAULT_PAGE
        tenant = tenant_of(request.scope.tenant)
        place, room = requests.place(request.page_token) if request.page_token else _FIRST, _PAGE_BYTES
        while found := await self._worker.run(self._cache.kept.page, tenant, place, min(size + 1, _PIECE)):
            for entry in found:
                one = messages.listed(entry)
                if not size or (response.entries and one.ByteSize() > room):
                    response.next_page_token = f"{place:x}"
                    return response
                response.entries.append(one)
                place, size, room = entry.sequence, size - 1, room - one.ByteSize()
        return response

    async def Stats(self, request: cache_service_pb2.StatsRequest, context: Any) -> cache_service_pb2.StatsResponse:
        """Counts and sizes; a promise takes 0.1 ms, so that those of thousands of tenants would hold up all others."""
        cache = self._cache
        return await asyncio.to_thread(lambda: messages.counted(cache.stats(), cache.promises()))

    async def GetEntry(
        self, request: cache_service_pb2.GetEntryRequest, context: Any
    ) -> cache_service_pb2.GetEntryResponse:
        """One entry, whole."""
        entry, vector = await self._worker.run(self._cache.kept.get, request.scope.tenant, request.entry_id)
        return cache_service_pb2.GetEntryResponse(entry=messages.stored(entry, vector))

    async def ExportEntries(
        self, request: cache_service_pb2.ExportEntriesRequest, context: Any
    ) -> cache_service_pb2.ExportEntriesResponse:
        """A page that fits a message; the token is the last entry's place."""
        response, size = cache_service_pb2.ExportEntriesResponse(), request.page_size or _DEFAULT_PAGE
        place, room = requests.place(request.page_token) if request.page_token else 0, _PAGE_BYTES
        while size and room > 0:
            what = request.tenant or None, place, min(size, _PIECE), request.without_encoder_digest
            found = await self._worker.run(self._cache.kept.export, *what)
            if not found:
                return response
            for entry, vector in found:
                one = messages.stored(entry, vector)
                if response.entries and one.ByteSize() > room:
                    room = 0
                    break
                response.entries.append(one)
                place, size, room = entry.sequence, size - 1, room - one.ByteSize()
        response.next_page_token = f"{place:x}"
        return response

    async def ImportEntries(
        self, request: cache_service_pb2.ImportEntriesRequest, context: Any
    ) -> cache_service_pb2.ImportEntriesResponse:
        """Keeps entries one after another, up to the first that cannot be."""
        response = cache_service_pb2.ImportEntriesResponse()
        for number, one in enumerate(request.entries):
            try:
                kept = await self._worker.run(self._cache.take_in, *messages.imported(one))
            except (InvalidField, FailedPrecondition) as error:
                raise messages.at(f"entries[{number}]", error) from error
            response.imported += kept is True
            response.present += kept is False
            response.personal_data += kept is NotKept.PERSONAL_DATA
        return response

    async def EmbedEntries(
        self, request: cache_service_pb2.EmbedEntriesRequest, context: Any
    ) -> cache_service_pb2.EmbedEntriesResponse:
        """Gives entries their vectors one after another, so that what is asked meanwhile waits for one at most."""
        response = cache_service_pb2.EmbedEntriesResponse()
        for number, one in enumerate(request.vectors):
            try:
                what = one.scope.tenant, one.entry_id, requests.embedding(one.embedding)
                done = await self._worker.run(self._cache.kept.embed, *what)
            except (InvalidField, FailedPrecondition) as error:
                raise messages.at(f"vectors[{number}]", error) from error
            response.embedded += done
            response.left += not done
        return response

    async def WarmUp(self, request: cache_service_pb2.WarmUpRequest, context: Any) -> cache_service_pb2.WarmUpResponse:
        """Teaches all of it or, where an example is at fault, nothing."""
        learnt = await asyncio.to_thread(lambda: lessons(messages.examples(request)))
        await self._worker.run(self._cache.warm_up, request.scope.tenant, request.encoder_digest, learnt)
        return cache_service_pb2.WarmUpResponse(
            labels=len(learnt.right),
            labels_right=int(learnt.right.sum()),
            verifier_pairs=learnt.pairs if learnt.verifier else 0,
        )
