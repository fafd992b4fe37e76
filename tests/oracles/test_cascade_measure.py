"""What a cascade is said to cost: both models where both were asked, and harm where the small one's answer stood."""

import numpy as np

from benchmarks.routing.cascade import totals


def test_who_escalates_pays_for_both() -> None:
    """Two answers of the small model and two that were escalated cost 4 times the small and twice the strong one."""
    kept = np.array([True, True, False, False])
    told = totals(kept, ~kept, np.array([True, False, True, False]), 0.25)
    assert told == {"cost": 0.75, "harm": 0.25, "strong_share": 0.5}


def test_repeats_are_paid_for_where_the_small_one_was_asked_first() -> None:
    """One answer that was sent unasked costs once, one that was kept and one that was escalated four times each."""
    small = np.array([True, True, False, False])
    told = totals(small, np.array([False, True, True, False]), np.zeros(4, np.bool_), 0.25, answers=4)
    assert told == {"cost": (0.25 + 1 + 2 + 1) / 4, "harm": 0.0, "strong_share": 0.5}


def test_who_chooses_before_asking_pays_for_one() -> None:
    """Where the strong model was asked at once the small one costs nothing."""
    sent = np.array([True, False, False, False])
    told = totals(sent, np.zeros(4, np.bool_), np.array([False, True, True, True]), 0.25)
    assert told == {"cost": 0.8125, "harm": 0.0, "strong_share": 0.75}
