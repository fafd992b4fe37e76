"""A purge goes some entries at a time: others get their turn, and what they store stays."""

import asyncio
import random
import shutil
import sqlite3
import threading
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fulcrum.cache.v1 import cache_service_pb2 as pb

from services.cache import kept_entries
from services.cache.answer_cache import AnswerCache
from services.cache.entry import Partition, Selector
from services.cache.leases import Leases
from services.cache.scope_decision import ScopeDecision
from services.cache.scope_memory import ScopeName
from services.cache.scope_state import pack
from services.cache.service import CacheServicer
from services.cache.worker import Worker
from services.chassis.errors import Overloaded, Unavailable
from tests.unit.cache.parts import (
    DIGEST,
    HERE,
    answer,
    ask,
    embedding,
    keep,
    open_cache,
    opened,
    purged,
    served,
    settings,
)

CONTEXT: Any = None
SCOPE = ScopeName(HERE.tenant, DIGEST)
RIVAL = Partition("rival", HERE.fingerprint)


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten entries at a time."""
    monkeypatch.setattr(kept_entries, "_PURGED", 10)


def fill(cache: AnswerCache, entries: int) -> None:
    for number in range(entries):
        cache.store(keep(f"x{number}", f"said {number}", embedding=embedding()))
        if number % 10 == 0:
            cache.store(keep(f"x{number}", "theirs", partition=RIVAL))


def left(cache: AnswerCache) -> list[str]:
    return [entry.text for entry in reversed(cache.kept.page(HERE.tenant, 2**62, 1000))]


def test_what_is_stored_meanwhile_stays(tmp_path: Path) -> None:
    """A new prompt, and a new answer to one that the purge has yet to come to, also after a restart."""
    with opened(tmp_path) as cache:
        fill(cache, 35)
        purge = cache.kept.purge(Selector(HERE.tenant))
        next(purge)
        assert left(cache) == [f"x{number}" for number in range(10, 35)]
        assert served(cache.lookup(ask("x9"))) is None
        assert served(cache.lookup(ask("x10"))) == "said 10"
        cache.store(keep("new", embedding=embedding()))
        cache.store(keep("x30", "newer", embedding=embedding()))
        assert sum(1 for _ in purge) == 4  # the last counts what was stored
        assert left(cache) == ["new", "x30"]
    with opened(tmp_path) as cache:
        assert left(cache) == ["new", "x30"]
        assert served(cache.lookup(ask("x30"))) == "newer"
        assert served(cache.lookup(ask("x30", partition=RIVAL))) == "theirs"
        assert purged(cache, Selector(HERE.tenant)) == 2


def test_few_that_match_are_looked_for_in_turns(tmp_path: Path) -> None:
    """However few meet the conditions, others get their turn after so many entries; the count is of those that do."""
    with opened(tmp_path) as cache:
        fill(cache, 35)
        cache.store(keep("other", answer=answer(model="other")))
        purge = cache.kept.purge(Selector(HERE.tenant, model="other"))
        turns = [len(left(cache)) for _ in purge]
        assert turns == [36, 36, 36, 35]
        (_, vector) = cache.kept.get(HERE.tenant, cache.kept.page(HERE.tenant, 2**62, 1)[0].entry_id)
        assert vector
        assert len([*cache.kept.purge(Selector(HERE.tenant, cache.kept.page(HERE.tenant, 2**62, 1)[0].entry_id))]) == 1


def test_killed_amid_a_purge(tmp_path: Path) -> None:
    """What went before stays away, with its vectors; what was to go yet is there, and another purge removes it."""
    with opened(tmp_path / "killed") as cache:
        fill(cache, 35)
        purge = cache.kept.purge(Selector(HERE.tenant))
        next(purge)
        next(purge)
        shutil.copytree(tmp_path / "killed", tmp_path / "left")
        purge.close()
    with opened(tmp_path / "left") as cache:
        assert left(cache) == [f"x{number}" for number in range(20, 35)]
        assert [len(rows) for rows in _vectors(cache)] == [15]
        assert served(cache.lookup(ask("x20"))) == "said 20"
        assert purged(cache, Selector(HERE.tenant)) == 15
        assert [len(rows) for rows in _vectors(cache)] == [0]
        assert len(cache.kept.page(RIVAL.tenant, 2**62, 10)) == 4


def test_a_damaged_count_of_numbers(tmp_path: Path) -> None:
    """Where the file's last number was lost, a purge still reaches every entry, and none is given twice."""
    with opened(tmp_path) as cache:
        fill(cache, 15)
    with closing(sqlite3.connect(tmp_path / "cache.sqlite")) as file, file:
        file.execute("UPDATE sqlite_sequence SET seq = 3")
    with opened(tmp_path) as cache:
        cache.store(keep("new"))
        assert len(left(cache)) == 16
        assert purged(cache, Selector(HERE.tenant)) == 16


def _vectors(cache: AnswerCache) -> list[list[Any]]:
    return [cache._store._session.rows("SELECT sequence FROM vectors")]


def taught(cache: AnswerCache) -> list[str]:
    """Has the tenant's scope learn, and returns lookups whose verdicts are to come yet."""
    fill(cache, 3)
    cache.store(keep("theirs", partition=RIVAL, embedding=embedding()))
    cache.lookup(ask("Whose?", partition=RIVAL, embedding=embedding(0.6)))
    asked = ask("Another question?", embedding=embedding(0.6), judges=True)
    checks = [cache.lookup(asked).lookup_id for _ in range(5)]
    for lookup_id in checks[:3]:
        cache.compared(HERE.tenant, lookup_id, same=True)
    cache._scopes._memory.write(SCOPE)
    cache._scopes._memory.write(ScopeName(RIVAL.tenant, DIGEST))
    for number in range(3):
        cache.lookup(ask(f"x{number}"))
    return checks[3:]


def rows(folder: Path) -> list[str]:
    """The scopes that the file of a closed cache knows, by both of its tables."""
    with closing(sqlite3.connect(folder / "learnt.sqlite")) as file:
        return [row[0] for row in file.execute("SELECT scope FROM scopes UNION ALL SELECT scope FROM promises")]


def test_with_everything_goes_what_was_learnt(tmp_path: Path) -> None:
    """The scope is as new: no row, no page and no journal tells of it, no verdict or exact hit of before counts for it,
    and it decides by the rule for new scopes. Another tenant's stays."""
    here, killed = tmp_path / "here", tmp_path / "killed"
    with opened(here) as cache:
        awaiting = taught(cache)
        answers = [number.to_bytes(8, "little", signed=True) for number in cache._scopes._scope(SCOPE).answers.records]
        files = [here / "learnt.sqlite", here / "learnt.sqlite-wal"]
        assert any(one in file.read_bytes() for one in answers for file in files)
        cache.lookup(ask("x0"))
        assert purged(cache, Selector(HERE.tenant)) == 3
        assert not any(one in file.read_bytes() for one in answers for file in files)
        assert [promise.tenant for promise in cache.promises()] == [RIVAL.tenant]
        for lookup_id in awaiting:
            cache.compared(HERE.tenant, lookup_id, same=True)
        assert pack(cache._scopes._scope(SCOPE)) == pack(ScopeDecision(0.0, random.random))
        assert cache._scopes._memory.bytes == sum(cache._scopes._memory._sizes.values())
        shutil.copytree(here, killed)
    for folder in (here, killed):
        assert rows(folder) == [f"{DIGEST} {RIVAL.tenant}"] * 2


def test_a_part_leaves_what_was_learnt(tmp_path: Path) -> None:
    """What meets a condition goes without it, were it every entry."""
    with opened(tmp_path) as cache:
        taught(cache)
        assert purged(cache, Selector(HERE.tenant, fingerprint=HERE.fingerprint)) == 3
        assert cache._scopes._scope(SCOPE).scorer.count == 3
    assert sorted(rows(tmp_path)) == [
        f"{DIGEST} {one}" for one in (HERE.tenant, HERE.tenant, RIVAL.tenant, RIVAL.tenant)
    ]


def test_a_new_scope_counts_what_was_stored_meanwhile(tmp_path: Path) -> None:
    """Entries that stay are among those that it knows, so that it counts them less when they go."""
    with opened(tmp_path) as cache:
        fill(cache, 35)
        purge = cache.kept.purge(Selector(HERE.tenant))
        next(purge)
        for number in range(100):
            cache.store(keep(f"y{number}", f"{number}", embedding=embedding()))
        assert [*purge]
        known = cache._scopes._scope(SCOPE).answers
        assert (known.entries, len(known.records)) == (100, 100)
        assert purged(cache, Selector(HERE.tenant, fingerprint=HERE.fingerprint)) == 100
        assert (known.entries, len(known.records)) == (0, 0)


def test_no_purge_is_told_that_did_not_forget(tmp_path: Path) -> None:
    """Where what was learnt cannot be removed the call fails, and another one removes it."""
    with opened(tmp_path) as cache:
        taught(cache)
        file = cache._scopes._memory._file
        file._db.execute("PRAGMA query_only = ON")
        with pytest.raises(Unavailable, match="readonly"):
            purged(cache, Selector(HERE.tenant))
        file._db.execute("PRAGMA query_only = OFF")
        assert purged(cache, Selector(HERE.tenant)) == 0
    assert rows(tmp_path) == [f"{DIGEST} {RIVAL.tenant}"] * 2


async def test_others_are_answered_during_a_purge(tmp_path: Path) -> None:
    """A store that comes after it is done before it, and a lookup of the tenant sees what is there by then."""
    cache = open_cache(tmp_path)
    fill(cache, 100)
    servicer, done = CacheServicer(Worker(8), Leases(settings(tmp_path))), list[str]()
    servicer.open(cache)
    scope = pb.Scope(tenant=HERE.tenant)

    async def noted(name: str, call: Any) -> Any:
        response = await call
        done.append(name)
        return response

    store = pb.StoreRequest(
        scope=scope, fingerprint=HERE.fingerprint, text="new", answer=pb.Answer(text="Paris", model="m")
    )
    purge, _ = await asyncio.gather(
        noted("purge", servicer.Invalidate(pb.InvalidateRequest(scope=scope, all=True), CONTEXT)),
        noted("store", servicer.Store(store, CONTEXT)),
    )
    assert (purge.removed, done) == (100, ["store", "purge"])
    assert left(cache) == ["new"]
    await servicer.close()


def test_large_answers_go_few_at_a_time(tmp_path: Path) -> None:
    """About a MiB in a turn: others wait for bytes, not for entries."""
    cache = open_cache(tmp_path)
    for number in range(8):
        cache.store(keep(f"x{number}", "a" * 400_000))
    assert len(list(cache.kept.purge(Selector(HERE.tenant)))) == 3
    assert left(cache) == []
    cache.close()


def turns(seen: list[str], gate: threading.Event, name: str = "") -> Generator[None, None, str]:
    try:
        for turn in range(3):
            gate.wait(10)
            seen.append(f"{name}turn {turn}")
            yield
    except GeneratorExit:
        seen.append("closed")
        raise
    return "ended"


async def test_turns() -> None:
    """Whoever waits when a turn ends is next, and a long job takes nobody's place in the queue."""
    worker, seen, gate = Worker(1), list[str](), threading.Event()
    long = asyncio.ensure_future(worker.run_in_turns("a", turns(seen, gate)))
    await asyncio.sleep(0)
    short = asyncio.ensure_future(worker.run(seen.append, "other"))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await worker.run(seen.append, "one more")
    gate.set()
    assert await long == "ended"
    await short
    assert seen == ["turn 0", "other", "turn 1", "turn 2"]
    await worker.close()


async def test_long_jobs_go_one_at_a_time() -> None:
    """In their order; a tenant has few of them, and those whose callers give up before they begin never do."""
    worker, seen, gate = Worker(1), list[str](), threading.Event()
    jobs = [asyncio.ensure_future(worker.run_in_turns("a", turns(seen, gate, f"{number}, "))) for number in range(8)]
    await asyncio.sleep(0.01)
    with pytest.raises(Overloaded, match="long jobs: got '8 of this tenant', expected at most 8 at once"):
        await worker.run_in_turns("a", turns(seen, gate))
    theirs = asyncio.ensure_future(worker.run_in_turns("b", turns(seen, gate, "b, ")))
    for job in (jobs[0], *jobs[2:]):  # the first has begun and ends all the same
        job.cancel()
    await asyncio.sleep(0)
    gate.set()
    assert (await jobs[1], await theirs) == ("ended", "ended")
    assert seen == [f"{name}, turn {turn}" for name in ("0", "1", "b") for turn in range(3)]
    assert await worker.run_in_turns("a", turns(seen, gate)) == "ended"
    await worker.close()


async def test_a_long_job_is_broken_off_by_the_end() -> None:
    """Between turns, so that the end waits for one turn alone; its caller and those that wait are told."""
    worker, seen, gate = Worker(1), list[str](), threading.Event()
    jobs = [asyncio.ensure_future(worker.run_in_turns("a", turns(seen, gate))) for _ in range(2)]
    await asyncio.sleep(0.01)
    closing = asyncio.ensure_future(worker.close(lambda: seen.append("last")))
    await asyncio.sleep(0.01)
    gate.set()
    await closing
    assert seen == ["turn 0", "closed", "last"]
    for job in jobs:
        with pytest.raises(Unavailable, match="expected the same call again once it has started"):
            await job


async def test_a_turn_that_fails(tmp_path: Path) -> None:
    """Its error is the caller's, and the worker goes on."""
    worker = Worker(1)

    def failing() -> Generator[None, None, None]:
        yield
        raise ValueError("here")

    for _ in range(2):
        with pytest.raises(ValueError, match="here"):
            await worker.run_in_turns("a", failing())
        await asyncio.sleep(0)
    await worker.close()
