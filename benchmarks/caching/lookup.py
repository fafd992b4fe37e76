"""CPU of a lookup apart from embedding and index, exact and semantic, on labelled traffic (`text` and `category`).

4,000 texts are stored with their category for an answer; 500 others, judged by their labels, teach the scope. Those
4,000 and 3,000 more are asked: what `AnswerCache.lookup` takes of its thread, less what the index's search takes. The
3,000 are new, so that each one's sketch is made. Baseline in the same run: the index's search itself. Seed 0.
"""

import argparse
import json
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from benchmarks.caching.corpus import rows_of, vectors_of
from services.cache.answer_cache import AnswerCache
from services.cache.embedding import Embedding
from services.cache.entry import Answer, Partition, Space
from services.cache.entry_store import EntryStore
from services.cache.query import Audit, Hit, Query, Submission
from services.cache.scope_file import ScopeFile
from services.cache.scopes import Scopes
from services.cache.settings import CacheSettings
from services.cache.vector_index import VectorIndex

STORED, TAUGHT, ASKED = 4000, 500, 3000
_search = VectorIndex.search
HERE, DIGEST = Partition("benchmark", bytes(16)), "ab" * 32


class Watch:
    """The CPU seconds of the index's searches since it was last set to zero."""

    took_s = 0.0

    def search(self, index: VectorIndex, space: Space, vector: NDArray[np.float32], k: int) -> list[tuple[int, float]]:
        """A search of the index."""
        begin = time.thread_time()
        found = _search(index, space, vector, k)
        self.took_s += time.thread_time() - begin
        return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to look up."""
    parser.add_argument("--data", type=Path, required=True, help=".jsonl[.gz] of `text` and `category`")


def run(arguments: argparse.Namespace) -> None:
    """Measures and prints; the last line is JSON: microseconds of CPU by outcome."""
    rows = {row["text"]: row["category"] for row in rows_of(arguments.data)}
    known = sorted(rows)
    vectors = dict(zip(known, vectors_of(known), strict=True))
    texts = random.Random(0).sample(known, min(len(known), STORED + TAUGHT + ASKED))
    queries = [
        Query(HERE, text, Embedding(vectors[text].tobytes(), len(vectors[text]), DIGEST, False), judges=True)
        for text in texts
    ]
    watch = Watch()
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(VectorIndex, "search", lambda *asked: watch.search(*asked)),
    ):
        cache = opened(Path(folder))
        for query in queries[:STORED]:
            answer = Answer(rows[query.text], "m", 10, 10, 1000)
            cache.store(Submission(HERE, query.text, answer, query.embedding))
        for query in queries[STORED : STORED + TAUGHT]:
            found = cache.lookup(query)
            if isinstance(found, Hit | Audit):
                told = cache.judge if isinstance(found, Hit) else cache.compared
                told(HERE.tenant, found.lookup_id, found.entry.answer.text == rows[query.text])
        figures = measure(cache, watch, queries[:STORED] + queries[STORED + TAUGHT :])
        cache.close()
    for name, values in figures.items():
        print(f"{name}: {values}")
    print(json.dumps(figures))


def opened(folder: Path) -> AnswerCache:
    """A new cache; audits are drawn by a fixed seed."""
    settings = CacheSettings(database=folder / "cache.sqlite")
    scopes = Scopes(ScopeFile(folder / "scopes"), settings.min_similarity, 20_000, random.Random(0).random)
    return AnswerCache(EntryStore(settings.database, 1), scopes, settings, time.time_ns)


def measure(cache: AnswerCache, watch: Watch, queries: Sequence[Query]) -> dict[str, dict[str, float]]:
    """CPU of lookups by outcome, of all that searched, and of the searches."""
    took: defaultdict[str, list[float]] = defaultdict(list)
    for query in queries:
        watch.took_s = 0.0
        begin = time.thread_time()
        found = cache.lookup(query)
        whole = time.thread_time() - begin
        kind = f"{found.kind.value} hit" if isinstance(found, Hit) else type(found).__name__.lower()
        took[kind].append(whole - watch.took_s)
        if watch.took_s:
            took["every search"].append(whole - watch.took_s)
            took["index alone"].append(watch.took_s)
    return {name: summary(values) for name, values in took.items()}


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Count, mean, median and 99th percentile, in microseconds."""
    us = np.array(seconds) * 1e6
    percentiles = {f"p{p}_us": round(float(np.percentile(us, p)), 1) for p in (50, 99)}
    return {"count": len(us), "mean_us": round(float(us.mean()), 1), **percentiles}
