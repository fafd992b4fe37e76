"""How long a cache of many entries takes to be ready after a restart, its files not in memory any more."""

import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.cache.answer_cache import AnswerCache
from services.cache.embedding import Embedding
from services.cache.entry import Answer, NewEntry, Partition, Space
from services.cache.entry_store import EntryStore
from services.cache.faiss_nearest import ClusteredNearest
from services.cache.nearest import Nearest, Vectors
from services.cache.query import Query
from services.cache.scope_file import ScopeFile
from services.cache.scopes import Scopes
from services.cache.settings import CacheSettings
from services.cache.snapshots import Snapshots

Matrix = NDArray[np.float32]
HERE, DIGEST = Partition("benchmark", bytes(16)), "ab" * 32


def entries(matrix: Matrix) -> Iterator[NewEntry]:
    """One entry a vector."""
    for number, vector in enumerate(matrix):
        text, answer = f"question {number}", Answer("an answer of some length " * 8, "m", 10, 50, 1000)
        yield NewEntry(number.to_bytes(32, "big"), HERE, text, answer, vector.tobytes(), 10**18, None, encoder=DIGEST)


def restart(matrix: Matrix, index: Nearest, query: Matrix) -> dict[str, Any]:
    """Seconds until a cache of all these entries, opened by a new process, has answered its first search.

    The system forgets the files first, as after a restart of the machine.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = CacheSettings(database=Path(folder) / "cache.sqlite", max_entries=10**7, max_bytes=2**40)
        store = EntryStore(settings.database, max_requests=1)
        store.vectors.adopt(DIGEST, matrix.shape[1])
        waiting = ((new, ()) for new in entries(matrix))
        while kept := list(store.insert_all(batch(waiting))):
            last = kept[-1].sequence
        assert last == len(matrix)
        store.close()
        shifted = index if index.costly else ClusteredNearest.of(Vectors(np.arange(1, len(matrix) + 1), matrix))
        folder_of_indexes = settings.database.with_name(f"{settings.database.name}.index")
        Snapshots(folder_of_indexes).save(Space(HERE, DIGEST), shifted)
        for file in Path(folder).rglob("*.*"):
            forget(file)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(reopen, (settings, query.tobytes(), matrix.shape[1]))


def forget(file: Path) -> None:
    """Has the system drop what it holds of a file in memory, where it knows how to (Linux)."""
    if file.is_file() and hasattr(os, "posix_fadvise"):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def batch(waiting: Iterator[Any]) -> Iterator[Any]:
    """At most 10,000 of what waits."""
    for _, one in zip(range(10_000), waiting, strict=False):
        yield one


def reopen(settings: CacheSettings, query: bytes, dimension: int) -> dict[str, Any]:
    """Opens the cache and searches once; in a process of its own, whose imports do not count."""
    begin, begin_cpu = time.perf_counter(), time.process_time()
    store = EntryStore(settings.database, max_requests=1)
    learnt = ScopeFile(settings.database.with_name("scopes.sqlite"))
    cache = AnswerCache(store, Scopes(learnt, 0.8, 1), settings, time.time_ns)
    opened = time.perf_counter() - begin
    cache.lookup(Query(HERE, "something else", Embedding(query, dimension, DIGEST, False)))
    ready, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = settings.database.stat().st_size / 2**20
    return {
        "entries": cache.stats().entries,
        "opened_s": round(opened, 2),
        "first_search_answered_s": round(ready, 2),
        "cpu_s": round(cpu, 2),
        "peak_memory_mib": round(peak),
        "file_mib": round(size),
    }
