"""What choices cost and give, on cases worked by hand."""

import numpy as np
import pytest

from services.router.evaluation import Point, Predicted, calibration_of, cost_at

ROWS = Predicted(
    models=("large", "small"),
    default=0,
    quality=np.array([[0.9, 0.8], [0.9, 0.1], [0.9, 0.7], [0.9, 0.2]]),
    losses=np.array([[0, 0.1], [0, 0.8], [0, 0.2], [0, np.inf]]),
    scores=np.array([[1.0, 1], [1, 0], [1, 0], [1, 1]]),
    costs=np.tile([10.0, 1], (4, 1)),
    domains=("a", "a", "b", "b"),
)


def test_the_threshold_sends_to_the_cheap_model() -> None:
    """Below 0.5 two prompts go to the cheap model, one of which it gets wrong; an unfamiliar one never does."""
    chosen = ROWS.within(0.5)
    assert chosen.tolist() == [1, 0, 1, 0]
    assert ROWS.point(chosen) == Point(5.5, 0.75)
    assert ROWS.harm(chosen) == 0.25
    assert [ROWS.harm(chosen, np.array(ROWS.domains) == name) for name in "ab"] == [0, 0.5]
    assert ROWS.within(np.inf).tolist() == [1, 1, 1, 0]


def test_harm_by_predicted_loss() -> None:
    """Of three familiar prompts, in the order of predicted loss, the last two were answered worse."""
    found = ROWS.harm_as_predicted(1)
    np.testing.assert_allclose(found, [(0.1, 0, 1), (0.2, 1, 1), (0.8, 1, 1)])


def test_baselines() -> None:
    """Always-cheap, always-strong and chance at the router's cost; and each by domain."""
    assert ROWS.always(0) == Point(10, 1)
    assert ROWS.always(1) == Point(1, 0.5)
    assert ROWS.random(5.5) == pytest.approx(0.75)
    count, routed, cheap, strong = ROWS.by_domain(ROWS.within(0.5))["b"]
    assert (count, routed.score, cheap.score, strong.score) == (2, 0.5, 0.5, 1)


def test_the_frontier_runs_from_best_to_cheapest() -> None:
    """At no exchange rate cost plays a part; at the highest nothing else does."""
    points = ROWS.frontier(ROWS.scores)
    assert points[0].score == 1
    assert points[-1] == Point(1, 0.5)
    assert cost_at(points, 1.0) == pytest.approx(5.5)
    assert cost_at(points, 1.1) == np.inf


def test_calibration_bins() -> None:
    """Predictions in bins of equal size, beside what came of them."""
    found = calibration_of(np.array([0.1, 0.9, 0.2, 0.8]), np.array([0.0, 1, 1, 1]), bins=2)
    np.testing.assert_allclose(found, [(0.15, 0.5, 2), (0.85, 1.0, 2)])
