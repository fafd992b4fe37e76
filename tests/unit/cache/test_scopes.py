"""The cache as it learns: verdicts by lookup, what outlives a restart, and what a new scope never serves."""

import random
from collections.abc import Iterator
from itertools import pairwise, permutations
from pathlib import Path

import numpy as np
import pytest

from services.cache import messages, scopes
from services.cache.answer_cache import AnswerCache
from services.cache.entry import Partition, Selector
from services.cache.query import Audit, Hit, MatchKind, Miss
from services.cache.scope_decision import ScopeDecision
from services.cache.scope_file import ScopeFile
from services.cache.scope_memory import ScopeName
from services.cache.scope_state import pack, unpack
from tests.unit.cache.parts import DIGEST, HERE, Clock, ask, embedding, keep, opened, purged, served
from tests.unit.cache.test_scope_decision import teach

SCOPE = ScopeName("acme", DIGEST)
ASKED, OTHERWISE = "How do I top up my card?", "Topping up the card: in which way"


def check(cache: AnswerCache, text: str, cosine: float) -> Audit:
    found = cache.lookup(ask(text, embedding=embedding(cosine), judges=True))
    assert isinstance(found, Audit)
    return found


def test_a_near_miss_is_checked_where_the_caller_judges(tmp_path: Path) -> None:
    """Who compares answers is given the one to compare with; who does not, is not."""
    with opened(tmp_path) as cache:
        cache.store(keep(ASKED, embedding=embedding()))
        found = check(cache, OTHERWISE, 0.95)
        assert (found.entry.answer.text, found.propensity, found.would_be_hit) == ("42", 1.0, False)
        assert found.explanation.startswith("nearest 0.950, but")
        assert not isinstance(cache.lookup(ask(OTHERWISE, embedding=embedding(0.95))), Audit)


def test_under_the_brake_would_be_hits_are_audits(tmp_path: Path) -> None:
    """They count as audits, and are told as such, though all of them are executed."""
    with opened(tmp_path) as cache:
        cache.store(keep(ASKED, embedding=embedding()))
        cache._scopes._scope(SCOPE).risk.brake.buckets[-1].untold = 1000
        found = check(cache, f"Please, {ASKED}", 0.99)
        assert (found.propensity, found.would_be_hit, cache.stats().audits) == (1, True, 1)
        assert messages.found(found).audit.would_be_hit


def test_a_complaint_outlives_a_restart(tmp_path: Path) -> None:
    """The answer is compared after it, as nobody has told about it yet."""
    with opened(tmp_path) as cache:
        cache.store(keep(ASKED, embedding=embedding()))
        (entry,) = cache.kept.page(HERE.tenant, 2**62, 1)
        cache.kept.doubt(entry.sequence)
    with opened(tmp_path) as cache:
        assert check(cache, f"Please, {ASKED}", 0.99).would_be_hit


def test_a_verdict_on_a_check_withdraws_nothing(tmp_path: Path) -> None:
    """A wrong verdict is about the pair of prompts, not about the entry."""
    with opened(tmp_path) as cache:
        cache.store(keep(ASKED, embedding=embedding()))
        cache.compared("acme", check(cache, OTHERWISE, 0.95).lookup_id, same=False)
        assert served(cache.lookup(ask(ASKED))) == "42"


def test_a_word_on_the_answer_made_is_no_word_on_its_neighbour(tmp_path: Path) -> None:
    """Who likes or dislikes an answer that was executed says nothing of the candidate: no scope learns, no alias comes
    of it, and what is withdrawn is the answer that was made."""
    with opened(tmp_path) as cache:
        cache.store(keep(ASKED, embedding=embedding()))
        for right, text in ((True, "Which card gets topped up?"), (False, OTHERWISE)):
            found = check(cache, text, 0.95)
            cache.store(keep(text, "another", embedding=embedding(0.95), lookup_id=found.lookup_id))
            before = pack(cache._scopes._scope(SCOPE))
            assert cache.judge("acme", found.lookup_id, right=right) is not right
            after = cache._scopes._scope(SCOPE)
            assert not after.answers.aliases
            assert pack(after) == before or not right
            assert after.scorer.count == 0
        assert served(cache.lookup(ask(OTHERWISE))) is None
        assert served(cache.lookup(ask(ASKED))) == "42"


@pytest.mark.parametrize("told", ["another tenant", "different"])
def test_what_makes_no_alias(tmp_path: Path, told: str) -> None:
    """Another tenant's verdict is nobody's, on a check and on an answer served; one that answers differ makes no
    alias."""
    with opened(tmp_path) as cache:
        cache.store(keep(ASKED, embedding=embedding()))
        found = check(cache, OTHERWISE, 0.95)
        cache.store(keep(OTHERWISE, "another", embedding=embedding(0.95), lookup_id=found.lookup_id))
        hit = cache.lookup(ask(f"Please, {ASKED}", embedding=embedding(0.99)))
        assert isinstance(hit, Hit)
        scope = cache._scopes._scope(SCOPE)
        before = pack(scope)
        if told == "different":
            cache._scopes.compared("acme", found.lookup_id, same=False)
        else:
            cache._scopes.compared("rival", found.lookup_id, same=True)
            cache._scopes.reported("rival", hit.lookup_id, right=False)
            assert pack(scope) == before
        assert not scope.answers.aliases
        assert scope.scorer.count == (told == "different")


def test_a_verdict_after_an_alias_counts_for_both_answers(tmp_path: Path) -> None:
    """An answer that was judged equal to another while it awaited a verdict has it counted for the one they are now."""
    with opened(tmp_path) as cache:
        cache.store(keep(ASKED, embedding=embedding()))
        first = check(cache, OTHERWISE, 0.95)
        cache.store(keep(OTHERWISE, "another", embedding=embedding(0.5), lookup_id=first.lookup_id))
        later = check(cache, "Is topping up possible?", 0.5)
        assert later.entry.answer.text == "another"
        cache.compared("acme", first.lookup_id, same=True)
        cache.compared("acme", later.lookup_id, same=True)
        (record,) = cache._scopes._scope(SCOPE).answers.records.values()
        assert (record.entries, record.right) == (2, 2)


def test_a_scope_is_written_where_something_is_unwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scope that gives way to another is written if it changed since, and is the same when it is read again."""
    written: list[str] = []
    file = ScopeFile(tmp_path / "scopes")
    keep_in_file = file.write

    def write(key: str, state: bytes, promise: str) -> None:
        written.append(key)
        keep_in_file(key, state, promise)

    monkeypatch.setattr(file, "write", write)
    known = scopes.Scopes(file, 0.8, 10, most_bytes=1)
    names = [ScopeName(tenant, DIGEST) for tenant in ("one", "two")]
    for name in names:
        known.decide(name, ask(ASKED), [], [], 0.01)
    for _ in range(3):
        for name in names:
            known._scope(name)
    assert len(written) == len(names)
    for _ in range(2):
        known.exact(ask(ASKED, partition=Partition("one", b"")), 0.01)
    assert [known._scope(name).risk.requests for name in names * 2] == [3, 1, 3, 1]
    known.close()


def test_many_tenants_cost_no_reading_of_their_scopes(tmp_path: Path) -> None:
    """Scopes stay in memory by their bytes, not by their number; a lookup of a thousandth tenant reads no file."""
    known = scopes.Scopes(ScopeFile(tmp_path / "scopes"), 0.8, 10)
    names = [ScopeName(f"tenant {number}", DIGEST) for number in range(1000)]
    first = [known._scope(name) for name in names]
    assert [known._scope(name) for name in names] == first
    known.close()


def test_promises_are_told_after_a_restart(tmp_path: Path) -> None:
    """Where a promise stood is told before its tenant asks anything, also of a scope that gave way to another."""
    with opened(tmp_path, scope_memory_bytes=0) as cache:
        for tenant in ("acme", "rival"):
            there = Partition(tenant, b"f" * 16)
            cache.store(keep(ASKED, embedding=embedding(), partition=there))
            cache.lookup(ask(OTHERWISE, embedding=embedding(0.95), partition=there))
        before = cache.promises()
        assert [(one.tenant, one.requests) for one in before] == [("acme", 1), ("rival", 1)]
    with opened(tmp_path) as cache:
        assert cache.promises() == before


def test_no_neighbour_that_may_be_served(tmp_path: Path) -> None:
    """Where the near entry is too old for the request, that is among the reasons told."""
    clock = Clock()
    with opened(tmp_path, clock) as cache:
        cache.store(keep(ASKED, embedding=embedding()))
        clock.advance(1)
        found = cache.lookup(ask(OTHERWISE, embedding=embedding(0.95), max_age_ns=10**8))
        assert isinstance(found, Miss)
        assert "no entry with an embedding is young enough" in found.explanation


def test_what_nobody_answers_is_no_request(tmp_path: Path) -> None:
    """A lookup whose caller executes nothing is a request where it is served, and else moves no book."""
    with opened(tmp_path) as cache:
        cache.store(keep(ASKED, embedding=embedding()))
        cache.lookup(ask(OTHERWISE, embedding=embedding(0.95)))
        before = cache.promises()
        state = pack(cache._scopes._scope(SCOPE))
        for _ in range(200):
            found = cache.lookup(ask(OTHERWISE, embedding=embedding(0.7), executes=False))
            assert isinstance(found, Miss)
        assert cache.promises() == before
        assert pack(cache._scopes._scope(SCOPE)) == state
        found = cache.lookup(ask(f"Please: {ASKED}", embedding=embedding(0.95), executes=False))
        assert isinstance(found, Hit)
        (after,) = cache.promises()
        assert (after.requests, after.served) == (before[0].requests + 1, before[0].served + 1)


def test_who_looks_again_counts_once(tmp_path: Path) -> None:
    """A request that waited for a twin and looks again is one request on the promise's books."""
    with opened(tmp_path) as cache:
        cache.store(keep(ASKED, embedding=embedding()))
        for again in (False, True, True):
            cache.lookup(ask(OTHERWISE, embedding=embedding(0.95), judges=True, again=again))
        assert cache.promises()[0].requests == 1


def test_only_services_teach(tmp_path: Path) -> None:
    """A tenant's own verdict on a check changes nothing that its scope believes."""
    with opened(tmp_path) as cache:
        cache.store(keep(ASKED, embedding=embedding()))
        found = check(cache, OTHERWISE, 0.95)
        before = pack(cache._scopes._scope(SCOPE))
        cache.compared("acme", found.lookup_id, same=True, trusted=False)
        assert pack(cache._scopes._scope(SCOPE)) == before
        cache.compared("acme", found.lookup_id, same=True)
        assert pack(cache._scopes._scope(SCOPE)) != before


def test_verdicts_make_a_scope_serve_and_outlive_a_restart(tmp_path: Path) -> None:
    """After enough right verdicts another wording is served, still so after the cache was closed and opened."""
    rng = random.Random(3)
    with opened(tmp_path, max_wrong_share=0.05) as cache:
        cache.store(keep(ASKED, embedding=embedding()))
        for _ in range(600):
            found = cache.lookup(ask(OTHERWISE, embedding=embedding(rng.uniform(0.6, 0.99)), judges=True))
            if isinstance(found, Audit):
                cache.compared("acme", found.lookup_id, same=True)
        before = cache.promises()[0]
        assert before.served > 0
        assert 0 < before.realised <= before.certified <= 1
    with opened(tmp_path, max_wrong_share=0.05) as cache:
        found = cache.lookup(ask(OTHERWISE, embedding=embedding(0.97), judges=True))
        assert isinstance(found, Hit)
        assert found.kind is MatchKind.SEMANTIC
        assert "wrong with probability" in found.explanation
        assert cache.promises()[0].requests == before.requests + 1


def test_a_miss_judged_equal_becomes_an_alias(tmp_path: Path) -> None:
    """Two wordings of one answer count as one answer once a judge has called them equal."""
    with opened(tmp_path) as cache:
        cache.store(keep(ASKED, "Go to Top up.", embedding=embedding()))
        found = check(cache, OTHERWISE, 0.9)
        cache.store(keep(OTHERWISE, "Please go to Top up.", embedding=embedding(0.9), lookup_id=found.lookup_id))
        cache.compared("acme", found.lookup_id, same=True)
        scope = cache._scopes._scope(SCOPE)
        assert len(scope.answers.aliases) == 1
        assert max(record.entries for record in scope.answers.records.values()) == 2


def test_what_one_system_prompt_proves_lifts_no_veto_under_another(tmp_path: Path) -> None:
    """Where other numbers were told to share an answer, they share it under that fingerprint alone, also after a
    restart: another's first requests get no answer to other numbers."""
    other = Partition("acme", b"g" * 16)
    daily = ask("Take 50 mg of it daily?", partition=other, embedding=embedding(0.97), judges=True)
    with opened(tmp_path) as cache:
        cache.store(keep("What is the status of order 1?", "See the portal.", embedding=embedding()))
        for number in range(2, 250):
            found = cache.lookup(ask(f"What is the status of order {number}?", embedding=embedding(0.97), judges=True))
            if isinstance(found, Audit):
                cache.compared("acme", found.lookup_id, same=True)
        cache.store(keep("Take 5 mg of it daily?", "Yes.", partition=other, embedding=embedding()))
        assert not isinstance(cache.lookup(daily), Hit)
    with opened(tmp_path) as cache:
        assert served(cache.lookup(ask("What is the status of order 999?", embedding=embedding(0.97)))) is not None
        found = cache.lookup(daily)
        assert isinstance(found, Audit)
        assert "its numbers differ" in found.explanation


@pytest.mark.parametrize("memory", [0, 1_000_000])
def test_entries_that_go_are_counted_no_more(tmp_path: Path, memory: int) -> None:
    """Whether their answers are in memory or not: those evicted, replaced or removed."""
    with opened(tmp_path, max_entries=50, answer_memory_bytes=memory) as cache:
        for number in range(200):
            cache.store(keep(f"Which plan has {number} seats?", f"Plan {number}.", embedding=embedding(0.5)))
        cache.store(keep("Which plan has 199 seats?", "Another.", embedding=embedding(0.5)))
        scope = cache._scopes._scope(SCOPE)
        assert (cache.stats().entries, scope.answers.entries, len(scope.answers.records)) == (50, 50, 50)
        purged(cache, Selector("acme"))
        assert (cache.stats().entries, scope.answers.entries, len(scope.answers.records)) == (0, 0, 0)


def test_a_scope_is_the_same_after_packing() -> None:
    """What was learnt and booked is read back as it was written, and other bytes are refused."""
    scope = ScopeDecision(0.8, random.Random(1).random)
    teach(scope, 3500, right_from=0.75)
    again = unpack(pack(scope), 0.8, random.random)
    assert again is not None
    assert again.risk.certified == scope.risk.certified
    assert again.answers.records == scope.answers.records
    features = tuple(np.linspace(0.1, 0.9, 14))
    assert again.scorer.probability(features) == scope.scorer.probability(features)
    assert pack(again) == pack(scope)
    for other in (b"PK no archive", pack(scope)[:-1], b""):
        assert unpack(other, 0.8, random.random) is None


@pytest.mark.parametrize("place", [0, 50, 4096, 5000])
def test_a_damaged_file_starts_scopes_anew(tmp_path: Path, place: int) -> None:
    """A flipped byte costs at most what was learnt, never the start, and is never believed."""
    path = tmp_path / "learnt.sqlite"
    file = ScopeFile(path)
    file.write("acme", bytes(range(256)) * 16, "told")
    file.close()
    content = bytearray(path.read_bytes())
    content[min(place, len(content) - 1)] ^= 0xFF
    path.write_bytes(bytes(content))
    again = ScopeFile(path)
    assert again.promises() in ([], ["told"])
    assert again.read("acme") in (None, bytes(range(256)) * 16)
    again.write("acme", b"new", "anew")
    assert again.promises() == ["anew"]
    assert again.read("acme") == b"new"
    again.close()


def collisions() -> Iterator[tuple[str, str]]:
    """Prompts that differ in what decides the answer: negation, names, their order, numbers, units."""
    names = ["Anna", "Boris", "Chloe", "Dmitri", "Elena", "Farid", "Greta", "Hiro"]
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            yield f"Did {one} pay {other} back?", f"Did {other} pay {one} back?"
            yield f"What does {one} owe the bank?", f"What does {other} owe the bank?"
            yield f"Is {one} older than {other}?", f"Is {other} older than {one}?"
    for number in range(2, 66):
        yield f"How many days are {number} weeks?", f"How many days are {number + 1} weeks?"
        yield f"Convert {number} km to miles", f"Convert {number} km to metres"
        yield f"Can I return it after {number} days?", f"Can I not return it after {number} days?"
        yield f"Which plan has {number} seats?", f"Which plan has no {number} seats?"
        yield f"Take {number} mg of it daily?", f"Take {number} g of it daily?"
    for action in ("cancel", "pause", "renew", "extend", "transfer", "share", "delete", "export"):
        for thing in ("my plan", "the order", "our account", "this card", "the trial", "a booking", "my data"):
            yield f"Should we {action} {thing} now?", f"Should we never {action} {thing} now?"
            yield f"Can you {action} {thing} with a fee?", f"Can you {action} {thing} without a fee?"
            yield f"Can I {action} {thing} today?", f"Can we {action} {thing} today?"
        yield f"When did my bank {action} it?", f"When did our bank {action} it?"
        yield f"Can you {action} my plan by our card?", f"Can you {action} our plan by my card?"
        yield f"Can we {action} it if I have a guest?", f"Can we {action} it if I am a guest?"
        yield f"Did you {action} what I sent?", f"Did I {action} what you sent?"
    yield from directions_and_signs(names)


def directions_and_signs(names: list[str]) -> Iterator[tuple[str, str]]:
    """Prompts that differ in a direction beside an amount, in a sign, or in what is and what was or would be."""
    for number, (one, other) in enumerate(pairwise(names), 2):
        for unit in ("pounds", "grams", "hours", "litres", "days"):
            yield (
                f"Can I send {number} {unit} to {one} for {other}?",
                f"Can I send {number} {unit} for {one} to {other}?",
            )
            yield f"Is it {number} {unit} to {one}?", f"Is it {number} {unit} in {one}?"
        yield f"Send the capital to {one} for {other}", f"Send the capital for {one} to {other}"
        yield f"Is {number}:{number + 3} a ratio?", f"Is {number} {number + 3} a ratio?"
        yield f"Is {one} {number}' 2 tall?", f'Is {one} {number}" 2 tall?'
        yield f"Is {one} {number}' tall?", f"Is {one} {number} tall?"
        yield f"What is {number}!?", f"What is {number}?"
    for letter in "ABxyn":
        yield f"Who can receive blood type {letter}-?", f"Who can receive blood type {letter}?"
        yield f"Is {letter}- a good grade?", f"Is {letter} a good grade?"
        yield f"What does {letter}! grow like?", f"What does {letter} grow like?"
        yield f"Simplify {letter}-2", f"Simplify {letter} 2"
        yield f"Simplify {letter}-k", f"Simplify {letter} k"
        yield f"Plot {letter}' here", f"Plot {letter} here"
    for one, other in (("C#", "C"), ("C++", "C"), ("C++", "C#"), (".NET", "net"), (".NET", "NET"), ("F#", "F")):
        yield f"How do I learn {one}?", f"How do I learn {other}?"
        yield f"Is {one} fast?", f"Is {other} fast?"
    for word in ("cab", "up", "Oslo"):
        for one, other in permutations(("opposite", "reverse", "capital", "symbol"), 2):
            yield f"What is the {one} of the {other} of {word}?", f"What is the {other} of the {one} of {word}?"
            yield f"Move the {one} for {word} to Rome", f"Move the {one} to {word} for Rome"
    yield "Is that for us?", "Is that for US?"
    for verb in ("charged", "billed", "refunded", "notified", "blocked", "paid"):
        yield f"Would I be {verb}?", f"Am I {verb}?"
        yield f"Have I been {verb}?", f"Am I {verb}?"
        yield f"When have I {verb}?", f"When am I {verb}?"
        for who, have in (("I", "have"), ("We", "have"), ("They", "have"), ("Bob", "has")):
            yield f"{who} {have} been {verb}", f"{who} {have} {verb}"
            yield f"Why {have} {who} been {verb}?", f"Why {have} {who} {verb}?"
            yield f"{who} should be {verb}", f"{who} should have {verb}"
        yield f"I'm {verb} weekly", f"I've {verb} weekly"
        yield f"Which friends have I {verb}?", f"Which friends have {verb}?"
        yield f"the company that I {verb}", f"the company that {verb}"
        yield f"What would they be {verb}?", f"What are they {verb}?"


def test_near_collisions_are_not_served_in_a_new_scope(tmp_path: Path) -> None:
    """Of more than 500 pairs as near as can be, none is served to the other, nor across tenants or system prompts."""
    pairs = list(collisions())
    assert len(pairs) >= 500
    with opened(tmp_path) as cache:
        for number, (one, other) in enumerate(pairs):
            tenant = f"tenant-{number}"
            here = Partition(tenant, b"f" * 16)
            cache.store(keep(one, "yes", partition=here, embedding=embedding()))
            for there in (here, Partition("else", b"f" * 16), Partition(tenant, b"another-system-p")):
                found = cache.lookup(ask(other, partition=there, embedding=embedding(0.999)))
                assert served(found) is None, (one, other)
            same = cache.lookup(ask(one, partition=Partition(tenant, b"another-system-p"), embedding=embedding()))
            assert served(same) is None
            assert HERE.tenant != tenant
