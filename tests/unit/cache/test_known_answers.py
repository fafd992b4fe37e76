"""What a scope knows of answers: those judged equal share a record, within one fingerprint, while entries give them."""

import random
from pathlib import Path

from services.cache.entry import Entry, Partition
from services.cache.known_answers import KnownAnswers
from services.cache.scope_decision import ScopeDecision
from services.cache.scope_memory import ScopeName
from services.cache.scope_state import pack, unpack
from tests.unit.cache.parts import DIGEST, HERE, answer, ask, embedding, keep, opened

FIRST, SECOND, THIRD = 9, 7, 5
SCOPE = ScopeName(HERE.tenant, DIGEST)


def meaning(partition: Partition, said: str) -> int:
    return Entry(1, "1", partition, "", answer(said), 0, None).meaning


def known(*answers: int) -> KnownAnswers:
    made = KnownAnswers()
    for one in answers:
        made.stored(one)
    return made


def test_an_alias_goes_with_its_last_entry() -> None:
    """An answer that comes back later is judged anew."""
    answers = known(FIRST, SECOND, SECOND)
    answers.alias(SECOND, of=FIRST)
    answers.removed(SECOND)
    assert answers.root(SECOND) == FIRST
    answers.removed(SECOND)
    assert not answers.aliases
    answers.stored(SECOND)
    assert answers.root(SECOND) == SECOND
    assert (answers.records[FIRST].entries, answers.records[SECOND].entries) == (1, 1)


def test_what_was_equal_by_another_stays_so() -> None:
    """Third is equal to second, and second to first: with second's entry gone third still is to first."""
    answers = known(FIRST, SECOND, THIRD)
    answers.alias(THIRD, of=SECOND)
    answers.alias(SECOND, of=FIRST)
    answers.removed(SECOND)
    answers.removed(FIRST)
    assert answers.root(THIRD) == FIRST
    assert answers.records[FIRST].entries == 1
    answers.removed(THIRD)
    assert (answers.aliases, answers.records, answers.entries) == ({}, {}, 0)


def test_an_answer_that_no_entry_gives_is_no_alias() -> None:
    """Nor does a verdict that comes after its entry has gone leave a record."""
    answers = known(FIRST, SECOND)
    answers.removed(SECOND)
    answers.alias(SECOND, of=FIRST)
    answers.judged(SECOND, right=True)
    assert (list(answers.records), answers.aliases) == ([FIRST], {})


def test_entries_that_come_and_go_leave_nothing() -> None:
    """However they are judged equal meanwhile."""
    rng, answers = random.Random(3), KnownAnswers()
    there: list[int] = []
    for _ in range(5000):
        if there and rng.random() < 0.5:
            answers.removed(there.pop(rng.randrange(len(there))))
        else:
            there.append(rng.randrange(50))
            answers.stored(there[-1])
        if there:
            answers.alias(rng.choice(there), rng.choice(there))
            answers.judged(rng.choice(there), right=True)
        assert sum(record.entries for record in answers.records.values()) == answers.entries == len(there)
        assert {answers.root(one) for one in there} == set(answers.records)
        assert set(answers.aliases) <= set(there) | {alias.of for alias in answers.aliases.values()}
    for one in there:
        answers.removed(one)
    assert (answers.aliases, answers.records, answers.entries) == ({}, {}, 0)


def test_they_are_the_same_after_packing() -> None:
    """An alias still goes with its last entry after a restart."""
    scope = ScopeDecision(0.8, random.random)
    for one in (FIRST, SECOND, SECOND):
        scope.answers.stored(one)
    scope.answers.alias(SECOND, of=FIRST)
    again = unpack(pack(scope), 0.8, random.random)
    assert again is not None
    assert (again.answers.aliases, again.answers.records) == (scope.answers.aliases, scope.answers.records)
    for _ in range(2):
        again.answers.removed(SECOND)
    assert not again.answers.aliases


def test_the_same_words_under_another_fingerprint_are_another_answer(tmp_path: Path) -> None:
    """What was judged equal under one system prompt is not taken for equal under another."""
    other = Partition(HERE.tenant, b"g" * 16)
    with opened(tmp_path) as cache:
        for partition in (HERE, other):
            cache.store(keep("Which one?", "The first.", partition=partition, embedding=embedding()))
            cache.store(keep("What else?", "Number one.", partition=partition, embedding=embedding(0.1)))
        found = cache.search(ask("Which of them?", embedding=embedding(0.95), judges=True))
        cache.store(keep("Which of them?", "Number one.", embedding=embedding(0.95), lookup_id=found.lookup_id))
        cache.compared(HERE.tenant, found.lookup_id, same=True)
        answers = cache._scopes._scope(SCOPE).answers
        here, there = (
            [meaning(partition, said) for said in ("The first.", "Number one.")] for partition in (HERE, other)
        )
        assert len(set(answers.roots(here))) == 1
        assert len(set(answers.roots(there))) == 2
