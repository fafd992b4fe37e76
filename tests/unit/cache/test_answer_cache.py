"""The cache on a real file: what is kept is found, bounded, forgotten in time, and survives a restart."""

import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cache import nearest
from services.cache.decision import MissReason
from services.cache.entry import NewEntry, Partition, Selector
from services.cache.normalise import exact_key
from services.cache.query import Hit, MatchKind, NotKept
from services.chassis.errors import InvalidField, NotFound
from tests.unit.cache.parts import (
    DIGEST,
    HERE,
    SECOND_NS,
    Clock,
    ServeNearest,
    answer,
    ask,
    embedding,
    keep,
    open_cache,
    opened,
    purged,
    reason,
    served,
)

FRANCE, FRANCE_TOO = "What is the capital of France?", "Tell me the capital city of France."


def test_an_expired_entry_is_not_imported(tmp_path: Path) -> None:
    """It takes nothing away from what is there, though it was made later."""
    clock = Clock()
    with opened(tmp_path, clock) as cache:
        cache.store(keep(FRANCE, "Paris"))
        clock.advance(60)
        made_ns, key = clock.now_ns - 30 * SECOND_NS, exact_key(HERE, FRANCE)
        old = NewEntry(key, HERE, FRANCE, answer("Lyon"), None, made_ns, clock.now_ns, entry_id="e")
        assert cache.take_in(old, None) is False
        assert served(cache.lookup(ask(FRANCE))) == "Paris"
        assert cache.take_in(replace(old, expire_ns=clock.now_ns + 1), None) is True


def test_exact_and_semantic_hits(tmp_path: Path) -> None:
    """The same text is certain; a paraphrase is served with its similarity and a measured probability below 1."""
    clock = Clock()
    with opened(tmp_path, clock) as cache:
        entry_id = cache.store(keep(FRANCE, "Paris", embedding=embedding()))
        clock.advance(2)
        exact = cache.lookup(ask(FRANCE + " "))
        near = cache.lookup(ask(FRANCE_TOO, embedding=embedding(0.9)))
    assert isinstance(exact, Hit)
    assert (exact.kind, exact.probability, exact.similarity, exact.age_ns) == (MatchKind.EXACT, 1.0, 1.0, 2 * 10**9)
    assert exact.entry.answer == answer("Paris")
    assert isinstance(near, Hit)
    assert (near.kind, near.entry.entry_id) == (MatchKind.SEMANTIC, entry_id)
    assert near.similarity == pytest.approx(0.9, abs=1e-6)
    assert 0 < near.probability < 1


def test_reasons_of_a_miss(tmp_path: Path) -> None:
    """Every way to find nothing has its reason."""
    other = Partition(HERE.tenant, b"g" * 16)
    with opened(tmp_path) as cache:
        cache.store(keep(FRANCE, "Paris", embedding=embedding()))
        assert reason(cache.lookup(ask("x", partition=other, embedding=embedding()))) is MissReason.EMPTY
        assert reason(cache.lookup(ask("x"))) is MissReason.NOT_EXACT
        assert reason(cache.lookup(ask("x", embedding=embedding(0.5)))) is MissReason.NOT_NEAR
        assert reason(cache.lookup(ask("x", embedding=embedding(0.95)))) is MissReason.VETOED
        assert reason(cache.lookup(ask("x", embedding=embedding(truncated=True)))) is MissReason.TRUNCATED
        assert cache.stats().misses == 5


def test_a_truncated_embedding_is_not_indexed(tmp_path: Path) -> None:
    """A prompt longer than the encoder's window is found by its text alone."""
    with opened(tmp_path, None, ServeNearest) as cache:
        cache.store(keep("a long text", embedding=embedding(truncated=True)))
        assert reason(cache.lookup(ask("another", embedding=embedding()))) is MissReason.NOT_NEAR
        assert served(cache.lookup(ask("a long text", embedding=embedding(truncated=True)))) == "42"


def test_the_newest_answer_replaces_the_former(tmp_path: Path) -> None:
    """One prompt has one answer, by its text and by its vector."""
    with opened(tmp_path, None, ServeNearest) as cache:
        for said in ("old", "new"):
            cache.store(keep("x", said, embedding=embedding()))
            cache.lookup(ask("y", embedding=embedding()))
        assert served(cache.lookup(ask("x"))) == "new"
        assert served(cache.lookup(ask("y", embedding=embedding()))) == "new"
        assert cache.stats().entries == 1


def test_survives_a_restart(tmp_path: Path) -> None:
    """Answers, vectors, the encoder, hits and request ids are there after a restart."""
    with opened(tmp_path) as cache:
        entry_id = cache.store(keep(FRANCE, "Paris", embedding=embedding(), request_id="r"))
        cache.lookup(ask(FRANCE))
        before = cache.stats()
    with opened(tmp_path) as cache:
        assert served(cache.lookup(ask(FRANCE))) == "Paris"
        assert served(cache.lookup(ask(FRANCE_TOO, embedding=embedding(0.9)))) == "Paris"
        assert [entry.hits for entry in cache.kept.page(HERE.tenant, 2**62, 10)] == [3]
        assert cache.store(keep("something else", request_id="r")) == entry_id
        after = cache.stats()
        assert (after.entries, after.bytes, after.encoder_digest) == (1, before.bytes, DIGEST)


def test_a_repeated_request_changes_nothing(tmp_path: Path) -> None:
    """A request id answers with its first entry even after that was replaced; it means nothing to another tenant."""
    with opened(tmp_path) as cache:
        first = cache.store(keep("x", "1", request_id="r"))
        cache.store(keep("x", "2"))
        assert cache.store(keep("x", "1", request_id="r")) == first
        assert served(cache.lookup(ask("x"))) == "2"
        other = Partition("other", HERE.fingerprint)
        assert cache.store(keep("x", "3", partition=other, request_id="r")) != first


def test_request_ids_are_bounded(tmp_path: Path) -> None:
    """Beyond as many as there may be entries, the oldest request id is forgotten."""
    with opened(tmp_path, max_entries=2) as cache:
        ids = [cache.store(keep(f"x{number}", request_id=f"r{number}")) for number in range(3)]
        assert cache.store(keep("x2", request_id="r2")) == ids[2]
        assert cache.store(keep("x0", request_id="r0")) != ids[0]


def test_time_to_live(tmp_path: Path) -> None:
    """An entry is served before its end and never from it on, exactly or semantically; then it is removed."""
    clock = Clock()
    with opened(tmp_path, clock, ServeNearest, ttl_s=10) as cache:
        cache.store(keep("default", embedding=embedding()))
        cache.store(keep("own", embedding=embedding(), ttl_ns=10**9, partition=Partition("acme", b"o" * 16)))
        clock.advance(9.999)
        assert served(cache.lookup(ask("default"))) == "42"
        assert served(cache.lookup(ask("own", partition=Partition("acme", b"o" * 16)))) is None
        clock.advance(0.001)
        for query in (ask("default"), ask("default", embedding=embedding())):
            assert served(cache.lookup(query)) is None
        assert cache.kept.page(HERE.tenant, 2**62, 10) == []
        cache.store(keep("sweeps", ttl_ns=2**63 - 1))
        assert cache.stats().entries == 1
        clock.advance(10**9)
        assert served(cache.lookup(ask("sweeps"))) == "42"


def test_who_did_not_look_takes_no_answer_that_lasts_longer(tmp_path: Path) -> None:
    """A caller who wants no cached answer, and limits its own, leaves the tenant the one that lasts longer; a refresh
    without a limit takes its place, as does what is kept after a lookup, or when the former has expired."""
    clock = Clock()
    with opened(tmp_path, clock, ttl_s=10) as cache:
        cache.store(keep("x", "first"))
        assert cache.store(keep("x", "short", ttl_ns=SECOND_NS)) is NotKept.OUTLIVED
        assert served(cache.lookup(ask("x"))) == "first"
        cache.store(keep("x", "longer", ttl_ns=20 * SECOND_NS))
        assert served(cache.lookup(ask("x"))) == "longer"
        cache.store(keep("x", "refreshed"))
        assert served(cache.lookup(ask("x"))) == "refreshed"
        clock.advance(2)
        missed = cache.lookup(ask("x", max_age_ns=SECOND_NS))
        cache.store(keep("x", "after a lookup", ttl_ns=SECOND_NS, lookup_id=missed.lookup_id))
        assert served(cache.lookup(ask("x"))) == "after a lookup"
        clock.advance(1)
        cache.store(keep("x", "after the end", ttl_ns=1))
        assert served(cache.lookup(ask("x"))) == "after the end"


def test_what_was_purged_is_in_no_file(tmp_path: Path) -> None:
    """Neither the database nor its journal holds the text of an entry that was removed on request."""
    with opened(tmp_path) as cache:
        for text in ("the marmalade sandwich", "something else"):
            cache.store(keep(text))
        purged(cache, Selector(HERE.tenant, entry_id=cache.kept.page(HERE.tenant, 2**62, 10)[1].entry_id))
        files = b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
        assert b"something else" in files
        assert b"marmalade" not in files


def test_without_a_time_to_live(tmp_path: Path) -> None:
    """Where the settings say null, answers are served for ever."""
    clock = Clock()
    with opened(tmp_path, clock, ttl_s=None) as cache:
        cache.store(keep("x"))
        clock.advance(10**9)
        assert served(cache.lookup(ask("x"))) == "42"


def test_max_age(tmp_path: Path) -> None:
    """A caller who wants a young answer gets no older one, exactly or semantically."""
    clock = Clock()
    with opened(tmp_path, clock, ServeNearest) as cache:
        cache.store(keep("x", embedding=embedding()))
        clock.advance(5)
        for age, expected in ((4.9, None), (5, "42")):
            max_age_ns = round(age * 1e9)
            assert served(cache.lookup(ask("x", max_age_ns=max_age_ns))) == expected
            assert served(cache.lookup(ask("y", embedding=embedding(), max_age_ns=max_age_ns))) == expected


def test_a_bound_of_nothing_leaves_exact_hits_only(tmp_path: Path) -> None:
    """The request's bound wins over the settings'."""
    with opened(tmp_path) as cache:
        cache.store(keep(FRANCE, embedding=embedding()))
        near = ask(FRANCE_TOO, embedding=embedding(0.9), max_wrong_share=0.0)
        assert reason(cache.lookup(near)) is MissReason.NOT_NEAR
        assert served(cache.lookup(ask(FRANCE, max_wrong_share=0.0))) == "42"


@pytest.mark.parametrize("verdict_on", ["exact", "semantic", "stored"])
def test_a_wrong_answer_is_withdrawn(tmp_path: Path, verdict_on: str) -> None:
    """The entry served or stored under a lookup goes for good on a wrong verdict, and stays on a right one."""
    with opened(tmp_path) as cache:
        missed = cache.lookup(ask(FRANCE))
        cache.store(keep(FRANCE, embedding=embedding(), lookup_id=missed.lookup_id))
        lookup_id = {
            "exact": lambda: cache.lookup(ask(FRANCE)).lookup_id,
            "semantic": lambda: cache.lookup(ask(FRANCE_TOO, embedding=embedding(0.9))).lookup_id,
            "stored": lambda: missed.lookup_id,
        }[verdict_on]()
        assert not cache.judge(HERE.tenant, lookup_id, right=True)
        assert served(cache.lookup(ask(FRANCE))) == "42"
        assert cache.judge(HERE.tenant, lookup_id, right=False)
        assert not cache.judge(HERE.tenant, lookup_id, right=False)
        assert served(cache.lookup(ask(FRANCE))) is None
    with opened(tmp_path) as cache:
        assert served(cache.lookup(ask(FRANCE))) is None


def test_verdicts_on_unknown_lookups(tmp_path: Path) -> None:
    """A lookup never made, forgotten, or another tenant's cannot be judged, nor tied to a store."""
    with opened(tmp_path, remembered_lookups=2) as cache:
        cache.store(keep("x"))
        first = cache.lookup(ask("x"))
        for tenant, lookup_id in ((HERE.tenant, "never"), ("other", first.lookup_id)):
            with pytest.raises(NotFound) as caught:
                cache.judge(tenant, lookup_id, right=False)
            assert (caught.value.field, caught.value.reason) == ("lookup_id", "ID_UNKNOWN")
        for _ in range(2):
            last = cache.lookup(ask("y"))
        with pytest.raises(NotFound):
            cache.judge(HERE.tenant, first.lookup_id, right=False)
        cache.store(keep("y", partition=Partition("other", b"f" * 16), lookup_id=last.lookup_id))
        assert not cache.judge(HERE.tenant, last.lookup_id, right=False)


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"values": bytes(12)}, "embedding.values"),
        ({"values": bytes(16)}, "embedding.values"),
        ({"values": b"\x00\x00\xc0\x7f" * 4}, "embedding.values"),
        ({"values": b"\x00\x00\x80\x7f" + bytes(12)}, "embedding.values"),
        ({"values": b"\x00\x00\x80\x3f" * 4}, "embedding.values"),
        ({"values": b"\x00\x00\x80\x3f" + bytes(4), "dimension": 2}, "embedding.dimension"),
    ],
    ids=["short", "zero", "nan", "infinite", "not normalised", "other dimension"],
)
def test_bad_embeddings(tmp_path: Path, bad: dict[str, Any], field: str) -> None:
    """A vector that cannot be compared is refused by lookup, even of a text that is there, and by store."""
    with opened(tmp_path) as cache:
        cache.store(keep("x", embedding=embedding()))
        before = cache.stats()
        for call in (
            lambda: cache.lookup(ask("x", embedding=embedding(**bad))),
            lambda: cache.store(keep("y", embedding=embedding(**bad))),
        ):
            with pytest.raises(InvalidField) as caught:
                call()
            assert caught.value.field == field
        assert cache.stats() == before


def test_invalidation(tmp_path: Path) -> None:
    """Conditions add up, reach one tenant only, and what they removed is found neither by text nor by vector."""
    clock = Clock()
    other = Partition("acme", b"g" * 16)
    with opened(tmp_path, clock, ServeNearest) as cache:
        one = cache.store(keep("one", answer=answer(model="a")))
        assert isinstance(one, str)
        cache.store(keep("two", answer=answer(model="b"), embedding=embedding()))
        cache.lookup(ask("near two", embedding=embedding()))
        clock.advance(1)
        cache.store(keep("three", answer=answer(model="a"), partition=other))
        cache.store(keep("one", partition=Partition("rival", HERE.fingerprint)))
        for selector, removed in (
            (Selector("acme", entry_id=one, model="b"), 0),
            (Selector("rival", entry_id=one), 0),
            (Selector("acme", entry_id="x-1"), 0),
            (Selector("acme", model="a", created_before_ns=clock.now_ns), 1),
            (Selector("acme", fingerprint=other.fingerprint), 1),
            (Selector("acme"), 1),
            (Selector("acme"), 0),
        ):
            assert purged(cache, selector) == removed
        assert reason(cache.lookup(ask("near two", embedding=embedding()))) is MissReason.EMPTY
        assert served(cache.lookup(ask("one", partition=Partition("rival", HERE.fingerprint)))) == "42"


def test_a_purge_leaves_no_vectors_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is purged of a tenant, the files of its indexes are gone once the purge returns."""
    monkeypatch.setattr(nearest, "SCANNED", 50)
    monkeypatch.setattr(nearest, "LARGE", 100)
    with opened(tmp_path) as cache:
        for number in range(200):
            cache.store(keep(f"x{number}", embedding=embedding(number / 200)))
        cache.lookup(ask("near", embedding=embedding()))
    files = tmp_path / "cache.sqlite.index"
    with opened(tmp_path) as cache:
        assert list(files.glob("*.clusters"))
        entry = cache.kept.page(HERE.tenant, 2**62, 1)[0]
        assert purged(cache, Selector(HERE.tenant, entry_id=entry.entry_id)) == 1
        assert list(files.iterdir()) == []


def test_pages(tmp_path: Path) -> None:
    """Entries come newest first, each once, whatever is stored or removed between two pages."""
    with opened(tmp_path) as cache:
        for number in range(5):
            cache.store(keep(f"x{number}"))
        cache.store(keep("rival's", partition=Partition("rival", HERE.fingerprint)))
        first = cache.kept.page(HERE.tenant, 2**62, 2)
        cache.store(keep("x5"))
        purged(cache, Selector(HERE.tenant, entry_id=first[-1].entry_id))
        rest = cache.kept.page(HERE.tenant, first[-1].sequence, 10)
        assert [entry.text for entry in first + rest] == ["x4", "x3", "x2", "x1", "x0"]


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    """A hit keeps an entry, across a restart too; its vector goes with it."""
    clock = Clock()
    with opened(tmp_path, clock, max_entries=3) as cache:
        for name in "abc":
            clock.advance(1)
            cache.store(keep(name, embedding=embedding()))
        clock.advance(1)
        cache.lookup(ask("a"))
    clock.advance(1)
    with opened(tmp_path, clock, max_entries=3) as cache:
        cache.store(keep("d"))
        assert [served(cache.lookup(ask(name))) for name in "abcd"] == ["42", None, "42", "42"]


def test_an_answer_larger_than_the_cache(tmp_path: Path) -> None:
    """It is refused, and nothing is evicted for it."""
    with opened(tmp_path, max_bytes=100) as cache:
        cache.store(keep("x"))
        with pytest.raises(InvalidField) as caught:
            cache.store(keep("y", "z" * 100))
        assert caught.value.field == "answer.text"
        assert served(cache.lookup(ask("x"))) == "42"


@pytest.mark.parametrize("memory", [0, 4000])
def test_answers_that_are_not_in_memory(tmp_path: Path, memory: int) -> None:
    """Memory is only speed: with little or none, everything is served from the file."""
    with opened(tmp_path, answer_memory_bytes=memory, vector_memory_bytes=0) as cache:
        for number in range(20):
            partition = Partition("acme", bytes([number]) * 16)
            cache.store(keep(FRANCE, f"{number}", partition=partition, embedding=embedding()))
        for number in range(20):
            partition = Partition("acme", bytes([number]) * 16)
            assert served(cache.lookup(ask(FRANCE, partition=partition))) == f"{number}"
            near = ask(FRANCE_TOO, partition=partition, embedding=embedding(0.9))
            assert served(cache.lookup(near)) == f"{number}"


def test_recall_beside_stores(tmp_path: Path) -> None:
    """Exact hits in one thread are whole and of their prompt while another one stores, evicts and removes."""
    stop, seen, wrong = threading.Event(), Counter[str](), list[str]()

    def recall() -> None:
        while not stop.is_set():
            time.sleep(0.0002)  # else this thread holds the interpreter for most of the time
            for number in range(8):
                found = cache.recall(ask(f"x{number}"))
                seen[type(found).__name__] += 1
                if isinstance(found, Hit) and found.entry.answer.text != f"said {number}":
                    wrong.append(found.entry.answer.text)

    with opened(tmp_path, max_entries=5, answer_memory_bytes=5000) as cache:
        thread = threading.Thread(target=recall)
        thread.start()
        for turn in range(300):
            cache.store(keep(f"x{turn % 8}", f"said {turn % 8}", embedding=embedding()))
            if turn % 50 == 49:
                purged(cache, Selector(HERE.tenant))
        stop.set()
        thread.join()
    assert not wrong
    assert seen["Hit"]
    assert seen["Miss"]


sizes = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 400), st.booleans()), max_size=60)


@settings(max_examples=20, deadline=None)
@given(steps=sizes, max_entries=st.integers(1, 8), max_bytes=st.integers(500, 1500))
def test_bounds_hold(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[int, int, bool]],
    max_entries: int,
    max_bytes: int,
) -> None:
    """After every store and every restart there are at most so many entries and bytes, the newest among them."""
    folder = tmp_path_factory.mktemp("bounds")
    cache = open_cache(folder, max_entries=max_entries, max_bytes=max_bytes)
    for number, size, restart in steps:
        cache.store(keep(f"{number}", "z" * size, embedding=embedding()))
        if restart:
            cache.close()
            cache = open_cache(folder, max_entries=max_entries, max_bytes=max_bytes)
        stats = cache.stats()
        assert stats.entries <= max_entries
        assert stats.bytes <= max_bytes
        kept = cache.kept.page(HERE.tenant, 2**62, 1000)
        assert len(kept) == stats.entries
        assert sum(len(entry.text) + len(entry.answer.text) + 16 for entry in kept) == stats.bytes
        assert served(cache.lookup(ask(f"{number}"))) == "z" * size
    cache.close()
