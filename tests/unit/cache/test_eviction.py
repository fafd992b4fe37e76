"""What goes when there is no room: what saves the least money for the room it takes, whatever the order."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cache.directory import Directory
from services.cache.entry import Partition, Standing
from services.cache.record import Record
from tests.unit.cache.parts import HERE, Clock, answer, ask, keep, opened, served

FREE = 10**9


def record(sequence: int, size: int = 10, cost: int | None = 100) -> Record:
    key = sequence.to_bytes(8, "big")
    return Record(sequence, key, Partition("t", b"f"), "", size, 0, None, cost, Standing.TRUSTED)


def directory(*records: Record, max_entries: int = FREE, max_bytes: int = FREE) -> Directory:
    made = Directory((), max_entries, max_bytes)
    for one in records:
        made.add(one)
    return made


@pytest.mark.parametrize(
    ("bounds", "records", "victim"),
    [
        ({"max_entries": 3}, [record(1, cost=300), record(2, cost=100), record(3, cost=200)], 2),
        ({"max_bytes": 60}, [record(1, 20, 100), record(2, 30, 100), record(3, 10, 100)], 2),
        ({"max_bytes": 60}, [record(1, 20, 300), record(2, 30, 500), record(3, 10, 10)], 3),
        ({"max_entries": 3}, [record(1), record(2), record(3)], 1),
        ({"max_entries": 3}, [record(1, cost=100), record(2, cost=None), record(3, cost=400)], 1),
        ({"max_entries": 3}, [record(1, cost=300), record(2, cost=0), record(3, cost=400)], 2),
    ],
    ids=["cheapest", "largest", "least per byte", "oldest of equals", "unpriced is as the mean", "free"],
)
def test_who_goes_first(bounds: dict[str, int], records: list[Record], victim: int) -> None:
    """Of entries never used, the one whose price is smallest for its share of the bound that binds."""
    assert directory(*records, **bounds).make_room(1, ()) == [victim]


def test_hits_count_and_fade() -> None:
    """An entry that served is kept over a dearer one that did not; unused, it goes once many others have come by."""
    made = directory(record(1, cost=100), record(2, cost=250), max_entries=2)
    for _ in range(3):
        made.served(record_of(made, 1), 1)
    assert made.make_room(10, ()) == [2]
    for sequence in range(3, 20):
        victims = made.make_room(10, ())
        made.give_up(victims)
        for victim in victims:
            made.remove(victim)
        made.add(record(sequence, cost=100))
    assert made.at(1) is None
    assert made.evicted == 17


def record_of(made: Directory, sequence: int) -> Record:
    found = made.at(sequence)
    assert found
    return found


steps = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 500), st.integers(0, 5)), max_size=80)


@settings(max_examples=60, deadline=None)
@given(steps=steps, max_entries=st.integers(1, 6), max_bytes=st.integers(40, 120))
def test_the_order_is_that_of_worth(steps: list[tuple[int, int, int]], max_entries: int, max_bytes: int) -> None:
    """After any uses, additions and removals, victims are the records of least worth, no more than are needed."""
    made = directory(max_entries=max_entries, max_bytes=max_bytes)
    present: dict[int, Record] = {}
    for sequence, (size, cost, used) in enumerate(steps):
        for one in list(present.values())[:used]:
            made.served(one, sequence)
        new = record(sequence, size, cost)
        victims = made.make_room(size, ())
        by_worth = sorted(present.values(), key=lambda one: (one.worth, one.sequence))
        assert victims == [one.sequence for one in by_worth[: len(victims)]]
        rest = [one for one in by_worth if one.sequence not in victims]
        for count, kept in ((len(victims), rest), (len(victims) - 1, [*rest, *by_worth[len(victims) - 1 :][:1]])):
            fits = len(kept) + 1 <= max_entries and sum(one.size for one in kept) + size <= max_bytes
            assert fits is (count == len(victims)) or count < 0
        made.give_up(victims)
        for victim in victims:
            made.remove(victim)
            del present[victim]
        made.add(new)
        present[sequence] = new


def test_worth_survives_a_restart(tmp_path: Path) -> None:
    """What was dear or used is kept over what was not, after a restart too."""
    clock = Clock()
    with opened(tmp_path, clock, max_entries=3) as cache:
        for name, cost in (("dear", 900), ("cheap", 5), ("used", 5)):
            said = answer()
            cache.store(keep(name, answer=type(said)("42", "m", 3, 1, cost)))
        for _ in range(500):
            cache.lookup(ask("used"))
    with opened(tmp_path, clock, max_entries=3) as cache:
        cache.store(keep("new"))
        assert [served(cache.lookup(ask(name))) for name in ("dear", "cheap", "used", "new")] == [
            "42",
            None,
            "42",
            "42",
        ]
        assert cache.stats().evictions == 1
        assert cache.stats().saved_nano_usd == 900 + 5 + 10


def test_a_replaced_answer_is_no_eviction(tmp_path: Path) -> None:
    """A newer answer to the same prompt takes the former's room and nobody else's."""
    with opened(tmp_path, max_entries=2) as cache:
        for said in ("a", "b", "c"):
            cache.store(keep("x", said))
        cache.store(keep("y"))
        assert cache.stats().evictions == 0
        assert served(cache.lookup(ask("x", partition=HERE))) == "c"
