"""What the cache counts, read from its own statistics at each scrape."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.cache.brake import Braked
from services.cache.challenger import VerifierStanding
from services.cache.query import Stats
from services.cache.scope_memory import Promise

Count: TypeAlias = CounterMetricFamily
Size: TypeAlias = GaugeMetricFamily


class CacheMetrics(Collector):
    """Lookups by outcome, entries and bytes; `stats` is None and there are no `promises` until the cache is open."""

    def __init__(self, stats: Callable[[], Stats | None], promises: Callable[[], list[Promise]]) -> None:
        self._stats = stats
        self._promises = promises

    def describe(self) -> Iterator[Metric]:
        """The families without samples."""
        yield from self._families()

    def collect(self) -> Iterator[Metric]:
        """The statistics as they are now."""
        stats = self._stats()
        lookups, entries, size, evictions, saved, verifiers, brakes = self._families()
        if stats:
            lookups.add_metric(["exact_hit"], stats.exact_hits)
            lookups.add_metric(["semantic_hit"], stats.semantic_hits)
            lookups.add_metric(["miss"], stats.misses)
            entries.add_metric([], stats.entries)
            size.add_metric([], stats.bytes)
            evictions.add_metric([], stats.evictions)
            saved.add_metric([], stats.saved_nano_usd / 1e9)
            promises = self._promises()
            standings = Counter(promise.verifier for promise in promises)
            for standing in (VerifierStanding.CHALLENGES, VerifierStanding.DECIDES):
                verifiers.add_metric([standing.value], standings[standing])
            braked = Counter(promise.brake for promise in promises)
            for why in (Braked.UNTOLD, Braked.WRONG):
                brakes.add_metric([why.value], braked[why])
        yield from (lookups, entries, size, evictions, saved, verifiers, brakes)

    def _families(self) -> tuple[Count, Size, Size, Count, Count, Size, Size]:
        return (
            CounterMetricFamily("fulcrum_cache_lookups", "Lookups by outcome.", labels=["outcome"]),
            GaugeMetricFamily("fulcrum_cache_entries", "Answers kept.", labels=[]),
            GaugeMetricFamily("fulcrum_cache_bytes", "Bytes of prompts, answers and vectors kept.", labels=[]),
            CounterMetricFamily("fulcrum_cache_evictions", "Entries removed for want of room.", labels=[]),
            CounterMetricFamily("fulcrum_cache_saved_usd", "What the answers served cost to make.", labels=[]),
            GaugeMetricFamily(
                "fulcrum_cache_verifiers", "Scopes in memory with a verifier of pairs.", labels=["standing"]
            ),
            GaugeMetricFamily("fulcrum_cache_brakes", "Scopes whose brake is on, and why.", labels=["reason"]),
        )
