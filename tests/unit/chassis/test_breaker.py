"""When a breaker opens, whom it lets through meanwhile, and what closes it; how far a retry budget goes."""

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.breaker import LIMIT, REFUSED, SILENT, Breaker
from services.chassis.retry_budget import RetryBudget


class Clock:
    """Time that only passes when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def opened() -> Breaker:
    breaker = Breaker()
    assert [breaker.failed(REFUSED) for _ in range(LIMIT)] == [False] * (LIMIT - 1) + [True]
    return breaker


@pytest.mark.parametrize(("points", "count"), [(REFUSED, 12), (SILENT, 3)])
def test_it_opens_after_failures_in_a_row(clock: Clock, points: int, count: int) -> None:
    """Twelve refusals or three silences open it; a success between starts the count anew."""
    breaker = Breaker()
    for _ in range(count - 1):
        breaker.failed(points)
    breaker.succeeded()
    for _ in range(count - 1):
        breaker.failed(points)
    assert not breaker.is_open
    assert breaker.admits(clock.now)
    breaker.failed(points)
    assert (breaker.is_open, breaker.opened) == (True, 1)
    assert not breaker.admits(clock.now)


def test_one_probe_at_a_time(clock: Clock) -> None:
    """After the pause one call is let through, and no other until it is known how that one went."""
    breaker = opened()
    assert 0.1 < breaker.retry_after_s() <= 0.25
    clock.now += 0.25
    assert breaker.admits(clock.now)
    breaker.begin(clock.now)
    assert not breaker.admits(clock.now)
    assert breaker.succeeded()
    assert not breaker.is_open
    assert breaker.retry_after_s() == 0


def test_the_pause_doubles_to_ten_seconds_and_starts_anew(clock: Clock) -> None:
    """A failed probe waits twice as long as the one before, at most 10 s; after a success it is 0.25 s again."""
    breaker, pauses = opened(), []
    for _ in range(10):
        pauses.append(breaker.retry_after_s())
        clock.now += pauses[-1]
        breaker.begin(clock.now)
        breaker.failed(REFUSED)
    bounds = [min(0.25 * 2**number, 10.0) for number in range(10)]
    assert all(bound / 2 <= pause <= bound for pause, bound in zip(pauses, bounds, strict=True))
    breaker.succeeded()
    for _ in range(LIMIT):
        breaker.failed(REFUSED)
    assert breaker.retry_after_s() <= 0.25


def test_calls_from_before_it_opened_do_not_prolong_it(clock: Clock) -> None:
    """Failures that trickle in while it is open are of calls that began before, and change nothing."""
    breaker = opened()
    before = breaker.retry_after_s()
    for _ in range(100):
        breaker.failed(REFUSED)
    assert breaker.retry_after_s() == before


def test_a_sign_of_life_ends_the_pause(clock: Clock) -> None:
    """Told that a connection is back, it lets a probe through at once; should that fail, the pauses begin anew."""
    breaker = opened()
    for _ in range(6):
        clock.now += 10
        breaker.begin(clock.now)
        breaker.failed(REFUSED)
    assert breaker.retry_after_s() > 1
    breaker.hurry()
    assert breaker.admits(clock.now)
    breaker.begin(clock.now)
    assert not breaker.admits(clock.now)
    breaker.failed(REFUSED)
    assert breaker.retry_after_s() <= 0.5


@pytest.mark.parametrize("give_up", [Breaker.released, lambda _: None], ids=["told", "not told"])
def test_a_probe_that_tells_nothing_makes_room_for_another(clock: Clock, give_up: Callable[[Breaker], None]) -> None:
    """A probe that was cancelled, or that never ended, does not keep it open for ever."""
    breaker = opened()
    clock.now += 1
    breaker.begin(clock.now)
    give_up(breaker)
    clock.now += 10
    assert breaker.admits(clock.now)


@given(st.lists(st.booleans()), st.sampled_from([0.1, 0.2, 0.48]), st.integers(1, 20))
def test_a_budget_bounds_every_beginning(takes: list[bool], ratio: float, reserve: int) -> None:
    """At any moment, whatever the order, no more was taken than ratio times the calls plus the reserve."""
    budget, calls, taken = RetryBudget(ratio, reserve), 0, 0
    for take in takes:
        if take:
            taken += budget.take()
        else:
            budget.earn()
            calls += 1
        assert taken <= ratio * calls + reserve + 1e-6
    assert budget.refused == sum(takes) - taken
