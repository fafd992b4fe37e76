"""The similarities that `benchmarks.caching judge` chooses hold the wanted share of mistakes, and waste little."""

import numpy as np
import pytest

from benchmarks.caching.judge import thresholds


def test_as_much_is_decided_as_the_error_allows() -> None:
    """One wrong of the ten nearest is a tenth; the next one from the other end is one too many."""
    cosines = np.arange(20) / 20
    same = np.arange(20) >= 10
    same[[15, 3]] = [False, True]
    assert thresholds(cosines, same, 0.1) == pytest.approx((0.5, 0.45))
    assert thresholds(cosines, same, 0.0) == pytest.approx((0.8, 0.1))


def test_nothing_is_decided_where_nothing_keeps_the_error() -> None:
    """Where even the nearest are others, and the farthest the same, no similarity tells."""
    cosines = np.array([0.1, 0.5, 0.9])
    assert thresholds(cosines, np.array([True, False, False]), 0.2) == (float("inf"), -float("inf"))
