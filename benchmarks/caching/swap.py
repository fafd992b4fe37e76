"""What a change of encoder costs on labelled traffic (`text` and `category`), and whether the promise holds across it.

A tenant's requests, a random 80 % of the categories in random order, go through AnswerCache, which learns from audits
and checks judged by their labels. Half way the encoder changes: all-MiniLM-L6-v2 gives way to a random projection of
it to 48 dimensions, whose similarities mean something else. With each request `--rate` entries are embedded anew.
Baselines in the same run: no change, and the new space served by what the former one taught. Shares of requests by
window, means over seeds.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.caching.traffic import NEVER, Traffic, load
from services.cache.answer_cache import AnswerCache
from services.cache.embedding import Embedding
from services.cache.entry import Answer, Partition
from services.cache.entry_store import EntryStore
from services.cache.query import Audit, Hit, MatchKind, Query, Submission
from services.cache.scope_decision import ScopeDecision
from services.cache.scope_file import ScopeFile
from services.cache.scope_memory import ScopeName
from services.cache.scopes import Scopes
from services.cache.settings import CacheSettings

HERE, OLD, NEW = Partition("benchmark", bytes(16)), "ab" * 32, "cd" * 32
NARROW, WINDOW = 48, 1000


class Carried(Scopes):
    """One scope for every encoder: what the cache would do if thresholds were not of a space."""

    def _scope(self, name: ScopeName) -> ScopeDecision:
        return super()._scope(ScopeName(name.tenant, ""))

    def _write(self, name: ScopeName) -> None:
        """Nothing: it does not outlive the run."""


@dataclass(frozen=True)
class Run:
    """One stream: exact hits, similar hits and wrong answers, request by request."""

    exact: NDArray[np.bool_]
    similar: NDArray[np.bool_]
    wrong: NDArray[np.bool_]
    moved_after: int

    def windows(self) -> dict[str, dict[str, float]]:
        """Shares by window, those after the change counted from it."""
        half = len(self.exact) // 2
        cuts = {
            "before": slice(half - WINDOW, half),
            "first_after": slice(half, half + WINDOW),
            "last": slice(-WINDOW, None),
            "all_after": slice(half, None),
        }
        return {name: self._shares(cut) for name, cut in cuts.items()}

    def _shares(self, cut: slice) -> dict[str, float]:
        parts = {"exact": self.exact, "similar": self.similar, "wrong_of_all": self.wrong}
        return {name: float(part[cut].mean()) for name, part in parts.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument("--data", type=Path, required=True, help=".jsonl[.gz] of `text` and `category`")
    parser.add_argument("--bound", type=float, default=0.01, help="share of requests that may be answered wrongly")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rate", type=int, default=2, help="entries embedded anew with each request")


def run(arguments: argparse.Namespace) -> None:
    """Prints each kind of run as it ends; the last line is JSON: windows by kind, means over seeds."""
    traffic = load(arguments.data)
    narrow = traffic.vectors @ np.random.default_rng(0).standard_normal((traffic.vectors.shape[1], NARROW))
    narrow = (narrow / np.linalg.norm(narrow, axis=1, keepdims=True)).astype("<f4")
    found = {}
    for name, kind, after in (("swap", Scopes, narrow), ("no_swap", Scopes, None), ("carried", Carried, narrow)):
        runs = [stream(traffic, kind, after, seed, arguments) for seed in range(arguments.seeds)]
        found[name] = summary(runs, arguments.bound)
        print(f"{name}: {found[name]}", flush=True)
    print(json.dumps(found))


def summary(runs: Sequence[Run], bound: float) -> dict[str, object]:
    """Means over seeds, and how many seeds went over the bound after the change and in all."""
    every = [one.windows() for one in runs]
    means = {
        window: {share: round(float(np.mean([one[window][share] for one in every])), 4) for share in shares}
        for window, shares in every[0].items()
    }
    over = sum(one["all_after"]["wrong_of_all"] > bound for one in every)
    return means | {"seeds": len(runs), "seeds_over_bound_after": over, "moved_after": max(r.moved_after for r in runs)}


def stream(
    traffic: Traffic, kind: type[Scopes], after: NDArray[np.float32] | None, seed: int, arguments: argparse.Namespace
) -> Run:
    """One seed; `after` holds the vectors of the other encoder, None where there is no change."""
    order, places = traffic.order(seed), {text: place for place, text in enumerate(traffic.texts)}
    outcomes = np.zeros((3, len(order)), bool)
    moved_after = 0
    with tempfile.TemporaryDirectory() as folder:
        cache = opened(Path(folder), kind, seed, arguments.bound)
        for number, place in enumerate(order):
            changed = after is not None and number >= len(order) // 2
            vectors, digest = (after, NEW) if changed and after is not None else (traffic.vectors, OLD)
            outcomes[:, number] = request(cache, traffic, place, embedded(vectors[place], digest))
            if changed and not moved_after:
                left = cache.kept.export(None, 0, arguments.rate, NEW)
                for entry, _ in left:
                    cache.kept.embed(HERE.tenant, entry.entry_id, embedded(vectors[places[entry.text]], NEW))
                moved_after = 0 if left else number - len(order) // 2
        cache.close()
    exact, similar, wrong = outcomes
    return Run(exact, similar, wrong, moved_after)


def embedded(vector: NDArray[np.float32], digest: str) -> Embedding:
    """A vector as it travels."""
    return Embedding(vector.tobytes(), len(vector), digest, False)


def opened(folder: Path, kind: type[Scopes], seed: int, bound: float) -> AnswerCache:
    """A new cache; audits are drawn by the seed."""
    settings = CacheSettings(database=folder / "cache.sqlite", max_wrong_share=bound, personal_data=())
    scopes = kind(ScopeFile(folder / "scopes"), settings.min_similarity, 20_000, random.Random(seed).random)
    return AnswerCache(EntryStore(settings.database, 1), scopes, settings, time.time_ns)


def request(cache: AnswerCache, traffic: Traffic, place: int, embedding: Embedding) -> tuple[bool, bool, bool]:
    """Whether it was an exact hit, a similar one, and wrong; what is executed is stored, and judged by its label."""
    text, category = traffic.texts[place], traffic.categories[place]
    said = f"{category} {place}" if category == NEVER else category
    found = cache.lookup(Query(HERE, text, embedding, judges=True))
    if isinstance(found, Hit):
        exact = found.kind is MatchKind.EXACT
        return exact, not exact, found.entry.answer.text != said
    cache.store(Submission(HERE, text, Answer(said, "m", 10, 10, 1000), embedding, lookup_id=found.lookup_id))
    if isinstance(found, Audit):
        cache.compared(HERE.tenant, found.lookup_id, found.entry.answer.text == said)
    return False, False, False
