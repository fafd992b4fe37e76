"""Another encoder: exact hits go on, each encoder's vectors are compared with its own, and entries move one by one."""

import random
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from services.cache.answer_cache import AnswerCache
from services.cache.decision import MissReason
from services.cache.embedding import Embedding
from services.cache.entry import Standing
from services.cache.query import Audit, Hit
from services.cache.scope_memory import ScopeName
from services.chassis.errors import FailedPrecondition
from tests.unit.cache.parts import (
    DIGEST,
    HERE,
    ServeNearest,
    ask,
    embedding,
    keep,
    open_cache,
    opened,
    reason,
    served,
)

NEW = "cd" * 32
WIDER = 8


def moved(cosine: float = 1.0, truncated: bool = False) -> Embedding:
    """A vector by the new encoder, of twice the length, with this cosine to `moved()`."""
    values = np.zeros(WIDER, "<f4")
    values[-2:] = cosine, np.sqrt(1 - cosine**2)
    return Embedding(values.tobytes(), WIDER, NEW, truncated)


def stored(cache: AnswerCache, text: str = "x", said: str = "42") -> str:
    kept = cache.store(keep(text, said, embedding=embedding()))
    assert isinstance(kept, str)
    return kept


def test_a_new_encoder_costs_no_exact_hit_and_no_store(tmp_path: Path) -> None:
    """From its first embedding on: the same text is served, nothing of the former space is, new answers are kept."""
    with opened(tmp_path, None, ServeNearest) as cache:
        stored(cache)
        assert served(cache.lookup(ask("x", embedding=moved()))) == "42"
        assert reason(cache.lookup(ask("y", embedding=moved()))) is MissReason.NOT_NEAR
        cache.store(keep("z", "new", embedding=moved()))
        assert served(cache.lookup(ask("y", embedding=moved(0.9)))) == "new"
        assert served(cache.lookup(ask("y", embedding=embedding(0.9)))) == "42"
        assert cache.stats().encoder_digest == NEW


def test_an_entry_moves_to_the_new_space(tmp_path: Path) -> None:
    """With its new vector it is found there alone, and is the entry that it was: id, age, hits, standing."""
    with opened(tmp_path, None, ServeNearest, confirmed_for_trust=1) as cache:
        entry_id = stored(cache)
        cache.judge(HERE.tenant, cache.lookup(ask("x")).lookup_id, right=True, principal="another")
        before, _ = cache.kept.get(HERE.tenant, entry_id)
        assert before.standing is Standing.CONFIRMED
        size = cache.stats().bytes
        assert cache.kept.embed(HERE.tenant, entry_id, moved())
        assert not cache.kept.embed(HERE.tenant, entry_id, moved())
        assert cache.stats().bytes == size + 4 * (WIDER - 4)
    with opened(tmp_path, None, ServeNearest, confirmed_for_trust=1) as cache:
        after, vector = cache.kept.get(HERE.tenant, entry_id)
        assert (after.encoder, after.size, vector) == (NEW, before.size + 4 * (WIDER - 4), moved().values)
        assert (after.create_ns, after.hits, after.standing) == (before.create_ns, before.hits, before.standing)
        assert cache.stats().bytes == after.size
        assert served(cache.lookup(ask("y", embedding=moved(0.9)))) == "42"
        assert reason(cache.lookup(ask("y", embedding=embedding(0.9)))) is MissReason.NOT_NEAR


def test_what_is_left_to_embed(tmp_path: Path) -> None:
    """The entries without a vector of an encoder are those to embed; none is lost by breaking off."""
    with opened(tmp_path) as cache:
        ids = [stored(cache, f"x{number}") for number in range(5)]
        cache.store(keep("no vector"))
        for entry_id in ids[:2]:
            assert cache.kept.embed(HERE.tenant, entry_id, moved())
    with opened(tmp_path) as cache:
        left = [entry for entry, _ in cache.kept.export(None, 0, 100, NEW)]
        assert [entry.text for entry in left] == ["x2", "x3", "x4", "no vector"]
        assert not cache.kept.embed(HERE.tenant, left[0].entry_id, moved(truncated=True))
        assert not cache.kept.embed("another tenant", left[0].entry_id, moved())
        assert cache.kept.embed(HERE.tenant, left[3].entry_id, moved())
        assert [entry.text for entry, _ in cache.kept.export(None, 0, 2, NEW)] == ["x2", "x3"]
        assert [entry.text for entry, _ in cache.kept.export(None, left[1].sequence, 2, NEW)] == ["x4"]


def test_longer_vectors_keep_within_the_bound(tmp_path: Path) -> None:
    """Where there is no room for the longer vectors, the entry that saves least goes, not the bound."""
    with opened(tmp_path, max_bytes=1000) as cache:
        ids = [stored(cache, f"{number:04d}") for number in range(60)]
        there = [entry.entry_id for entry in cache.kept.page(HERE.tenant, 2**62, 100)]
        assert len(there) < len(ids)
        assert all(cache.kept.embed(HERE.tenant, entry_id, moved()) for entry_id in there[:5])
        stats = cache.stats()
        assert stats.bytes <= 1000
        assert stats.entries < len(there)
        assert set(there[:5]) <= {entry.entry_id for entry in cache.kept.page(HERE.tenant, 2**62, 100)}


def test_an_encoder_without_vectors_is_forgotten(tmp_path: Path) -> None:
    """Once the next one comes, so that encoders do not add up; its number is never another's."""
    with opened(tmp_path) as cache:
        assert cache.kept.embed(HERE.tenant, stored(cache), moved())
        cache.store(keep("third", embedding=embedding(encoder_digest="ef" * 32)))
        assert list(cache._store.vectors.encoders) == [NEW, "ef" * 32]
    with opened(tmp_path) as cache:
        assert list(cache._store.vectors.encoders) == [NEW, "ef" * 32]
        assert cache.store(keep("back", embedding=embedding()))
        assert len({cache._store.vectors.number(one) for one in (DIGEST, NEW, "ef" * 32)}) == 3


def test_a_vector_is_never_taken_for_another_encoders(tmp_path: Path) -> None:
    """An entry whose number of an encoder changed on the disk is found by its text alone."""
    cache = open_cache(tmp_path, kind=ServeNearest)
    stored(cache)
    cache.store(keep("z", "new", embedding=embedding(0.0, encoder_digest=NEW)))
    cache.close()
    with sqlite3.connect(tmp_path / "cache.sqlite") as file:
        file.execute("UPDATE entries SET embedded = 2 WHERE text = 'x'")
    file.close()
    with opened(tmp_path, None, ServeNearest) as cache:
        assert served(cache.lookup(ask("x"))) == "42"
        assert served(cache.lookup(ask("y", embedding=embedding(0.9, encoder_digest=NEW)))) == "new"


def test_the_encoder_of_the_settings(tmp_path: Path) -> None:
    """A configured digest is held to from the start; another one later costs neither entries nor vectors."""
    with opened(tmp_path, None, ServeNearest, encoder_digest=DIGEST) as cache:
        for call in (
            lambda: cache.store(keep("x", embedding=moved())),
            lambda: cache.lookup(ask("x", embedding=moved())),
        ):
            with pytest.raises(FailedPrecondition) as caught:
                call()
            assert (caught.value.field, caught.value.reason) == ("embedding.encoder_digest", "ENCODER_MISMATCH")
        stored(cache)
    with opened(tmp_path, None, ServeNearest, encoder_digest=NEW) as cache:
        assert cache.stats().encoder_digest == NEW
        assert served(cache.lookup(ask("x", embedding=moved()))) == "42"
        assert reason(cache.lookup(ask("y", embedding=moved()))) is MissReason.NOT_NEAR
        with pytest.raises(FailedPrecondition):
            cache.lookup(ask("x", embedding=embedding()))
    with opened(tmp_path, None, ServeNearest, encoder_digest=DIGEST) as cache:
        assert served(cache.lookup(ask("y", embedding=embedding(0.9)))) == "42"


def test_what_one_space_taught_serves_in_no_other(tmp_path: Path) -> None:
    """A scope that learnt to serve begins anew with another encoder, by the rule for new scopes, and both are kept."""
    asked, otherwise = "How do I top up my card?", "Where can I add money to my account?"
    rng = random.Random(3)
    with opened(tmp_path, max_wrong_share=0.05) as cache:
        entry_id = stored(cache, asked)
        for _ in range(600):
            found = cache.lookup(ask(otherwise, embedding=embedding(rng.uniform(0.6, 0.99)), judges=True))
            if isinstance(found, Audit):
                cache.compared("acme", found.lookup_id, same=True)
        assert isinstance(cache.lookup(ask(otherwise, embedding=embedding(0.97))), Hit)
        assert cache.kept.embed("acme", entry_id, moved())
        assert reason(cache.lookup(ask(otherwise, embedding=moved(0.97)))) is MissReason.VETOED
        assert [promise.encoder_digest for promise in cache.promises()] == [DIGEST, NEW]
    with opened(tmp_path, max_wrong_share=0.05) as cache:
        assert reason(cache.lookup(ask(otherwise, embedding=moved(0.97)))) is MissReason.VETOED
        assert not cache._scopes._scope(ScopeName("acme", NEW)).learnt
        assert cache._scopes._scope(ScopeName("acme", DIGEST)).learnt
