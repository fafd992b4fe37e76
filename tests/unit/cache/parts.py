"""A cache on a file in a temporary folder, a clock that tests set, and vectors of known similarity."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from services.cache.answer_cache import AnswerCache
from services.cache.considered import Considered, Near
from services.cache.decision import Check, Decline, MissReason, Neighbour, Serve
from services.cache.embedding import Embedding
from services.cache.entry import Answer, Entry, Partition, Selector
from services.cache.entry_store import EntryStore
from services.cache.personal_data import Detector
from services.cache.query import Audit, Hit, Miss, Query, Submission
from services.cache.scope_file import ScopeFile
from services.cache.scope_memory import ScopeName
from services.cache.scopes import Scopes
from services.cache.settings import CacheSettings
from services.cache.sketch import sketch

DIGEST = "ab" * 32
DIMENSION = 4
SECOND_NS = 10**9
HERE = Partition("acme", b"f" * 16)


@dataclass
class Clock:
    """Nanoseconds since 1970, moved by hand."""

    now_ns: int = 10**18

    def __call__(self) -> int:
        return self.now_ns

    def advance(self, seconds: float) -> None:
        self.now_ns += round(seconds * SECOND_NS)


class ServeNearest(Scopes):
    """Serves whatever is nearest, so that nothing but the partition can keep entries apart."""

    def decide(
        self, name: ScopeName, query: Query, entries: Sequence[Entry], similarities: Sequence[float], bound: float
    ) -> tuple[Serve | Check | Decline, Considered | None]:
        if not entries:
            return Decline(MissReason.NOT_NEAR, "none"), None
        return Serve(Neighbour(entries[0], similarities[0]), 0.5, ""), None


def settings(folder: Path, **changes: Any) -> CacheSettings:
    fields: dict[str, Any] = {"database": folder / "cache.sqlite", "max_wrong_share": 0.01}
    return CacheSettings(**(fields | changes))


def open_cache(
    folder: Path,
    clock: Clock | None = None,
    kind: type[Scopes] = Scopes,
    detector: Detector | None = None,
    **changes: Any,
) -> AnswerCache:
    made = settings(folder, **changes)
    store = EntryStore(made.database, max_requests=made.max_entries)
    learnt = ScopeFile(made.database.with_name("learnt.sqlite"))
    scopes = kind(learnt, made.min_similarity, made.remembered_lookups, lambda: 0.5, made.scope_memory_bytes)
    return AnswerCache(store, scopes, made, clock or Clock(), detector)


@contextmanager
def opened(folder: Path, *args: Any, **changes: Any) -> Iterator[AnswerCache]:
    cache = open_cache(folder, *args, **changes)
    try:
        yield cache
    finally:
        cache.close()


def purged(cache: AnswerCache, selector: Selector) -> int:
    """How many entries a purge removes that is not interrupted."""
    purge = cache.kept.purge(selector)
    while True:
        try:
            next(purge)
        except StopIteration as done:
            return int(done.value)


def embedding(cosine: float = 1.0, **changes: Any) -> Embedding:
    """A unit vector with this cosine to `embedding()`."""
    values = np.array([cosine, np.sqrt(1 - cosine**2), 0, 0], "<f4").tobytes()
    fields: dict[str, Any] = {"values": values, "dimension": DIMENSION, "encoder_digest": DIGEST, "truncated": False}
    return Embedding(**(fields | changes))


def answer(text: str = "42", model: str = "m") -> Answer:
    return Answer(text, model, input_tokens=3, output_tokens=1, cost_nano_usd=10)


def keep(text: str, said: str = "42", **changes: Any) -> Submission:
    fields: dict[str, Any] = {"partition": HERE, "text": text, "answer": answer(said)}
    return Submission(**(fields | changes))


def ask(text: str, **changes: Any) -> Query:
    fields: dict[str, Any] = {"partition": HERE, "text": text}
    return Query(**(fields | changes))


def near(*entries: tuple[str, float, int]) -> Near:
    """Neighbours, each with its text, its similarity and its answer."""
    texts, similarities, answers = zip(*entries, strict=True)
    return Near(similarities, answers, lambda place: sketch(texts[place]))


def served(found: Hit | Miss | Audit) -> str | None:
    """The answer that was served, None on a miss."""
    return found.entry.answer.text if isinstance(found, Hit) else None


def reason(found: Hit | Miss | Audit) -> MissReason | None:
    """Why nothing was served, None on a hit."""
    return found.reason if isinstance(found, Miss) else None
