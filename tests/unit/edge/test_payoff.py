"""Asking a model first is let be where it does not pay, tried again later, and not let be where it does."""

import numpy as np
import pytest

from services.edge.payoff import MOST_LOST, MOST_UNTOLD, PAUSE_S, Payoff

SHARES = [0.02, 0.05, 0.1, 0.4]  # of the strong answer's cost


@pytest.mark.parametrize("share", SHARES)
def test_what_is_lost_is_bounded(share: float) -> None:
    """However long it went well before, from then on ten answers of the strong model are lost, and then one an hour."""
    payoff = Payoff()
    for _ in range(1000):
        assert not payoff.paid(share, True, 0.5, 0.0)
    lost = 0.0
    while not payoff.paid(share, False, 0.5, 0.0):
        lost += share
    assert MOST_LOST - share <= lost + share <= MOST_LOST + share
    assert payoff.is_set_aside(PAUSE_S - 1.0)
    assert not payoff.is_set_aside(PAUSE_S)
    lost = 0.0
    while not payoff.paid(share, False, 0.5, PAUSE_S):
        lost += share
    assert lost <= 1.0 + share
    assert payoff.times_set_aside == 2


def test_what_was_under_way_changes_nothing() -> None:
    """Answers that end after a pair was set aside neither set it aside longer nor count as another time."""
    payoff = Payoff()
    assert payoff.paid(MOST_LOST, False, 0.5, 0.0)
    assert not payoff.paid(MOST_LOST, False, 0.5, 1.0)
    assert not payoff.is_set_aside(PAUSE_S)
    assert payoff.times_set_aside == 1


def test_one_answer_with_probabilities_clears_those_without() -> None:
    """Only answers in a row without them set a pair aside, and after its pause the first one more does."""
    payoff = Payoff()
    for _ in range(5):
        assert not any(payoff.told(False, 0.0) for _ in range(MOST_UNTOLD - 1))
        assert not payoff.told(True, 0.0)
    assert [payoff.told(False, 0.0) for _ in range(MOST_UNTOLD)] == [False] * (MOST_UNTOLD - 1) + [True]
    assert payoff.told(False, PAUSE_S)


@pytest.mark.parametrize("share", SHARES)
def test_a_pair_that_pays_is_hardly_ever_set_aside(share: float) -> None:
    """With 15 of 100 answers kept beyond what pays: never in 20 times 10,000 answers."""
    rng, times = np.random.default_rng(0), 0
    for _ in range(20):
        payoff = Payoff()
        for kept in rng.uniform(size=10_000) < share + 0.15:
            payoff.paid(share, bool(kept), 0.5, 0.0)
        times += payoff.times_set_aside
    assert times == 0
