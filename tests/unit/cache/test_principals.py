"""Principals: their entries tell where they come from, wait for confirmation, are limited, and can be purged."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.cache.answer_cache import AnswerCache
from services.cache.entry import Partition, Provenance, Selector, Standing
from services.cache.query import Audit, Hit, NotKept, Submission
from services.cache.scope_memory import ScopeName
from tests.unit.cache.parts import DIGEST, HERE, Clock, ServeNearest, ask, embedding, keep, opened, purged, served

SCOPE = ScopeName(HERE.tenant, DIGEST)


def by(principal: str, text: str, said: str = "42", **changes: Any) -> Submission:
    return keep(text, said, provenance=Provenance(principal, f"request of {text}", "edge"), **changes)


def test_provenance_is_kept(tmp_path: Path) -> None:
    """Who caused an entry, for which request and through which door is there after a restart."""
    with opened(tmp_path) as cache:
        cache.store(by("key a", "x"))
    with opened(tmp_path) as cache:
        (entry,) = cache.kept.page(HERE.tenant, 2**62, 10)
        assert entry.provenance == Provenance("key a", "request of x", "edge")
        assert (entry.standing, entry.size) == (Standing.TRUSTED, 3)


def test_quarantine(tmp_path: Path) -> None:
    """Until it is confirmed an entry serves its own principal, exactly and semantically, and nobody else."""
    with opened(tmp_path, None, ServeNearest, confirmed_for_trust=1) as cache:
        cache.store(by("a", "x", embedding=embedding()))
        for who, said in (("a", "42"), ("b", None), ("", None)):
            assert served(cache.lookup(ask("x", principal=who))) == said
            assert served(cache.lookup(ask("y", principal=who, embedding=embedding(0.9)))) == said
        own = cache.lookup(ask("x", principal="a"))
        cache.judge(HERE.tenant, own.lookup_id, right=True, principal="a")
        assert served(cache.lookup(ask("x", principal="b"))) is None
        cache.judge(HERE.tenant, own.lookup_id, right=True, principal="b")
        assert served(cache.lookup(ask("x", principal="b"))) == "42"
        cache.store(by("a", "second"))
        assert served(cache.lookup(ask("second", principal="b"))) == "42"
    with opened(tmp_path, None, ServeNearest, confirmed_for_trust=1) as cache:
        assert served(cache.lookup(ask("x", principal="b"))) == "42"
        cache.store(by("a", "third"))
        assert served(cache.lookup(ask("third", principal="b"))) == "42"


def test_quarantine_takes_nothing_from_the_tenant(tmp_path: Path) -> None:
    """An answer that a new principal had made without a look does not replace one that serves everybody."""
    with opened(tmp_path, confirmed_for_trust=1) as cache:
        cache.store(by("a", "x"))
        assert not isinstance(cache.store(by("b", "x", "mine")), NotKept)
        cache.judge(HERE.tenant, cache.lookup(ask("x", principal="b")).lookup_id, right=True)
        assert cache.store(by("c", "x", "other")) is NotKept.OUTLIVED
        assert served(cache.lookup(ask("x", principal="a"))) == "mine"


def test_an_equal_answer_confirms(tmp_path: Path) -> None:
    """Another principal's execution that said the same confirms; the same principal's, or another answer, does not."""
    with opened(tmp_path, confirmed_for_trust=3) as cache:
        for who, said, seen in (("a", "42", None), ("a", "42", None), ("b", "41", None), ("a", "41", "41")):
            cache.store(by(who, "x", said))
            assert served(cache.lookup(ask("x", principal="c"))) == seen


@pytest.mark.parametrize("memory", [0, 1_000_000])
def test_an_equal_answer_confirms_after_a_restart(tmp_path: Path, memory: int) -> None:
    """As before it, and where the former answer is in memory no more: what the former principal was told is read."""
    told = (("a", "42", None), ("b", "41", None), ("a", "41", "41"))
    for who, said, seen in told:
        with opened(tmp_path, confirmed_for_trust=3, answer_memory_bytes=memory) as cache:
            cache.store(by(who, "x", said))
            assert served(cache.lookup(ask("x", principal="c"))) == seen
    with opened(tmp_path, confirmed_for_trust=3, answer_memory_bytes=memory) as cache:
        for who, said, seen in told:
            cache.store(by(who, "y", said))
            assert served(cache.lookup(ask("y", principal="c"))) == seen


def test_a_withdrawn_entry_costs_standing(tmp_path: Path) -> None:
    """A principal whose confirmed entry turns out wrong is trusted no longer."""
    with opened(tmp_path, confirmed_for_trust=1) as cache:
        for text in ("x", "y"):
            cache.store(by("a", text))
            found = cache.lookup(ask(text, principal="a"))
            cache.judge(HERE.tenant, found.lookup_id, right=text == "x")
        cache.judge(HERE.tenant, cache.lookup(ask("x", principal="b")).lookup_id, right=False)
        cache.store(by("a", "z"))
        assert served(cache.lookup(ask("z", principal="b"))) is None


def confirmed(cache: AnswerCache, text: str, of: str, by_whom: str, **changes: Any) -> None:
    cache.store(by(of, text, **changes))
    cache.judge(HERE.tenant, cache.lookup(ask(text, principal=of)).lookup_id, right=True, principal=by_whom)


def test_a_principal_without_standing_withdraws_its_own_alone(tmp_path: Path) -> None:
    """However often it complains, what others confirmed is served to everybody; its own goes at its first word."""
    with opened(tmp_path, confirmed_for_trust=1) as cache:
        confirmed(cache, "x", "a", "b")
        for _ in range(5):
            found = cache.lookup(ask("x", principal="new"))
            assert not cache.judge(HERE.tenant, found.lookup_id, right=False, principal="new")
        assert served(cache.lookup(ask("x", principal="b"))) == "42"
        cache.store(by("new", "mine"))
        assert cache.judge(HERE.tenant, cache.lookup(ask("mine", principal="new")).lookup_id, False, "new")
        assert served(cache.lookup(ask("mine", principal="new"))) is None


@pytest.mark.parametrize("who", ["a", "c", None], ids=["its own", "with standing", "a service of ours"])
def test_who_withdraws_what_others_confirmed(tmp_path: Path, who: str | None) -> None:
    """Its own principal, one with standing, and a service of ours."""
    with opened(tmp_path, confirmed_for_trust=1) as cache:
        confirmed(cache, "x", "a", "b")
        confirmed(cache, "y", "c", "b")
        assert cache.judge(HERE.tenant, cache.lookup(ask("x", principal="c")).lookup_id, right=False, principal=who)
        assert served(cache.lookup(ask("x", principal="b"))) is None


def test_where_all_are_trusted_anyone_withdraws(tmp_path: Path) -> None:
    """No standing is asked for where the settings ask for none."""
    with opened(tmp_path) as cache:
        cache.store(by("a", "x"))
        assert cache.judge(HERE.tenant, cache.lookup(ask("x", principal="b")).lookup_id, right=False, principal="b")


def test_a_complaint_without_standing_has_the_answer_compared(tmp_path: Path) -> None:
    """Similar requests of who compares execute until one has its verdict; others are served meanwhile."""
    with opened(tmp_path, confirmed_for_trust=1) as cache:
        confirmed(cache, "How do I top up my card?", "a", "b", embedding=embedding())
        similar = ask("Please, how do I top up my card?", embedding=embedding(0.99), principal="c", judges=True)
        for _ in range(2):
            assert served(cache.lookup(similar)) == "42"
            complained = cache.lookup(ask("How do I top up my card?", principal="new"))
            cache.judge(HERE.tenant, complained.lookup_id, right=False, principal="new")
            assert served(cache.lookup(replace(similar, judges=False))) == "42"
            for _ in range(2):
                compared = cache.lookup(similar)
                assert isinstance(compared, Audit)
                assert (compared.propensity, compared.would_be_hit) == (1, True)
            cache.compared(HERE.tenant, compared.lookup_id, same=True)
        assert cache.stats().audits == 4
        assert served(cache.lookup(similar)) == "42"


@pytest.mark.parametrize(("who", "counts"), [("new", False), ("a", True), ("c", True)])
def test_a_complaint_counts_in_the_promise_by_standing_and_teaches_nothing(
    tmp_path: Path, who: str, counts: bool
) -> None:
    """Once, as one wrong answer, also where the entry is gone by then; who has no standing spends nothing of a tenant's
    promise, and nobody's praise gives anything back."""
    asked = "How do I top up my card?"
    with opened(tmp_path, confirmed_for_trust=1) as cache:
        confirmed(cache, asked, "a", "b", embedding=embedding())
        for text, of in (("y", "a"), ("z", "c")):
            confirmed(cache, text, of, "b")
        similar = ask(f"Please, {asked}", embedding=embedding(0.99), principal=who)
        first, second, third = (cache.lookup(similar) for _ in range(3))
        risk = cache._scopes._scope(SCOPE).risk
        spent = risk.spent
        cache.judge(HERE.tenant, third.lookup_id, right=True, principal=who)
        assert risk.spent == spent
        for told, found in ((1, first), (1, first), (2, second)):
            assert isinstance(found, Hit)
            cache.judge(HERE.tenant, found.lookup_id, right=False, principal=who)
            assert risk.spent == pytest.approx(spent + told * found.probability * counts)
        assert cache._scopes._scope(SCOPE).scorer.count == 0


def test_a_complaint_of_ones_own_entry_in_quarantine_counts_for_nobody(tmp_path: Path) -> None:
    """It is withdrawn, and spends nothing of what the tenant's requests allow."""
    asked = "How do I top up my card?"
    with opened(tmp_path, confirmed_for_trust=1) as cache:
        cache.store(by("new", asked, embedding=embedding()))
        found = cache.lookup(ask(f"Please, {asked}", embedding=embedding(0.99), principal="new"))
        spent = cache._scopes._scope(SCOPE).risk.spent
        assert cache.judge(HERE.tenant, found.lookup_id, right=False, principal="new")
        assert cache._scopes._scope(SCOPE).risk.spent == spent


def test_who_is_in_quarantine_replaces_nothing_that_serves_everybody(tmp_path: Path) -> None:
    """Not even where it found what is there too old: that would withdraw it as well."""
    clock = Clock()
    with opened(tmp_path, clock, confirmed_for_trust=1) as cache:
        confirmed(cache, "x", "a", "b")
        clock.advance(60)
        missed = cache.lookup(ask("x", principal="new", max_age_ns=1))
        assert cache.store(by("new", "x", "mine", lookup_id=missed.lookup_id)) is NotKept.OUTLIVED
        missed = cache.lookup(ask("x", principal="a", max_age_ns=1))
        assert isinstance(cache.store(by("a", "x", "newer", lookup_id=missed.lookup_id)), str)
        assert served(cache.lookup(ask("x", principal="b"))) == "newer"


def test_inserts_per_hour(tmp_path: Path) -> None:
    """A principal's share of an hour is its own, holds over a restart, and the next hour is new."""
    clock = Clock()
    with opened(tmp_path, clock, inserts_per_hour=2) as cache:
        kept = [cache.store(by("a", f"x{number}")) for number in range(3)]
        assert kept[2] is NotKept.QUOTA
        assert isinstance(cache.store(by("b", "x")), str)
        assert cache.stats().entries == 3
    with opened(tmp_path, clock, inserts_per_hour=2) as cache:
        assert cache.store(by("a", "y")) is NotKept.QUOTA
        clock.advance(3600)
        assert isinstance(cache.store(by("a", "y")), str)


def test_settings_by_tenant(tmp_path: Path) -> None:
    """A tenant's own setting wins, what it leaves out is everybody's."""
    clock = Clock()
    tenants = {"rival": {"ttl_s": 5}}
    with opened(tmp_path, clock, ttl_s=10, inserts_per_hour=1, tenants=tenants) as cache:
        rival = Partition("rival", HERE.fingerprint)
        cache.store(by("a", "x"))
        cache.store(by("a", "x", partition=rival))
        assert cache.store(by("a", "y", partition=rival)) is NotKept.QUOTA
        clock.advance(5)
        assert served(cache.lookup(ask("x"))) == "42"
        assert served(cache.lookup(ask("x", partition=rival))) is None


@pytest.mark.parametrize(
    ("selector", "left"),
    [
        (Selector("acme", principal="a"), ["x2"]),
        (Selector("acme", principal="nobody"), ["x2", "x1", "x0"]),
        (Selector("acme", created_from_ns=10**18 + 10**9), ["x0"]),
        (Selector("acme", principal="a", created_before_ns=10**18 + 10**9), ["x2", "x1"]),
    ],
    ids=["principal", "unknown principal", "since", "principal until"],
)
def test_purges(tmp_path: Path, selector: Selector, left: list[str]) -> None:
    """Entries go by principal and time, conditions adding up, and do not come back with a restart."""
    clock = Clock()
    with opened(tmp_path, clock) as cache:
        for number, who in enumerate("aab"):
            cache.store(by(who, f"x{number}"))
            clock.advance(1)
        assert purged(cache, selector) == 3 - len(left)
    with opened(tmp_path, clock) as cache:
        assert [entry.text for entry in cache.kept.page("acme", 2**62, 10)] == left
