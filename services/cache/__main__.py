"""Wires the cache; `python -m services.cache` serves it alone."""

import time

import grpc
from fulcrum.cache.v1 import cache_service_pb2, cache_service_pb2_grpc

from services.cache.answer_cache import AnswerCache
from services.cache.entry_store import EntryStore
from services.cache.leases import Leases
from services.cache.metrics import CacheMetrics
from services.cache.scope_file import ScopeFile
from services.cache.scopes import Scopes
from services.cache.service import CacheServicer
from services.cache.settings import CacheSettings
from services.cache.worker import Worker
from services.chassis.server import Component, run_component


def assemble(settings: CacheSettings) -> Component:
    """The cache as a component; touches no file before it is started."""
    worker = Worker(settings.max_waiting)
    servicer = CacheServicer(worker, Leases(settings))

    def register(server: grpc.aio.Server) -> None:
        cache_service_pb2_grpc.add_CacheServiceServicer_to_server(servicer, server)

    def load() -> AnswerCache:
        store = EntryStore(settings.database, max_requests=settings.max_entries)
        learnt = ScopeFile(settings.database.with_name(f"{settings.database.name}.scopes"))
        scopes = Scopes(
            learnt, settings.min_similarity, settings.remembered_lookups, most_bytes=settings.scope_memory_bytes
        )
        return AnswerCache(store, scopes, settings, time.time_ns)

    async def start() -> None:
        servicer.open(await worker.run(load))

    return Component(
        name="cache",
        services=(cache_service_pb2.DESCRIPTOR.services_by_name["CacheService"].full_name,),
        register=register,
        start=start,
        close=servicer.close,
        metrics=(CacheMetrics(servicer.counted, servicer.promised),),
        for_tenants=frozenset({"Lookup", "Feedback", "Invalidate", "ListEntries"}),  # each in its own scope
    )


def main() -> None:
    """Serves the cache until SIGTERM."""
    run_component("cache", CacheSettings, assemble)


if __name__ == "__main__":
    main()
