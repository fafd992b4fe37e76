"""What a lookup takes apart from embedding and index, exact and semantic, on labelled traffic (`text` and `category`).

4,000 texts are stored with their category for an answer; 500 others, judged by their labels, teach the scope. Those
4,000 and 3,000 more, which are never stored, are asked five times over: microseconds by the clock, of each text the
least of the five. Lookups take one thread, so that the clock shows its CPU and what others take from it; the CPU's own
clock, read that often, has others run in between. What a lookup takes apart from its search of the index is timed
around that search; the search of the same vector by itself, again and again, is the baseline. Seed 0.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from benchmarks.caching.corpus import rows_of, vectors_of
from services.cache.answer_cache import AnswerCache
from services.cache.embedding import Embedding
from services.cache.entry import Answer, Partition
from services.cache.entry_store import EntryStore
from services.cache.query import Audit, Hit, Query, Submission
from services.cache.scope_file import ScopeFile
from services.cache.scopes import Scopes
from services.cache.settings import CacheSettings
from services.cache.sketch import sketch
from services.cache.vector_index import VectorIndex

STORED, TAUGHT, ASKED, ROUNDS = 4000, 500, 3000, 5
HERE, DIGEST = Partition("benchmark", bytes(16)), "ab" * 32

T = TypeVar("T")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to look up."""
    parser.add_argument("--data", type=Path, required=True, help=".jsonl[.gz] of `text` and `category`")


def run(arguments: argparse.Namespace) -> None:
    """Measures and prints; the last line is JSON: microseconds by part."""
    rows = {row["text"]: row["category"] for row in rows_of(arguments.data)}
    known = sorted(rows)
    vectors = dict(zip(known, vectors_of(known), strict=True))
    texts = random.Random(0).sample(known, min(len(known), STORED + TAUGHT + ASKED))
    queries = [
        Query(HERE, text, Embedding(vectors[text].tobytes(), len(vectors[text]), DIGEST, False), judges=True)
        for text in texts
    ]
    with tempfile.TemporaryDirectory() as folder:
        cache = opened(Path(folder))
        for query in queries[:STORED]:
            answer = Answer(rows[query.text], "m", 10, 10, 1000)
            cache.store(Submission(HERE, query.text, answer, query.embedding))
        for query in queries[STORED : STORED + TAUGHT]:
            found = cache.lookup(query)
            if isinstance(found, Hit | Audit):
                told = cache.judge if isinstance(found, Hit) else cache.compared
                told(HERE.tenant, found.lookup_id, found.entry.answer.text == rows[query.text])
        figures = measure(cache, queries[:STORED], queries[STORED + TAUGHT :])
        cache.close()
    for name, values in figures.items():
        print(f"{name}: {values}")
    print(json.dumps(figures))


def opened(folder: Path) -> AnswerCache:
    """A new cache; audits are drawn by a fixed seed."""
    settings = CacheSettings(database=folder / "cache.sqlite")
    scopes = Scopes(ScopeFile(folder / "scopes"), settings.min_similarity, 20_000, random.Random(0).random)
    return AnswerCache(EntryStore(settings.database, 1), scopes, settings, time.time_ns)


def measure(cache: AnswerCache, known: Sequence[Query], new: Sequence[Query]) -> dict[str, dict[str, float]]:
    """Microseconds a lookup."""
    searches = Searches(VectorIndex.search)
    with patch.object(VectorIndex, "search", searches.timed):
        rounds = [[searches.around(cache.lookup, query) for query in new] for _ in range(ROUNDS)]
    whole, within = np.moveaxis(np.array(rounds), 2, 0)[:, :, np.min(rounds, axis=0)[:, 1] > 0] * 1e6
    took_us = {
        "exact hit": least_us(cache.lookup, known),
        "lookup that searches": whole.min(axis=0),
        "apart from the search": (whole - within).min(axis=0),
        "its sketch alone": least_us(lambda query: sketch(query.text), new),
        "the search": within.min(axis=0),
        "the search alone": least_us(lambda asked: VectorIndex.search(*asked), searches.asked[-len(whole[0]) :]),
    }
    return {name: summary(values) for name, values in took_us.items()}


class Searches:
    """What searches of the index were asked, and the seconds that they took."""

    def __init__(self, search: Callable[..., list[tuple[int, float]]]) -> None:
        self._search = search
        self.asked: list[tuple[Any, ...]] = []
        self._seconds = 0.0

    @property
    def timed(self) -> Callable[..., list[tuple[int, float]]]:
        """The search, as a method that takes the index first."""

        def search(*asked: Any) -> list[tuple[int, float]]:
            begin = time.perf_counter()
            found = self._search(*asked)
            self._seconds += time.perf_counter() - begin
            self.asked.append(asked)
            return found

        return search

    def around(self, lookup: Callable[[Query], object], query: Query) -> tuple[float, float]:
        """Seconds of a lookup, and of the search within it."""
        self._seconds = 0.0
        begin = time.perf_counter()
        lookup(query)
        return time.perf_counter() - begin, self._seconds


def least_us(job: Callable[[T], object], asked: Sequence[T]) -> NDArray[np.float64]:
    """Microseconds for each, the least of all rounds."""
    rounds_s = []
    for _ in range(ROUNDS):
        marks = [time.perf_counter()]
        for one in asked:
            job(one)
            marks.append(time.perf_counter())
        rounds_s.append(np.diff(marks))
    return np.asarray(np.min(rounds_s, axis=0) * 1e6)


def summary(us: NDArray[np.float64]) -> dict[str, float]:
    """Mean, median and 99th percentile."""
    percentiles = {f"p{p}_us": round(float(np.percentile(us, p)), 1) for p in (50, 99)}
    return {"mean_us": round(float(us.mean()), 1), **percentiles}
