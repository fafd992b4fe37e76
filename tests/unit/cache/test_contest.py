"""A contest: who is no better seldom takes the place, who is soon does, and who turns worse soon loses it."""

import random

import pytest

from services.cache.contest import Contest


def ever_leads(seed: int, doubts: list[tuple[float, float, float]], verdicts: int = 1000) -> bool:
    """Whether the challenger leads at any time, where each kind of prompt has two doubts and a true one."""
    contest, rng = Contest(), random.Random(seed)
    for _ in range(verdicts):
        incumbent, challenger, true = rng.choice(doubts)
        contest.judged(incumbent, challenger, rng.random() >= true)
        if contest.leads:
            return True
    return False


@pytest.mark.parametrize(
    "doubts",
    [[(0.1, 0.3, 0.2)], [(0.3, 0.1, 0.2)], [(0.05, 0.25, 0.15), (0.3, 0.02, 0.16)], [(0.2, 0.0, 0.1), (0.9, 0.4, 0.6)]],
    ids=["the bolder one", "the more careful one", "two kinds", "much that is never served"],
)
def test_who_is_as_good_seldom_leads(doubts: list[tuple[float, float, float]]) -> None:
    """Where both lose as much on average, however wrong they are, at most 5 % of challengers ever lead."""
    assert sum(ever_leads(seed, doubts) for seed in range(300)) <= 0.05 * 300


def test_noise_around_a_bad_incumbent_does_not_lead() -> None:
    """A challenger who adds chance to estimates that are too high or too low is not taken for one who knows."""
    led = 0
    for seed in range(200):
        contest, rng = Contest(), random.Random(seed)
        for _ in range(1000):
            incumbent, true = rng.choice([(0.05, 0.15), (0.3, 0.2)])
            contest.judged(incumbent, max(incumbent + rng.gauss(0, 0.1), 0.0), rng.random() >= true)
            led += contest.leads
            if contest.leads:
                break
    assert led <= 0.05 * 200


def test_who_knows_more_leads_and_who_turns_worse_loses_the_place() -> None:
    """Telling 2 % from 30 % apart wins against 16 % for all; the other way round it loses, however long it led."""
    contest, rng = Contest(), random.Random(2)
    kinds = [(0.16, 0.02), (0.16, 0.3)]
    verdicts = 0
    while not contest.leads and verdicts < 1500:
        incumbent, challenger = rng.choice(kinds)
        contest.judged(incumbent, challenger, rng.random() >= challenger)
        verdicts += 1
    assert contest.leads
    for _ in range(3000):
        incumbent, challenger = rng.choice(kinds)
        contest.judged(incumbent, challenger, rng.random() >= challenger)
    assert contest.leads
    for _ in range(1000):
        incumbent, challenger = rng.choice(kinds)
        contest.judged(incumbent, challenger, rng.random() >= 0.32 - challenger)
    assert not contest.leads


def test_what_is_never_served_does_not_count() -> None:
    """Who foresees better how wrong a hopeless candidate is wins nothing by it."""
    contest = Contest()
    for _ in range(5000):
        contest.judged(0.5, 0.99, right=False)
    assert contest.stake == pytest.approx(1.0)


def test_no_verdict_ends_it() -> None:
    """Certainty that turns out wrong costs a large share of the stake, never all of it."""
    contest = Contest()
    contest.judged(1.0, 0.0, right=False)
    assert 0.1 < contest.stake < 1
