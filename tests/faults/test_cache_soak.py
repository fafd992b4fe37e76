"""A cache with a small bound stays as it is however much is stored: its memory, its files and its descriptors.

`make soak` stores a million answers; FULCRUM_CACHE_STORES says how many, 3,000 where it is unset. The first half fills
what grows until its bound; the second half is looked at.
"""

import multiprocessing
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.cache.answer_cache import AnswerCache
from services.cache.embedding import Embedding
from services.cache.entry import Answer, Partition, Provenance, Selector
from services.cache.entry_store import EntryStore
from services.cache.query import Query, Submission
from services.cache.scope_file import ScopeFile
from services.cache.scopes import Scopes
from services.cache.settings import CacheSettings
from tests.faults.soak_growth import MIB, SETTLING_MIB, slope

STORES = int(os.environ.get("FULCRUM_CACHE_STORES", "3000"))
SAMPLES = 120
MOST, DIMENSION, TENANTS, FINGERPRINTS = 500, 64, 20, 3
EVERY_LOOKUP, EVERY_VERDICT, EVERY_PURGE, EVERY_EXPIRY = 4, 16, 64, 8


@dataclass(frozen=True)
class Sample:
    """What the process and its files have after so many stores."""

    stores: int
    rss: int
    files: int
    descriptors: int


def open_cache(folder: Path) -> AnswerCache:
    """A cache of few entries, which remembers few lookups."""
    settings = CacheSettings(
        database=folder / "cache.sqlite", max_entries=MOST, remembered_lookups=200, answer_memory_bytes=MIB
    )
    scopes = Scopes(ScopeFile(folder / "scopes.sqlite"), settings.min_similarity, settings.remembered_lookups)
    return AnswerCache(EntryStore(settings.database, MOST), scopes, settings, time.time_ns)


def use(cache: AnswerCache, number: int, rng: np.random.Generator) -> None:
    """Stores an answer that nobody has stored before, and now and then looks, judges, purges and lets expire."""
    partition = Partition(f"tenant {number % TENANTS}", bytes([number % FINGERPRINTS]) * 16)
    vector = rng.standard_normal(DIMENSION).astype("<f4")
    embedding = Embedding((vector / np.linalg.norm(vector)).astype("<f4").tobytes(), DIMENSION, "ab" * 32, False)
    text, said = f"What is the colour of thing {number}?", f"answer {number} " * (1 + number % 40)
    answer = Answer(said, "m", 10, 10, int(rng.integers(1, 10**6)))
    ttl_ns = 10**6 if number % EVERY_EXPIRY == 0 else None
    lookup_id, request_id, who = "", f"r{number}", Provenance(f"key {number % 1000}", f"q{number}", "edge")
    if number % EVERY_LOOKUP == 0:
        found = cache.lookup(Query(partition, f"Please, {text}", embedding, judges=True))
        lookup_id = found.lookup_id
    kept = cache.store(Submission(partition, text, answer, embedding, ttl_ns, lookup_id, request_id, who))
    assert isinstance(kept, str)
    if number % EVERY_VERDICT == 0:
        cache.compared(partition.tenant, lookup_id, number % (3 * EVERY_VERDICT) == 0)
    if number % EVERY_PURGE == 0:
        for _ in cache.kept.purge(Selector(partition.tenant, entry_id=kept)):
            pass


def sample(stores: int, folder: Path) -> Sample:
    rss = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    files = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Sample(stores, rss, files, len(list(Path("/proc/self/fd").iterdir())))


def store_all(folder: Path) -> tuple[list[Sample], float]:
    """Stores, in a process of its own; what it had meanwhile, and the CPU seconds."""
    cache, rng, samples = open_cache(folder), np.random.default_rng(0), []
    for number in range(STORES):
        use(cache, number, rng)
        if number % (STORES // SAMPLES) == 0:
            samples.append(sample(number, folder))
    stats = cache.stats()
    assert stats.entries <= MOST
    assert stats.evictions > STORES / 2
    cache.close()
    return samples, time.process_time()


def test_memory_is_flat(tmp_path: Path) -> None:
    """Over the second half of the stores neither memory nor files nor descriptors grow."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        samples, cpu_s = pool.apply(store_all, (tmp_path,))
    late = [one for one in samples if one.stores >= STORES / 2]
    at = [one.stores for one in late]
    grown = {name: slope(at, [getattr(one, name) for one in late]) * STORES / 2 for name in ("rss", "files")}
    print(f"{STORES} stores in {cpu_s:.0f} CPU-s: {late[-1].rss / MIB:.0f} MiB, files {late[-1].files / MIB:.1f} MiB")
    print(f"in the second half {grown['rss'] / MIB:+.2f} and {grown['files'] / MIB:+.2f} MiB")
    assert grown["rss"] / MIB <= SETTLING_MIB
    assert grown["files"] / MIB <= SETTLING_MIB
    assert late[-1].descriptors == late[0].descriptors
